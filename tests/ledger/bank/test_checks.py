"""The verifier on what banks' files did: every falsified row is named by its own check (C-14)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import execute, fetch, make_engine
from ledger.verify import verify, verify_on
from tests.ledger.bank.full_book import FullBook
from tests.stack import Databases
from tillkeeper.sealing import KeyRing

# check, table, what an owner without triggers sets, in which rows
EDITS = [
    ("entries", "bank_entries", "amount = amount + 1", "booked_as LIKE 'entry/%'"),
    ("entries", "bank_entries", "amount = amount + 1", "booked_as LIKE 'payment/%'"),
    ("entries", "bank_entries", "amount = amount + 1", "booked_as LIKE 'receipt/%'"),
    ("entries", "bank_entries", "side = CASE side WHEN 'C' THEN 'D' ELSE 'C' END", "true"),
    ("entries", "bank_entries", "day = day + 1", "booked_as NOT LIKE 'receipt/%'"),
    ("entries", "bank_entries", "booked_as = 'entry/0'", "true"),
    ("entries", "bank_entries", "booked_as = 'receipt/none'", "true"),
    ("receipts", "receipts", "part = NULL", "part IS NOT NULL"),
    ("receipts", "receipts", "part = 1", "part IS NULL"),
    ("receipts", "receipts", "entry = NULL", "part IS NOT NULL"),
    ("entry_receipts", "receipts", "entry = NULL", "part IS NULL"),
    ("entry_receipts", "receipts", "amount = amount + 1", "part IS NOT NULL AND topup IS NULL"),
    ("entry_receipts", "receipts", "state = 'DETAILED'", "part = 1 AND state = 'UNMATCHED'"),
    ("entry_receipts", "receipts", "state = 'UNMATCHED'", "state = 'DETAILED'"),
    ("receipts", "receipts", "state = 'UNMATCHED'", "state = 'CREDITED'"),
    ("receipts", "receipts", "state = 'CREDITED'", "state = 'UNMATCHED'"),
    ("receipts", "receipts", "topup = NULL, state = 'UNMATCHED', currency = 'USD'", "part IS NULL"),
    ("topups", "topup_requests", "state = 'EXPIRED', receipt = NULL", "request IN ('R1', 'R2')"),
    ("topups", "topup_requests", "state = 'CREDITED'", "request = 'R9'"),
    ("topups", "topup_requests", "amount = amount + 1", "request IN ('R1', 'R2')"),
    ("topups", "topup_requests", "receipt = 'none'", "state = 'CREDITED'"),
    ("receipt_states", "receipts", "state = 'RETURNED'", "state = 'RETURNING'"),
    ("receipt_states", "receipts", "state = 'RETURNING'", "state = 'RETURNED'"),
    ("receipt_states", "receipts", "state = 'RETURNING'", "state = 'UNMATCHED'"),
    ("receipt_states", "receipts", "state = 'UNMATCHED'", "state = 'RETURNING'"),
    ("reversals", "receipts", "state = 'REVERSED'", "state = 'UNMATCHED' AND part = 1"),
    ("reversals", "receipts", "state = 'UNMATCHED'", "state = 'REVERSED'"),
    ("waiting", "receipts", "state = 'REVERSED'", "state = 'UNMATCHED' AND part IS NULL"),
    ("suspense", "bank_entries", "reverses = NULL", "amount = 5000 AND side = 'C'"),
    ("payments", "payments", "state = 'REJECTED'", "state = 'RETURNED'"),
    ("payments", "payments", "state = 'RETURNED'", "state = 'REJECTED'"),
]
"""What the check names is the edited row, but for those of ELSEWHERE."""

ELSEWHERE = {"waiting": "accounts"}
"""Sums tell which account is wrong; no row of a receipt says so."""


pytestmark = pytest.mark.xdist_group("full-book")
"""Side by side with others, but in one process: they share one book."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def book(postgres: Databases, ring: KeyRing) -> AsyncIterator[AsyncEngine]:
    """The owner's engine on a book with everything in it."""
    async with postgres.fresh() as database:
        engine = make_engine(database.owner_url, pool_size=2, ring=ring)
        await FullBook(engine, ring).make()
        yield engine
        await engine.dispose()


async def tampered(connection: AsyncConnection, table: str, change: str, where: str) -> set[Any]:
    """One row edited with the triggers off: its name, and its entry's other receipts'."""
    await execute(connection, "SET LOCAL session_replication_role = replica", ())
    key = "digest" if table == "receipts" else "id"
    rows = await fetch(
        connection,
        f"UPDATE {table} SET {change} WHERE {key} IN"  # noqa: S608
        f" (SELECT {key} FROM {table} WHERE {where} ORDER BY {key} LIMIT 1) RETURNING {key}",
        (),
    )
    assert rows, "nothing to edit"
    named = {str(rows[0][0])}
    if table == "receipts":
        siblings = "SELECT b.digest FROM receipts a JOIN receipts b USING (entry)"
        named |= {r[0] for r in await fetch(connection, f"{siblings} WHERE a.digest = $1",
                                            (rows[0][0],))}  # fmt: skip
    return named


class TestBankChecks:
    async def test_sound_book_verifies(self, book: AsyncEngine) -> None:
        """C-14: everything that a bank can do to us leaves the book sound."""
        found = await verify(book)
        assert found.ok, found.broken
        assert found.notes.unmatched_receipts == 6
        async with book.connect() as connection:
            states = {r[0] for r in await fetch(connection, "SELECT state FROM receipts", ())}
        assert states == {
            "CREDITED", "UNMATCHED", "RETURNING", "RETURNED", "REVERSED", "DETAILED"
        }  # fmt: skip

    @pytest.mark.parametrize(("check", "table", "change", "where"), EDITS)
    async def test_every_falsified_row_is_named(
        self, book: AsyncEngine, check: str, table: str, change: str, where: str
    ) -> None:
        """C-14: by its own check, as the first offending row."""
        async with book.connect() as connection:
            named = await tampered(connection, table, change, where)
            found = (await verify_on(connection)).broken
            assert found is not None, "not noticed"
            assert found.check == check, found
            if check in ELSEWHERE:
                assert found.table == ELSEWHERE[check]
            else:
                assert (found.table, found.id in named) == (table, True), found
            await connection.rollback()

    async def test_reading_role_is_enough(self, book: AsyncEngine) -> None:
        """C-03: an auditor verifies with no right to write."""
        async with book.connect() as connection:
            await execute(connection, "SET ROLE tillkeeper_reader", ())
            assert (await verify_on(connection)).ok
            await connection.rollback()
