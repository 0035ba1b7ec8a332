"""Lumps and pieces of one money: an entry that nobody is named in, and what was notified.

Promises that what a statement tells once is not booked with the lump and again with its pieces
(P-26, C-09): a lump that is proven to be known is told in its pieces, as a detailed batch is; one
of which that is doubtful moves no money. It decides nothing else, and touches no database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from ledger.bank.told import ToldEntry
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.rules.lumps import explain
from tillkeeper.rules.sameness import Movement

_When = tuple[date, bool]
"""Booking day, and whether the account gained: money of one lump has both in common."""


@dataclass(slots=True)
class Apart:
    """A statement's entries, lumps in pieces; ``held`` are lumps that may be known."""

    entries: list[ToldEntry] = field(default_factory=list)
    held: list[ToldEntry] = field(default_factory=list)


def in_pieces(
    told: Sequence[ToldEntry], new: Iterable[int], notified: Iterable[Movement], *, whole: bool
) -> Apart:
    """``told``, where lumps at the places ``new`` are the sum of what was ``notified``.

    ``notified`` is what no entry of the statement claims. Only a ``whole`` statement, which makes
    its closing balance, proves that it tells all that moved.
    """
    lumps: dict[_When, list[int]] = defaultdict(list)
    for n in new:
        if told[n].nameless and told[n].movement.dated:
            lumps[_when(told[n].movement)].append(n)
    pieces: dict[_When, list[Movement]] = defaultdict(list)
    for one in notified:
        if one.dated and one.reference is not None and _when(one) in lumps:
            pieces[_when(one)].append(one)
    known: dict[int, list[ToldEntry]] = {}
    held: set[int] = set()
    for when, some in pieces.items():
        places = lumps[when]
        found = explain([_amount(told[n].movement) for n in places], list(map(_amount, some)))
        held.update(places[n] for n in found.doubtful)
        for n, those in found.pieces.items():
            if whole:
                known[places[n]] = [_piece(told[places[n]], some[place]) for place in those]
            else:
                held.add(places[n])
    apart = Apart()
    for n, entry in enumerate(told):
        if n in held:
            apart.held.append(entry)
        else:
            apart.entries += known.get(n, [entry])
    return apart


def waiting(
    told: Sequence[ToldEntry],
    new: Iterable[int],
    lumps: Iterable[Movement],
    known: Iterable[Movement],
) -> set[int]:
    """Which notified entries may be pieces of a known lump, or sums of what is known.

    They are not sure to be new, and wait for a statement that tells them. A debit that may be one
    of our payments is never held back: that it is not paid must not be believed (C-12).
    """
    left = [n for n in new if told[n].movement.dated and not told[n].reversal]
    largest: dict[_When, int] = defaultdict(int)
    for one in lumps:
        if one.dated:
            largest[_when(one)] = max(largest[_when(one)], one.signed)
    found = {n for n in left if 0 < told[n].movement.signed <= largest[_when(told[n].movement)]}
    sums: dict[_When, list[int]] = defaultdict(list)
    for n in left:
        if told[n].nameless:
            sums[_when(told[n].movement)].append(n)
    pieces: dict[_When, list[int]] = defaultdict(list)
    for one in known if sums else ():
        if one.dated and _when(one) in sums:
            pieces[_when(one)].append(_amount(one))
    for when, some in pieces.items():
        explained = explain([_amount(told[n].movement) for n in sums[when]], some)
        found.update(sums[when][n] for n in (*explained.pieces, *explained.doubtful))
    return found


def detailed(
    told: Sequence[ToldEntry], waiting_for: Iterable[int], lumps: Sequence[Movement]
) -> dict[int, tuple[BankTransaction, ...]]:
    """By the place of each lump the parts that a notification's entries, which wait, make of it.

    ``lumps`` say nothing themselves and stand in statements that make their closing balances.
    """
    pieces: dict[_When, list[BankTransaction]] = defaultdict(list)
    for n in waiting_for:
        if len(told[n].details) == 1 and told[n].adds_up:
            pieces[_when(told[n].movement)].append(told[n].details[0])
    found: dict[int, tuple[BankTransaction, ...]] = {}
    for when, some in pieces.items():
        places = [n for n, lump in enumerate(lumps) if _when(lump) == when]
        amounts = [part.entry_amount_minor for part in some]
        explained = explain([_amount(lumps[n]) for n in places], amounts)
        for n, those in explained.pieces.items():
            if sum(amounts[place] for place in those) == _amount(lumps[places[n]]):
                found[places[n]] = _parts([some[place] for place in those], lumps[places[n]])
    return found


def _parts(pieces: Sequence[BankTransaction], lump: Movement) -> tuple[BankTransaction, ...]:
    """Entries of their own as parts of one."""
    return tuple(
        part.model_copy(
            update={
                "part": number,
                "parts": len(pieces),
                "entry_amount_minor": _amount(lump),
                "bank_reference": part.bank_reference or part.entry_bank_reference,
                "entry_bank_reference": None,
            }
        )
        for number, part in enumerate(pieces, start=1)
    )


def _when(one: Movement) -> _When:
    return one.day, one.signed > 0


def _amount(one: Movement) -> int:
    return abs(one.signed)


def _piece(lump: ToldEntry, known: Movement) -> ToldEntry:
    """The lump's share that is known, told again."""
    return replace(lump, movement=replace(known, stated=False), details=(), nameless=False)
