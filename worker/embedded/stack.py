"""`up`: PostgreSQL, Temporal, migrations, codec, health and worker as one thing that starts whole
or not at all.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.engine import make_url

from worker.addresses import asyncpg_url
from worker.client import connect
from worker.database import make_login, migrate
from worker.embedded.bank import EmbeddedBank, embedded_bank
from worker.embedded.discovery import STACK_FILE, StackAddresses, find_stack, save_stack
from worker.embedded.home import HomeLock, prepare_home
from worker.embedded.ports import free_port
from worker.embedded.postgres import LOGIN, EmbeddedPostgres
from worker.embedded.process import Child, full_disk
from worker.embedded.temporal import EmbeddedTemporal, TemporalPorts, end_leftover, temporal_binary
from worker.keys import first_issuer, first_key_ring, key_ring_path
from worker.refusal import CannotStart
from worker.search_attributes import make_search_attributes
from worker.service import Doors, Serving, Targets, default_origins, service
from worker.settings import Settings
from worker.telemetry import configure_logging

LOG_FILE = "stack.log"
EXCHANGE = "exchange"
_FIRST_WAIT_S = 120
_log = structlog.get_logger("worker.embedded")


@dataclass(frozen=True)
class _Database:
    app: str
    owner: str
    child: Child | None


@dataclass(frozen=True)
class _Temporal:
    address: str
    ui: str | None
    origins: tuple[str, ...]
    child: Child | None


async def up(settings: Settings) -> int:
    """Run the stack until it is stopped; returns 0, or at once with the addresses of the one that
    runs already.
    """
    _refuse_unfit(settings)
    home = prepare_home(settings.home, spare_mb=settings.spare_mb)
    exchange = settings.bank_exchange or home / EXCHANGE
    settings = settings.model_copy(update={"home": home, "bank_exchange": exchange})
    with HomeLock(home) as lock:
        if not lock.take():
            return await _show_first(home, lock)
        configure_logging(settings.log_level, home / LOG_FILE)
        try:
            async with _running(settings) as (addresses, ended):
                save_stack(home, addresses)
                _log.info("up", pid=addresses.pid, namespace=addresses.namespace)
                _say("", "Tillkeeper is up. Ctrl-C stops it.", *addresses.lines())
                await ended
        finally:
            (home / STACK_FILE).unlink(missing_ok=True)
    return 0


@asynccontextmanager
async def _running(
    settings: Settings,
) -> AsyncIterator[tuple[StackAddresses, asyncio.Task[None]]]:
    async with AsyncExitStack() as stack:
        ring = first_key_ring(settings)
        first_issuer(settings)
        doors = Doors(settings)
        stack.callback(doors.close)
        address = settings.temporal_address
        ports = await _temporal_ports(settings, doors) if address is None else None
        bank = await _bank(settings, stack)
        database = await _database(settings, stack)
        if ports is not None:
            temporal = await _temporal(settings, ports, stack)
        else:
            temporal = _Temporal(address or "", None, settings.codec_origins, None)
            await make_search_attributes(await connect(settings, temporal.address, None))
        if bank is not None:
            await bank.ready()
        _say("Starting the worker …")
        targets = Targets(
            database.app, temporal.address, temporal.origins,
            bank_door=bank.address if bank is not None else None,
        )  # fmt: skip
        serving = await stack.enter_async_context(service(settings, targets, ring, doors))
        started = (database.child, temporal.child, bank.child if bank else None)
        children = [child for child in started if child is not None]
        ended = asyncio.create_task(_first_end(children, serving))
        stack.callback(ended.cancel)
        stack.callback(_say, "Stopping …")
        addresses = _addresses(settings, database, temporal, serving)
        yield addresses.model_copy(update={"bank": bank.address if bank else None}), ended


async def _bank(settings: Settings, stack: AsyncExitStack) -> EmbeddedBank | None:
    """Started first and waited for last: it needs nothing of the rest."""
    bank = await embedded_bank(settings, settings.home / EXCHANGE)
    if bank is not None:
        _say("Starting the bank simulator …")
        stack.push_async_callback(bank.stop)
        bank.start()
    return bank


async def _database(settings: Settings, stack: AsyncExitStack) -> _Database:
    if settings.database_url is not None:
        app = asyncpg_url(settings.database_url.get_secret_value())
        secret = settings.migration_url or settings.database_url
        owner, child = asyncpg_url(secret.get_secret_value()), None
    else:
        _say("Starting PostgreSQL …")
        server = EmbeddedPostgres(settings.home)
        stack.push_async_callback(server.stop)
        await server.start()
        app, owner, child = server.url(user=LOGIN), server.url(), server.child
    _say("Migrating …")
    await migrate(owner, create_from=None if child is None else "postgres")
    if child is not None:
        await make_login(owner, LOGIN)
    return _Database(app, owner, child)


async def _temporal_ports(settings: Settings, doors: Doors) -> TemporalPorts:
    await end_leftover(settings.home)
    return TemporalPorts(
        frontend=free_port(settings.temporal_port, what="Temporal", setting="temporal_port"),
        ui=free_port(settings.ui_port, what="the Temporal UI", setting="ui_port"),
        codec=doors.codec_port,
    )


async def _temporal(settings: Settings, ports: TemporalPorts, stack: AsyncExitStack) -> _Temporal:
    _say("Starting Temporal …")
    server = EmbeddedTemporal(settings.home, ports, namespace=settings.temporal_namespace)
    stack.push_async_callback(server.stop)
    await server.start()
    origins = (*default_origins(ports.ui), *settings.codec_origins)
    return _Temporal(server.address, server.ui, origins, server.child)


async def _first_end(children: list[Child], serving: Serving) -> None:
    while not serving.ended.done():
        for child in children:
            if child.ended:
                why = " because the disk is full" if full_disk(child.log_tail()) else ""
                raise CannotStart(
                    f"{child.command.name} has ended by itself{why}; see {child.command.log}."
                )
        await asyncio.sleep(0.5)
    await serving.ended
    raise CannotStart("The worker has ended by itself; see its log.")


async def _show_first(home: Path, lock: HomeLock) -> int:
    for _ in range(_FIRST_WAIT_S * 5):
        found, holder = find_stack(home), lock.holder()
        if found is not None and found.pid == holder:
            _say(f"Tillkeeper is already up (process {found.pid}).", *found.lines())
            return 0
        if holder is None:
            raise CannotStart(f"The stack on {home} has just stopped; start it again.")
        await asyncio.sleep(0.2)
    raise CannotStart(
        f"Process {lock.holder()} holds {home} but does not become healthy; see its log."
    )


def _addresses(
    settings: Settings, database: _Database, temporal: _Temporal, serving: Serving
) -> StackAddresses:
    return StackAddresses(
        pid=os.getpid(),
        database_url=make_url(database.app).render_as_string(hide_password=True),
        migration_url=make_url(database.owner).render_as_string(hide_password=True),
        temporal_address=temporal.address,
        namespace=settings.temporal_namespace,
        ui=temporal.ui,
        codec=serving.codec,
        health=serving.health,
        metrics=serving.metrics,
        key_ring_path=str(key_ring_path(settings).absolute()),
    )


def _refuse_unfit(settings: Settings) -> None:
    if settings.environment == "production":
        raise CannotStart(
            "`up` embeds development servers; in production use `python -m worker run`."
        )
    if settings.database_url is not None and settings.temporal_address is not None:
        raise CannotStart(
            "Both clusters are configured, so there is nothing to embed: "
            "use `python -m worker run`."
        )
    if settings.temporal_address is None:
        temporal_binary()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
