"""One process that serves: the Temporal worker, the codec endpoint, health and metrics, over one
engine and client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from activities.house import House
from gateways.bank.exchange import FolderExchange
from gateways.bank.http import HttpBankDoor
from ledger.audit_boundary import begin_stamps
from ledger.audit_chain import Chainer
from ledger.engine import make_engine
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.errors import Rejected, Unavailable
from tillkeeper.rules.profiles import PrepaidProfile, profile
from tillkeeper.sealing import KeyRing
from worker.client import connect
from worker.codec_server import codec_app
from worker.embedded.ports import LOOPBACK, free_port, listen
from worker.health import Check, health_app
from worker.keys import load_verifier
from worker.refusal import CannotStart, sentence_for
from worker.run import build_bank_worker, build_worker
from worker.search_attributes import require_search_attributes
from worker.settings import PREFIX, Settings
from worker.telemetry import BookMetrics, sdk_runtime
from worker.web import serving

WATCHED_EVERY_S: Final = 60.0
"""How often it is made sure that the lifecycles run that watch."""

DRAINED_WITHIN_S: Final = 45.0
"""Longer than a worker's grace: what has not drained by then is done by another worker."""

LET_GO_WITHIN_S: Final = 5.0

CHAINED_EVERY_S: Final = 5.0
"""How often new rows of the audit are chained."""

