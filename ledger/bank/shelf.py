"""One account's statements and entries that a file may speak of, as a working copy in memory.

Promises that a telling is compared with all that was told before it, in this file too, and that
what is known is only ever completed: an entry is stated once, and detailed once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from ledger.bank.kept import Entry, Question, Statement
from ledger.bank.lumps import (
    by_lump,
    detailed,
    may_sum_up,
    proves,
    stand_in,
    waiting,
    weigh,
    whole_ones,
)
from ledger.bank.told import Telling, ToldEntry
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.rules.likeness import Known, pairs
from tillkeeper.rules.overlap import Cut, cut
from tillkeeper.rules.sameness import (
    Found,
    Identity,
    Movement,
    equal_balances,
    first_day,
    first_stated,
    issued_again,
    leads_back,
    notified,
    other_money,
    other_period,
    pieces_told,
    reissued,
    same_name,
    same_statement,
    told_again,
)


class Shelf:
    """What is known of one account; ``take`` adds what a telling tells first."""

    def __init__(
        self, account: int, statements: Iterable[Statement], entries: Iterable[Entry]
    ) -> None:
        self.account = account
        self.statements = list(statements)
        self._by_amount: dict[int, list[Entry]] = defaultdict(list)
        self._batches: list[Entry] = []
        self._entries: list[Entry] = []
        self.new_statements: list[Statement] = []
        self.new_entries: list[Entry] = []
        self.linked: list[Entry] = []
        self.detailed: list[Entry] = []
        self.touched: dict[Statement, None] = {}
        self.questions: list[Entry] = []
        self.answered: dict[int, tuple[Entry, str | None]] = {}
        self.tentative: dict[Entry, None] = {}
        for entry in entries:
            self._keep(entry)
        self.tentative.update(dict.fromkeys(e for e in self._entries if e.within is not None))

    def take(self, telling: Telling) -> None:
        """Compare a telling with what is known, and remember what it tells first."""
        telling = self._apart(telling)
        if telling.identity is None:
            self._take(telling.entries, *self._notified(telling.entries), statement=None)
            return
        known = self._known(telling.identity, telling.entries)
        if known is None:
            self._cut(telling, telling.identity)
            return
        found, among = self._again(telling.entries, known)
        self.touched[known] = None
        self._take(telling.entries, found, among, statement=known)

    def _apart(self, telling: Telling) -> Telling:
        """The telling, with each batch in pieces that was told in pieces before.

        A piece of a notification that has no reference waits for the statement, as entries do. A
        lump that is told in pieces beside is left to people: its details would be doubles.
        """
        told: list[ToldEntry] = []
        for one in telling.entries:
            singles = self._singles(one)
            if not singles or not _any_found(pieces_told(_movements(one.pieces), singles)):
                told.append(one)
                continue
            known = self._by_amount.get(one.movement.signed, ())
            same = [e for e in known if e.reference == one.movement.reference]
            if same:
                lump = any(entry.parts == 0 for entry in same)
                told.append(replace(one, details=()) if lump else one)
                continue
            stated = telling.identity is not None
            told += [p for p in one.pieces if stated or p.movement.reference is not None]
        return replace(telling, entries=tuple(told))

    def weigh(self) -> None:
        """Look at the lumps in question, once all tellings are taken: what is sure is an entry."""
        homes = (lump.statement for lump in self.questions)
        self.touched.update(dict.fromkeys(one for one in homes if one is not None))
        for lump in weigh(self.questions, self._entries):
            question, lump.question = lump.question, None
            if question is not None and question.id is not None:
                self.answered[question.id] = lump, question.word
                self.new_entries.append(lump)
        self.new_entries = [one for one in self.new_entries if one.question is None]
        self.questions = [one for one in self.questions if one.question is not None]
        asked = (one.question for one in self.questions if one.question is not None)
        self.tentative.update(dict.fromkeys(one for each in asked for one in each.pieces))

    def _singles(self, batch: ToldEntry) -> list[Movement]:
        """Entries that may be pieces of a batch."""
        amounts = dict.fromkeys(piece.movement.signed for piece in batch.pieces)
        near = (entry for signed in amounts for entry in self._by_amount.get(signed, ()))
        return [entry.movement for entry in near if entry.parts <= 1]

    def _in_batches(
        self,
        told: Sequence[ToldEntry],
        found: Found,
        among: list[Entry],
        *,
        stated: bool,
        again: Statement | None = None,
    ) -> tuple[Found, list[Entry]]:
        """The same, where what is left is a piece of a batch that was told whole before.

        Of a statement: of what was only notified, or by this very statement ``again``, and whole
        where the payers alone say so; or what another statement's balances leave of a batch. A file
        that tells batch and piece tells two.
        """
        left = [n for n, place in enumerate(found) if place is None]
        taken = {among[place] for place in found if place is not None}
        pieces = [
            (batch, piece) for batch in (self._batches if left else ())
            for piece in batch.pieces
            if batch not in taken
            and (not stated or batch.statement in (None, again) or batch.half_stated(piece))
        ]  # fmt: skip
        if not pieces:
            return found, among
        movements = [told[n].movement for n in left], [piece for _, piece in pieces]
        paired = pieces_told(*movements)
        times = Counter(pieces[place][0] for place in paired if place is not None)
        sure = {pieces[p][0] for p in pieces_told(*movements, people=False) if p is not None}
        found, among = list(found), list(among)
        for n, place in zip(left, paired, strict=True):
            batch = None if place is None else pieces[place][0]
            if batch is not None and (not stated or batch in sure or times[batch] == batch.parts):
                found[n] = len(among)
                among.append(batch)
        return found, among

    def _cut(self, telling: Telling, identity: Identity) -> None:
        """Of a statement that is no known one again, keep what other statements did not tell."""
        told = telling.entries
        first = min([first_day(identity), *(one.movement.day for one in told)])
        near = [one for one in self.statements if one.identity.closing_on >= first]
        known = [Known(one.identity, [entry.movement for entry in one.entries]) for one in near]
        parts = cut(identity, _movements(told), known)
        homes: dict[Statement, list[int]] = {}
        for run in parts.runs:
            made = Statement(None, run.identity, telling.index)
            self.statements.append(made)
            self.new_statements.append(made)
            homes[made] = run.places
        self._complete(told, parts, near)
        for place, home in parts.homes.items():
            homes.setdefault(near[home], []).append(place)
        for statement, places in homes.items():
            new = [told[place] for place in places]
            self.touched[statement] = None
            found, among = self._stated(new)
            self._take(new, found, among, statement=statement)

    def _complete(self, told: Sequence[ToldEntry], parts: Cut, near: Sequence[Statement]) -> None:
        """Details of what is known, where it has none."""
        repeated = [
            (one, near[place[0]].entries[place[1]])
            for one, place in zip(told, parts.found, strict=True)
            if place is not None
        ]
        found: Found = list(range(len(repeated)))
        among = [entry for _, entry in repeated]
        self._take([one for one, _ in repeated], found, among, statement=None)

    def _known(self, identity: Identity, told: Sequence[ToldEntry]) -> Statement | None:
        movements = _movements(told)
        alike = [
            (one, [entry.movement for entry in one.entries])
            for one in self.statements
            if equal_balances(identity, one.identity)
        ]
        back = leads_back(identity, [one.identity for one in self.statements])
        for one, known in alike:
            if not same_statement(identity, one.identity):
                continue
            if identity.kind == one.identity.kind:
                parts = [p for e in one.entries for p in e.pieces if p.reference is not None]
                # A notification may have written the reference in another form.
                early = any(entry.early for entry in one.entries) and not back
                other = not early and other_money(movements, [*known, *parts])
            else:
                other = other_period(identity, movements, one.identity, known)
            if not other:
                return one
        for one, known in alike:
            if issued_again(movements, known):
                return one
            named = same_name(identity, one.identity) or not other_money(movements, known)
            equal = identity.kind == one.identity.kind and reissued(movements, known)
            if named and equal and not back:
                return one
        return None

    def _notified(self, told: Sequence[ToldEntry]) -> tuple[Found, list[Entry]]:
        among = [e for e in self._alike(told) if e.question is None or e.reference is not None]
        found = notified(_movements(told), [entry.movement for entry in among])
        found, among = self._in_batches(told, found, among, stated=False)
        return self._waiting(told, found, among)

    def _waiting(
        self, told: Sequence[ToldEntry], found: Found, among: list[Entry]
    ) -> tuple[Found, list[Entry]]:
        """The same, where what may be part or sum of what is known counts as known.

        Pieces that make up a stated lump of which nothing is said are its details.
        """
        new = [n for n, place in enumerate(found) if place is None]
        booked = [entry for entry in self._entries if entry.question is None]
        lumps = [entry for entry in booked if entry.nameless]
        known = (entry.movement for entry in booked)
        found, among = list(found), [*among, _KNOWN]
        waits = waiting(told, new, [entry.movement for entry in lumps], known)
        for n in waits:
            found[n] = len(among) - 1
        whole = whole_ones(lumps)
        bare = [entry for entry in lumps if entry.parts == 0 and entry.statement in whole]
        made = detailed(told, sorted(waits), [entry.movement for entry in bare])
        for place, parts in made.items():
            self._detail(bare[place], parts, adds_up=True)
        return found, among

    def _stated(
        self, told: Sequence[ToldEntry], again: Statement | None = None
    ) -> tuple[Found, list[Entry]]:
        among = [entry for entry in self._alike(told) if entry.statement is None]
        found = first_stated(_movements(told), [entry.movement for entry in among])
        return self._in_batches(told, found, among, stated=True, again=again)

    def _again(self, told: Sequence[ToldEntry], known: Statement) -> tuple[Found, list[Entry]]:
        """What the statement told before, else what it left out and was notified meanwhile.

        One that makes its closing balance may have been cut: its neighbours tell what is left.
        """
        found, among = self._told_by(told, known, whole=known.whole)
        left = [place for place, one in enumerate(found) if one is None]
        if left and known.whole:
            beside = [one for one in self._alike(told) if one.statement not in (None, known)]
            paired = pairs(
                [told[place].movement for place in left], [one.movement for one in beside]
            )
            for place, one in zip(left, paired, strict=True):
                found[place] = None if one is None else len(among) + one
            among += beside
        return found, among

    def _told_by(
        self, told: Sequence[ToldEntry], known: Statement | None, *, whole: bool
    ) -> tuple[Found, list[Entry]]:
        """What a statement told before, and what was notified and is in no statement yet."""
        among = [] if known is None else list(known.entries)
        movements = [entry.movement for entry in among]
        found = told_again(_movements(told), movements, whole=whole)
        left = [place for place, one in enumerate(found) if one is None]
        if left:
            early, more = self._stated([told[place] for place in left], known)
            for place, one in zip(left, early, strict=True):
                found[place] = None if one is None else len(among) + one
            among += more
        return found, among

    def _alike(self, told: Sequence[ToldEntry]) -> list[Entry]:
        amounts = dict.fromkeys(entry.movement.signed for entry in told)
        return [known for signed in amounts for known in self._by_amount.get(signed, ())]

    def _take(
        self,
        told: Sequence[ToldEntry],
        found: Found,
        among: Sequence[Entry],
        *,
        statement: Statement | None,
    ) -> None:
        lumps: dict[Entry, list[ToldEntry]] = defaultdict(list)
        for one, place in zip(told, found, strict=True):
            if place is None:
                self._add(one, statement)
                continue
            entry = among[place]
            if entry.question is not None:
                lumps[entry].append(one)
                continue
            if statement is not None and entry.statement is None:
                entry.statement, entry.within = statement, None
                entry.early = True
                statement.entries.append(entry)
                self.linked.append(entry)
            if entry.parts == 0 and one.details and entry.signed == one.movement.signed:
                self._detail(entry, one.details, adds_up=one.adds_up)
        whole = whole_ones(lumps)
        for lump, those in by_lump(lumps).items():
            self._retell(lump, those, whole=lump.statement in whole)

    def _retell(self, lump: Entry, told: Sequence[ToldEntry], *, whole: bool) -> None:
        """A lump in question is told again: in pieces that prove what it is, or with more words."""
        parts = [part for one in told for part in (one.pieces or (one,))]
        free = [e for e in self._alike(parts) if e.statement is None and e.question is None]
        movements = _movements(parts), [entry.movement for entry in free]
        paired = pieces_told(*movements, people=False)
        if whole and proves(lump, told, paired):
            known = [
                self._add(part, None) if place is None else free[place]
                for part, place in zip(parts, paired, strict=True)
            ]
            stand_in(lump, known)
            self.tentative.update(dict.fromkeys(known))
        elif told[0].details and not lump.details and told[0].movement.signed == lump.signed:
            one = told[0]
            lump.details, lump.parts, lump.adds_up = one.details, len(one.details), one.adds_up
            if lump.question is not None:
                lump.question.retold = True

    def _detail(self, entry: Entry, parts: tuple[BankTransaction, ...], *, adds_up: bool) -> None:
        entry.details, entry.parts, entry.adds_up = parts, len(parts), adds_up
        self.detailed.append(entry)

    def _add(self, told: ToldEntry, statement: Statement | None) -> Entry:
        movement = told.movement
        asked = statement is not None and may_sum_up(told)
        entry = Entry(
            id=None,
            signed=movement.signed,
            day=movement.day,
            dated=movement.dated,
            reference=movement.reference,
            parts=len(told.details),
            adds_up=told.adds_up,
            reversal=told.reversal,
            place=told.place,
            statement=statement,
            details=told.details,
            pieces=_movements(told.pieces),
            nameless=told.nameless,
            question=Question() if asked else None,
        )
        if statement is not None:
            statement.entries.append(entry)
        self._keep(entry)
        self.new_entries.append(entry)
        return entry

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._by_amount[entry.signed].append(entry)
        if entry.question is not None:
            self.questions.append(entry)
        if entry.pieces:
            self._batches.append(entry)


_KNOWN: Final = Entry(
    id=None, signed=0, day=date.min, dated=False, reference=None, parts=1, adds_up=True
)
"""Stands for what is known by more than one entry, or not for sure."""


def _any_found(found: Found) -> bool:
    """Whether anything of what was told is known."""
    return any(place is not None for place in found)


def _movements(told: Sequence[ToldEntry]) -> list[Movement]:
    return [entry.movement for entry in told]
