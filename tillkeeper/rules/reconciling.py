"""What differs between a bank account's day as told and as booked (C-14).

Promises that every movement of the day is either matched one to one or named, and that the closing
balance may differ from the book by nothing but what is named. Amounts are signed minor units,
positive where the account gained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from tillkeeper.contracts.reconciliation import (
    Difference,
    DifferenceKind,
    ReconciliationState,
)
from tillkeeper.rules.continuity import Stated, chain
from tillkeeper.rules.days import day_bounds, day_of

STATEMENT_DUE: Final = timedelta(days=3)
"""A day's statement may come so long after its end before its absence is work: a weekend."""


_REPORTED: Final = "receipt/"


@dataclass(frozen=True, slots=True)
class Told:
    """An entry that the bank tells; ``stated``: by a statement, not only notified."""

    entry: int
    day: date
    amount: int
    stated: bool
    booked_as: str | None


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer that moved the book's bank account."""

    transfer: int
    day: date
    amount: int
    subject: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many of the day's entries agree with the book, and what does not."""

    matched: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the account's statements say of a day.

    ``base`` is what the first statement opened with, ``upto`` the statements until the day's last
    one, ``after`` the later ones. ``closing`` is that last one where it closes on the day itself.
    """

    covered: bool
    base: int
    closing: Stated | None
    upto: tuple[Stated, ...]
    after: tuple[Stated, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A statement's own count and sum of its entries, and those of the entries kept for it."""

    told: int
    total: int
    kept: int
    kept_total: int


def compare(day: date, told: Iterable[Told], moved: Iterable[Moved]) -> Comparison:
    """Match the day's entries with transfers of the same subject, equal amounts first.

    Both sides hold the day's and whatever else bears a subject of the day: what the book has on
    one day and the bank on another is no difference. Each pair is told on its entry's day.
    """
    entries: dict[str, list[Told]] = defaultdict(list)
    transfers: dict[str, list[Moved]] = defaultdict(list)
    differences = []
    for one in told:
        if one.booked_as is None:
            differences += [_not_in_book(one)] if one.day == day else []
        else:
            entries[one.booked_as].append(one)
    for other in moved:
        transfers[other.subject].append(other)
    matched = 0
    for subject in sorted({*entries, *transfers}):
        equal, different = _pairs(entries[subject], transfers[subject])
        pairs = [(e, m) for e, m in equal if e.day == day]
        matched += sum(e.stated for e, _ in pairs)
        differences += [_not_stated(m) for e, m in pairs if not e.stated]
        differences += [_amount(e, m) for e, m in different if e.day == day]
        used = {m.transfer for _, m in (*equal, *different)}
        known = {e.entry for e, _ in (*equal, *different)}
        differences += [
            _not_in_book(e) for e in entries[subject] if e.entry not in known and e.day == day
        ]
        left = [m for m in transfers[subject] if m.transfer not in used]
        if subject.startswith(_REPORTED):
            left = _not_taken_back(left)
        differences += [_not_stated(m) for m in left if m.day == day]
    return Comparison(matched, tuple(differences))


def standing(statements: Sequence[Stated], begins: date | None, day: date) -> Standing:
    """What covers ``day``: a statement that closes on it, or one after that joins the one before.

    ``begins`` is the first day of the first statement.
    """
    ordered = chain(statements)
    upto = tuple(one for one in ordered if one.day <= day)
    after = tuple(one for one in ordered if one.day > day)
    closing = upto[-1] if upto and upto[-1].day == day else None
    if upto and after:
        covered = closing is not None or upto[-1].closing == after[0].opening
    elif after:
        covered = begins is not None and begins <= day
    else:
        covered = closing is not None
    base = ordered[0].opening if ordered else 0
    return Standing(covered, base, closing, upto, after)


def balance_difference(stands: Standing, booked: int, named: Iterable[Difference]) -> int:
    """By how much the closing balance is above the book, beyond the named differences.

    ``booked`` is what moved in the book of all that the statements until then should tell.
    """
    if stands.closing is None:
        return 0
    off = stands.closing.closing - stands.base - booked
    return 0 if off == 0 else off - sum(one.off_minor for one in named)