Watch = Callable[[], Awaitable[None]]
"""Makes sure that a lifecycle runs which watches for ever."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Targets:
    """The database and the Temporal front end this process works with, and whose browsers may
    decode.
    """

    database_url: str
    temporal_address: str
    codec_origins: tuple[str, ...]
    bank_door: str | None = None
    """The bank's own door, where the settings name none: the embedded simulator's."""


@dataclass(frozen=True)
class Serving:
    """Where the running service answers; `ended` finishes only when its worker does."""

    codec: str
    health: str
    metrics: str
    ended: asyncio.Task[None]


class Doors:
    """Our own listening sockets, bound before anything is started."""

    def __init__(self, settings: Settings) -> None:
        host = settings.bind
        self.codec = listen(host, settings.codec_port, what="the codec", setting="codec_port")
        try:
            self.health = listen(
                host, settings.health_port, what="health and metrics", setting="health_port"
            )
        except CannotStart:
            self.codec.close()
            raise

    @property
    def codec_port(self) -> int:
        """The port the codec listens on."""
        number: int = self.codec.getsockname()[1]
        return number

    def close(self) -> None:
        """Give both ports back; harmless when they are closed already."""
        self.codec.close()
        self.health.close()


@asynccontextmanager
async def service(
    settings: Settings, targets: Targets, ring: KeyRing, doors: Doors
) -> AsyncIterator[Serving]:
    """Connect, serve, and on leaving drain the worker first; raises CannotStart where a part is
    not there.
    """
    registry = CollectorRegistry()
    metrics = BookMetrics(registry)
    metrics_port = free_port(settings.sdk_metrics_port, what="metrics", setting="sdk_metrics_port")
    sdk_metrics = f"{LOOPBACK}:{metrics_port}"
    async with AsyncExitStack() as stack:
        engine = make_engine(
            targets.database_url,
            pool_size=settings.database_pool,
            observe=metrics.observe,
            ring=ring,
        )
        stack.push_async_callback(engine.dispose)
        await _answers(engine)
        await _stamps_begun(engine, ring)
        try:
            runtime = sdk_runtime(sdk_metrics)
        except (ValueError, RuntimeError) as error:
            raise CannotStart(f"The metrics of the Temporal SDK do not start: {error}.") from error
        client = await connect(settings, targets.temporal_address, ring, runtime=runtime)
        await require_search_attributes(client)
        lanes = Lanes(OrderBook(engine))
        metrics.watch(await stack.enter_async_context(lanes))
        house = House(
            engine,
            ring,
            _profile(settings),
            settings.receiving_account,
            lanes,
            exchange=_exchange(settings),
            exchange_encoding=settings.bank_exchange_encoding,
            aliases=settings.own_number,
            payment_format=settings.bank_payment_format,
            verifier=load_verifier(settings),
            door=_door(settings.bank_door or targets.bank_door),
            ways=settings.bank_rails,
            visibility=timedelta(seconds=settings.bank_visibility_s),
        )
        await stack.enter_async_context(chained(engine))
        workers = [build_worker(client, house)]
        if house.door is not None:
            rate = settings.bank_rate_per_s
            workers.append(build_bank_worker(client, house, per_second=rate))
        ended = await stack.enter_async_context(_working(workers))
        watches = _watches(client, house)
        await _watch(watches)
        await stack.enter_async_context(watched_again(watches))
        codec = await stack.enter_async_context(
            serving(
                codec_app(ring, allowed_origins=targets.codec_origins, token=settings.codec_token),
                doors.codec,
            )
        )
        checks = {"postgresql": _database_check(engine), "temporal": _temporal_check(client)}
        checks["worker"] = _worker_check(ended)
        health = await stack.enter_async_context(
            serving(health_app(checks, registry, sdk_metrics=sdk_metrics), doors.health)
        )
        yield Serving(codec, f"{health}/health/ready", f"{health}/metrics", ended)


@asynccontextmanager
async def _working(workers: Sequence[Worker]) -> AsyncIterator[asyncio.Task[None]]:
    """Run the workers; the task ends with the first of them."""
    runs = [asyncio.create_task(worker.run()) for worker in workers]

    async def first_end() -> None:
        done, _ = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        for run in done:
            run.result()

    task = asyncio.create_task(first_end())
    try:
        yield task
    finally:
        going = [one for one, run in zip(workers, runs, strict=True) if not run.done()]
        await _within(DRAINED_WITHIN_S, [one.shutdown() for one in going])
        for one in (*runs, task):
            one.cancel()
        await _within(LET_GO_WITHIN_S, [*runs, task])


async def _within(seconds: float, work: Sequence[Awaitable[None]]) -> None:
    """Wait for all of ``work``, but not for ever: the SDK waits for a server that is gone."""
    both = asyncio.gather(*work, return_exceptions=True)
    await asyncio.wait([both], timeout=seconds)
    both.cancel()


def _profile(settings: Settings) -> PrepaidProfile:
    try:
        return profile(settings.profile)
    except Rejected:
        raise CannotStart(f"{PREFIX}PROFILE names no rule profile: {settings.profile}.") from None


def _watches(client: Client, house: House) -> list[Watch]:
    """What must be watched all the time: lost runs, and the exchange where there is one."""
    till = Tillkeeper(client)
    return [till.watch_runs, *([] if house.exchange is None else [till.watch_exchange])]


async def _watch(watches: Sequence[Watch]) -> None:
    try:
        for watch in watches:
            await watch()
    except Unavailable as error:
        raise CannotStart(f"Runs and the bank exchange are not watched: {error}.") from error


@asynccontextmanager
async def watched_again(watches: Sequence[Watch]) -> AsyncIterator[None]:
    """Have all of it watched again, should somebody end such a run."""

    async def watch() -> None:
        await _watch(watches)

    async with _repeated(watch, WATCHED_EVERY_S, "runs or the exchange may not be watched"):
        yield


@asynccontextmanager
async def chained(engine: AsyncEngine) -> AsyncIterator[None]:
    """Have the audit chained beside the work; a killed worker leaves it to the next."""
    advance = Chainer(engine).advance
    async with _repeated(advance, CHAINED_EVERY_S, "the audit may not be chained"):
        yield


@asynccontextmanager
async def _repeated(
    work: Callable[[], Awaitable[object]], every_s: float, complaint: str
) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except Exception as error:
                _log.warning("%s: %s", complaint, type(error).__name__)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _door(address: str | None) -> HttpBankDoor | None:
    return None if address is None else HttpBankDoor(address)


def _exchange(settings: Settings) -> FolderExchange | None:
    if settings.bank_exchange is None:
        return None
    try:
        return FolderExchange(settings.bank_exchange.absolute())
    except OSError as error:
        raise CannotStart(sentence_for(error, "make the folders of the bank exchange")) from error


async def _answers(engine: AsyncEngine) -> None:
    try:
        await _database_check(engine)()
    except Exception as error:
        place = engine.url.render_as_string(hide_password=True)
        raise CannotStart(f"PostgreSQL at {place} refuses: {type(error).__name__}.") from error


async def _stamps_begun(engine: AsyncEngine, ring: KeyRing) -> None:
    try:
        await begin_stamps(engine, ring)
    except Unavailable as error:
        raise CannotStart(f"The audit's stamps cannot begin: {error}.") from error


def _database_check(engine: AsyncEngine) -> Check:
    async def check() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    return check


def _temporal_check(client: Client) -> Check:
    async def check() -> None:
        if not await client.service_client.check_health():
            raise CannotStart("Temporal does not serve.")

    return check


def _worker_check(ended: asyncio.Task[None]) -> Check:
    async def check() -> None:
        if ended.done():
            raise CannotStart("The worker has ended.")

    return check


def default_origins(ui_port: int) -> tuple[str, ...]:
    """The two names under which a browser on this machine opens the embedded UI."""
    return (f"http://{LOOPBACK}:{ui_port}", f"http://localhost:{ui_port}")
