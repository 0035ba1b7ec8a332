"""The bank's file door: payment files in from a folder, camt and pain.002 files out to another.

A file is moved away after its payments are booked, and given out after it is recorded: whole, by a
temporary name, fsync and rename. Killed anywhere, the next look does the rest.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final

from gateways.bank.simulator.bank import Bank, FileLeft
from gateways.bank.simulator.models import Refused

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
_GROWING_S: Final = 2
_UNFINISHED: Final = (".tmp", ".part")


class FileDoor:
    """Both folders of one bank; either may be None. ``kept`` takes the files that were read."""

    def __init__(self, bank: Bank, *, inbox: Path | None, outbox: Path | None, kept: Path) -> None:
        self._bank, self._inbox, self._outbox = bank, inbox, outbox
        self._taken, self._refused = kept / "taken", kept / "refused"
        for folder in filter(None, (inbox, outbox, self._taken, self._refused)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def look(self) -> None:
        """Take what has come, tell what has moved, and give out what is recorded."""
        for path in self._arrived():
            self._take(path)
        self._bank.notify()
        self.give_out()

    def give_out(self) -> None:
        """Write every recorded message that was not written yet, in the order of the book."""
        if self._outbox is None:
            return
        store = self._bank.store
        for row in store.rows("SELECT id, name, body FROM outgoing WHERE written = 0 ORDER BY id"):
            _write(self._outbox / f"{row['name']}-{row['id']:07d}.xml", row["body"])
            with store.transaction():
                store.run("UPDATE outgoing SET written = 1 WHERE id = ?", row["id"])

    def _arrived(self) -> list[Path]:
        if self._inbox is None:
            return []
        found = (Path(entry.path) for entry in os.scandir(self._inbox) if entry.is_file())
        return sorted(
            path
            for path in found
            if not path.name.startswith(".") and not path.name.endswith(_UNFINISHED)
        )

    def _take(self, path: Path) -> None:
        try:
            found = path.stat()
            body = path.read_bytes() if found.st_size <= FILE_BYTES_MAX else b""
        except FileNotFoundError:
            return
        try:
            self._bank.take_file(body)
        except FileLeft:
            return
        except Refused:
            # What is no payment file yet may be one when it is written to its end.
            if time.time() - found.st_mtime > _GROWING_S:
                _move(path, self._refused / _unique(path, body))
        else:
            _move(path, self._taken / _unique(path, body))


def _unique(path: Path, body: bytes) -> str:
    return f"{hashlib.sha256(body).hexdigest()[:16]}-{path.name[-200:]}"


def _write(path: Path, body: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(body)
        stream.flush()
        os.fsync(stream.fileno())
    _move(temporary, path)


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    for folder in {source.parent, target.parent}:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
