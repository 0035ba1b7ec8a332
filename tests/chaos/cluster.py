"""PostgreSQL, Temporal, bank and worker as processes of their own, so that each can be killed alone.

All of them are real and durable, on one home; they die with this process. What is killed comes back
by itself after a moment, as under a supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from gateways.identity.issuer import ISSUER_FILE, DevelopmentIssuer
from ledger.engine import make_engine
from tillkeeper.codec import data_converter
from tillkeeper.sealing import KeyRing
from worker.database import make_login, migrate
from worker.embedded.bank import EmbeddedBank
from worker.embedded.ports import LOOPBACK, free_port
from worker.embedded.postgres import LOGIN, EmbeddedPostgres
from worker.embedded.process import Child, Command, spawn
from worker.embedded.temporal import EmbeddedTemporal, TemporalPorts
from worker.settings import DEV_RECEIVING, PREFIX

ROOT: Final = Path(__file__).resolve().parents[2]
READY_WITHIN_S: Final = 60
VISIBLE_AFTER_S: Final = 3
"""The bank's stated delay, short: "not found" is a no after so many seconds."""


class Cluster:
    """One of each; ``kill`` takes one by its name, and ``mend`` starts it again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.exchange = home / "exchange"
        for name in ("inbox", "outbox"):
            (self.exchange / name).mkdir(parents=True, exist_ok=True)
        self.ring = KeyRing.generate("chaos")
        _write_secret(home / "keyring.json", self.ring.to_json())
        self.issuer = DevelopmentIssuer.generate("chaos")
        _write_secret(home / ISSUER_FILE, self.issuer.to_json())
        self.postgres = EmbeddedPostgres(home)
        ports = TemporalPorts(frontend=_port(), ui=_port(), codec=_port())
        self.temporal = EmbeddedTemporal(home, ports, namespace="default")
        accounts = json.dumps({"*": DEV_RECEIVING.model_dump(include={"number", "name"})})
        self.bank = EmbeddedBank(home, self.exchange, port=_port(), accounts=accounts)
        self.worker: Child | None = None
        self._health = _port()
        self._codec = _port()
        self.kills: dict[str, int] = {}

    async def start(self) -> None:
        """Start everything once, migrated and ready."""
        self.bank.start()
        await self.postgres.start()
        await migrate(self.postgres.url(), create_from="postgres")
        await make_login(self.postgres.url(), LOGIN)
        await self.temporal.start()
        await self.bank.ready()
        self._start_worker()
        await self.ready()

    async def stop(self) -> None:
        """End what runs, the worker first."""
        if self.worker is not None:
            await self.worker.stop(READY_WITHIN_S)
        for part in (self.bank, self.temporal, self.postgres):
            await part.stop()

    @property
    def parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What can be killed, by name, and how it comes back."""
        return {
            "worker": self._mend_worker,
            "bank": self._mend_bank,
            "postgres": self.postgres.start,
            "temporal": self.temporal.start,
        }

    async def kill(self, name: str) -> None:
        """Kill one with -9 (PostgreSQL: an immediate stop), and start it again."""
        child = self._child(name)
        child.process.send_signal(signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
        await asyncio.to_thread(child.process.wait)
        self.kills[name] = self.kills.get(name, 0) + 1
        await self.parts[name]()

    async def ready(self) -> None:
        """Wait until the worker answers that all it needs is there."""
        async with httpx.AsyncClient(timeout=5) as http:
            for _ in range(READY_WITHIN_S * 5):
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get(f"http://{LOOPBACK}:{self._health}/health/ready")
                    if answer.status_code == httpx.codes.OK:
                        return
                if self.worker is None or self.worker.ended:
                    self._start_worker()
                await asyncio.sleep(0.2)
        raise AssertionError(f"the worker is not ready: {self.worker and self.worker.log_tail()}")

    async def client(self) -> Client:
        """A Temporal client that seals as the worker does."""
        return await Client.connect(self.temporal.address, data_converter=data_converter(self.ring))

    def engine(self) -> AsyncEngine:
        """The book, with the worker's own rights."""
        return make_engine(self.postgres.url(user=LOGIN))

    def _child(self, name: str) -> Child:
        child = self.worker if name == "worker" else getattr(self, name).child
        assert child is not None
        return child

    async def _mend_worker(self) -> None:
        self._start_worker()

    async def _mend_bank(self) -> None:
        self.bank.start()
        await self.bank.ready()

    def _start_worker(self) -> None:
        clean = {name: text for name, text in os.environ.items() if PREFIX not in name}
        variables = {
            "DATABASE_URL": self.postgres.url(user=LOGIN),
            "TEMPORAL_ADDRESS": self.temporal.address,
            "HOME": str(self.home),
            "KEY_RING_FILE": str(self.home / "keyring.json"),
            "BANK_EXCHANGE": str(self.exchange),
            "BANK_DOOR": self.bank.address,
            "BANK_VISIBILITY_S": str(VISIBLE_AFTER_S),
            "HEALTH_PORT": str(self._health),
            "CODEC_PORT": str(self._codec),
        }
        self.worker = spawn(
            Command(
                name="The worker",
                argv=[sys.executable, "-m", "worker", "run"],
                log=self.home / "worker.log",
                stop_with=signal.SIGTERM,
                env=clean
                | {f"{PREFIX}{name}": text for name, text in variables.items()}
                | {"PYTHONPATH": str(ROOT)},
            )
        )


@asynccontextmanager
async def running_cluster(home: Path) -> AsyncIterator[Cluster]:
    """A cluster on ``home``, stopped at the end; its files stay."""
    cluster = Cluster(home)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


def _port() -> int:
    return free_port(0, what="chaos", setting="health_port")


def _write_secret(path: Path, text: str) -> None:
    path.write_text(text + "\n")
    path.chmod(0o600)

