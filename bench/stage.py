"""What a measurement plays on: an embedded PostgreSQL of its own, and opened accounts.

The server is the one of ``make up`` with its durable settings; it is stopped and its data are
removed at the end, whatever the end is.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.book import BATCH_MAX, Book
from ledger.chart import make_merchant_accounts
from ledger.engine import execute, in_transaction, make_engine
from tillkeeper.contracts.book import Bucket, TransferKind, TransferRequest
from tillkeeper.sealing import KeyRing
from worker.database import make_login, migrate
from worker.embedded.postgres import LOGIN, EmbeddedPostgres

CURRENCY: Final = "CNY"
FUNDED_AT: Final = datetime(2024, 1, 1, tzinfo=UTC)

_OPEN: Final = """
INSERT INTO prepaid_accounts (
    merchant, currency, state, profile, fingerprint, opening_user,
    legal_name_sealed, legal_name_digest, warning, suspend_below, hard_floor, resume_above,
    billing_from, opening_at,
    available, frozen, withdrawing, dues, fee_income, dues_unearned)
VALUES ($1, $2, 'ACTIVE', 'bench', '', 'bench', '', '', 100000, 100000, 20000, 100000, $3, $3,
        $4, $5, $6, $7, $8, $9)"""

_POSTED_TO: Final = (
    Bucket.AVAILABLE, Bucket.FROZEN, Bucket.WITHDRAWING,
    Bucket.DUES, Bucket.FEE_INCOME, Bucket.DUES_UNEARNED,
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One migrated database: an engine as the worker has it, and a bare connection as its owner."""

    engine: AsyncEngine
    owner: asyncpg.Connection
    url: str

    async def open_accounts(self, merchants: Collection[str], *, fund: int) -> None:
        """Make active accounts with ``fund`` minor units available each, as top-ups leave them."""

        async def work(connection: AsyncConnection) -> None:
            for merchant in merchants:
                ids = await make_merchant_accounts(connection, merchant, CURRENCY)
                buckets = (ids[bucket] for bucket in _POSTED_TO)
                await execute(connection, _OPEN, (merchant, CURRENCY, FUNDED_AT, *buckets))

        await in_transaction(self.engine, work)
        requests = [request for merchant in merchants for request in _funding(merchant, fund)]
        book = Book(self.engine)
        for start in range(0, len(requests), BATCH_MAX):
            await book.post(requests[start : start + BATCH_MAX])


def _funding(merchant: str, amount: int) -> list[TransferRequest]:
    return [
        TransferRequest(
            name=f"bench/{merchant}/{kind}", kind=kind, currency=CURRENCY, amount_minor=amount,
            effective_at=FUNDED_AT, merchant=owner, subject=f"bench/{merchant}",
        )
        for kind, owner in ((TransferKind.RECEIPT, None), (TransferKind.TOPUP, merchant))
    ]  # fmt: skip


@asynccontextmanager
async def running_server() -> AsyncIterator[EmbeddedPostgres]:
    """A durable server on an empty directory, both gone at the end."""
    with tempfile.TemporaryDirectory(prefix="tk-bench-", ignore_cleanup_errors=True) as directory:
        server = EmbeddedPostgres(Path(directory))
        try:
            await server.start()
            yield server
        finally:
            await server.stop()


@asynccontextmanager
async def stage_on(
    server: EmbeddedPostgres, database: str, *, ring: KeyRing | None = None
) -> AsyncIterator[Stage]:
    """A new migrated database on ``server``; ``ring`` stamps what is written into the audit."""
    owner_url = server.url(database=database)
    await migrate(owner_url, create_from="postgres")
    await make_login(owner_url, LOGIN)
    url = server.url(user=LOGIN, database=database)
    async with AsyncExitStack() as stack:
        engine = make_engine(url, ring=ring)
        stack.push_async_callback(engine.dispose)
        owner = await connect(owner_url)
        stack.push_async_callback(owner.close)
        yield Stage(engine, owner, url)


async def connect(url: str) -> asyncpg.Connection:
    """A connection without anything of ours around the driver."""
    target = make_url(url)
    return await asyncpg.connect(
        host=str(target.query["host"]), user=target.username, database=target.database
    )
