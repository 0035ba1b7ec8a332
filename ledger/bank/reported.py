"""Money that is reported and told by files: the same under whatever reference (P-26).

Promises that a report is taken for one entry or one part, and never for another amount. A service
may know another reference than the file: the transaction's, or one written otherwise. It changes
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.entries import Entry, Part
from ledger.bank.rows import open_said
from ledger.bank.told import likeness_of, likeness_of_part, reported_likeness
from ledger.engine import fetch
from tillkeeper.contracts.receipt import ReceiptReport, ReceiptState, reference_digest
from tillkeeper.rules.days import day_bounds, day_of
from tillkeeper.rules.names import compact_number
from tillkeeper.rules.sameness import DAYS_APART_MAX, Likeness, Movement, reported
from tillkeeper.sealing import KeyRing

_COLUMNS: Final = """
SELECT digest, amount, currency, state, booked_at, payer_sealed FROM receipts
 WHERE entry IS NULL AND digest = reference_digest"""

_UNTOLD: Final = f"""{_COLUMNS} AND reference_digest = ANY($1::text[])
 UNION
{_COLUMNS} AND currency = ANY($2::text[]) AND amount = ANY($3::bigint[])
   AND booked_at >= $4 AND booked_at < $5
 ORDER BY booked_at, digest"""


_TOLD: Final = """
SELECT r.digest, r.booked_at, r.payer_digest = $5 AS paid, e.day, t.part, t.said_sealed, e.id
  FROM receipts r JOIN bank_entries e ON e.id = r.entry
  JOIN bank_accounts a ON a.id = e.account
  JOIN bank_transactions t ON t.entry = r.entry AND t.part = r.part
 WHERE r.currency = $1 AND r.amount = $2 AND r.booked_at >= $3 AND r.booked_at < $4
   AND a.number = $6 AND r.state <> 'DETAILED'
 ORDER BY abs(e.day - $7::date), e.id, t.part"""


@dataclass(frozen=True, slots=True)
class Report:
    """A report that no file has told yet; the amount in minor units."""

    digest: str
    amount: int
    currency: str
    state: ReceiptState
    booked_at: datetime
    payer: str = field(repr=False)
    reference: str = field(repr=False)


class Share(NamedTuple):
    """A report of one part of an entry."""

    report: Report
    part: int


@dataclass(slots=True)
class Reports:
    """By entry id: what was reported of it as a whole, and what of its parts."""

    whole: dict[int, Report] = field(default_factory=dict)
    shares: dict[int, list[Share]] = field(default_factory=dict)


class _Unit(NamedTuple):
    entry: Entry
    part: int | None
    movement: Movement


async def reports_of(
    connection: AsyncConnection, ring: KeyRing, entries: Iterable[Entry], *, parts_only: bool
) -> Reports:
    """What was reported of these credits; with ``parts_only`` their money is booked already."""
    units = [unit for e in entries if e.credit for unit in _units(ring, e, parts_only=parts_only)]
    found = Reports()
    left = await _untold(connection, ring, units) if units else []
    for number, currency in sorted({(u.entry.number, u.entry.currency) for u in units if left}):
        mine = [u for u in units if (u.entry.number, u.entry.currency) == (number, currency)]
        known = [r for r in left if (r.currency, r.digest) == (currency, _digest(number, r))]
        places = reported([u.movement for u in mine], [_movement(number, one) for one in known])
        for unit, place in zip(mine, places, strict=True):
            if place is None or unit.entry.id in found.whole:
                continue
            if unit.part is None:
                found.whole[unit.entry.id] = known[place]
            else:
                share = Share(known[place], unit.part)
                found.shares.setdefault(unit.entry.id, []).append(share)
    return found


async def told_as(
    connection: AsyncConnection, ring: KeyRing, report: ReceiptReport, payer_digest: bytes
) -> str | None:
    """The receipt, by its digest, that a file made of what is reported now; None: it is new.

    It has the amount, and the reference in another form or level; where the file gives none, the
    payer and the day.
    """
    number, day = compact_number(report.receiving_account), day_of(report.booked_at)
    apart = timedelta(days=DAYS_APART_MAX)
    first, last = day_bounds(day - apart)[0], day_bounds(day + apart)[1]
    given = (report.currency, report.amount_minor, first, last, payer_digest, number, day)
    rows = await fetch(connection, _TOLD, given)
    reference, payer = report.bank_reference, report.payer_name
    mine = reported_likeness(number, reference, payer, known=False) if rows else Likeness()
    for row in rows:
        said = open_said(ring, row.id, row.part, row.said_sealed)
        theirs = likeness_of_part(number, said, known=True)
        alike = mine.references & theirs.references
        if alike or (not theirs.references and row.paid and row.day == day):
            return str(row.digest)
    return None


def _units(ring: KeyRing, entry: Entry, *, parts_only: bool) -> list[_Unit]:
    """The entry, and each of its parts where they are money of their own."""
    units = []
    if not parts_only:
        # What takes back or comes back is known by its reference alone.
        plain = not (entry.reversal or entry.payment)
        likeness = partial(_likeness, ring, entry) if plain and entry.parts else None
        units.append(_Unit(entry, None, _told(entry, entry.amount, likeness)))
    if entry.splits or (parts_only and len(entry.parts) == 1):
        for part in entry.parts:
            likeness = partial(_likeness_of_part, ring, entry, part)
            amount = part.amount or 0 if entry.splits else entry.amount
            units.append(_Unit(entry, part.part, _told(entry, amount, likeness)))
    return units


def _told(entry: Entry, amount: int, likeness: Any) -> Movement:
    return Movement(
        amount, entry.day, True, entry.reference_digest, stated=entry.stated, likeness=likeness
    )


def _likeness(ring: KeyRing, entry: Entry) -> Likeness:
    said = [open_said(ring, one.entry, one.part, one.said_sealed) for one in entry.parts[:1]]
    return likeness_of(entry.number, said, known=False)


def _likeness_of_part(ring: KeyRing, entry: Entry, part: Part) -> Likeness:
    said = open_said(ring, part.entry, part.part, part.said_sealed)
    return likeness_of_part(entry.number, said, known=False)


def _movement(number: str, one: Report) -> Movement:
    likeness = partial(reported_likeness, number, one.reference, one.payer, known=True)
    return Movement(one.amount, day_of(one.booked_at), True, one.digest, likeness=likeness)


def _digest(number: str, one: Report) -> str:
    return reference_digest(number, one.reference)


async def _untold(
    connection: AsyncConnection, ring: KeyRing, units: Sequence[_Unit]
) -> list[Report]:
    apart = timedelta(days=DAYS_APART_MAX)
    days = [unit.entry.day for unit in units]
    given = (
        sorted({unit.entry.reference_digest for unit in units if unit.entry.reference_digest}),
        sorted({unit.entry.currency for unit in units}),
        sorted({unit.movement.signed for unit in units}),
        day_bounds(min(days) - apart)[0],
        day_bounds(max(days) + apart)[1],
    )
    return [_report(ring, row) for row in await fetch(connection, _UNTOLD, given)]


def _report(ring: KeyRing, row: Any) -> Report:
    said = json.loads(ring.open_text(row.payer_sealed, purpose=f"receipt/{row.digest}/payer"))
    return Report(
        row.digest, row.amount, row.currency, ReceiptState(row.state), row.booked_at,
        said.get("payer_name") or "", said.get("bank_reference") or "",
    )  # fmt: skip
