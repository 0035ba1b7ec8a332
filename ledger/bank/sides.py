"""Both sides of a bank account's day: what the bank tells, and what moved in the book (C-14).

Reads only, by index, and whatever touched the platform's ``bank`` account: what was put in by hand
too. Amounts are signed minor units, positive where the account gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import fetch
from tillkeeper.contracts.book import Bucket
from tillkeeper.rules.continuity import Stated
from tillkeeper.rules.days import BUSINESS_ZONE, day_bounds, day_of
from tillkeeper.rules.postings import TEMPLATES
from tillkeeper.rules.reconciling import Contents, Moved, Standing, Told

BEFORE: Final = timedelta(days=31)
"""A statement may tell what the book had so long before the first statement began."""

_ELSEWHERE: Final = ", ".join(
    f"'{kind.value}'"
    for kind, template in TEMPLATES.items()
    if Bucket.BANK not in (template.debit, template.credit)
)
_ON_BANK: Final = f"t.kind NOT IN ({_ELSEWHERE}) AND $1 IN (t.debit_account, t.credit_account)"
"""As the partial indexes on transfers say it, word for word; a kind that nobody knows counts."""

_SIGNED: Final = "CASE t.debit_account WHEN $1 THEN t.amount ELSE -t.amount END"
_ENTRY: Final = "CASE e.side WHEN 'C' THEN e.amount ELSE -e.amount END"

_ACCOUNT: Final = """
SELECT b.id, b.currency,
       (SELECT a.id FROM accounts a WHERE a.holder = 'platform' AND a.currency = b.currency
           AND a.bucket = 'bank' AND a.shard = 0)
  FROM bank_accounts b WHERE b.id = $1"""

_STATEMENTS: Final = """
SELECT id, closing_on, opening, closing, coalesce(number, ''), entries, total
  FROM bank_statements WHERE account = $1"""

_CONTENTS: Final = f"""
SELECT s.id, s.entries, s.total, count(e.id), coalesce(sum({_ENTRY}), 0)::bigint
  FROM bank_statements s LEFT JOIN bank_entries e ON e.statement = s.id
 WHERE s.id = ANY($1::bigint[]) GROUP BY s.id"""

_BEGINS: Final = """
SELECT least((SELECT min(e.day) FROM bank_entries e WHERE e.statement = s.id), s.closing_on)
  FROM bank_statements s WHERE s.id = $1"""

_DAY_ENTRIES: Final = f"""
SELECT e.id, e.day, {_ENTRY}, e.statement IS NOT NULL, e.booked_as, e.account
  FROM bank_entries e WHERE e.account = $1 AND e.day = $2"""

_SUBJECT_ENTRIES: Final = f"""
SELECT e.id, e.day, {_ENTRY}, e.statement IS NOT NULL, e.booked_as, e.account
  FROM bank_entries e WHERE e.booked_as = ANY($1::text[])"""

_DAY_TRANSFERS: Final = f"""
SELECT t.id, t.effective_at, {_SIGNED}, t.subject FROM transfers t
 WHERE {_ON_BANK} AND t.effective_at >= $2 AND t.effective_at < $3"""

_SUBJECT_TRANSFERS: Final = f"""
SELECT t.id, t.effective_at, {_SIGNED}, t.subject FROM transfers t
 WHERE {_ON_BANK} AND t.subject = ANY($2::text[])"""

_BOOKED: Final = f"""
SELECT coalesce(sum({_SIGNED}), 0)::bigint FROM transfers t
 WHERE {_ON_BANK} AND t.effective_at >= $2 AND t.effective_at < $3"""

_LATER: Final = f"""
SELECT coalesce(sum(m.amount), 0)::bigint
  FROM (SELECT DISTINCT t.id, {_SIGNED} AS amount
          FROM bank_entries e JOIN transfers t ON t.subject = e.booked_as
         WHERE e.statement = ANY($4::bigint[]) AND {_ON_BANK}
           AND t.effective_at >= $2 AND t.effective_at < $3) m"""
"""Moved in the book in time, told by a later statement."""

_OUTSIDE: Final = f"""
SELECT coalesce(sum(m.amount), 0)::bigint
  FROM (SELECT DISTINCT t.id, {_SIGNED} AS amount
          FROM transfers t JOIN bank_entries e ON e.booked_as = t.subject
         WHERE e.statement = ANY($4::bigint[]) AND {_ON_BANK}
           AND (t.effective_at >= $3 OR (t.effective_at < $2 AND t.effective_at >= $5))) m"""
"""Told in time, moved in the book later, or shortly before the first statement began."""

_OTHERS: Final = f"""
SELECT coalesce(sum(m.amount), 0)::bigint
  FROM (SELECT DISTINCT t.id, {_SIGNED} AS amount
          FROM bank_accounts o
          JOIN bank_entries e ON e.account = o.id JOIN transfers t ON t.subject = e.booked_as
         WHERE o.currency = $4 AND o.id <> $5 AND {_ON_BANK}
           AND t.effective_at >= $2 AND t.effective_at < $3) m"""

_TOLD_TOTAL: Final = f"""
SELECT coalesce(sum({_ENTRY}), 0)::bigint FROM bank_entries e
 WHERE e.account = $1 AND e.statement = ANY($2::bigint[])"""

_DAYS_OFF: Final = f"""
SELECT d.day
  FROM (SELECT e.day, {_ENTRY} AS amount FROM bank_entries e
         WHERE e.account = $5 AND e.statement IS NOT NULL AND e.day >= $6 AND e.day < $7
        UNION ALL
        SELECT (t.effective_at AT TIME ZONE $4)::date, -{_SIGNED} FROM transfers t
         WHERE {_ON_BANK} AND t.effective_at >= $2 AND t.effective_at < $3
           AND NOT EXISTS (SELECT FROM bank_entries o
                            WHERE o.booked_as = t.subject AND o.account <> $5)) d
 WHERE NOT EXISTS (SELECT FROM reconciliation_differences r
                    WHERE r.account = $5 AND r.day = d.day AND r.cleared_at IS NULL)
 GROUP BY d.day HAVING sum(d.amount) <> 0 ORDER BY d.day DESC LIMIT $8"""


@dataclass(frozen=True, slots=True)
class BankAccount:
    """One of our accounts; ``book`` is the platform's ``bank`` of its currency, if it has one."""

    id: int
    currency: str
    book: int | None