def unbalanced(closing: Stated, off: int) -> Difference:
    """The closing balance that the book, with what is named, does not come to."""
    return Difference(
        kind=DifferenceKind.BALANCE_DIFFERS,
        subject=f"statement/{closing.id}",
        bank_minor=closing.closing,
        book_minor=closing.closing - off,
    )


def contradiction(statement: Stated, contents: Contents) -> Difference | None:
    """A statement that does not make up its own closing balance, or not its own sum.

    A corrected file may add entries to a statement: then only the balances count.
    """
    bank, kept = statement.closing, statement.opening + contents.kept_total
    if bank == kept and contents.told == contents.kept:
        bank, kept = contents.total, contents.kept_total
    if bank == kept:
        return None
    return Difference(
        kind=DifferenceKind.BALANCE_DIFFERS,
        subject=f"statement/{statement.id}/entries",
        bank_minor=bank,
        book_minor=kept,
    )


def explains(difference: Difference) -> bool:
    """Whether it is part of what the book and a later closing balance differ by."""
    return not difference.subject.endswith("/entries")


def state_of(*, covered: bool, differences: Sequence[Difference]) -> ReconciliationState:
    """What the day came to."""
    if not covered:
        return ReconciliationState.NO_STATEMENT
    return ReconciliationState.DIFFERENT if differences else ReconciliationState.CLEAN


def needs_desk(
    state: ReconciliationState, differences: Sequence[Difference], day: date, at: datetime
) -> bool:
    """Whether the day is work for a person: at once when stated, else when no statement comes."""
    if not differences:
        return False
    overdue = at >= day_bounds(day)[1] + STATEMENT_DUE
    return state is ReconciliationState.DIFFERENT or overdue


def age_days(day: date, at: datetime) -> int:
    """Whole days since ``day`` in the business zone, never negative."""
    return max(0, (day_of(at) - day).days)


def largest(differences: Iterable[Difference]) -> int:
    """The largest amount by which anything differs, without its sign."""
    return max((abs(one.off_minor) for one in differences), default=0)


def _pairs(
    entries: Sequence[Told], transfers: Sequence[Moved]
) -> tuple[list[tuple[Told, Moved]], list[tuple[Told, Moved]]]:
    """Pairs of one subject: of equal amounts, then of one direction and different amounts."""
    left = sorted(transfers, key=lambda m: m.transfer)
    equal, rest = [], []
    for entry in sorted(entries, key=lambda e: (not e.stated, e.entry)):
        found = next((m for m in left if m.amount == entry.amount), None)
        if found is None:
            rest.append(entry)
        else:
            left.remove(found)
            equal.append((entry, found))
    different = []
    for entry in rest:
        found = next((m for m in left if (m.amount > 0) == (entry.amount > 0)), None)
        if found is not None:
            left.remove(found)
            different.append((entry, found))
    return equal, different


def _not_taken_back(transfers: Sequence[Moved]) -> list[Moved]:
    """Without what was taken back on its day: reports whose money a batch's entry tells now."""
    left: list[Moved] = []
    for one in transfers:
        back = next((m for m in left if (m.day, m.amount) == (one.day, -one.amount)), None)
        if back is None:
            left.append(one)
        else:
            left.remove(back)
    return left


def _not_in_book(entry: Told) -> Difference:
    return Difference(
        kind=DifferenceKind.NOT_IN_BOOK, subject=f"entry/{entry.entry}", bank_minor=entry.amount
    )


def _not_stated(moved: Moved) -> Difference:
    return Difference(
        kind=DifferenceKind.NOT_ON_STATEMENT,
        subject=moved.subject,
        book_minor=moved.amount,
        transfer=moved.transfer,
    )


def _amount(entry: Told, moved: Moved) -> Difference:
    return Difference(
        kind=DifferenceKind.AMOUNT_DIFFERS,
        subject=moved.subject,
        bank_minor=entry.amount,
        book_minor=moved.amount,
        transfer=moved.transfer,
    )
