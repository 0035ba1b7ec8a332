"""Standard output and error that never fail a command: what cannot be written is lost, and noted.

A closed pipe or a full disk must not turn the verdict on sound books into another exit code, and
no connection may take the place of a stream that was closed.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, Final, TextIO

_STANDARD: Final = (0, 1, 2)


class _Lost:
    """What could not be written to standard output: the error's number."""

    number: int | None = None


class _Stream(io.FileIO):
    """A file that takes everything; after the first failure it only pretends to."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "w", closefd=False)
        self._failed = False

    def write(self, data: Any) -> int:
        """Write what can be written; the length of ``data``, always."""
        size = memoryview(data).nbytes
        if self._failed:
            return size
        try:
            written = super().write(data)
            if written is None:
                os.set_blocking(self.fileno(), True)
                written = super().write(data)
        except OSError as error:
            self._failed = True
            if self.fileno() == 1:
                _Lost.number = error.errno
            return size
        return size if written is None else written


def guard() -> None:
    """Put the guarded streams in place; a standard stream that is closed becomes the null device.

    Must run before anything is opened.
    """
    for handle in _STANDARD:
        try:
            os.fstat(handle)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != handle:
                os.dup2(opened, handle)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the process
    sys.stdout = _guarded(1, sys.stdout)
    sys.stderr = _guarded(2, sys.stderr)


def lost() -> str | None:
    """Why the answer did not reach its reader; None when it did, or when nobody reads any more."""
    number = _Lost.number
    return None if number in (None, errno.EPIPE, errno.EBADF) else os.strerror(number).lower()


def _guarded(handle: int, before: TextIO | None) -> TextIO:
    stream = _Stream(handle)
    return io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding="utf-8" if before is None else before.encoding,
        # A name that is not UTF-8 is shown escaped, which JSON reads as the same name.
        errors="backslashreplace",
        line_buffering=handle == 2 or stream.isatty(),
    )
