"""Connections and transactions. Every write of this house passes through ``in_transaction``.

SQLAlchemy keeps the connections; statements go to the driver itself, at less than half the cost.

The work is given a connection and may be run again from its start: after a deadlock, a
serialization failure or a lost connection. It must therefore be safe to run twice, which keys and
business rows ensure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tillkeeper.contracts.errors import BookBroken, Code, Rejected, Unavailable
from tillkeeper.sealing import KeyRing

T = TypeVar("T")

ATTEMPTS: Final = 5
PAUSE_S: Final = 0.02
LOCK_TIMEOUT: Final = "10s"
STATEMENT_TIMEOUT: Final = "60s"

_AGAIN: Final = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock time-out: nobody's fault, run it again."""

_NO_TEXT: Final = frozenset({"22021", "22P05"})
"""Characters that are none in UTF-8, or NUL: whoever sent the text is at fault, not the book."""

_KEY_RACES: Final = frozenset({"transfers_key", "refusals_pkey"})
"""Two callers without a common lock used one key: the second look finds the first one's row."""

_AWAY: Final = ("08", "28", "3D", "53", "57", "58", "25006")
"""Connection, login, resources, an operator, the system, read-only: the database's state."""


DATABASE_ERRORS: Final = (
    DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError,
    asyncpg.InternalClientError, OSError,
)  # fmt: skip
"""What a statement may raise; what bypasses SQLAlchemy raises the driver's own, an internal one
where the server hangs up between two statements."""

_AGED: Final = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""A migration has passed the statements of every connection of the pool."""

_STATEMENTS_KEPT: Final = 500
"""More than there are, so that a session prepares each of them once."""

_LOOK_UPS: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""A session keeps its plans: one made on a small table would read all of it once it has grown."""

_SCANS: Final = "SELECT " + ", ".join(f"set_config('{name}', 'on', true)" for name in _LOOK_UPS)


Observe = Callable[[int, float], None]
"""Told of every sheet: its number of transfers, and the seconds from its opening to its writing."""


def make_engine(
    url: str,
    *,
    pool_size: int = 8,
    observe: Observe | None = None,
    ring: KeyRing | None = None,
) -> AsyncEngine:
    """An engine whose sessions speak UTC and never wait for a lock longer than 10 s.

    ``ring`` stamps what it writes into the audit; whoever only reads needs none.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=False,
        hide_parameters=True,
        execution_options={"observe": observe, "ring": ring},
        connect_args={
            "timeout": 5,
            "statement_cache_size": _STATEMENTS_KEPT,
            "server_settings": {
                "timezone": "UTC",
                "lock_timeout": LOCK_TIMEOUT,
                "statement_timeout": STATEMENT_TIMEOUT,
                "application_name": "tillkeeper",
                **_LOOK_UPS,
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine


async def in_transaction(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run ``work`` in one transaction and commit.

    Raises Unavailable, BookBroken, Rejected(INPUT_NOT_UNDERSTOOD).
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with engine.connect() as connection, _transaction(driver(connection)):
                return await work(connection)
        except DATABASE_ERRORS as error:
            failure = failure_of(error)
            final = not isinstance(failure, Unavailable) and not _lost_key_race(error)
            if final or attempt == ATTEMPTS:
                raise failure from error
            if isinstance(error, _AGED):
                await engine.dispose()
            await asyncio.sleep(PAUSE_S * 2**attempt)
    raise AssertionError("unreachable")


class Row(asyncpg.Record):
    """One row: by position, by name, and each column as an attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


