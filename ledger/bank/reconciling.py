"""A bank account's day, compared and recorded in one transaction (C-14).

Promises that each difference keeps when it was first seen and gets when it went, and that the day
has an open work item exactly as long as it is work. It never changes an entry or a transfer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank import sides
from ledger.bank.sides import BankAccount, Statements
from ledger.engine import execute, fetch
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.reconciliation import (
    DIFFERENCES_SHOWN_MAX,
    Difference,
    DifferenceKind,
    ReconciliationState,
    ReconciliationView,
    reconciliation_workflow_id,
)
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.rules.reconciling import (
    Comparison,
    Standing,
    age_days,
    balance_difference,
    compare,
    contradiction,
    explains,
    largest,
    needs_desk,
    standing,
    state_of,
    unbalanced,
)

DAYS_AT_ONCE: Final = 31
"""Earlier days to be looked at again that one look names at most, the newest ones."""

_ONE_MOMENT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

_RECORD: Final = """
INSERT INTO reconciliations (account, day, state, matched, differences, bank_total, book_total,
                             first_at, checked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
ON CONFLICT (account, day) DO UPDATE
   SET state = $3, matched = $4, differences = $5, bank_total = $6, book_total = $7,
       checked_at = $8
RETURNING first_at"""

_CLEAR: Final = """
UPDATE reconciliation_differences d SET cleared_at = $3
 WHERE d.account = $1 AND d.day = $2 AND d.cleared_at IS NULL
   AND NOT EXISTS (
       SELECT FROM unnest($4::text[], $5::text[], $6::bigint[]) AS n (kind, subject, transfer)
        WHERE n.kind = d.kind AND n.subject = d.subject
          AND n.transfer IS NOT DISTINCT FROM d.transfer)"""

_NOTE: Final = """
INSERT INTO reconciliation_differences (account, day, kind, subject, transfer, bank_minor,
                                        book_minor, first_seen)
SELECT $1, $2, n.kind, n.subject, n.transfer, n.bank, n.book, $3
  FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
       AS n (kind, subject, transfer, bank, book)
ON CONFLICT (account, day, kind, subject, transfer) WHERE cleared_at IS NULL
DO UPDATE SET bank_minor = excluded.bank_minor, book_minor = excluded.book_minor"""

_OPEN: Final = """
SELECT kind, subject, bank_minor, book_minor, transfer, first_seen
  FROM reconciliation_differences
 WHERE account = $1 AND day = $2 AND cleared_at IS NULL
 ORDER BY abs(coalesce(bank_minor, 0) - coalesce(book_minor, 0)) DESC, id"""

_EARLIER: Final = """
SELECT kind, subject, bank_minor, book_minor, transfer, first_seen
  FROM reconciliation_differences
 WHERE account = $1 AND day < $2 AND cleared_at IS NULL"""

_SHOWN: Final = """
SELECT DISTINCT day FROM reconciliation_differences
 WHERE account = $1 AND day < $2 AND cleared_at IS NULL"""

_ACKNOWLEDGED: Final = """
SELECT max(closed_at) FROM work_items
 WHERE kind = $1 AND subject = $2 AND state = 'CLOSED' AND outcome <> 'RESOLVED'"""

_UPDATE_ITEM: Final = """
UPDATE work_items SET amount = $3, context = $4::text::jsonb
 WHERE kind = $1 AND subject = $2 AND state <> 'CLOSED' AND context <> $4::text::jsonb"""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look came to."""

    stands: Standing
    compared: Comparison
    differences: tuple[Difference, ...]
    totals: tuple[int, int]
    look_at: tuple[date, ...]


async def reconcile_day(
    connection: AsyncConnection, account: int, day: date, *, at: datetime
) -> ReconciliationView:
    """Compare one day, record what differs, open or settle its work item; safe to run twice.

    Must begin its transaction, as it reads one moment. Raises Rejected(BANK_ACCOUNT_UNKNOWN).
    """
    await execute(connection, _ONE_MOMENT, ())
    ours = await sides.bank_account(connection, account)
    if ours is None:
        raise Rejected(Code.BANK_ACCOUNT_UNKNOWN, detail="no bank account of this number")
    found = await _look(connection, ours, day)
    state = state_of(covered=found.stands.covered, differences=found.differences)
    first_at, noted = await _record(connection, ours, day, (found, state), at=at)
    desk = needs_desk(state, noted, day, at)
    view = ReconciliationView(
        account=ours.id,
        day=day,
        currency=ours.currency,
        state=state,
        statement=None if found.stands.closing is None else str(found.stands.closing.id),
        matched=found.compared.matched,
        bank_total_minor=found.totals[0],
        book_total_minor=found.totals[1],
        difference_count=len(noted),
        largest_minor=largest(noted),
        age_days=age_days(day, at),
        differences=tuple(noted[:DIFFERENCES_SHOWN_MAX]),
        needs_desk=desk,
        look_at=found.look_at,
        first_at=first_at,
        checked_at=at,
    )
    await _tell_the_desk(connection, view, noted, at=at)
    return view


async def _look(connection: AsyncConnection, ours: BankAccount, day: date) -> _Found:
    known = await sides.statements(connection, ours.id)
    stands = standing(known.all, known.begins, day)
    told, moved = await sides.day_of_both(connection, ours, day)
    compared = compare(day, told, moved)
    totals = (
        sum(one.amount for one in told if one.day == day and one.stated),
        sum(one.amount for one in moved if one.day == day),
    )
    differences = list(compared.differences)
    off, suspicious = await _balance(connection, ours, (known, stands, day), differences)
    if off and stands.closing is not None:
        differences.append(unbalanced(stands.closing, off))
    ids = [s.id for s in stands.upto if s.day == day]
    inside = await sides.contents(connection, ids)
    differences += [
        found
        for one in stands.upto
        if one.id in inside
        and not (off and one == stands.closing)
        and (found := contradiction(one, inside[one.id])) is not None
    ]
    look_at = await _earlier_days(connection, ours, (known, day), suspicious=suspicious)
    return _Found(stands, compared, tuple(differences), totals, look_at)


async def _balance(
    connection: AsyncConnection,
    ours: BankAccount,
    where: tuple[Statements, Standing, date],
    named: Sequence[Difference],
) -> tuple[int, bool]:
    """By how much the closing balance is off, unexplained; and whether history needs a look."""
    known, stands, day = where
    if stands.closing is None or known.begins is None:
        return 0, False
    span = (min(known.begins, day), day)
    booked = await sides.booked_until(connection, ours, stands, span)
    rows = await fetch(connection, _EARLIER, (ours.id, day))
    earlier = [_difference(row) for row in rows]
    explained = [*(one for one in earlier if explains(one)), *named]
    off = balance_difference(stands, booked, explained)
    told = await sides.told_until(connection, ours.id, stands.upto)
    return off, off != 0 or stands.base + told != stands.closing.closing


async def _earlier_days(
    connection: AsyncConnection,
    ours: BankAccount,
    where: tuple[Statements, date],
    *,
    suspicious: bool,
) -> tuple[date, ...]:
    """Days before that disagree and show no difference: to be compared again, oldest first."""
    known, day = where
    broken = {one.id: one for one in known.broken if one.day < day}
    found = set()
    if broken:
        shown = {row[0] for row in await fetch(connection, _SHOWN, (ours.id, day))}
        inside = await sides.contents(connection, list(broken))
        wrong = (one for one in broken.values() if contradiction(one, inside[one.id]) is not None)
        found = {one.day for one in wrong if one.day not in shown}
    if suspicious and known.begins is not None and known.begins < day:
        span = (known.begins - timedelta(days=1), day)
        found.update(await sides.days_off(connection, ours, span, at_most=DAYS_AT_ONCE))
    return tuple(sorted(found)[-DAYS_AT_ONCE:])


async def _record(
    connection: AsyncConnection,
    ours: BankAccount,
    day: date,
    came_to: tuple[_Found, ReconciliationState],
    *,
    at: datetime,
) -> tuple[datetime, list[Difference]]:
    found, state = came_to
    row = (ours.id, day, state.value, found.compared.matched, len(found.differences))
    first_at = (await fetch(connection, _RECORD, (*row, *found.totals, at)))[0][0]
    columns: tuple[list[Any], ...] = (
        [one.kind.value for one in found.differences],
        [one.subject for one in found.differences],
        [one.transfer for one in found.differences],
    )
    await execute(connection, _CLEAR, (ours.id, day, at, *columns))
    sums: tuple[list[Any], ...] = (
        [one.bank_minor for one in found.differences],
        [one.book_minor for one in found.differences],
    )
    await execute(connection, _NOTE, (ours.id, day, at, *columns, *sums))
    rows = await fetch(connection, _OPEN, (ours.id, day))
    return first_at, [_difference(row) for row in rows]


async def _tell_the_desk(
    connection: AsyncConnection,
    view: ReconciliationView,
    noted: Sequence[Difference],
    *,
    at: datetime,
) -> None:
    """Open the day's item or bring it up to date; settle it when there is no need any more.

    What the desk closed with a decision stays closed until something new differs.
    """
    kind = ItemKind.RECONCILIATION_DIFFERENCE
    subject = reconciliation_workflow_id(view.account, view.day)
    if not view.needs_desk:
        await settle_items(connection, kind, [subject], outcome=Outcome.RESOLVED, at=at)
        return
    closed = (await fetch(connection, _ACKNOWLEDGED, (kind.value, subject)))[0][0]
    seen = [one.first_seen for one in noted if one.first_seen is not None]
    if closed is not None and seen and max(seen) <= closed:
        return
    context: dict[str, str | int | None] = {
        "state": view.state.value,
        "differences": view.difference_count,
        "largest_minor": view.largest_minor,
        "largest": noted[0].subject,
        "age_days": view.age_days,
        "first_seen": min(seen).isoformat() if seen else None,
    }
    reason = noted[0].kind.value
    item = NewItem(kind, subject, reason, view.largest_minor, view.currency, context)
    await open_items(connection, [item], at=at)
    now = (kind.value, subject, view.largest_minor, json.dumps(context))
    await execute(connection, _UPDATE_ITEM, now)


def _difference(row: Sequence[Any]) -> Difference:
    kind, subject, bank, book, transfer, first_seen = row
    return Difference(
        kind=DifferenceKind(kind), subject=subject, bank_minor=bank, book_minor=book,
        transfer=transfer, first_seen=first_seen,
    )  # fmt: skip
