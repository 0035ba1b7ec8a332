"""One view of the whole book for readers: a repeatable-read, read-only transaction.

Everything read inside it belongs to one moment, however long it takes. It never writes, holds no
locks that a posting waits for, and needs no more than the reading role.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import DATABASE_ERRORS, execute, expect_scans, failure_of

WORK_MEM: Final = "128MB"
"""Memory of one sort: a million lines of a statement sort in it without touching the disk."""


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection on one unchanging view of the database, without a time limit on statements.

    Raises Unavailable, BookBroken.
    """
    try:
        async with engine.connect() as connection:
            await connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            async with connection.begin():
                await expect_scans(connection)
                await execute(connection, "SET LOCAL statement_timeout = 0", ())
                await execute(connection, f"SET LOCAL work_mem = '{WORK_MEM}'", ())
                yield connection
    except DATABASE_ERRORS as error:
        raise failure_of(error) from error
