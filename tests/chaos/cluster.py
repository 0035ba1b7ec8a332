"""PostgreSQL, Temporal, bank and workers as processes of their own: each can be killed alone.

All of them are real and durable, on one home. What is killed comes back by itself after a moment,
as under a supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

from gateways.identity.issuer import ISSUER_FILE, DevelopmentIssuer
from ledger.engine import make_engine
from tillkeeper.codec import data_converter
from tillkeeper.sealing import KeyRing
from worker.bank_settings import DEV_RECEIVING
from worker.database import make_login, migrate
from worker.embedded.bank import EmbeddedBank
from worker.embedded.ports import LOOPBACK, free_port
from worker.embedded.postgres import LOGIN, EmbeddedPostgres
from worker.embedded.process import Child, Command, spawn, untie_children
from worker.embedded.temporal import EmbeddedTemporal, TemporalPorts
from worker.settings import PREFIX

ROOT: Final = Path(__file__).resolve().parents[2]
READY_WITHIN_S: Final = 180
WORKERS: Final = 2
VISIBLE_AFTER_S: Final = 3
"""The bank's stated delay, short: "not found" is a no after so many seconds."""

_END_BACKENDS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"""


class Cluster:
    """One of each, and two workers; ``kill`` takes one by its name and starts it again."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.exchange = home / "exchange"
        for name in ("inbox", "outbox"):
            (self.exchange / name).mkdir(parents=True, exist_ok=True)
        self.ring = _ring(seed)
        _write_secret(home / "keyring.json", self.ring.to_json())
        self.issuer = DevelopmentIssuer.generate("chaos")
        _write_secret(home / ISSUER_FILE, self.issuer.to_json())
        self.postgres = EmbeddedPostgres(home)
        ports = TemporalPorts(frontend=_port(), ui=_port(), codec=_port())
        self.temporal = EmbeddedTemporal(home, ports, namespace="default")
        accounts = json.dumps({"*": DEV_RECEIVING.model_dump(include={"number", "name"})})
        self.bank = EmbeddedBank(home, self.exchange, port=_port(), accounts=accounts)
        self._workers = [_Worker(self, number) for number in range(WORKERS)]
        self.kills: Counter[str] = Counter()

    async def start(self) -> None:
        """Start everything once, migrated and ready."""
        self.bank.start()
        await self.postgres.start()
        await migrate(self.postgres.url(), create_from="postgres")
        await make_login(self.postgres.url(), LOGIN)
        await self.temporal.start()
        await self.bank.ready()
        await asyncio.gather(*(worker.mend() for worker in self._workers))

    async def stop(self) -> None:
        """End what runs, the workers first."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        for part in (self.bank, self.temporal, self.postgres):
            await part.stop()

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be taken away, by name."""
        return ("bank", "postgres", "backends", "temporal", *(w.name for w in self._workers))

    async def kill(self, name: str) -> None:
        """Take one away, and answer when it is back.

        Kill -9, PostgreSQL by an immediate stop; ``backends`` ends every connection to it.
        """
        self.kills[name] += 1
        if name == "backends":
            await self._end_backends()
            return
        worker = next((one for one in self._workers if one.name == name), None)
        child = worker.child if worker is not None else getattr(self, name).child
        assert child is not None
        child.process.send_signal(signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
        await asyncio.to_thread(child.process.wait)
        if worker is not None:
            await worker.mend()
        elif name == "bank":
            self.bank.start()
            await self.bank.ready()
        else:
            await getattr(self, name).start()

    async def client(self) -> Client:
        """A Temporal client that seals as the workers do, and logs nothing of what it meets."""
        return await Client.connect(
            self.temporal.address,
            data_converter=data_converter(self.ring),
            runtime=Runtime(telemetry=TelemetryConfig(logging=None)),
        )

    def engine(self) -> AsyncEngine:
        """The book, with the workers' own rights."""
        return make_engine(self.postgres.url(user=LOGIN))

    async def _end_backends(self) -> None:
        engine = create_async_engine(self.postgres.url(), poolclass=NullPool)
        with contextlib.suppress(DBAPIError, OSError):
            async with engine.connect() as connection:
                await connection.execute(text(_END_BACKENDS))
        await engine.dispose()


class _Worker:
    """A worker process with ports of its own; it starts as long as it takes to find the rest."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.name = f"worker-{number + 1}"
        self.child: Child | None = None
        self._cluster = cluster
        self._health, self._codec = _port(), _port()

    async def mend(self) -> None:
        """Start it, again where it found something missing, and wait until it is ready."""
        deadline = time.monotonic() + READY_WITHIN_S
        async with httpx.AsyncClient(timeout=2) as http:
            while time.monotonic() < deadline:
                if self.child is None or self.child.ended:
                    self.child = spawn(self._command())
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get(f"http://{LOOPBACK}:{self._health}/health/ready")
                    if answer.status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.1)
        said = self.child.log_tail() if self.child else []
        raise AssertionError(f"{self.name} does not become ready: {said[-3:]}")

    async def stop(self) -> None:
        """Ask it to end."""
        if self.child is not None:
            await self.child.stop(READY_WITHIN_S)

    def _command(self) -> Command:
        home = self._cluster.home
        variables = {
            "DATABASE_URL": self._cluster.postgres.url(user=LOGIN),
            "TEMPORAL_ADDRESS": self._cluster.temporal.address,
            "HOME": str(home),
            "KEY_RING_FILE": str(home / "keyring.json"),
            "BANK_EXCHANGE": str(self._cluster.exchange),
            "BANK_DOOR": self._cluster.bank.address,
            "BANK_VISIBILITY_S": str(VISIBLE_AFTER_S),
            "HEALTH_PORT": str(self._health),
            "CODEC_PORT": str(self._codec),
        }
        clean = {name: value for name, value in os.environ.items() if PREFIX not in name}
        named = {f"{PREFIX}{name}": value for name, value in variables.items()}
        return Command(
            name=self.name,
            argv=[sys.executable, "-m", "worker", "run"],
            log=home / f"{self.name}.log",
            stop_with=signal.SIGTERM,
            env=clean | named | {"PYTHONPATH": str(ROOT)},
        )


@asynccontextmanager
async def running_cluster(home: Path, seed: int) -> AsyncIterator[Cluster]:
    """A cluster on ``home``, stopped at the end; its files stay."""
    untie_children()
    cluster = Cluster(home, seed)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


def _ring(seed: int) -> KeyRing:
    """The same seed gives payments the same ids, by which the bank draws its faults."""
    index = hashlib.sha256(f"chaos/{seed}".encode()).digest()
    return replace(KeyRing.generate("chaos"), index_key=index)


def _port() -> int:
    return free_port(0, what="chaos", setting="health_port")


def _write_secret(path: Path, text: str) -> None:
    path.write_text(text + "\n")
    path.chmod(0o600)
