"""A statement and an entry as the working copy of an account holds them; signed minor units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from ledger.bank.told import ToldEntry
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.rules.continuity import difference
from tillkeeper.rules.sameness import Identity, Likeness, Movement


@dataclass(eq=False, slots=True)
class Statement:
    """A statement with its entries; ``id`` is None until it is written."""

    id: int | None
    identity: Identity
    place: int = 0
    entries: list[Entry] = field(default_factory=list)

    @property
    def total(self) -> int:
        """What its entries moved, in signed minor units."""
        return sum(entry.signed for entry in self.entries)

    @property
    def booked(self) -> list[Entry]:
        """Its entries as the book has them: of a lump in question the pieces."""
        return [
            one for entry in self.entries
            for one in ([entry] if entry.question is None else entry.question.pieces)
        ]  # fmt: skip

    @property
    def moved(self) -> int:
        """What its entries moved as the book has them, in signed minor units."""
        return sum(entry.signed for entry in self.booked)

    @property
    def missing(self) -> int:
        """What its entries lack for its closing balance, in signed minor units."""
        return difference(self.identity.opening, self.total, self.identity.closing)

    @property
    def whole(self) -> bool:
        """Whether its entries make its closing balance."""
        return self.missing == 0


class Word(StrEnum):
    """What decides a lump: a file that proves its pieces, or two people."""

    TOLD = "TOLD"
    PIECES = "PIECES"
    OTHER = "OTHER"


@dataclass(eq=False, slots=True)
class Question:
    """A lump may be what was notified, and is not booked until that is sure.

    ``id`` is None until it is written, ``name`` is the file and the place that told it. Without
    ``pieces`` that explain it, it is held. ``retold``: a later file says more of it.
    """

    id: int | None = None
    name: str = ""
    word: Word | None = None
    pieces: list[Entry] = field(default_factory=list)
    held: bool = False
    retold: bool = False


@dataclass(eq=False, slots=True)
class Entry:
    """An entry; ``id`` is None until it is written. Signed minor units.

    ``kind`` of the file that told it first, where that plays a part.
    ``question``: of a lump that is not booked yet. ``within``: the lump that it is taken to stand
    in; its statement counts as untold, unless a file proves that.
    """

    id: int | None
    signed: int
    day: date
    dated: bool
    reference: str | None
    parts: int
    adds_up: bool
    reversal: bool = False
    place: str = ""
    statement: Statement | None = None
    details: tuple[BankTransaction, ...] = ()
    early: bool = False
    likeness: Likeness | None = None
    pieces: Sequence[Movement] = ()
    nameless: bool = False
    kind: str = ""
    question: Question | None = None
    within: Entry | None = None

    @property
    def movement(self) -> Movement:
        """As the rules compare it."""
        return Movement(
            self.signed,
            self.day,
            self.dated,
            self.reference,
            stated=self.statement is not None,
            early=self.early,
            likeness=self._likeness,
        )

    def half_stated(self, piece: Movement) -> bool:
        """Whether its statement's balances leave this piece of it to another statement."""
        if self.statement is None or not self.early:
            return False
        missing = self.statement.missing
        return missing * piece.signed < 0 and abs(missing) >= abs(piece.signed)

    def _likeness(self) -> Likeness:
        if self.likeness is None:
            found = frozenset() if self.reference is None else frozenset({self.reference})
            self.likeness = Likeness(found)
        return self.likeness


def first_told(told: ToldEntry, kind: str) -> Entry:
    """What a file of this kind tells first, of no statement yet."""
    movement = told.movement
    return Entry(
        id=None,
        signed=movement.signed,
        day=movement.day,
        dated=movement.dated,
        reference=movement.reference,
        parts=len(told.details),
        adds_up=told.adds_up,
        reversal=told.reversal,
        place=told.place,
        details=told.details,
        pieces=[piece.movement for piece in told.pieces],
        nameless=told.nameless,
        kind=kind,
    )
