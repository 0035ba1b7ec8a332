"""The bank simulator as a child of the stack, so that money can arrive and leave without a bank.

It stands at the other end of the folder exchange: what we send it takes, what it writes we take.
Where the exchange is configured it is somebody else's, and no simulator is started on it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from worker.embedded.ports import LOOPBACK, free_port
from worker.embedded.process import Child, Command, full_disk, spawn, sweep
from worker.refusal import CannotStart
from worker.settings import Settings

_BOOK = "bank"
_PID_FILE = "bank.pid"
_ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10


class EmbeddedBank:
    """One simulated bank with its book below the home and the platform's accounts in it."""

    def __init__(self, home: Path, exchange: Path, *, port: int, accounts: str) -> None:
        self.log = home / "bank.log"
        self._book = home / _BOOK
        self._pid_file = home / _PID_FILE
        self._exchange = exchange
        self._port = port
        self._accounts = accounts
        self.child: Child | None = None

    @property
    def address(self) -> str:
        """The URL of its HTTP door."""
        return f"http://{LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Start the process; `ready` waits for it."""
        self.child = spawn(self._command())
        self._pid_file.write_text(str(self.child.process.pid))

    async def ready(self) -> None:
        """Wait until its door is open; raises CannotStart with its own words."""
        assert self.child is not None  # noqa: S101
        for _ in range(_START_TIMEOUT_S * 20):
            if self.child.ended or self._says_it_serves():
                break
            await asyncio.sleep(0.05)
        if self.child.ended:
            raise CannotStart(f"{self._reason()} (see {self.log}).")

    async def stop(self) -> None:
        """Ask it to end; its book is complete at every moment."""
        if self.child is not None:
            await self.child.stop(_STOP_TIMEOUT_S)
            self._pid_file.unlink(missing_ok=True)

    def _command(self) -> Command:
        argv = [sys.executable, "-m", "gateways.bank.simulator", "--book", str(self._book)]
        # The bank's inbox is our outbox.
        argv += ["--inbox", str(self._exchange / "outbox")]
        argv += ["--outbox", str(self._exchange / "inbox"), "--port", str(self._port)]
        argv += ["--receiving", self._accounts]
        clean = {name: text for name, text in os.environ.items() if "TILLKEEPER" not in name}
        path = [str(_ROOT), *filter(None, [clean.get("PYTHONPATH")])]
        return Command(
            name="The bank simulator",
            argv=argv,
            log=self.log,
            stop_with=signal.SIGTERM,
            env={**clean, "PYTHONPATH": os.pathsep.join(path)},
        )

    def _says_it_serves(self) -> bool:
        said = json.dumps({"bank": self.address})
        return self.child is not None and said in self.child.log_tail()

    def _reason(self) -> str:
        lines = [] if self.child is None else self.child.log_tail()
        if full_disk(lines):
            return "The bank simulator does not start: the disk is full"
        return lines[-1].rstrip(".") if lines else "The bank simulator does not start"


async def embedded_bank(settings: Settings, exchange: Path) -> EmbeddedBank | None:
    """The bank at the other end of the stack's own exchange, not started yet; its port is free.

    None where the exchange is not `exchange`, the home's own.
    """
    if settings.bank_exchange != exchange:
        return None
    await _end_leftover(settings.home)
    port = free_port(
        settings.bank_simulator_port, what="the bank simulator", setting="bank_simulator_port"
    )
    accounts = {
        currency: account.model_dump(include={"number", "name"})
        for currency, account in settings.receiving_accounts.items()
    }
    return EmbeddedBank(settings.home, exchange, port=port, accounts=json.dumps(accounts))


async def _end_leftover(home: Path) -> None:
    """End a simulator that an earlier run left on this home, before its port is looked at."""
    pid_file = home / _PID_FILE
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    await sweep(pid, str(home / _BOOK), ask=signal.SIGTERM, timeout_s=_STOP_TIMEOUT_S)
    pid_file.unlink(missing_ok=True)
