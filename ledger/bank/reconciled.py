"""Lists of reconciled days and of our bank accounts, for people. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import fetch
from ledger.snapshot import snapshot
from tillkeeper.contracts.reconciliation import ReconciliationState

_LIST: Final = """
SELECT r.account, b.number, b.currency, r.day, r.state, r.matched, r.differences,
       r.bank_total, r.book_total, r.checked_at,
       (SELECT min(d.first_seen) FROM reconciliation_differences d
         WHERE d.account = r.account AND d.day = r.day AND d.cleared_at IS NULL)
  FROM reconciliations r JOIN bank_accounts b ON b.id = r.account
 WHERE $1::boolean OR r.state <> 'CLEAN' ORDER BY r.day, b.currency, r.account"""

_ACCOUNTS: Final = """
SELECT id, number, currency FROM bank_accounts
 WHERE ($1::text IS NULL OR number = $1) AND ($2::text IS NULL OR currency = $2) ORDER BY id"""


@dataclass(frozen=True, slots=True)
class DayLine:
    """One day of the list; ``number`` is our own account's, totals are signed minor units."""

    account: int
    number: str
    currency: str
    day: date
    state: ReconciliationState
    matched: int
    differences: int
    bank_total: int
    book_total: int
    checked_at: datetime
    first_seen: datetime | None


async def days(engine: AsyncEngine, *, clean: bool = False) -> list[DayLine]:
    """The days that are not clean, or all; by day. Raises Unavailable."""
    async with snapshot(engine) as connection:
        rows = await fetch(connection, _LIST, (clean,))
    return [_line(row) for row in rows]


async def our_accounts(
    engine: AsyncEngine, number: str | None = None, currency: str | None = None
) -> list[tuple[int, str, str]]:
    """(id, number, currency) of our bank accounts that statements told of. Raises Unavailable."""
    async with snapshot(engine) as connection:
        rows = await fetch(connection, _ACCOUNTS, (number, currency))
    return [(row[0], row[1], row[2]) for row in rows]


def _line(row: Sequence[Any]) -> DayLine:
    fields = [*row[:4], ReconciliationState(row[4]), *row[5:]]
    return DayLine(*fields)
