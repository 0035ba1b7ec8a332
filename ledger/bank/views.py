"""A known statement as a telling may cut it: batches whole, or in the pieces that it tells.

Promises that the money of a view is the statement's, and that each movement leads to the entry
that holds it. It decides nothing, and touches no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ledger.bank.kept import Entry, Statement
from ledger.bank.nearby import Nearby
from tillkeeper.rules.likeness import Known, in_form
from tillkeeper.rules.sameness import (
    Identity,
    Movement,
    issued_again,
    leads_back,
    other_format,
    other_money,
    other_period,
    pieces_told,
    reissued,
    same_name,
    same_statement,
)


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

    def named_by(self, kind: str) -> list[Movement]:
        """The movements but for those that a notification of another format named first."""
        return [
            movement for movement, entry in zip(self.movements, self.entries, strict=True)
            if not other_format(entry.kind, kind)
        ]  # fmt: skip

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


def told_before(
    identity: Identity, told: Sequence[Movement], nearby: Nearby, every: Iterable[Statement]
) -> Statement | None:
    """The statement of equal balances that a telling tells again, if there is one."""
    alike = [(one, view_of(one, told)) for one in nearby.equal(identity)]
    back = bool(alike) and leads_back(identity, [one.identity for one in every])
    for one, view in alike:
        if not same_statement(identity, one.identity):
            continue
        if identity.kind == one.identity.kind:
            parts = [p for e in one.entries for p in e.pieces if p.reference is not None]
            other = other_money(told, [*view.movements, *parts])
            other = other and (back or other_money(told, view.named_by(identity.kind)))
        else:
            other = other_period(identity, told, one.identity, view.movements)
        if not other:
            return one
    for one, view in alike:
        if issued_again(told, view.movements):
            return one
        named = same_name(identity, one.identity) or not other_money(told, view.movements)
        equal = identity.kind == one.identity.kind and reissued(told, view.movements)
        if named and equal and not back:
            return one
    return None
