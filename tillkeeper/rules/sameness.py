"""Which told entries are known already: banks tell one movement in many files (P-26, C-02, C-09).

Decides on what its caller found. Statements decide: each tells each of its entries once, and banks
use references again. A notification only comes earlier, and counts where the statement will be
recognised by its reference. Any order of files, told any number of times, gives the same entries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from tillkeeper.contracts.bank import FileKind
from tillkeeper.rules.nearest import Nearest

DAYS_APART_MAX: Final = 5
"""A notification and the statement may name days that differ so much: booking or value day."""

STATEMENT_KINDS: Final = (FileKind.CAMT_053, FileKind.MT940)
"""Whose statements with both balances are the bank's word; all else is a notification."""

_SWIFT: Final = (FileKind.MT940, FileKind.MT942)

_NO_REFERENCES: Final = frozenset({"", "NONREF", "NOTPROVIDED"})


@dataclass(frozen=True, slots=True)
class Likeness:
    """What else an entry may be known by, as digests: references in other forms, and people.

    ``people``: who paid, and the end-to-end identification.
    """

    references: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Movement:
    """An entry of one account: signed minor units, positive when the account gained.

    ``dated`` is false where the bank named no day and ``day`` is its file's. ``reference`` is any
    digest of the bank's; None where it gave none. ``stated``: by a statement, not only notified.
    ``early``: a notification told it before its statement did, so its day may be off.
    ``likeness`` is only asked for where all else does not decide: it costs time.
    """

    signed: int
    day: date
    dated: bool
    reference: str | None
    stated: bool = False
    early: bool = False
    likeness: Callable[[], Likeness] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a statement of one account from others; balances in signed minor units."""

    kind: str
    identifier: str | None
    number: str | None
    opening: int
    opening_on: date | None
    closing: int
    closing_on: date


Found = list[int | None]
"""For each told entry the place of the known one that it repeats; None where none does."""

_Key = Callable[[Movement], Hashable]


def meaningful_reference(reference: str | None) -> str | None:
    """The reference, or None where the bank wrote that it gives none."""
    compact = "".join((reference or "").split())
    return None if compact.upper() in _NO_REFERENCES else compact


def other_format(one: str, other: str) -> bool:
    """Whether files of these kinds write references in forms of their own: camt here, MT there."""
    return "" not in (one, other) and (one in _SWIFT) != (other in _SWIFT)


def same_statement(told: Identity, known: Identity) -> bool:
    """Whether ``told`` is ``known`` again; another format may count and number it otherwise."""
    if not equal_balances(told, known):
        return False
    if told.kind != known.kind:
        return True
    return (
        _agree(told.opening_on, known.opening_on)
        and _agree(told.number, known.number)
        and _agree(told.identifier, known.identifier)
    )


def same_name(told: Identity, known: Identity) -> bool:
    """Whether both have one number, and no identifier that differs."""
    return (
        told.number is not None
        and told.number == known.number
        and _agree(told.identifier, known.identifier)
    )


def equal_balances(told: Identity, known: Identity) -> bool:
    """Whether both lead from the same balance to the same balance on the same day."""
    return (told.opening, told.closing, told.closing_on) == (
        known.opening, known.closing, known.closing_on,
    )  # fmt: skip


def first_day(identity: Identity) -> date:
    """The first day that a statement may tell of: an MT940 opens with the day before."""
    said = identity.opening_on or identity.closing_on
    later = identity.kind == FileKind.MT940 and said < identity.closing_on
    return said + timedelta(days=later)


def other_period(
    told: Identity, tells: Sequence[Movement], known: Identity, keeps: Sequence[Movement]
) -> bool:
    """Whether one of two statements that end alike tells of days before the other begins."""
    return _before(tells, known, keeps) or _before(keeps, told, tells)


def _before(these: Sequence[Movement], other: Identity, those: Sequence[Movement]) -> bool:
    if other.opening_on is None:
        return False
    begin = min([first_day(other), *(one.day for one in those)])
    return any(one.dated and not one.early and one.day < begin for one in these)


def issued_again(told: Sequence[Movement], known: Sequence[Movement]) -> bool:
    """Whether equal balances under another number are one statement: every reference is known."""
    if len(told) != len(known) or any(one.reference is None for one in (*told, *known)):
        return False
    pairing = _Pairing(told, known)
    pairing.pair(lambda one: (one.signed, one.reference, one.day))
    return pairing.complete


def reissued(told: Sequence[Movement], known: Sequence[Movement]) -> bool:
    """Whether equal balances that differ from each other are moved by the same amounts."""
    return sorted(one.signed for one in told) == sorted(one.signed for one in known)


def leads_back(told: Identity, known: Sequence[Identity]) -> bool:
    """Whether statements of its closing day lead from its closing to its opening balance.

    Only then may another statement of the day move the same between the same balances.
    """
    ways: dict[int, list[int]] = defaultdict(list)
    for one in known:
        if one.closing_on == told.closing_on:
            ways[one.opening].append(one.closing)
    reached, waiting = {told.closing}, [told.closing]
    while waiting:
        for balance in ways.pop(waiting.pop(), ()):
            if balance not in reached:
                reached.add(balance)
                waiting.append(balance)
    return told.opening in reached


def other_money(told: Sequence[Movement], known: Sequence[Movement]) -> bool:
    """Whether statements of one format have no reference in common, although each entry has one."""
    if not told or not known or any(one.reference is None for one in (*told, *known)):
        return False
    return {one.reference for one in told}.isdisjoint(one.reference for one in known)


def told_again(told: Sequence[Movement], known: Sequence[Movement], *, whole: bool) -> Found:
    """Entries of a statement that came before, in ``known``: side and amount decide last.

    ``whole``: what is known makes its closing balance. What is left over then is the same money
    cut otherwise (a batch as one entry, or one by one) and points at one of what it repeats.
    """
    pairing = _Pairing(told, known)
    pairing.pair(lambda one: (one.signed, one.reference, one.day))
    pairing.pair(lambda one: (one.signed, one.reference))
    for key in (_by_day, lambda one: one.signed):
        pairing.pair(key, told_if=_unnamed)
        pairing.pair(key, known_if=_unnamed)
    if whole and pairing.known_left:
        for place in pairing.told_left:
            pairing.found[place] = pairing.known_left[0]
    return pairing.found


def first_stated(told: Sequence[Movement], known: Sequence[Movement]) -> Found:
    """Entries of a new statement that notifications told before; ``known`` may hold others too.

    By the reference, in another form too; without one by the day; then by who paid.
    """
    pairing = _Pairing(told, known, known_if=lambda one: not one.stated)
    pairing.pair_by_reference()
    pairing.pair_alike(lambda one: one.references)
    pairing.pair(_by_day, told_if=lambda one: one.dated and one.reference is None)
    pairing.pair_alike(lambda one: one.people)
    return pairing.found


def notified(told: Sequence[Movement], known: Sequence[Movement]) -> Found:
    """Entries of a notification, each with a reference, that any file told before.

    Files may name days some days apart for the same. What merely may be the same, for who paid
    it, is not sure to be new either: it waits for the statement.
    """
    pairing = _Pairing(told, known)
    pairing.pair(lambda one: (one.signed, one.reference, one.day))
    pairing.pair_by_reference()
    pairing.pair_alike(lambda one: one.references)
    pairing.pair(_by_day, known_if=lambda one: one.stated and one.reference is None and one.dated)
    pairing.pair_alike(lambda one: one.people)
    return pairing.found


def pieces_told(
    told: Sequence[Movement], known: Sequence[Movement], *, people: bool = True
) -> Found:
    """Entries that are parts of one another's batches: one file tells whole what another cuts."""
    pairing = _Pairing(told, known)
    pairing.pair_by_reference()
    pairing.pair_alike(lambda one: one.references)
    if people:
        pairing.pair_alike(lambda one: one.people)
    return pairing.found


