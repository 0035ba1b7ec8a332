"""Which part of a statement other statements have told: a month on top of its days (P-26, C-09).

Only what balances prove is the same money: known statements that lead from the told one's opening
to its closing balance inside its period; a longer known one whose balances it hangs between; or a
day that both lead through from the same balance to the same balance. All else is new, and where
the balances contradict it, ``continuity`` shows the gap: money is booked and seen, never lost in
silence. Statements of one day that follow each other are separate money, unless every reference
says that they are not. What is new is cut out as a statement of its own, so that the statements
that are kept never overlap and their balances join.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

from tillkeeper.contracts.bank import FileKind
from tillkeeper.rules.continuity import Stated, chain
from tillkeeper.rules.likeness import (
    Known,
    Slice,
    begins,
    certain,
    days_of,
    first_told,
    in_form,
    leaves,
    other_page,
    own_days,
    pairs,
    referred,
    slices_of,
    still,
    total,
    trails,
)
from tillkeeper.rules.sameness import DAYS_APART_MAX, Identity, Movement, told_again

Place = tuple[int, int]
"""An entry of a known statement: the statement's place and the entry's place in it."""


@dataclass(slots=True)
class Run:
    """What is new between two balances, to be kept as a statement: places of told entries."""

    identity: Identity
    places: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Cut:
    """``found``: for each told entry the known one. ``homes``: known statements that left it out.

    Whatever is in neither is in one of ``runs``.
    """

    found: list[Place | None]
    homes: dict[int, int] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)


def cut(identity: Identity, told: Sequence[Movement], known: Sequence[Known]) -> Cut:
    """What of a statement that is no known one again is known, and what is new."""
    if not told:
        return Cut([], runs=[] if _still_inside(identity, known) else [Run(identity)])
    args = identity, told, in_form(identity, told, known)
    return _by_chain(*args) or _by_longer(*args) or _Days(*args).cut()


def _still_inside(identity: Identity, known: Sequence[Known]) -> bool:
    """Whether a longer statement passes through the balance of one that tells nothing."""
    return still(identity) and any(
        one.entries
        and begins(one) <= identity.closing_on < one.identity.closing_on
        and identity.opening in _balances_on(one, identity.closing_on)
        for one in known
    )


def _balances_on(known: Known, day: date) -> set[int]:
    """What the balance may have been at the end of a day inside, in minor units.

    On which day an entry moved that has no day, or a notification's, is not known for sure.
    """
    found = {known.identity.opening}
    for one in known.entries:
        unsure = one.early or not one.dated
        if unsure and len(found) < _BALANCES_MAX:
            found |= {balance + one.signed for balance in found}
        elif one.day <= day:
            found = {balance + one.signed for balance in found}
    return found


def _by_chain(identity: Identity, told: Sequence[Movement], known: Sequence[Known]) -> Cut | None:
    """All of it is known where statements inside its period join its balances."""
    first, last = first_told(identity, told), identity.closing_on
    inside = [
        Stated(place, one.identity.closing_on, one.identity.opening, one.identity.closing)
        for place, one in enumerate(known)
        if one.entries
        and first <= one.identity.closing_on <= last
        and all(day >= first for day in days_of(one))
        and not other_page(identity, first, one)
    ]
    ordered = chain(inside)
    for start, end in _joined(ordered, identity):
        before, after = ordered[:start], ordered[end:]
        if any(one.day != first for one in before) or any(one.day != last for one in after):
            continue
        places = [one.id for one in ordered[start:end]]
        among = [(place, e) for place in places for e in range(len(known[place].entries))]
        entries = [known[place].entries[e] for place, e in among]
        beside = bool(before or after)
        if first == last and (beside or still(identity)):
            begins = [known[place].identity.opening_on for place in places]
            if not certain(told, entries, identity.opening_on not in begins and not beside):
                continue
        whole = all(known[place].whole for place in places)
        if whole and not _same_money(told, entries):
            continue
        found = told_again(told, entries, whole=whole)
        if whole and None in found:
            continue
        return Cut(
            [None if one is None else among[one] for one in found],
            homes={n: _home(told[n], places, known) for n, one in enumerate(found) if one is None},
        )
    return None


def _same_money(told: Sequence[Movement], known: Sequence[Movement]) -> bool:
    """Whether both move the same day by day, or have equal amounts some days apart.

    Formats name the booking or the value day; a batch may be told as one entry or one by one.
    """
    found = pairs(told, known)
    taken = set(found)
    days: dict[date, int] = defaultdict(int)
    for one, place in zip(told, found, strict=True):
        days[one.day] += one.signed if place is None else 0
    for place, one in enumerate(known):
        days[one.day] -= 0 if place in taken else one.signed
    if not any(days.values()):
        return True
    near = pairs(told, known, apart=DAYS_APART_MAX)
    return len(told) == len(known) and None not in near


def _joined(ordered: Sequence[Stated], identity: Identity) -> Iterator[tuple[int, int]]:
    """Where neighbours join from the opening to the closing balance, the longest first."""
    found = []
    for start, one in enumerate(ordered):
        if one.opening != identity.opening:
            continue
        for end in range(start + 1, len(ordered) + 1):
            if end - start > 1 and ordered[end - 2].closing != ordered[end - 1].opening:
                break
            if ordered[end - 1].closing == identity.closing:
                found.append((start, end))
    yield from sorted(found, key=lambda span: span[0] - span[1])


def _home(one: Movement, places: Sequence[int], known: Sequence[Known]) -> int:
    """The statement of a chain that should have told an entry: not whole, and of its day."""

    def likeness(place: int) -> tuple[bool, int]:
        apart = abs((known[place].identity.closing_on - one.day).days)
        return known[place].whole, apart

    return min(places, key=likeness)


def _by_longer(identity: Identity, told: Sequence[Movement], known: Sequence[Known]) -> Cut | None:
    """All of it is known where it hangs in a longer statement that tells each of its entries."""
    first, last = first_told(identity, told), identity.closing_on
    for place, one in enumerate(known):
        if not one.entries or last > one.identity.closing_on or other_page(identity, first, one):
            continue
        begin = begins(one)
        if first < begin or len(one.entries) < len(told):
            continue
        found = pairs(told, one.entries)
        if None in found or leaves(one, identity, told):
            continue
        if begin < first and last < one.identity.closing_on and one.whole:
            sure = True
        else:
            sure = _hangs(identity, place, one) or referred(told, one.entries)
        if sure:
            return Cut([None if entry is None else (place, entry) for entry in found])
    return None


def _hangs(identity: Identity, place: int, known: Known) -> bool:
    """Whether it begins or ends with a day of ``known`` and does not merely follow it."""
    if identity.opening == known.identity.closing or identity.closing == known.identity.opening:
        return False
    slices = slices_of(place, known)
    return identity.opening in {one.start for one in slices} or identity.closing in {
        one.end for one in slices
    }


class _Days:
    """Cuts a told statement by its days: what known statements lead through is known."""

    def __init__(self, identity: Identity, told: Sequence[Movement], known: Sequence[Known]):
        self._identity, self._told, self._known = identity, told, known
        self._missing = identity.closing - identity.opening - total(told)
        self._by_day: dict[date, list[int]] = defaultdict(list)
        for n, one in enumerate(told):
            self._by_day[one.day].append(n)
        self._first, self._last = min(self._by_day), max(*self._by_day, identity.closing_on)
        self._slices: dict[date, list[Slice]] = defaultdict(list)
        for place, other in enumerate(known):
            if other.entries and not other_page(identity, self._first, other):
                # On which day a notified entry moved is a guess: balances prove which is right.
                guesses = (self._days(other), own_days(other))
                for piece in dict.fromkeys(p for g in guesses for p in slices_of(place, other, g)):
                    self._slices[piece.day].append(piece)
        self._cut = Cut([None] * len(told))
        self._run: Run | None = None
        self._balance = identity.opening
        self._whole = True

    def cut(self) -> Cut:
        """Day by day, from the opening balance."""
        stops = {
            one.identity.closing_on
            for one in self._known
            if not one.entries and still(one.identity)
            and self._first <= one.identity.closing_on < self._last
        }  # fmt: skip
        for day in sorted({*self._by_day, *stops}):
            if day in self._by_day:
                self._take(day, self._by_day[day])
            if day in stops and self._passes(day):
                self._whole = self._whole and self._run is None
                self._close(self._balance, day)
        self._close(self._identity.closing, self._identity.closing_on)
        runs = self._cut.runs
        if self._whole and len(runs) == 1 and len(runs[0].places) == len(self._told):
            runs[0].identity = self._identity
        return self._cut

    def _passes(self, day: date) -> bool:
        return any(
            not one.entries and one.identity.closing_on == day
            and one.identity.opening == self._balance
            for one in self._known
        )  # fmt: skip

    def _take(self, day: date, places: list[int]) -> None:
        total = sum(self._told[n].signed for n in places)
        offsets = [(0, 0)]
        if self._missing:
            offsets += [(self._missing, self._missing), (0, self._missing)]
        for before, after in offsets:
            start, end = self._balance + before, self._balance + after + total
            trail = self._trail(day, start, end)
            if trail and self._may(trail, places):
                self._close(start, day)
                self._same(trail, places)
                self._balance = end
                self._missing -= after
                return
        self._part(day, places, self._balance + total)

    def _same(self, trail: Sequence[Slice], places: Sequence[int]) -> None:
        """The day leads from the same balance to the same: all that was told is known."""
        among = [(one.statement, n) for one in trail for n in one.places]
        entries = [self._known[s].entries[n] for s, n in among]
        whole = total(entries) == trail[-1].end - trail[0].start
        found = told_again([self._told[n] for n in places], entries, whole=whole)
        for n, one in zip(places, found, strict=True):
            if one is None:
                self._cut.homes[n] = trail[0].statement
            else:
                self._cut.found[n] = among[one]
        self._whole = False

    def _part(self, day: date, places: list[int], end: int) -> None:
        """Pages of the day that hang at its beginning or its end are known, the rest is new."""
        for trail, at_end in ((self._longest(day, self._balance), False),
                              (self._longest(day, end, back=True), True)):  # fmt: skip
            if not trail:
                continue
            among = [(one.statement, n) for one in trail for n in one.places]
            entries = [self._known[s].entries[n] for s, n in among]
            told = [self._told[n] for n in places]
            found = pairs(entries, [replace(one, early=True) for one in told])
            if None in found or not self._may(trail, places):
                continue
            taken = {
                places[n]: where for n, where in zip(found, among, strict=True) if n is not None
            }
            for n, where in taken.items():
                self._cut.found[n] = where
            if not at_end:
                self._close(self._balance, day)
                self._balance = trail[-1].end
            self._whole = False
            self._new(day, [n for n in places if n not in taken])
            self._balance = trail[0].start if at_end else end
            if at_end:
                self._close(self._balance, day)
                self._balance = end
            return
        self._new(day, places)
        self._balance = end

    def _new(self, day: date, places: Sequence[int]) -> None:
        if self._run is None:
            opened = day - timedelta(days=self._identity.kind == FileKind.MT940)
            trimmed = replace(
                self._identity,
                number=None,
                identifier=None,
                opening=self._balance,
                opening_on=opened,
            )
            self._run = Run(trimmed)
        self._run.places.extend(places)
        self._run.identity = replace(self._run.identity, closing_on=day)

    def _close(self, balance: int, day: date) -> None:
        """End the run of what is new at ``balance``; the last one ends with the statement."""
        if self._run is None:
            return
        last = day == self._identity.closing_on and balance == self._identity.closing
        closing_on = day if last else self._run.identity.closing_on
        self._run.identity = replace(self._run.identity, closing=balance, closing_on=closing_on)
        self._cut.runs.append(self._run)
        self._run = None

    def _may(self, trail: Sequence[Slice], places: Sequence[int]) -> bool:
        """Whether no other statement of the same single day could stand where the told one does."""
        if self._first != self._identity.closing_on:
            return True
        alone = [one for one in trail if self._single(one.statement)]
        if len(alone) < len(trail):
            return True
        used = {one.statement for one in trail}
        start, end = self._identity.opening, self._identity.closing
        beside = [
            one for one in self._slices[trail[0].day]
            if one.statement not in used and (one.end == start or one.start == end)
        ]  # fmt: skip
        if not beside and trail[0].start != trail[-1].end and start != end:
            return True
        entries = [self._known[one.statement].entries[n] for one in trail for n in one.places]
        begins = {self._known[one].identity.opening_on for one in used}
        apart = not beside and self._identity.opening_on not in begins
        return certain([self._told[n] for n in places], entries, apart)

    def _single(self, statement: int) -> bool:
        known = self._known[statement]
        return set(days_of(known)) == {known.identity.closing_on}

    def _trail(self, day: date, start: int, end: int) -> list[Slice]:
        """Slices of the day that lead from ``start`` to ``end``, as many as there are."""
        ways = (t for t in trails(self._slices[day], start) if t[-1].end == end)
        return max(ways, key=len, default=[])

    def _longest(self, day: date, balance: int, *, back: bool = False) -> list[Slice]:
        slices = self._slices[day]
        if not back:
            return max(trails(slices, balance), key=len, default=[])
        turned = [replace(one, start=one.end, end=one.start) for one in slices]
        longest = max(trails(turned, balance), key=len, default=[])
        return [replace(one, start=one.end, end=one.start) for one in reversed(longest)]

    def _days(self, known: Known) -> list[date]:
        """The days of a known statement's entries, as the told one sees them.

        An entry that a notification told first has the day of the told entry that is the same; one
        that is not told has a day outside the told statement.
        """
        days = days_of(known)
        if not any(one.early for one in known.entries):
            return days
        begin = begins(known)
        inside = [one for one in self._told if begin <= one.day <= known.identity.closing_on]
        paired = {n: inside[place].day for place, n in enumerate(pairs(inside, known.entries))}
        for n, one in enumerate(known.entries):
            if not one.early:
                continue
            if n in paired:
                days[n] = paired[n]
            elif begin < self._first and known.identity.closing_on <= self._last:
                days[n] = begin
        return days


_BALANCES_MAX: Final = 1_000
