"""What overlapping statements are compared by: likeness of entries, days and balances (P-26)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from tillkeeper.rules.sameness import (
    DAYS_APART_MAX,
    Found,
    Identity,
    Movement,
    equal_balances,
    first_day,
)


@dataclass(frozen=True, slots=True)
class Known:
    """A statement that is kept, with all entries kept for it."""

    identity: Identity
    entries: Sequence[Movement]

    @property
    def whole(self) -> bool:
        """Whether its entries make its closing balance."""
        return total(self.entries) == self.identity.closing - self.identity.opening


def still(identity: Identity) -> bool:
    """Whether nothing moved on balance."""
    return identity.opening == identity.closing


def other_page(identity: Identity, first: date, known: Known) -> bool:
    """Whether it is another statement of the same single day, there and there again."""
    return (
        first == identity.closing_on
        and identity.kind == known.identity.kind
        and equal_balances(identity, known.identity)
        and None not in (identity.opening_on, known.identity.opening_on)
        and identity.opening_on == known.identity.opening_on
    )


def leaves(known: Known, identity: Identity, told: Sequence[Movement]) -> bool:
    """Whether ``told`` joins a statement whose balances leave as much to another one.

    So does one that holds a batch of which it stated a piece.
    """
    if known.identity.closing != identity.opening and known.identity.opening != identity.closing:
        return False
    missing = known.identity.closing - known.identity.opening - total(known.entries)
    return missing * total(told) < 0 and abs(missing) >= abs(total(told))


def certain(told: Sequence[Movement], known: Sequence[Movement], other_period: bool) -> bool:
    """Whether what could be another page of the day is known.

    Every reference says so, or for statements of different periods all entries are equal.
    """
    equal = other_period and len(told) == len(known) and None not in pairs(told, known)
    return equal or referred(told, known)


def in_form(identity: Identity, told: Sequence[Movement], known: Sequence[Known]) -> list[Known]:
    """``known``, where statements of other formats name what ``told`` names as it does, or nothing.

    Formats write one reference in different forms, such as cut to 16 characters: there another one
    contradicts nothing. Balances, days and amounts decide.
    """
    other = [one.identity.kind != identity.kind for one in known]
    forms = _forms(told) if any(other) else {}
    return [_named(one, forms) if o else one for one, o in zip(known, other, strict=True)]


def unnamed(kind: str, known: Sequence[Known]) -> list[Known]:
    """``known``, where statements of another format than ``kind`` name no references."""
    return [one if one.identity.kind == kind else _named(one, {}) for one in known]


def _forms(told: Sequence[Movement]) -> dict[str, str | None]:
    """What is told under each form of a reference; None: more than one."""
    found: dict[str, str | None] = {}
    for one in told:
        if one.reference is not None:
            alike = frozenset() if one.likeness is None else one.likeness().references
            for form in alike | {one.reference}:
                found[form] = (
                    one.reference if found.get(form, one.reference) == one.reference else None
                )
    return found


def _named(known: Known, forms: Mapping[str, str | None]) -> Known:
    named = [replace(one, reference=forms.get(one.reference or "")) for one in known.entries]
    return Known(known.identity, named)


def referred(told: Sequence[Movement], known: Sequence[Movement]) -> bool:
    """Whether each told entry has a reference and is known by it."""
    if any(one.reference is None for one in told):
        return False
    found = pairs(told, known)
    return all(
        place is not None and known[place].reference == one.reference
        for one, place in zip(told, found, strict=True)
    )


def pairs(told: Sequence[Movement], known: Sequence[Movement], *, apart: int = 0) -> Found:
    """Each told entry's known one: equal amount, compatible reference, days ``apart`` at most.

    A day may be off where a notification told the entry first.
    """
    found: Found = [None] * len(told)
    taken: set[int] = set()
    by_amount: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(known):
        by_amount[one.signed].append(place)
    for strict in (True, False):
        for n, one in enumerate(told):
            if found[n] is not None:
                continue
            likes = [p for p in by_amount[one.signed] if p not in taken]
            likes = [p for p in likes if _alike(one, known[p], strict=strict, most=apart)]
            if likes:
                best = min(likes, key=lambda p: (abs((known[p].day - one.day).days), p))
                found[n] = best
                taken.add(best)
    return found


def _alike(told: Movement, known: Movement, *, strict: bool, most: int) -> bool:
    apart = abs((told.day - known.day).days)
    if not told.dated or not known.dated:
        apart = 0
    if told.reference is not None and told.reference == known.reference:
        return apart <= (DAYS_APART_MAX if known.early else most)
    return not strict and apart <= most and None in (told.reference, known.reference)


def total(entries: Sequence[Movement]) -> int:
    """What the movements sum up to, in signed minor units."""
    return sum(one.signed for one in entries)


def first_told(identity: Identity, told: Sequence[Movement]) -> date:
    """The first day that it tells of; where the bank named no days, that it may tell of."""
    days = [one.day for one in told]
    return min(days) if all(one.dated for one in told) else min(first_day(identity), *days)


def begins(known: Known) -> date:
    """The first day of which the statement tells."""
    return min([first_day(known.identity), *days_of(known)])


def days_of(known: Known) -> list[date]:
    """The days of its entries; of one that was notified first its closing day."""
    closing = known.identity.closing_on
    return [closing if one.early else min(one.day, closing) for one in known.entries]


def own_days(known: Known) -> list[date]:
    """The days as the entries name them, inside the statement's period."""
    begin, end = first_day(known.identity), known.identity.closing_on
    return [min(max(one.day, begin), end) for one in known.entries]


@dataclass(frozen=True, slots=True)
class Slice:
    """What a statement tells of one day: from balance to balance."""

    statement: int
    day: date
    start: int
    end: int
    places: tuple[int, ...]


def slices_of(place: int, known: Known, days: Sequence[date] | None = None) -> list[Slice]:
    """A known statement day by day; where entries are missing also backwards from its closing."""
    by_day: dict[date, list[int]] = defaultdict(list)
    for n, day in enumerate(days or days_of(known)):
        by_day[day].append(n)
    missing = known.identity.closing - known.identity.opening - total(known.entries)
    balance, found = known.identity.opening, []
    for day in sorted(by_day):
        places = tuple(by_day[day])
        after = balance + sum(known.entries[n].signed for n in places)
        ways = [(balance, after)]
        if missing:
            ways = [(balance, after + missing), *ways, (balance + missing, after + missing)]
        found += [Slice(place, day, start, end, places) for start, end in ways]
        balance = after
    return found


def trails(slices: Sequence[Slice], start: int) -> Iterator[list[Slice]]:
    """Ways through slices of different statements that begin at ``start``."""
    steps: list[list[Slice]] = [[one] for one in slices if one.start == start]
    tried = 0
    while steps and tried < _TRAILS_MAX:
        tried += 1
        trail = steps.pop()
        yield trail
        used = {one.statement for one in trail}
        steps.extend(
            [*trail, one]
            for one in slices
            if one.start == trail[-1].end and one.statement not in used
        )


_TRAILS_MAX: Final = 10_000
"""Ways through the pages of one day that are tried: a hostile file may hold any number."""
