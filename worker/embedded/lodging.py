"""Where PostgreSQL lives when root starts the stack: with an unprivileged user that root lends it.

PostgreSQL refuses to run as root, and the lent user may not pass the directories above the home (a
clone below /root is such a case). No mode outside the home is ever changed. Where the user can come
through, data and socket stay in the home; where it cannot, they lodge in
`/var/lib/tillkeeper/<digest of the home's path>`, which is root's, with `postgres/` (the data) and
`socket/` the lent user's alone (0700), and `programs/`, a copy of PostgreSQL, where the installed
one is out of reach as well. The link `postgres` in the home is the record: data that no home links
to are never taken for one's own.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from worker.refusal import CannotStart

LODGINGS = Path("/var/lib/tillkeeper")
DATA = "postgres"
SOCKET_PATH_MAX = 100
_SOCKET = "socket"
_PROGRAMS = "programs"
_PARTS = ("bin", "lib", "share")


class Lodging:
    """The directories of one home's server: as another user only where we are root."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.uid = _lent_user(home / DATA)
        self.place = home
        if self.uid is not None:
            self.place = self._recorded() or self._chosen(self.uid)

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.place / DATA

    @property
    def sockets(self) -> Path:
        """The directory of its socket; short enough for the kernel."""
        inside = self.place / _SOCKET
        if _fits(inside):
            return inside
        return Path(tempfile.gettempdir()) / f"tillkeeper-{os.geteuid()}-{_digest(self._home)}"

    def prepare(self) -> None:
        """Make what has to be there before the data are created; raises CannotStart, OSError."""
        if self.uid is not None and self.place == self._home:
            _let_through(self._home)
        elif self.uid is not None:
            self._move_in()
        private_directory(self.sockets, self.uid)

    def programs(self, installed: Path) -> Path:
        """The directory of PostgreSQL's programs for the user that runs them."""
        if self.uid is None or _reaches(self.uid, installed / "postgres"):
            return installed
        made = (installed / "postgres").stat()
        # The same layout below the copy: the programs find share/ and their libraries by it.
        site = installed.parents[2]
        wanted = [installed.parent / part for part in _PARTS]
        wanted += site.glob(f"{installed.parents[1].name}.libs")
        copy = self.place / _PROGRAMS / _digest(f"{installed} {made.st_mtime_ns} {made.st_size}")
        if not copy.exists():
            fresh = copy.with_name(f"{copy.name}.new")
            shutil.rmtree(copy.parent, ignore_errors=True)
            for tree in wanted:
                shutil.copytree(tree, fresh / tree.relative_to(site), symlinks=True)
            _open_to_readers(copy.parent)
            fresh.rename(copy)
        return copy / installed.relative_to(site)

    def _recorded(self) -> Path | None:
        record = self._home / DATA
        return (self._home / record.readlink()).parent if record.is_symlink() else None

    def _chosen(self, uid: int) -> Path:
        fits = _fits(self._home / _SOCKET)
        shut = _shut_above(self._home, uid)
        if (self._home / DATA).exists():
            if shut is None:
                return self._home
            raise CannotStart(
                f"The user {pwd.getpwuid(uid).pw_name}, who runs PostgreSQL for root, cannot pass "
                f"{shut} to the data in {self._home}: open it (chmod o+x), move the home, or "
                "choose another TILLKEEPER_HOME."
            )
        return self._home if shut is None and fits else LODGINGS / _digest(self._home)

    def _move_in(self) -> None:
        for place in (LODGINGS, self.place):
            place.mkdir(mode=0o711, parents=True, exist_ok=True)
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0:
                raise CannotStart(f"{place} is not root's own: choose another TILLKEEPER_HOME.")
            place.chmod(0o711)
        record = self._home / DATA
        if not record.is_symlink():
            if self.data.exists():
                raise CannotStart(
                    f"{self.data} holds the data of an earlier home at {self._home}: link it to "
                    f"{record} to use it again, or remove {self.place}."
                )
            record.symlink_to(self.data)


def private_directory(path: Path, uid: int | None) -> None:
    """Make a directory for one user alone (`uid`, or ours); raises CannotStart where it is
    another's.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # By descriptor: a link that somebody else left in a shared /tmp is refused, not followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid not in {os.geteuid(), uid}:
            raise CannotStart(f"{path} belongs to somebody else.")
        os.fchmod(descriptor, 0o700)
        if uid is not None:
            os.fchown(descriptor, uid, -1)
    finally:
        os.close(descriptor)


def _lent_user(data: Path) -> int | None:
    if os.geteuid() != 0:
        return None
    try:
        return data.stat().st_uid or pwd.getpwnam("nobody").pw_uid
    except OSError:
        pass
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise CannotStart("PostgreSQL does not run as root and this machine has no user `nobody`.")


def _shut_above(home: Path, uid: int) -> Path | None:
    """The outermost directory above the home that the user cannot pass; the home is opened."""
    if _reaches(uid, home.parent):
        return None
    return next(place for place in reversed(home.parents) if not _reaches(uid, place))


def _reaches(uid: int, place: Path) -> bool:
    """Whether the user can pass a directory or run a program: the kernel is asked, ACLs count."""
    found = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(place)],
        cwd="/",
        user=uid,
        group=pwd.getpwuid(uid).pw_gid,
        extra_groups=[],
        check=False,
    )
    return found.returncode == 0


def _let_through(home: Path) -> None:
    """Let the lent user pass (not list) the home itself, and nothing above it."""
    mode = home.stat().st_mode
    if not mode & 0o001:
        home.chmod(mode & 0o7777 | 0o001)


def _open_to_readers(tree: Path) -> None:
    """Let everybody read and run a copy of public programs, whatever the umask was."""
    for place in (tree, *tree.rglob("*")):
        if not place.is_symlink():
            runs = place.is_dir() or bool(place.stat().st_mode & 0o100)
            place.chmod(0o755 if runs else 0o644)


def _fits(sockets: Path) -> bool:
    return len(os.fsencode(sockets)) + len("/.s.PGSQL.5432") <= SOCKET_PATH_MAX


def _digest(text: Path | str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
