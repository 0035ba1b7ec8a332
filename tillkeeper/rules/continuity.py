"""Whether an account's statements follow each other: opening + entries = closing = next opening.

Decides on the statements as a set: the order in which their files arrived plays no part. Several
statements of one day, pages among them, are put into the order in which their balances join.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby, pairwise


@dataclass(frozen=True, slots=True)
class Stated:
    """One statement of an account; balances in signed minor units, ``day`` of the closing one."""

    id: int
    day: date
    opening: int
    closing: int
    number: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """``after`` (None: an unknown one) does not open where ``before`` closed; signed minor units.

    ``missing`` is what moved in what was not told.
    """

    before: Stated
    after: Stated

    @property
    def day(self) -> date:
        """The day by which the gap is named: of the statement that does not join."""
        return self.after.day

    @property
    def missing(self) -> int:
        """What moved in between and no statement tells, signed."""
        return self.after.opening - self.before.closing


def difference(opening: int, entries: int, closing: int) -> int:
    """What is missing for opening + entries = closing, in signed minor units; 0: it adds up."""
    return closing - opening - entries


def gaps(statements: Sequence[Stated]) -> tuple[Gap, ...]:
    """Where the account's statements do not join; in order, as few as their days allow."""
    return tuple(
        Gap(before, after)
        for before, after in _pairs(chain(statements))
        if before.closing != after.opening
    )


def chain(statements: Sequence[Stated]) -> list[Stated]:
    """The statements by day, those of one day in the order in which their balances join."""
    ordered = sorted(statements, key=_order)
    days = [list(group) for _, group in groupby(ordered, key=lambda one: one.day)]
    entrances = _entrances(days)
    found: list[Stated] = []
    for group, here, follow in zip(days, entrances, entrances[1:], strict=False):
        start = found[-1].closing if found else min(here)
        for trail in _in_turn(_trails(group, start), start, follow):
            found.extend(trail)
    return found


def _entrances(days: Sequence[Sequence[Stated]]) -> list[set[int]]:
    """By day and one more, the balances it may be gone through from: where more opens than closes.

    A day that ends where it began may begin anywhere, best where the next day does.
    """
    follow: set[int] = set()
    found = [follow]
    for group in reversed(days):
        anywhere = {one.opening for one in group}
        begins = {place for place, more in _surplus(group).items() if more > 0}
        follow = begins or (anywhere & follow) or anywhere
        found.append(follow)
    return found[::-1]


def _surplus(group: Sequence[Stated]) -> dict[int, int]:
    """By balance, how many more statements open there than close there."""
    surplus: dict[int, int] = defaultdict(int)
    for one in group:
        surplus[one.opening] += 1
        surplus[one.closing] -= 1
    return surplus


def _order(one: Stated) -> tuple[object, ...]:
    return one.day, one.number, one.opening, one.closing, one.id


def _pairs(found: Sequence[Stated]) -> Iterator[tuple[Stated, Stated]]:
    return pairwise(found)


def _in_turn(trails: list[list[Stated]], start: int | None, follow: set[int]) -> list[list[Stated]]:
    """First the trail that joins the day before, last one that joins the day after."""

    def turn(trail: list[Stated]) -> tuple[object, ...]:
        return trail[0].opening != start, trail[-1].closing in follow, _order(trail[0])

    return sorted(trails, key=turn)


def _trails(group: Sequence[Stated], start: int | None) -> list[list[Stated]]:
    """The fewest runs of joining statements that hold all of one day.

    Balances are places and statements ways between them; a way that is missing (None) is put in
    where more lead into a place than out of it, so that every way is gone once in a round trip.
    """
    if len(group) == 1:
        return [list(group)]
    ways: dict[int, list[tuple[int, Stated | None]]] = defaultdict(list)
    for one in sorted(group, key=_order, reverse=True):
        ways[one.opening].append((one.closing, one))
    surplus = _surplus(group)
    starts = [place for place, more in surplus.items() for _ in range(more)]
    ends = [place for place, more in surplus.items() for _ in range(-more)]
    for end, begin in zip(sorted(ends), sorted(starts), strict=True):
        ways[end].insert(0, (begin, None))
    firsts = sorted(group, key=lambda one: (one.opening != start, _order(one)))
    trails = []
    for place in dict.fromkeys([*sorted(set(starts)), *(one.opening for one in firsts)]):
        if ways[place]:
            trails.extend(_cut(_round_trip(ways, place)))
    return trails


def _round_trip(
    ways: dict[int, list[tuple[int, Stated | None]]], place: int
) -> list[Stated | None]:
    """Every way that can be reached from ``place``, each once, ending where it began."""
    steps: list[tuple[int, Stated | None]] = [(place, None)]
    back: list[Stated | None] = []
    while steps:
        here = steps[-1][0]
        if ways[here]:
            steps.append(ways[here].pop())
        else:
            back.append(steps.pop()[1])
    back.pop()
    return back[::-1]


def _cut(trip: list[Stated | None]) -> list[list[Stated]]:
    """The runs between missing ways; a round trip's end runs on into its beginning."""
    if None in trip:
        first = trip.index(None)
        trip = trip[first:] + trip[:first]
    runs: list[list[Stated]] = [[]]
    for one in trip:
        if one is None:
            runs.append([])
        else:
            runs[-1].append(one)
    return [run for run in runs if run]
