"""Whom a bank's file concerns, read from what it changed: top-ups, payments, days.

Asked of the database and never of an answer that may have been lost: told twice is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import fetch
from tillkeeper.contracts.bank_file import AccountDay

_CREDITED: Final = """
SELECT t.id, t.merchant, t.request, t.currency, r.activated
  FROM bank_entries e JOIN receipts r ON r.entry = e.id JOIN topup_requests t ON t.id = r.topup
 WHERE e.file = $1 AND r.state = 'CREDITED' AND t.id > $2
 UNION
SELECT t.id, t.merchant, t.request, t.currency, r.activated
  FROM bank_transactions x JOIN receipts r ON r.entry = x.entry AND r.part = x.part
  JOIN topup_requests t ON t.id = r.topup
 WHERE x.file = $1 AND r.state = 'CREDITED' AND t.id > $2
 ORDER BY 1 LIMIT $3"""

_PAYMENTS: Final = """
SELECT p.id, coalesce(p.run, p.end_to_end_id)
  FROM bank_transactions x JOIN payments p ON p.id = x.payment
 WHERE x.file = $1 AND p.id > $2
 UNION
SELECT p.id, coalesce(p.run, p.end_to_end_id)
  FROM payment_statuses s JOIN payments p ON p.id = s.payment
 WHERE s.file = $1 AND p.id > $2
 UNION
SELECT p.id, coalesce(p.run, p.end_to_end_id)
  FROM bank_entries e JOIN payments p ON p.end_to_end_id = split_part(e.booked_as, '/', 2)
 WHERE e.file = $1 AND e.booked_as LIKE 'payment/%' AND p.id > $2
 ORDER BY 1 LIMIT $3"""

_DAYS: Final = """
WITH told AS (
    SELECT account, day FROM bank_entries WHERE file = $1
     UNION
    SELECT account, closing_on FROM bank_statements WHERE file = $1
     UNION
    SELECT e.account, e.day FROM bank_statements s JOIN bank_entries e ON e.statement = s.id
     WHERE s.file = $1),
spans AS (
    SELECT s.account, s.closing_on AS day,
           (SELECT max(p.closing_on) FROM bank_statements p
             WHERE p.account = s.account AND p.closing_on < s.closing_on) AS before,
           (SELECT min(n.closing_on) FROM bank_statements n
             WHERE n.account = s.account AND n.closing_on > s.closing_on) AS next
      FROM bank_statements s WHERE s.file = $1),
between_two AS (
    SELECT account, g::date AS day
      FROM spans, generate_series(before + 1, day - 1, interval '1 day') g
     WHERE day - before <= $2
     UNION
    SELECT account, g::date FROM spans, generate_series(day + 1, next - 1, interval '1 day') g
     WHERE next - day <= $2)
SELECT d.account, d.day
  FROM (SELECT account, day, 0 AS turn FROM told
         UNION ALL SELECT account, day, 0 FROM between_two
         UNION ALL SELECT account, next, 1 FROM spans WHERE next IS NOT NULL) d
 GROUP BY d.account, d.day ORDER BY min(d.turn), d.account, d.day"""

DAYS_BETWEEN_MAX: Final = 31
"""Statements further apart leave a gap, not days on which nothing moved."""


@dataclass(frozen=True, slots=True)
class CreditedRequest:
    """A top-up that money of the file was credited to; ``activated`` its account."""

    id: int
    merchant: str
    request: str
    currency: str
    activated: bool


async def credited_by(
    connection: AsyncConnection, digest: str, *, after: int, limit: int
) -> list[CreditedRequest]:
    """The next requests that the file's money was credited to, by row id."""
    rows = await fetch(connection, _CREDITED, (digest, after, limit))
    return [CreditedRequest(*row) for row in rows]


async def payments_named_by(
    connection: AsyncConnection, digest: str, *, after: int, limit: int
) -> list[tuple[int, str]]:
    """The next payments of ours that the file speaks of: row id, and the id of their run."""
    rows = await fetch(connection, _PAYMENTS, (digest, after, limit))
    return [(row[0], row[1]) for row in rows]


async def days_of(connection: AsyncConnection, digest: str) -> tuple[AccountDay, ...]:
    """The days to compare: that the file speaks of and those between statements, oldest first.

    After them the day of the statement that follows: its opening balance is explained now. Other
    days are not concerned; they are looked at once a day (C-14).
    """
    rows = await fetch(connection, _DAYS, (digest, DAYS_BETWEEN_MAX))
    return tuple(AccountDay(account=row[0], day=row[1]) for row in rows)
