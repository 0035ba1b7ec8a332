"""The home directory of the embedded stack, and the lock that says whose it is.

The lock is the kernel's (flock): it ends with its process, kill -9 included, so it can never be
stale.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.refusal import CannotStart, sentence_for

_LOCK_FILE = "stack.lock"


def prepare_home(home: Path, *, spare_mb: int) -> Path:
    """Create the home for its owner only, prove that it can be written and that `spare_mb` MB are
    free; returns its absolute path.
    """
    place = home.expanduser().absolute()
    try:
        if not place.exists():
            place.mkdir(mode=0o700, parents=True)
        place = place.resolve()
        if place.stat().st_uid not in (os.geteuid(), 0):
            raise CannotStart(f"{place} belongs to somebody else; set TILLKEEPER_HOME.")
        probe = place / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(b"\0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
        free = os.statvfs(place)
    except OSError as error:
        raise CannotStart(sentence_for(error, f"use the home {place}")) from error
    if free.f_bavail * free.f_frsize < spare_mb << 20:
        raise CannotStart(
            f"Less than {spare_mb} MB are free at {place}: make room or set TILLKEEPER_HOME."
        )
    return place


class HomeLock:
    """Held by the one process that runs the stack of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / _LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock and leave our pid in it; False where another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor
        return True

    def holder(self) -> int | None:
        """The pid of the process that holds the lock now, or None where nobody does."""
        try:
            descriptor = os.open(self._path, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.read(descriptor, 32)
            return int(written) if written.isdigit() else None
        else:
            return None
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