async def fetch(connection: AsyncConnection, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
    """All rows of one statement in the driver's own notation (``$1``), each a ``Row``."""
    raw = await _begun(connection)
    return await raw.fetch(sql, *parameters, record_class=Row)


def observer(connection: AsyncConnection) -> Observe | None:
    """Who is told of this connection's postings."""
    found: Observe | None = connection.sync_engine.get_execution_options().get("observe")
    return found


def ring_of(connection: AsyncConnection) -> KeyRing:
    """The key ring of this connection's engine. Raises BookBroken where it was made without."""
    found: KeyRing | None = connection.sync_engine.get_execution_options().get("ring")
    if found is None:
        raise BookBroken("the audit is not written on an engine without a key ring")
    return found


async def expect_scans(connection: AsyncConnection) -> None:
    """Let this transaction's statements read whole tables; otherwise plans look up by index."""
    await execute(connection, _SCANS, ())


async def execute(connection: AsyncConnection, sql: str, parameters: tuple[Any, ...]) -> None:
    """One statement in the driver's own notation, whose rows nobody wants."""
    raw = await _begun(connection)
    await raw.fetch(sql, *parameters)


def driver(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's own connection, in the same transaction."""
    assert connection.sync_connection is not None  # noqa: S101
    return cast(asyncpg.Connection, connection.sync_connection.connection.driver_connection)


async def copy_rows(
    connection: AsyncConnection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert ``rows`` by COPY, 1.4 times as fast as from arrays; in a begun transaction only."""
    raw = driver(connection)
    if _outside(raw):
        raise BookBroken("a copy outside a transaction would stand when the rest falls")
    await raw.copy_records_to_table(table, records=rows, columns=columns)


@asynccontextmanager
async def _transaction(raw: asyncpg.Connection) -> AsyncIterator[None]:
    """Commit or roll back; what undid the work is raised, however the rolling back goes.

    A connection that was cut off in between is ended: the next one on it would be a part of a
    transaction that nobody commits.
    """
    transaction, whole = raw.transaction(), False
    try:
        await transaction.start()
        yield
        await transaction.commit()
        whole = True
    except BaseException:
        with suppress(*DATABASE_ERRORS):
            await transaction.rollback()
            whole = True
        raise
    finally:
        if not whole:
            raw.terminate()


def _refuse_dead(dbapi: Any, _record: Any, _proxy: Any) -> None:
    """The server has left it, so it has left the others, too: none of them is given out."""
    if dbapi.driver_connection.is_closed():
        raise InvalidatePoolError


async def _begun(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's connection in a transaction; SQLAlchemy begins with a statement of its own."""
    raw = driver(connection)
    if _outside(raw):
        await connection.exec_driver_sql("SELECT 1")
    return raw


def _outside(raw: asyncpg.Connection) -> bool:
    """Whether it is in no transaction; one that is closed says nothing about itself."""
    return not raw.is_closed() and not raw.is_in_transaction()


def _lost_key_race(error: BaseException | None) -> bool:
    """Whether ``error`` says that another caller's key stands already."""
    while error is not None:
        if getattr(error, "constraint_name", None) in _KEY_RACES:
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False


def failure_of(error: Exception) -> Unavailable | BookBroken | Rejected:
    """What a database error means for the caller; a lost connection is safe to try again."""
    said = error.orig if isinstance(error, DBAPIError) else error
    state = str(getattr(said, "sqlstate", None) or "")
    if state in _NO_TEXT or isinstance(getattr(said, "__cause__", None), UnicodeEncodeError):
        return Rejected(
            Code.INPUT_NOT_UNDERSTOOD, detail="a text has characters that no book keeps"
        )
    if isinstance(error, _AGED):
        return Unavailable("the tables have changed since the statement was prepared")
    if isinstance(error, asyncpg.InterfaceError) and "another operation" in str(error):
        return BookBroken("two statements at once on one connection")
    if not isinstance(error, DBAPIError) and not state:
        return Unavailable(f"the database does not answer: {type(error).__name__}")
    if state in _AGAIN or state.startswith(_AWAY):
        return Unavailable(f"the database refused for now: SQLSTATE {state}")
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, InterfaceError) or not state:
        return Unavailable("the connection to the database was lost")
    return BookBroken(f"the database refused the book: SQLSTATE {state}")
