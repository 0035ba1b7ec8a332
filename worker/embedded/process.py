"""One child process: it dies with us, even when we are killed with -9, and never takes our Ctrl-C.

Each child gets its own session, so a terminal's Ctrl-C reaches only us and we stop children in
order. On Linux the kernel signals the child when its parent dies (PR_SET_PDEATHSIG); everywhere
the next start sweeps what was left.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from worker.refusal import CannotStart, sentence_for

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 8_192
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_untied = False


@dataclass(frozen=True)
class Command:
    """What to run: `stop_with` asks it to end in order, `uid` is set where it must not run as
    root.
    """

    name: str
    argv: Sequence[str]
    log: Path
    stop_with: signal.Signals
    uid: int | None = None
    env: Mapping[str, str] | None = None


class Child:
    """A started command and its log; every method may be called again after the child has ended."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes], log_start: int) -> None:
        self.command = command
        self.process = process
        self._log_start = log_start

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def log_tail(self) -> list[str]:
        """The last lines this run wrote, newest last (at most 8 KB)."""
        return tail(self.command.log, self._log_start)

    async def wait(self) -> None:
        """Wait until it ends by itself."""
        while not self.ended:  # noqa: ASYNC110 - a thread's waitpid would outlive a cancelled start
            await asyncio.sleep(0.05)

    def kill_group(self) -> None:
        """End it and what it started itself, at once; for work that is thrown away anyway."""
        if not self.ended:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def stop(self, timeout_s: int) -> None:
        """Ask it to end, wait `timeout_s` seconds, then kill it; returns when it is gone."""
        if not self.ended:
            self.process.send_signal(self.command.stop_with)
            for _ in range(timeout_s * 20):
                if self.ended:
                    return
                await asyncio.sleep(0.05)
            self.process.kill()
        self.process.wait()


def spawn(command: Command) -> Child:
    """Start the command with its output in its log; must be called from the main thread.

    The kernel ties the death signal to the thread that forked, so a worker thread would end the
    child with itself.
    """
    try:
        with command.log.open("ab") as log:
            command.log.chmod(0o600)
            start = log.tell()
            process = subprocess.Popen(  # noqa: S603
                list(command.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                umask=0o077,
                user=command.uid,
                group=None if command.uid is None else pwd.getpwuid(command.uid).pw_gid,
                extra_groups=None if command.uid is None else [],
                env=None if command.env is None else dict(command.env),
                preexec_fn=_die_with_parent(command.stop_with),
            )
    except OSError as error:
        raise CannotStart(sentence_for(error, f"start {command.name}")) from error
    return Child(command, process, start)


def untie_children() -> None:
    """For a process with threads: what is spawned from now on outlives a kill -9 of this process.

    The death signal is set by Python between fork and exec, where another thread's lock may be held
    for ever. Whoever calls this ends its children himself.
    """
    global _untied
    _untied = True


def tail(log: Path, start: int = 0) -> list[str]:
    """The last lines of a log from byte `start` on; empty where it cannot be read."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(start, size - _TAIL_BYTES))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def full_disk(lines: Sequence[str]) -> bool:
    """Whether a server's own words mean that there is no room left."""
    said = "\n".join(lines)
    return any(words in said for words in ("No space left", "wrote only", "disk is full"))


async def sweep(pid: int, argument: str, *, ask: signal.Signals, timeout_s: int) -> None:
    """End what an earlier run left behind under `pid`, if its command line really carries
    `argument`.
    """
    if not is_running(pid, argument):
        return
    for number, seconds in ((ask, timeout_s), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        for _ in range(seconds * 20):
            if not is_running(pid, argument):
                return
            await asyncio.sleep(0.05)


def is_running(pid: int, argument: str) -> bool:
    """Whether `pid` is alive and was started with exactly this argument (pids are used again)."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and argument in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None or _untied:
        return None
    libc, parent = _LIBC, os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
