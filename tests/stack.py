"""Real servers for the tests: one PostgreSQL and one Temporal per session, a database per test.

Nothing here stands in for our own code, and nothing here is durable: these servers die with pytest.
"""

from __future__ import annotations

import secrets
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from temporalio.common import SearchAttributeKey
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from ledger.engine import make_engine
from tillkeeper.codec import data_converter
from tillkeeper.sealing import KeyRing
from worker.database import make_login, migrate
from worker.embedded.postgres import LOGIN, EmbeddedPostgres
from worker.embedded.temporal import temporal_binary

_TEMPLATE = "tillkeeper_template"
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()"""
"""Ends every connection to this database but its own, as a restart of PostgreSQL does."""

SEARCH_ATTRIBUTES: tuple[SearchAttributeKey[Any], ...] = (
    SearchAttributeKey.for_keyword("Merchant"),
    SearchAttributeKey.for_keyword("Lifecycle"),
    SearchAttributeKey.for_keyword("Stage"),
    SearchAttributeKey.for_bool("NeedsPerson"),
    SearchAttributeKey.for_int("AmountMinor"),
    SearchAttributeKey.for_datetime("DueAt"),
)


@dataclass(frozen=True)
class Database:
    """One migrated, empty database: `app_url` is the worker's login, `owner_url` the owner's."""

    app_url: str
    owner_url: str


class Databases:
    """Copies of one migrated template, some 50 ms each."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server

    async def make_template(self) -> None:
        """Migrate the template and make the application's login."""
        owner = self.server.url(database=_TEMPLATE)
        await migrate(owner, create_from="postgres")
        await make_login(owner, LOGIN)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Database]:
        """A database for this block alone; dropped at its end, with whoever is still connected."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        # Files are copied: by way of the log, the other strategy, it costs more than twice as much.
        await self._as_owner(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}" STRATEGY FILE_COPY')
        # All tests share one Temporal, where these ids are parts of workflow ids.
        restart = "ALTER TABLE {} ALTER COLUMN id RESTART WITH {}"
        tables = ("work_items", "bank_accounts")
        apart = (restart.format(table, secrets.randbelow(2**40) + 1) for table in tables)
        await self._as_owner(f"DO $$ BEGIN {'; '.join(apart)}; END $$", database=name)
        try:
            yield Database(
                app_url=self.server.url(user=LOGIN, database=name),
                owner_url=self.server.url(database=name),
            )
        finally:
            await self._as_owner(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _as_owner(self, statement: str, *, database: str = "postgres") -> None:
        engine = create_async_engine(
            self.server.url(database=database),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )
        async with engine.connect() as connection:
            await connection.execute(text(statement))
        await engine.dispose()


@asynccontextmanager
async def running_postgres() -> AsyncIterator[Databases]:
    """A server on a directory of its own that loses everything at the end."""
    with tempfile.TemporaryDirectory(prefix="tk-", ignore_cleanup_errors=True) as directory:
        server = EmbeddedPostgres(Path(directory), durable=False)
        try:
            await server.start()
            yield Databases(server)
        finally:
            await server.stop()


@asynccontextmanager
async def running_temporal(ring: KeyRing | None) -> AsyncIterator[WorkflowEnvironment]:
    """The real server in memory; each workflow has its own clock: `fast_forward(handle, delta)`."""
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=TimeSkippingConfig(enabled=False),
        data_converter=data_converter(ring),
        search_attributes=SEARCH_ATTRIBUTES,
        dev_server_existing_path=str(temporal_binary()),
        dev_server_extra_args=[
            *("--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"),
            *("--disable-config-file", "--disable-config-env"),
        ],
        dev_server_startup_timeout=timedelta(seconds=30),
    )
    async with environment:
        yield environment


@asynccontextmanager
async def engine_on(
    url: str, *, pool_size: int = 8, ring: KeyRing | None = None
) -> AsyncIterator[AsyncEngine]:
    """An engine as the worker makes it, disposed at the end; with a ring it writes the audit."""
    engine = make_engine(url, pool_size=pool_size, ring=ring)
    try:
        yield engine
    finally:
        await engine.dispose()
