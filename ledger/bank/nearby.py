"""Which statements of an account a telling has to be compared with: those that it may overlap.

Promises to leave out only what the rules of overlapping statements can find nothing in, so that a
file of thousands of statements is not compared each with each. It decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

from ledger.bank.kept import Statement
from tillkeeper.rules.likeness import Known, begins, first_told, total
from tillkeeper.rules.sameness import Identity, Movement, first_day

_Some = dict[Statement, None]
_Balance = tuple[date, int]
"""A day, and a balance that pages of it begin or end with."""


class Nearby:
    """Statements by day, balance and reference.

    A page tells of a single day, and its entries make its closing balance. Another page of that day
    concerns it where their balances join, be it over others, or where it tells the same reference.
    """

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._places: dict[Statement, int] = {}
        self._begins: dict[Statement, date] = {}
        self._longer: _Some = {}
        self._pages: dict[date, _Some] = defaultdict(dict)
        self._opening: dict[_Balance, _Some] = defaultdict(dict)
        self._closing: dict[_Balance, _Some] = defaultdict(dict)
        self._referred: dict[str, _Some] = defaultdict(dict)
        self._equal: dict[tuple[int, int, date], _Some] = defaultdict(dict)
        for one in statements:
            self.note(one)

    def note(self, statement: Statement) -> None:
        """Remember a statement that is new, or has more entries than before."""
        said, moves = statement.identity, [entry.movement for entry in statement.entries]
        day = said.closing_on
        self._places.setdefault(statement, len(self._places))
        self._begins[statement] = begins(Known(said, moves))
        self._equal[said.opening, said.closing, day][statement] = None
        if self._begins[statement] < day or not statement.whole or not statement.entries:
            self._longer[statement] = None
            return
        self._longer.pop(statement, None)
        self._pages[day][statement] = None
        self._opening[day, said.opening][statement] = None
        self._closing[day, said.closing][statement] = None
        pieces = [piece for entry in statement.entries for piece in entry.pieces]
        for one in (*moves, *pieces):
            if one.reference is not None:
                self._referred[one.reference][statement] = None

    def equal(self, identity: Identity) -> list[Statement]:
        """Those that lead from the same balance to the same balance on the same day."""
        return [*self._equal.get((identity.opening, identity.closing, identity.closing_on), ())]

    def of(self, identity: Identity, told: Sequence[Movement]) -> list[Statement]:
        """Those that a statement may overlap, in the order in which they came."""
        last = max([identity.closing_on, *(one.day for one in told)])
        first = first_told(identity, told) if told else first_day(identity)
        found = {
            one: None for one in self._longer
            if one.identity.closing_on >= first and self._begins[one] <= last
        }  # fmt: skip
        page = first == last and total(told) == identity.closing - identity.opening
        if page and not found and told:
            found = self._joined(identity, told[0])
        elif told:
            for day, pages in self._pages.items():
                if first <= day <= last:
                    found |= pages
        return sorted(found, key=self._places.__getitem__)

    def _joined(self, identity: Identity, told: Movement) -> _Some:
        """Pages of its day that join a page, and those that tell the reference of an entry."""
        day, start, end = identity.closing_on, identity.opening, identity.closing
        found = {**self._closing.get((day, start), {}), **self._opening.get((day, end), {})}
        found |= _reached(self._opening, (day, start), lambda one: one.closing)
        found |= _reached(self._closing, (day, end), lambda one: one.opening)
        forms = set() if told.likeness is None else set(told.likeness().references)
        for form in forms | ({told.reference} if told.reference is not None else set()):
            found |= {
                one: None for one in self._referred.get(form, ()) if one.identity.closing_on == day
            }
        return found


def _reached(
    pages: Mapping[_Balance, _Some], start: _Balance, follow: Callable[[Identity], int]
) -> _Some:
    """All pages of a day that balances lead to from ``start``."""
    found: _Some = {}
    seen, waiting = {start}, [start]
    while waiting:
        day, balance = waiting.pop()
        for one in pages.get((day, balance), ()):
            found[one] = None
            reached = (day, follow(one.identity))
            if reached not in seen:
                seen.add(reached)
                waiting.append(reached)
    return found
