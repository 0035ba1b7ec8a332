"""A folder that a bank and we exchange files through: inbox, outbox, done, refused below one root.

Safe to kill anywhere and for several workers at once: a file is claimed by a rename into a folder
of our own and read there, so that no other file can take its place; it is moved on after its bytes
are kept elsewhere, and read again where it grew. What is sent appears whole, and once, even when
the bank has taken it away. It never follows a link and never deletes what the bank has sent.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
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

GROWS_S: Final = 3600.0
"""For so long after it was moved on a file is looked at: its sender may have been slow."""

PUT_OFF_MAX_S: Final = 300.0
"""The longest pause between two tries of a file that cannot be taken."""

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
        self.taking = root / "taking"
        self._settle_s, self._clock = settle_s, clock
        self._looks: dict[Path, tuple[_Look, float]] = {}
        self._put_off: dict[Path, tuple[float, int]] = {}
        self._moved: dict[Path, tuple[_Look | None, float]] = {}
        folders = (self.inbox, self.taking, self.outbox, self.taken, self.refused, self.sent)
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remember_moved()

    def ready(self) -> list[Path]:
        """Files that are whole, oldest first, at most READY_MAX: unchanged since looks long ago.

        What was claimed and left behind, by a kill, is among them; what was put off is not yet.
        """
        self._take_back_what_grew()
        now, looks, whole = self._clock(), {}, []
        for path, look in self._candidates():
            before, since = self._looks.get(path, (None, now))
            looks[path] = (look, since if before == look else now)
            later, _ = self._put_off.get(path, (now, 0))
            if now - looks[path][1] >= self._settle_s and later <= now:
                whole.append((look[1], path.name, path))
        self._looks = looks
        self._put_off = {path: off for path, off in self._put_off.items() if path in looks}
        return [path for _, _, path in sorted(whole)[:READY_MAX]]

    def claim(self, path: Path) -> Path:
        """Make a file ours, under a name that nobody else writes to; answers where it is now.

        Raises FileNotFoundError when another worker has it, BlockingIOError when it is not the
        file any more that was ready: it is ours then, and will be ready when it is whole.
        """
        if path.parent != self.inbox:
            return path
        ours = self.taking / _unique(path.name, secrets.token_hex(_DIGEST_CHARS // 2))
        _move(path, ours)
        look = _look(ours.lstat())
        seen = self._looks.pop(path, (look, 0.0))[0]
        if seen != look:
            raise BlockingIOError(errno.EAGAIN, "another file came under the name")
        return ours

    def name_of(self, path: Path) -> str:
        """The name under which a file came; a very long one lacks its beginning."""
        return path.name if path.parent == self.inbox else path.name[_DIGEST_CHARS + 1 :]

    def put_off(self, path: Path) -> int:
        """Let others go first for a while, longer each time; answers how often it was put off."""
        _, times = self._put_off.get(path, (0.0, 0))
        pause = min(max(self._settle_s, 1.0) * 2**times, PUT_OFF_MAX_S)
        self._put_off[path] = (self._clock() + pause, min(times + 1, 30))
        return times + 1

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

    @property
    def troubled(self) -> bool:
        """Whether any file was put off that is still there."""
        return bool(self._put_off)

    def done(self, path: Path, digest: str) -> bool:
        """Move a file away whose bytes of ``digest`` are kept; False where it has other bytes now.

        A file that another worker moved already is done too. One with other bytes is read again.
        """
        with suppress(FileNotFoundError):
            ours = self.claim(path)
            look = _look(ours.lstat())
            if digest_of(ours) != digest:
                return False
            self._move_on(ours, self.taken / _unique(self.name_of(ours), digest), look)
        return True

    def refuse(self, path: Path, code: str, *, digest: str | None = None) -> bool:
        """Move a file to the refused ones, its code beside it; one that is gone already is.

        False where it has other bytes than those of ``digest`` now: it is read again.
        """
        with suppress(FileNotFoundError):
            ours = self.claim(path)
            look, found = _look(ours.lstat()), digest_of(ours)
            if digest not in (None, found):
                return False
            target = self.refused / _unique(self.name_of(ours), found)
            _write(target.with_name(f"{target.name}.code"), f"{code}\n".encode())
            self._move_on(ours, target, look)
        return True

    def refuse_taken(self, digest: str, code: str) -> None:
        """Move what ``done`` moved, once it is known that it cannot be read."""
        for path in self.taken.glob(f"{digest[:_DIGEST_CHARS]}-*"):
            self.refuse(path, code, digest=digest)

    def has_begun(self, name: str) -> bool:
        """Whether ``name`` was given out, or may be given out by whoever began to."""
        return (self.sent / f"{name}.sha256").exists()

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
        for path, look in _files(self.inbox):
            if not path.name.startswith(".") and not path.name.lower().endswith(UNFINISHED):
                yield path, look
        yield from _files(self.taking)

    def _move_on(self, ours: Path, target: Path, look: _Look) -> None:
        _move(ours, target)
        self._moved.pop(ours, None)
        self._moved[target] = (look, self._clock() + GROWS_S)

    def _remember_moved(self) -> None:
        """What was moved on lately, maybe by a run that was killed: its look is not known."""
        lately = time.time() - GROWS_S
        for folder in (self.taken, self.refused):
            for path, _ in _files(folder):
                if path.suffix != ".code" and path.lstat().st_ctime >= lately:
                    self._moved[path] = (None, self._clock() + GROWS_S)

    def _take_back_what_grew(self) -> None:
        """A sender that had paused wrote on: the whole is another file, and read as one."""
        for path, (before, until) in list(self._moved.items()):
            if until < self._clock():
                self._moved.pop(path, None)
                continue
            try:
                look = _look(path.lstat())
                if look == before:
                    continue
                self._moved[path] = (look, until)
                if not path.name.startswith(digest_of(path)[:_DIGEST_CHARS]):
                    again = secrets.token_hex(_DIGEST_CHARS // 2)
                    _move(path, self.taking / _unique(path.name[_DIGEST_CHARS + 1 :], again))
            except FileNotFoundError:
                self._moved.pop(path, None)

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


def _files(folder: Path) -> Iterator[tuple[Path, _Look]]:
    """Regular files of a folder; links, pipes and folders are left."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield Path(entry.path), _look(found)


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
    room = _NAME_BYTES_MAX - _DIGEST_CHARS - len("-.code")
    return f"{digest[:_DIGEST_CHARS]}-{os.fsdecode(os.fsencode(name)[-room:])}"


def _write(path: Path, body: bytes) -> None:
    """Make ``path`` appear whole and for good, whenever we are killed."""
    number, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        _move(Path(temporary), path)
    except OSError:
        # A full disk is not filled with what could not be written whole.
        with suppress(OSError):
            Path(temporary).unlink()
        raise


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
