"""What overlapping statements are compared by: likeness of entries, days and balances (P-26)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from tillkeeper.rules.nearest import Nearest
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
    amounts = {one.signed for one in told} & {one.signed for one in known}
    left = Nearest()
    for place, one in enumerate(known):
        if one.signed in amounts:
            for key in _kept_under(one):
                left.add(key, one.day, place)
    asked = [n for n, one in enumerate(told) if one.signed in amounts]
    for strict in (True, False):
        for n in asked:
            one = told[n]
            if found[n] is not None or (strict and one.reference is None):
                continue
            ways = (left.within(*way) for way in _sought(one, strict=strict, most=apart))
            best = min(filter(None, ways), default=None)
            if best is not None:
                found[n] = best[1]
                left.take(best[1])
    return found


def _kept_under(known: Movement) -> Iterator[Hashable]:
    """The keys of a known entry: its reference, and that it may have any or has none."""
    yield known.signed, _ANY, known.dated
    if known.reference is None:
        yield known.signed, None, known.dated
    else:
        yield known.signed, known.reference, known.dated, known.early


def _sought(
    told: Movement, *, strict: bool, most: int
) -> Iterator[tuple[Hashable, date, int | None]]:
    """The keys that a told entry may be known under, and how far from its day.

    A day may be off where a notification told the entry first; what has no day has any.
    """
    for dated in (True, False):
        sure = dated and told.dated
        if strict:
            for early in (True, False):
                key = told.signed, told.reference, dated, early
                yield key, told.day, (DAYS_APART_MAX if early else most) if sure else None
        else:
            reference = _ANY if told.reference is None else None
            yield (told.signed, reference, dated), told.day, most if sure else None


_ANY: Final = ("any",)
"""Stands for whichever reference."""


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
    follow: dict[int, list[Slice]] = defaultdict(list)
    for one in slices:
        follow[one.start].append(one)
    steps = [[one] for one in follow.get(start, ())]
    left = _STEPS_MAX
    while steps and left > 0:
        del steps[:-left]
        trail = steps.pop()
        yield trail
        left -= len(trail)
        used = {one.statement for one in trail}
        after = (one for one in follow.get(trail[-1].end, ()) if one.statement not in used)
        steps.extend([*trail, one] for one in after)


_STEPS_MAX: Final = 20_000
"""Steps on ways through the pages of one day that are tried: a hostile file may hold any number."""
