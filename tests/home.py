"""A stack as a person starts it: real processes on a home of their own, every port a free one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from worker.embedded.discovery import StackAddresses, find_stack
from worker.embedded.home import HomeLock

ROOT = Path(__file__).parents[1]
WITHIN_S = 60


class Home:
    """A home directory and the commands on it; every port is a free one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ports = ("TEMPORAL", "UI", "CODEC", "HEALTH", "BANK_SIMULATOR")
        self.env = {
            **{name: value for name, value in os.environ.items() if "TILLKEEPER" not in name},
            **{f"TILLKEEPER_{port}_PORT": "0" for port in ports},
            "TILLKEEPER_HOME": str(path),
        }

    def start(self, **variables: str) -> subprocess.Popen[str]:
        """Start `up` in the foreground."""
        return subprocess.Popen(
            [sys.executable, "-m", "worker", "up"],
            cwd=ROOT,
            env={**self.env, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return self.python("-m", "worker", *arguments, program=sys.executable, **variables)

    def python(
        self, *arguments: str, program: str = sys.executable, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python on this home to its end."""
        return subprocess.run(
            [program, *arguments],
            cwd=ROOT,
            env={**self.env, **variables},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def healthy(self, process: subprocess.Popen[str]) -> StackAddresses:
        """Wait until the process has written its addresses and is ready."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline and process.poll() is None:
            found = find_stack(self.path)
            if found is not None and found.pid == process.pid:
                return found
            time.sleep(0.05)
        process.kill()
        raise AssertionError(process.communicate())

    def processes(self) -> list[int]:
        """Pids of everything that was started on this home and still runs."""
        found = []
        places = {str(self.path), *([str(self.lodging)] if self.lodging else [])}
        for process in psutil.process_iter():
            try:
                running = process.status() != psutil.STATUS_ZOMBIE
                line = "\n".join(process.cmdline())
                if running and any(place in line for place in places):
                    found.append(process.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    @property
    def lodging(self) -> Path | None:
        """Where PostgreSQL lives for root, when pytest's own directories are shut."""
        record = self.path / "postgres"
        return record.readlink().parent if record.is_symlink() else None

    def clear(self) -> None:
        """Kill whatever still runs on this home, and remove what it left elsewhere."""
        holder = HomeLock(self.path).holder()
        if holder is not None:
            os.kill(holder, signal.SIGKILL)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self.lodging is not None:
            shutil.rmtree(self.lodging)
