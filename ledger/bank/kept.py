"""A statement and an entry as the working copy of an account holds them; signed minor units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

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
    def missing(self) -> int:
        """What its entries lack for its closing balance, in signed minor units."""
        return difference(self.identity.opening, self.total, self.identity.closing)

    @property
    def whole(self) -> bool:
        """Whether its entries make its closing balance."""
        return self.missing == 0


@dataclass(eq=False, slots=True)
class Entry:
    """An entry; ``id`` is None until it is written. Signed minor units.

    ``kind`` of the file that told it first, where that plays a part.
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