@dataclass(frozen=True, slots=True)
class Statements:
    """All statements of an account, those that seem not to add up, and when the first begins."""

    all: tuple[Stated, ...]
    broken: tuple[Stated, ...]
    begins: date | None


async def bank_account(connection: AsyncConnection, account: int) -> BankAccount | None:
    """The account, or None."""
    rows = await fetch(connection, _ACCOUNT, (account,))
    return BankAccount(*rows[0]) if rows else None


async def statements(connection: AsyncConnection, account: int) -> Statements:
    """The account's statements; ``broken`` are those whose own figures do not add up.

    The first one begins with its first entry.
    """
    rows = await fetch(connection, _STATEMENTS, (account,))
    found = tuple(Stated(row[0], row[1], row[2], row[3], row[4]) for row in rows)
    broken = tuple(
        one for one, row in zip(found, rows, strict=True) if one.opening + row[6] != one.closing
    )
    begins = None
    if found:
        first = min(found, key=lambda one: (one.day, one.id))
        begins = (await fetch(connection, _BEGINS, (first.id,)))[0][0]
    return Statements(found, broken, begins)


async def contents(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, Contents]:
    """What these statements say of their entries, and what is kept of them."""
    rows = await fetch(connection, _CONTENTS, (list(ids),))
    return {row[0]: Contents(*row[1:]) for row in rows}


async def day_of_both(
    connection: AsyncConnection, account: BankAccount, day: date
) -> tuple[list[Told], list[Moved]]:
    """The day's entries and transfers, and whatever bears the same subjects on other days.

    A transfer that another account's entry moved is that account's.
    """
    told = await fetch(connection, _DAY_ENTRIES, (account.id, day))
    bounds = day_bounds(day)
    book = account.book or 0
    moved = await fetch(connection, _DAY_TRANSFERS, (book, *bounds))
    subjects = {row[4] for row in told if row[4] is not None} | {row[3] for row in moved}
    named = sorted(subjects)
    told += await fetch(connection, _SUBJECT_ENTRIES, (named,))
    moved += await fetch(connection, _SUBJECT_TRANSFERS, (book, named))
    foreign = {row[4] for row in told if row[5] != account.id}
    entries = {row[0]: Told(*row[:5]) for row in told if row[5] == account.id}
    transfers = {row[0]: _moved(row) for row in moved if row[3] not in foreign}
    return list(entries.values()), list(transfers.values())


async def booked_until(
    connection: AsyncConnection, account: BankAccount, stands: Standing, span: tuple[date, date]
) -> int:
    """What moved in the book from the first to the last day of ``span``, as statements tell it.

    What a later statement tells is left out, what these tell of another time is put in.
    """
    book = account.book or 0
    begin, end = day_bounds(span[0])[0], day_bounds(span[1])[1]
    upto, after = [s.id for s in stands.upto], [s.id for s in stands.after]
    rest = (account.currency, account.id)
    booked = await _sum(connection, _BOOKED, (book, begin, end))
    later = await _sum(connection, _LATER, (book, begin, end, after))
    outside = await _sum(connection, _OUTSIDE, (book, begin, end, upto, begin - BEFORE))
    others = await _sum(connection, _OTHERS, (book, begin, end, *rest))
    return booked - later + outside - others


async def told_until(connection: AsyncConnection, account: int, upto: Sequence[Stated]) -> int:
    """The sum of all entries of these statements."""
    return await _sum(connection, _TOLD_TOTAL, (account, [one.id for one in upto]))


async def days_off(
    connection: AsyncConnection, account: BankAccount, span: tuple[date, date], *, at_most: int
) -> list[date]:
    """Days of ``span``, its last not among them, whose sums differ and that show no difference."""
    begin, end = day_bounds(span[0])[0], day_bounds(span[1])[0]
    given = (account.book or 0, begin, end, BUSINESS_ZONE, account.id, *span, at_most)
    return [row[0] for row in await fetch(connection, _DAYS_OFF, given)]


async def _sum(connection: AsyncConnection, sql: str, given: tuple[Any, ...]) -> int:
    return int((await fetch(connection, sql, given))[0][0])


def _moved(row: Sequence[Any]) -> Moved:
    at: datetime = row[1]
    return Moved(row[0], day_of(at), row[2], row[3])
