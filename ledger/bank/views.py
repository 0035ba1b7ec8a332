"""A known statement as a telling may cut it: batches whole, or in the pieces that it tells.

Promises that the money of a view is the statement's, and that each movement leads to the entry
that holds it. It decides nothing, and touches no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.bank.kept import Entry, Statement
from tillkeeper.rules.likeness import Known, in_form
from tillkeeper.rules.sameness import Identity, Movement, pieces_told


@dataclass(frozen=True, slots=True)
class View:
    """What a statement told: each movement, and at the same place the entry that holds it."""

    identity: Identity
    movements: Sequence[Movement]
    entries: Sequence[Entry]

    @property
    def known(self) -> Known:
        """As the rules of overlapping statements compare it."""
        return Known(self.identity, self.movements)

    def in_form_of(self, identity: Identity, told: Sequence[Movement]) -> Sequence[Movement]:
        """The movements; where another format names them, as ``told`` does, or nothing."""
        if identity.kind == self.identity.kind:
            return self.movements
        if {one.reference for one in told} <= {one.reference for one in self.movements}:
            return self.movements
        return in_form(identity, told, [self.known])[0].entries


def view_of(statement: Statement, told: Sequence[Movement]) -> View:
    """The statement, with each batch in pieces that ``told`` cuts so."""
    entries: list[Entry] = []
    movements: list[Movement] = []
    for entry in statement.entries:
        pieces = _pieces(entry, told) if entry.pieces else ()
        entries += [entry] * len(pieces) if pieces else [entry]
        movements += pieces or [entry.movement]
    return View(statement.identity, movements, entries)


def _pieces(batch: Entry, told: Sequence[Movement]) -> list[Movement]:
    """The pieces of a batch, where they make it up and are what is told of it; none otherwise."""
    amounts = {piece.signed for piece in batch.pieces}
    some = [one for one in told if one.signed in amounts]
    if not some or sum(piece.signed for piece in batch.pieces) != batch.signed:
        return []
    same = [one.reference for one in told if one.signed == batch.signed]
    if batch.reference is not None and batch.reference in same:
        return []
    if same and all(place is None for place in pieces_told(some, batch.pieces)):
        return []
    whole = batch.movement
    return [replace(piece, stated=whole.stated, early=whole.early) for piece in batch.pieces]
