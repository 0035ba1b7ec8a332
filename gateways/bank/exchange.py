"""A folder that a bank and we exchange files through: inbox, outbox, done, refused below one root.

Safe to kill anywhere and for several workers at once: a file is moved by rename only, after its
bytes are kept elsewhere; what is sent appears whole, and once, even when the bank has taken it
away. It never follows a link, never opens what is still being written, never deletes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gateways.bank.iso20022.document import FILE_BYTES_MAX
from tillkeeper.contracts.errors import Code, Rejected

SETTLE_S: Final = 2.0
"""How long size and time of a file must stay as they are before it is taken for whole."""

READY_MAX: Final = 100
"""Files named by one look, oldest first; the next look names the rest."""

UNFINISHED: Final = (".tmp", ".part", ".filepart", ".crdownload")
"""Endings of names under which programs write what is not whole yet."""

_NAME_BYTES_MAX: Final = 255
_DIGEST_CHARS: Final = 16
_CHUNK: Final = 1 << 20

_Look = tuple[int, int, int]


class FolderExchange:
    """The exchange below ``root``; makes its folders. Raises OSError where it cannot."""

    def __init__(
        self,
        root: Path,
        *,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.inbox, self.outbox = root / "inbox", root / "outbox"
        self.taken, self.refused, self.sent = root / "done", root / "refused", root / "sent"
        self._settle_s, self._clock = settle_s, clock
        self._looks: dict[Path, tuple[_Look, float]] = {}
        for folder in (self.inbox, self.outbox, self.taken, self.refused, self.sent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ready(self) -> list[Path]:
        """Files that are whole, oldest first, at most READY_MAX: unchanged since looks long ago."""
        now, looks, whole = self._clock(), {}, []
        for path, look in self._candidates():
            before, since = self._looks.get(path, (None, now))
            looks[path] = (look, since if before == look else now)
            if now - looks[path][1] >= self._settle_s:
                whole.append((look[1], path.name, path))
        self._looks = looks
        return [path for _, _, path in sorted(whole)[:READY_MAX]]

    def read(self, path: Path) -> bytes:
        """The bytes of a file.

        Raises Rejected(BANK_FILE_TOO_LARGE), OSError when it is gone or being written.
        """
        with _regular(path) as number:
            before = os.fstat(number)
            if before.st_size > FILE_BYTES_MAX:
                raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 128 MiB in one file")
            with os.fdopen(os.dup(number), "rb") as stream:
                body = stream.read(FILE_BYTES_MAX)
            after = os.fstat(number)
        if len(body) != before.st_size or _look(before) != _look(after):
            raise BlockingIOError(errno.EAGAIN, "the file is being written")
        return body

    def done(self, path: Path, digest: str) -> bool:
        """Move a file away whose bytes of ``digest`` are kept; False where it has other bytes now.

        A file that another worker moved already is done too.
        """
        with suppress(FileNotFoundError):
            if digest_of(path) != digest:
                return False
            _move(path, self.taken / _unique(path.name, digest))
        return True

    def refuse(self, path: Path, code: str) -> None:
        """Move a file to the refused ones, its code beside it; one that is gone already is."""
        with suppress(FileNotFoundError):
            target = self.refused / _unique(path.name, digest_of(path))
            _write(target.with_name(f"{target.name}.code"), f"{code}\n".encode())
            _move(path, target)

    def refuse_taken(self, digest: str, code: str) -> None:
        """Move what ``done`` moved, once it is known that it cannot be read."""
        for path in self.taken.glob(f"{digest[:_DIGEST_CHARS]}-*"):
            self.refuse(path, code)

    def put(self, name: str, body: bytes) -> Path:
        """Send ``body`` as ``name``: the same again is the same file, even when it was fetched.

        Raises Rejected(FILE_EXISTS) for other bytes under that name, OSError.
        """
        if (
            not name
            or Path(name).name != name
            or name.startswith(".")
            or len(os.fsencode(name)) > 200
        ):
            raise Rejected(Code.FIELD_INVALID, detail="not a plain file name")
        target, staged = self.outbox / name, self.outbox / f".{name}.staged"
        mark, digest = self.sent / f"{name}.sha256", hashlib.sha256(body).hexdigest()
        with self._alone():
            if not mark.exists():
                _write(staged, body)
                _write(mark, f"{digest}\n".encode())
            elif mark.read_text(encoding="ascii").strip() != digest:
                raise Rejected(Code.FILE_EXISTS, detail="other bytes were sent under this name")
            # Staged and marked means: not given out yet. Only the rename gives it out, and once.
            with suppress(FileNotFoundError):
                _move(staged, target)
        return target

    def _candidates(self) -> Iterator[tuple[Path, _Look]]:
        with os.scandir(self.inbox) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(UNFINISHED):
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        yield Path(entry.path), _look(found)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        number = os.open(self.sent / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with _regular(path) as number:
        while chunk := os.read(number, _CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _regular(path: Path) -> Iterator[int]:
    """A descriptor of a regular file; a link or a pipe of that name is refused as OSError."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise FileNotFoundError("not a regular file any more")
        yield number
    finally:
        os.close(number)


def _look(found: os.stat_result) -> _Look:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _unique(name: str, digest: str) -> str:
    """``name`` made unique by its bytes, with room for an ending."""
    plain = name.removeprefix(f"{digest[:_DIGEST_CHARS]}-")
    room = _NAME_BYTES_MAX - _DIGEST_CHARS - len("-.code")
    return f"{digest[:_DIGEST_CHARS]}-{os.fsdecode(os.fsencode(plain)[-room:])}"


def _write(path: Path, body: bytes) -> None:
    """Make ``path`` appear whole and for good, whenever we are killed."""
    number, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    with os.fdopen(number, "wb") as stream:
        stream.write(body)
        stream.flush()
        os.fsync(stream.fileno())
    _move(Path(temporary), path)


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    for folder in {source.parent, target.parent}:
        _sync(folder)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