def reported(told: Sequence[Movement], known: Sequence[Movement]) -> Found:
    """Entries and parts that a service reported before a file told them.

    By the reference, in another form or level too; of a statement, which tells all that moved, by
    who paid. A file that tells the very report later tells other money by then: each report is
    taken once.
    """
    pairing = _Pairing(told, known)
    pairing.pair(lambda one: (one.signed, one.reference))
    pairing.pair_alike(lambda one: one.references)
    pairing.pair_alike(lambda one: one.people, told_if=lambda one: one.stated)
    return pairing.found


def _by_day(one: Movement) -> Hashable:
    return one.signed, one.day


def _agree(told: object, known: object) -> bool:
    return told is None or known is None or told == known


def _any(_one: Movement) -> bool:
    return True


def _unnamed(one: Movement) -> bool:
    return one.reference is None


_If = Callable[[Movement], bool]


class _Pairing:
    """Pairs told with known entries, each once, from the strictest likeness to the loosest."""

    def __init__(
        self, told: Sequence[Movement], known: Sequence[Movement], *, known_if: _If = _any
    ) -> None:
        self._told, self._known = told, known
        self.found: Found = [None] * len(told)
        self.told_left = list(range(len(told)))
        self.known_left = [place for place, one in enumerate(known) if known_if(one)]

    @property
    def complete(self) -> bool:
        """Whether nothing is left on either side."""
        return not self.told_left and not self.known_left

    def pair(
        self,
        key: _Key,
        *,
        told_key: _Key | None = None,
        told_if: _If = _any,
        known_if: _If = _any,
    ) -> None:
        """Pair what is left and has equal keys, in order."""
        if not self.told_left or not self.known_left:
            return
        places: dict[Hashable, list[int]] = defaultdict(list)
        for place in reversed(self.known_left):
            if known_if(self._known[place]):
                places[key(self._known[place])].append(place)
        taken = set()
        for place in self.told_left:
            one = self._told[place]
            likes = places.get((told_key or key)(one)) if told_if(one) else None
            if likes:
                self.found[place] = likes.pop()
                taken.add(self.found[place])
        self.told_left = [place for place in self.told_left if self.found[place] is None]
        self.known_left = [place for place in self.known_left if place not in taken]

    def pair_alike(
        self, marks: Callable[[Likeness], frozenset[str]], *, told_if: _If = _any
    ) -> None:
        """Pair equal amounts with a mark in common, the nearest days first."""
        amounts = {self._told[place].signed for place in self.told_left}
        known = Nearest()
        for place in self.known_left:
            one = self._known[place]
            if one.signed in amounts and one.likeness is not None:
                for mark in marks(one.likeness()):
                    known.add((one.signed, mark), one.day if one.dated else None, place)
        asked: dict[int, list[Hashable]] = {}
        for place in self.told_left if known else ():
            one = self._told[place]
            if one.likeness is not None and told_if(one):
                keys = [(one.signed, mark) for mark in marks(one.likeness())]
                asked[place] = [key for key in keys if key in known]
        taken = set()
        for apart in range(DAYS_APART_MAX + 1):
            for place in [one for one in asked if asked[one] and self.found[one] is None]:
                one = self._told[place]
                other = known.apart(asked[place], one.day if one.dated else None, apart)
                if other is not None:
                    self.found[place] = other
                    known.take(other)
                    taken.add(other)
        self.told_left = [place for place in self.told_left if self.found[place] is None]
        self.known_left = [place for place in self.known_left if place not in taken]

    def pair_by_reference(self, *, known_if: _If = _any) -> None:
        """Pair by amount and reference, the nearest days first, up to the days apart allowed."""

        def sure(one: Movement) -> bool:
            return one.reference is not None and one.dated

        for apart in sorted(range(-DAYS_APART_MAX, DAYS_APART_MAX + 1), key=abs):

            def shifted(one: Movement, apart: int = apart) -> Hashable:
                return one.signed, one.reference, one.day.toordinal() + apart

            self.pair(
                lambda one: (one.signed, one.reference, one.day.toordinal()),
                told_key=shifted,
                told_if=sure,
                known_if=lambda one: sure(one) and known_if(one),
            )
        self.pair_undated(known_if=known_if)

    def pair_undated(self, *, known_if: _If = _any) -> None:
        """Pair by amount and reference where one side has no day of its own."""

        def likeness(one: Movement) -> Hashable:
            return one.signed, one.reference

        def undated(one: Movement) -> bool:
            return one.reference is not None and not one.dated

        def referred(one: Movement) -> bool:
            return one.reference is not None and known_if(one)

        self.pair(likeness, told_if=undated, known_if=referred)
        self.pair(likeness, known_if=lambda one: undated(one) and known_if(one))
