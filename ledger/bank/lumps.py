"""Lumps and pieces of one money: an entry that nobody is named in, and what was notified.

Promises that what a statement tells once is not booked with the lump and again with its pieces
(P-26, C-09): a lump of which that is doubtful moves no money. What explains it is taken for its
pieces until another statement tells one of them. It decides nothing else, and touches no database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from ledger.bank.kept import Entry, Question, Statement, Word
from ledger.bank.told import ToldEntry, meaningful_id
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.rules.lumps import Work, explain, makes_up
from tillkeeper.rules.sameness import Found, Movement

_When = tuple[date, bool]
"""Booking day, and whether the account gained: money of one lump has both in common."""


def weigh(lumps: Iterable[Entry], known: Iterable[Entry]) -> list[Entry]:
    """Look for the pieces of all ``lumps`` in question; answers those that are money of their own.

    ``known`` are all entries of their days that no statement tells for sure. Only a statement that
    makes its closing balance proves that it tells all that moved.
    """
    by_day: dict[_When, list[Entry]] = defaultdict(list)
    for lump in lumps:
        by_day[lump.day, lump.signed > 0].append(lump)
    pieces: dict[_When, list[Entry]] = defaultdict(list)
    for one in known:
        when = one.day, one.signed > 0
        if when in by_day and one.dated and one.reference is not None and one.statement is None:
            one.within = None
            pieces[when].append(one)
    work = Work()
    return [one for when, some in by_day.items() for one in _weigh(some, pieces[when], work)]


def _weigh(lumps: Sequence[Entry], pieces: list[Entry], work: Work) -> list[Entry]:
    """Those of one day and side that are money of their own."""
    own, asked = [], []
    for lump, question in _asked(lumps):
        if question.word is Word.TOLD:
            continue
        question.pieces, question.held = [], False
        if question.word is Word.OTHER:
            own.append(lump)
        elif question.word is Word.PIECES:
            places = makes_up(_size(lump), list(map(_size, pieces)), work)
            _say(lump, question, None if places is None else [pieces[n] for n in places])
            pieces = [one for one in pieces if one.within is not lump]
        else:
            asked.append((lump, question))
    sizes = [_size(lump) for lump, _ in asked]
    found = explain(sizes, list(map(_size, pieces)), work)
    whole = whole_ones(lump for lump, _ in asked)
    one_home = len({lump.statement for lump, _ in asked}) == 1
    sure = {
        n: some for n, some in found.pieces.items()
        if asked[n][0].statement in whole
        and (one_home or sum(_size(pieces[place]) for place in some) == sizes[n])
    }  # fmt: skip
    used = {place for some in sure.values() for place in some}
    left = [_size(one) for n, one in enumerate(pieces) if n not in used]
    least = min(left, default=max(sizes, default=0) + 1)
    for n, (lump, question) in enumerate(asked):
        if n in sure:
            _say(lump, question, [pieces[place] for place in sure[n]])
        elif n in found.pieces or n in found.doubtful or least <= sizes[n]:
            _say(lump, question, None)
        else:
            own.append(lump)
    return own


def _asked(lumps: Iterable[Entry]) -> list[tuple[Entry, Question]]:
    return [(lump, lump.question) for lump in lumps if lump.question is not None]


def _say(lump: Entry, question: Question, pieces: list[Entry] | None) -> None:
    question.held, question.pieces = pieces is None, pieces or []
    for one in question.pieces:
        one.within = lump


def whole_ones(lumps: Iterable[Entry]) -> set[Statement | None]:
    """The statements of these lumps that make their closing balances."""
    return {one for one in {lump.statement for lump in lumps} if one is not None and one.whole}


def may_sum_up(told: ToldEntry) -> bool:
    """Whether a statement's entry may be the sum of others: nothing says whose money it is."""
    ours = any(meaningful_id(part.instruction_id) for part in told.details)
    return told.nameless and told.movement.dated and not ours


def by_lump(found: Mapping[Entry, Sequence[ToldEntry]]) -> dict[Entry, list[ToldEntry]]:
    """What tells lumps again, each at the lump of its statement that has its amount, if one has.

    Where nothing else told what is what, ``found`` has it at any of them.
    """
    made: dict[Entry, list[ToldEntry]] = defaultdict(list)
    for statement in {lump.statement: None for lump in found if lump.statement is not None}:
        lumps = [one for one in statement.entries if one.question is not None]
        taken = {lump for lump in lumps if any(_tells(one, lump) for one in found.get(lump, ()))}
        free: dict[int, list[Entry]] = defaultdict(list)
        for lump in reversed(lumps):
            if lump not in taken:
                free[lump.signed].append(lump)
        for lump in lumps:
            for one in found.get(lump, ()):
                at_home = _tells(one, lump) and lump in taken
                taken -= {lump} if at_home else set()
                others = free[one.movement.signed]
                made[others.pop() if others and not at_home else lump].append(one)
    return made


def _tells(told: ToldEntry, lump: Entry) -> bool:
    return told.movement.signed == lump.signed


def proves(lump: Entry, told: Sequence[ToldEntry], pieces: Found) -> bool:
    """Whether what tells a lump of a whole statement again names its pieces.

    ``pieces``: which are known of all parts. A batch tells its parts itself; entries of their own
    must make the lump up.
    """
    if all(place is None for place in pieces):
        return False
    if len(told) == 1 and told[0].pieces:
        return True
    return None not in pieces and sum(one.movement.signed for one in told) == lump.signed


def stand_in(lump: Entry, pieces: list[Entry]) -> None:
    """A file has told that the lump is these pieces: no other statement takes them."""
    if lump.question is not None:
        lump.question.word = Word.TOLD
        _say(lump, lump.question, pieces)
    for one in pieces:
        one.statement = lump.statement


def waiting(
    told: Sequence[ToldEntry],
    new: Iterable[int],
    lumps: Iterable[Movement],
    known: Iterable[Movement],
) -> set[int]:
    """Which notified entries may be pieces of a lump that is booked, or sums of what is known.

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
    work = Work()
    for when, some in pieces.items():
        explained = explain([_amount(told[n].movement) for n in sums[when]], some, work)
        found.update(sums[when][n] for n in (*explained.pieces, *explained.doubtful))
    return found


def detailed(
    told: Sequence[ToldEntry], waiting_for: Iterable[int], lumps: Sequence[Movement]
) -> dict[int, tuple[BankTransaction, ...]]:
    """By the place of each lump the parts that a notification's entries, which wait, make of it.

    ``lumps`` say nothing themselves and stand in statements that make their closing balances. One
    piece under a reference of its own is no part of a lump that has another: it is other money.
    """
    pieces: dict[_When, list[ToldEntry]] = defaultdict(list)
    for n in waiting_for:
        if len(told[n].details) == 1 and told[n].adds_up:
            pieces[_when(told[n].movement)].append(told[n])
    found: dict[int, tuple[BankTransaction, ...]] = {}
    work = Work()
    for when, some in pieces.items():
        places = [n for n, lump in enumerate(lumps) if _when(lump) == when]
        amounts = [_amount(one.movement) for one in some]
        explained = explain([_amount(lumps[n]) for n in places], amounts, work)
        for n, those in explained.pieces.items():
            lump, made = lumps[places[n]], [some[place] for place in those]
            alone = len(made) == 1 and None not in (lump.reference, made[0].movement.reference)
            if not alone and sum(amounts[place] for place in those) == _amount(lump):
                found[places[n]] = _parts([one.details[0] for one in made], lump)
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


def _size(one: Entry) -> int:
    return abs(one.signed)
