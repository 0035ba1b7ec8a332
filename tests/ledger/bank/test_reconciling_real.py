"""C-14 on real banks' files: every day of what they tell is clean, weekends and holidays too."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateways.bank.reading import read_bank_file
from ledger.accounts import AccountRows
from ledger.bank.booking import Booker, book_entries
from ledger.bank.files import Arrival, receive_file
from ledger.bank.reconciling import reconcile_day
from ledger.bank.staging import StatementBook, ready_file, stage_file
from ledger.engine import fetch, in_transaction
from ledger.receiving import Receiver
from tests.ledger.bank.reconciling_support import noon
from tillkeeper.contracts.bank import BankFile
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.reconciliation import (
    DifferenceKind,
    ReconciliationState,
    ReconciliationView,
)
from tillkeeper.rules.profiles import PROFILES
from tillkeeper.sealing import KeyRing

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "bank"
DAILY = sorted((REAL / "camt.053").glob("*CAMT_053_2024*.xml"))
_KEPT = """
SELECT account, day FROM bank_entries UNION SELECT account, closing_on FROM bank_statements"""
_BROKEN = """
SELECT count(*) FROM work_items WHERE kind IN ('STATEMENT_BREAK', 'STATEMENT_GAP')"""

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no files of banks here")


async def take(engine: AsyncEngine, ring: KeyRing, found: BankFile, at: datetime) -> None:
    """Receive, stage and book one file of whichever account."""
    accounts = AccountRows(ring)
    book = StatementBook(ring, lambda number, _: number, accounts)
    booker = Booker(Receiver(ring, accounts, next(iter(PROFILES.values()))))

    async def stage(connection: AsyncConnection) -> str:
        arrival = Arrival("file", "import", None, at)
        digest = await receive_file(connection, ring, found.digest.encode(), arrival)
        await stage_file(connection, book, digest, ready_file(book, found, at), at=at)
        return digest

    digest = await in_transaction(engine, stage)
    more = True
    while more:
        batch = await in_transaction(
            engine, lambda c: book_entries(c, booker, digest, limit=500, at=at)
        )
        more = batch.more


async def look(engine: AsyncEngine, account: int, day: date, at: datetime) -> ReconciliationView:
    """Compare one day."""
    return await in_transaction(engine, lambda c: reconcile_day(c, account, day, at=at))


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    """Rows of a look-up."""
    return await in_transaction(engine, lambda c: fetch(c, sql, ()))


class TestDailyStatements:
    async def test_25_days_in_any_order_and_twice_are_clean_every_day(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-14: also the days between, on which no statement closes."""
        files = [read_bank_file(path) for path in DAILY]
        assert len(files) == 25
        told = files * 2
        random.Random(7).shuffle(told)  # noqa: S311
        at = noon(date(2024, 4, 13))
        for found in told:
            await take(engine, ring, found, at)
        accounts = await rows(engine, "SELECT id FROM bank_accounts")
        assert len(accounts) == 2
        days = [date(2024, 3, 7) + timedelta(days=n) for n in range(37)]
        views = [await look(engine, one[0], day, at) for day in days for one in accounts]
        assert Counter(view.state for view in views) == {ReconciliationState.CLEAN: 74}
        assert all(view.look_at == () for view in views)
        kept = await rows(engine, "SELECT count(*) FROM bank_entries")
        assert sum(view.matched for view in views) == kept[0][0] > 0
        items = "SELECT * FROM work_items WHERE kind = 'RECONCILIATION_DIFFERENCE'"
        assert await rows(engine, items) == []


class TestEveryFile:
    @pytest.mark.parametrize("kind", ["camt.053", "MT940", "camt.052", "camt.054"])
    async def test_what_differs_is_only_what_the_files_themselves_do_not_tell(
        self, engine: AsyncEngine, ring: KeyRing, kind: str
    ) -> None:
        """C-14: all that is booked has its entry and amount; only broken statements are off."""
        at = noon(date(2026, 1, 1))
        for path in sorted((REAL / kind).iterdir()):
            try:
                found = read_bank_file(path)
            except Rejected:
                continue
            await take(engine, ring, found, at)
        kept = await rows(engine, _KEPT)
        assert kept
        views = [await look(engine, account, day, at) for account, day in kept]
        unstated = ReconciliationState.NO_STATEMENT
        for view in views:
            kinds = {one.kind for one in view.differences}
            waits = {DifferenceKind.NOT_ON_STATEMENT} if view.state is unstated else set()
            assert kinds <= {DifferenceKind.BALANCE_DIFFERS} | waits
        off = sum(
            one.kind is DifferenceKind.BALANCE_DIFFERS for v in views for one in v.differences
        )
        broken = await rows(engine, _BROKEN)
        assert off <= broken[0][0]
        if kind in ("camt.053", "MT940"):
            assert sum(view.state is ReconciliationState.CLEAN for view in views) > 60
