"""A bank account with statements, entries and their transfers, written without any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.bank.reconciling import reconcile_day
from ledger.engine import fetch, in_transaction
from ledger.sheet import Effect, Sheet
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.reconciliation import ReconciliationView
from tillkeeper.rules.days import day_bounds

MONDAY = date(2024, 5, 6)
OUR_NUMBER = "110060149012"

_ACCOUNT = """
INSERT INTO bank_accounts (id, number, currency) OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3) RETURNING id"""

_FILE = """
INSERT INTO bank_files (digest, name_sealed, body_sealed, size, source, state, received_at)
VALUES ('f', '', '', 0, 'import', 'BOOKED', $1) ON CONFLICT DO NOTHING RETURNING digest"""

_STATEMENT = """
INSERT INTO bank_statements (account, file, place, kind, opening, opening_on, closing, closing_on,
                             entries, total)
VALUES ($1, 'f', 1, 'camt.053', $2, NULL, $3, $4, $5, $6) RETURNING id"""

_ENTRY = """
INSERT INTO bank_entries (account, side, amount, day, reversal, adds_up, file, place, statement,
                          parts)
VALUES ($1, $2, $3, $4, false, true, 'f', '1.1', $5, 1) RETURNING id"""

# What a hand with the right to do everything can do: both chains grow, all balances agree.
_BY_HAND = """
WITH sides AS (
    SELECT d.id AS debit, c.id AS credit FROM accounts d, accounts c
     WHERE d.holder = 'platform' AND d.bucket = 'bank' AND d.currency = $3
       AND c.holder = 'platform' AND c.bucket = 'unmatched_receipts' AND c.currency = $3),
grown AS (
    UPDATE accounts a SET seq = seq + 1, balance = balance + $2
      FROM sides s WHERE a.id IN (s.debit, s.credit) RETURNING a.id, a.seq, a.balance)
INSERT INTO transfers (key, fingerprint, kind, amount, currency, debit_account, debit_seq,
                       debit_after, credit_account, credit_seq, credit_after, subject, effective_at)
SELECT gen_random_uuid(), gen_random_uuid(), $1, $2, $3, d.id, d.seq, d.balance, c.id, c.seq,
       c.balance, $4, $5
  FROM sides s JOIN grown d ON d.id = s.debit JOIN grown c ON c.id = s.credit
RETURNING id"""


def noon(day: date) -> datetime:
    """In the middle of ``day`` in the business zone."""
    return day_bounds(day)[0] + timedelta(hours=12)


def days_from(first: date, number: int) -> list[date]:
    """``number`` days in a row."""
    return [first + timedelta(days=n) for n in range(number)]


@dataclass
class Bank:
    """One account at a bank; amounts are signed minor units."""

    engine: AsyncEngine
    owner_url: str
    currency: str = "CNY"
    number: str = OUR_NUMBER
    account: int = 0
    balance: int = 1_000_00

    def __post_init__(self) -> None:
        self._names = count(1)

    async def open(self, account: int = 1) -> Bank:
        """Make the account's row."""
        await self.rows(_ACCOUNT, account, self.number, self.currency)
        self.account = account
        await self.rows(_FILE, noon(MONDAY))
        return self

    async def states(
        self, day: date, *amounts: int, booked: bool = True, of: Sequence[date] = ()
    ) -> list[int]:
        """A statement that closes on ``day``; each entry is booked as itself. Answers entries."""
        opening, self.balance = self.balance, self.balance + sum(amounts)
        figures = (self.account, opening, self.balance, day, len(amounts), sum(amounts))
        statement = (await self.rows(_STATEMENT, *figures))[0][0]
        dated = zip(amounts, of or [day] * len(amounts), strict=True)
        return [
            await self.tells(when, amount, statement=statement, booked=booked)
            for amount, when in dated
        ]

    async def tells(
        self, day: date, amount: int, *, statement: int | None = None, booked: bool = True
    ) -> int:
        """One entry, merely notified unless a ``statement`` is given."""
        side = "C" if amount > 0 else "D"
        row = (self.account, side, abs(amount), day, statement)
        entry: int = (await self.rows(_ENTRY, *row))[0][0]
        if booked:
            await self.book(f"entry/{entry}", amount, day_bounds(day)[0])
            await self.booked_as(entry, f"entry/{entry}")
        return entry

    async def booked_as(self, entry: int, subject: str) -> None:
        """Say which transfer moved the entry."""
        await self.rows(
            "UPDATE bank_entries SET booked_as = $2 WHERE id = $1 RETURNING id", entry, subject
        )

    async def book(self, subject: str, amount: int, at: datetime) -> None:
        """Move the book's bank account."""
        credit = amount > 0
        other = Bucket.UNMATCHED_RECEIPTS if credit else Bucket.UNMATCHED_PAYMENTS
        effect = Effect(f"{subject}/{self.currency}/{next(self._names)}", subject, at)

        async def post(connection: AsyncConnection) -> None:
            platform = [(Bucket.BANK, self.currency), (other, self.currency)]
            sheet = await Sheet.open(connection, merchants=[], platform=platform)
            sheet.post(
                TransferKind.RECEIPT if credit else TransferKind.BANK_DEBIT, None,
                currency=self.currency, amount=abs(amount), effect=effect,
            )  # fmt: skip
            await sheet.write()

        await in_transaction(self.engine, post)

    async def by_hand(
        self, amount: int, at: datetime, subject: str = "by hand", kind: str = "receipt"
    ) -> int:
        """A transfer that only the database's owner, with triggers off, can put in."""
        made: int = (await self.as_owner(_BY_HAND, kind, amount, self.currency, subject, at))[0][0]
        return made

    async def look(self, day: date, at: datetime | None = None) -> ReconciliationView:
        """Compare the day, as the activity does."""
        moment = at or noon(day + timedelta(days=1))
        return await in_transaction(
            self.engine, lambda c: reconcile_day(c, self.account, day, at=moment)
        )

    async def rows(self, sql: str, *given: Any) -> list[Any]:
        """Rows, as the application."""
        return await in_transaction(self.engine, lambda c: fetch(c, sql, given))

    async def as_owner(self, sql: str, *given: Any) -> list[Any]:
        """Rows, as the owner with triggers off."""
        engine = create_async_engine(self.owner_url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                return await fetch(connection, sql, given)
        finally:
            await engine.dispose()

    async def items(self) -> list[Any]:
        """All work items: subject, state, outcome, amount, context."""
        return await self.rows(
            "SELECT subject, state, outcome, amount, context FROM work_items"
            " WHERE kind = 'RECONCILIATION_DIFFERENCE' ORDER BY id"
        )
