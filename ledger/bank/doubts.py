"""Credits that two formats may tell as one, although they name nothing alike (P-26, C-09).

Promises that of a notified and a stated credit of equal day and amount, which formats with other
references tell, only the first to come moves money. Debits are never held back: that a payment of
ours is not paid must not be believed (C-12). It touches no database.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import date

from ledger.bank.kept import Entry
from ledger.bank.lumps import may_sum_up
from ledger.bank.told import ToldEntry
from tillkeeper.rules.sameness import Movement, other_format

_When = tuple[int, date]
"""Amount and booking day."""


class Doubts:
    """Known credits by amount and day; a batch stands under those of its pieces, too."""

    def __init__(self) -> None:
        self._kept: dict[_When, list[Entry]] = defaultdict(list)

    def keep(self, entry: Entry) -> None:
        """Remember an entry that is known."""
        if entry.signed > 0 and entry.dated and not entry.reversal:
            own = entry.signed, entry.day
            self._kept[own].append(entry)
            for when in dict.fromkeys(_whens(entry.pieces)) if entry.pieces else ():
                if when != own:
                    self._kept[when].append(entry)

    def stated(
        self, told: Sequence[ToldEntry], new: Iterable[int], kind: str, claimed: Container[Entry]
    ) -> set[int]:
        """Which new entries of a statement may be what another format notified.

        A batch only if all of its pieces are among them. What may be a lump asks for itself whether
        one entry was it; of a batch it may be a piece.
        """
        places: dict[_When, deque[int]] = defaultdict(deque)
        named: dict[_When, deque[int]] = defaultdict(deque)
        for n in new:
            when = told[n].movement.signed, told[n].movement.day
            if when in self._kept and _waits(told[n]):
                places[when].append(n)
                if not may_sum_up(told[n]):
                    named[when].append(n)
        near = dict.fromkeys(entry for when in places for entry in self._kept.get(when, ()))
        found: set[int] = set()
        for entry in near:
            if (
                entry.statement is not None
                or entry in claimed
                or not other_format(entry.kind, kind)
            ):
                continue
            whole, pieces = Counter(_whens((entry.movement,))), Counter(_whens(entry.pieces))
            found |= _taken(named, whole, found) or _taken(places, pieces, found)
        return found

    def notified(
        self, told: Sequence[ToldEntry], new: Iterable[int], kind: str, claimed: Container[Entry]
    ) -> set[int]:
        """Which new entries of a notification may be what a statement of another format told."""
        taken: set[Entry] = set()
        found: set[int] = set()
        for n in new:
            if not _waits(told[n]):
                continue
            ways = ([*_whens((told[n].movement,))], [*_whens(p.movement for p in told[n].pieces)])
            for whens in ways:
                alike: set[Entry] = set()
                for when in whens:
                    free = (
                        one for one in self._kept.get(when, ())
                        if one.signed == when[0] and one not in claimed
                        and one not in taken and one not in alike and _states(one, kind)
                    )  # fmt: skip
                    alike.update([one] if (one := next(free, None)) else [])
                if whens and len(alike) == len(whens):
                    taken |= alike
                    found.add(n)
                    break
        return found


def _taken(
    places: Mapping[_When, deque[int]], wanted: Mapping[_When, int], found: Container[int]
) -> set[int]:
    """So many places of each as are wanted, none of them ``found``; none where one is missing."""
    taken: list[tuple[_When, int]] = []
    for when, times in wanted.items():
        enough = len(taken) + times
        while places[when] and len(taken) < enough:
            n = places[when].popleft()
            if n not in found:
                taken.append((when, n))
        if len(taken) < enough:
            for back, n in reversed(taken):
                places[back].appendleft(n)
            return set()
    return {n for _, n in taken}


def _states(entry: Entry, kind: str) -> bool:
    """Whether a statement of another format told the entry, and no notification did before."""
    said = entry.statement
    sure = entry.question is None and not entry.early
    return said is not None and sure and other_format(said.identity.kind, kind)


def _waits(told: ToldEntry) -> bool:
    return told.movement.signed > 0 and told.movement.dated and not told.reversal


def _whens(movements: Iterable[Movement]) -> Iterator[_When]:
    return ((one.signed, one.day) for one in movements)
