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

from ledger.bank.doubts import Doubts
from ledger.bank.kept import Entry, Question, Statement, first_told
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
from ledger.bank.nearby import Nearby
from ledger.bank.told import Telling, ToldEntry
from ledger.bank.views import View, told_before, view_of
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.rules.likeness import pairs
from tillkeeper.rules.overlap import Cut, cut
from tillkeeper.rules.sameness import (
    Found,
    Identity,
    Movement,
    first_stated,
    notified,
    pieces_told,
    told_again,
)


class Shelf:
    """What is known of one account; ``take`` adds what a telling tells first."""

    def __init__(
        self, account: int, statements: Iterable[Statement], entries: Iterable[Entry]
    ) -> None:
        self.account = account
        self.statements = list(statements)
        self._nearby = Nearby(self.statements)
        self._doubts, self._kind = Doubts(), ""
        self._by_amount: dict[int, list[Entry]] = defaultdict(list)
        self._early: dict[int, list[Entry]] = defaultdict(list)
        self._batches: dict[int, list[tuple[Entry, Movement]]] = defaultdict(list)
        self._entries: list[Entry] = []
        self.new_statements: list[Statement] = []
        self.new_entries: list[Entry] = []
        self.linked: list[Entry] = []
        self.detailed: list[Entry] = []
        self.touched: dict[Statement, None] = {}
        self.doubted: list[ToldEntry] = []
        self.questions: list[Entry] = []
        self.answered: dict[int, tuple[Entry, str | None]] = {}
        self.tentative: dict[Entry, None] = {}
        for entry in entries:
            self._keep(entry)
        self.tentative.update(dict.fromkeys(e for e in self._entries if e.within is not None))

    def take(self, telling: Telling) -> None:
        """Compare a telling with what is known, and remember what it tells first."""
        telling = self._apart(telling)
        self._kind = telling.kind
        if telling.identity is None:
            self._take(telling.entries, *self._notified(telling.entries), statement=None)
            return
        tells = _movements(telling.entries)
        known = told_before(telling.identity, tells, self._nearby, self.statements)
        if known is None:
            self._cut(telling, telling.identity)
            return
        found, among = self._again(telling.entries, known, telling.identity)
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
        amounts = dict.fromkeys(told[n].movement.signed for n in left)
        pieces = [
            (batch, piece) for signed in amounts
            for batch, piece in self._batches.get(signed, ())
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
        near = self._nearby.of(identity, _movements(told))
        views = [view_of(one, _movements(told)) for one in near]
        parts = cut(identity, _movements(told), [view.known for view in views])
        homes: dict[Statement, list[int]] = {}
        for run in parts.runs:
            made = Statement(None, run.identity, telling.index)
            self.statements.append(made)
            self.new_statements.append(made)
            homes[made] = run.places
        self._complete(told, parts, views)
        for place, home in parts.homes.items():
            homes.setdefault(near[home], []).append(place)
        for statement, places in homes.items():
            new = [told[place] for place in places]
            self.touched[statement] = None
            found, among = self._stated(new)
            self._take(new, found, among, statement=statement)

    def _complete(self, told: Sequence[ToldEntry], parts: Cut, views: Sequence[View]) -> None:
        """Details of what is known, where it has none."""
        repeated = [
            (one, views[place[0]].entries[place[1]])
            for one, place in zip(told, parts.found, strict=True)
            if place is not None
        ]
        found: Found = list(range(len(repeated)))
        among = [entry for _, entry in repeated]
        self._take([one for one, _ in repeated], found, among, statement=None)

    def _notified(self, told: Sequence[ToldEntry]) -> tuple[Found, list[Entry]]:
        among = [e for e in self._alike(told) if e.question is None or e.reference is not None]
        found = notified(_movements(told), [entry.movement for entry in among])
        found, among = self._in_batches(told, found, among, stated=False)
        found, among = self._waiting(told, found, among)
        new = [n for n, place in enumerate(found) if place is None]
        claimed = {among[place] for place in found if place is not None}
        for n in self._doubts.notified(told, new, self._kind, claimed):
            found[n] = among.index(_KNOWN)
            self.doubted.append(told[n])
        return found, among

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
        among = self._unstated(told)
        found = first_stated(_movements(told), [entry.movement for entry in among])
        return self._in_batches(told, found, among, stated=True, again=again)

    def _again(
        self, told: Sequence[ToldEntry], known: Statement, identity: Identity
    ) -> tuple[Found, list[Entry]]:
        """What the statement told before, else what it left out and was notified meanwhile.

        One that makes its closing balance may have been cut: its neighbours tell what is left.
        """
        found, among = self._told_by(told, known, whole=known.whole, identity=identity)
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
        self,
        told: Sequence[ToldEntry],
        known: Statement | None,
        *,
        whole: bool,
        identity: Identity | None = None,
    ) -> tuple[Found, list[Entry]]:
        """What a statement told before, and what was notified and is in no statement yet.

        ``identity`` tells the format: between two another reference contradicts nothing.
        """
        tells = _movements(told)
        view = None if known is None else view_of(known, tells)
        among = [] if view is None else list(view.entries)
        keeps = [] if view is None else view.in_form_of(identity or view.identity, tells)
        found = told_again(tells, keeps, whole=whole)
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

    def _unstated(self, told: Sequence[ToldEntry]) -> list[Entry]:
        """Entries of the amounts told that were only notified so far."""
        found: list[Entry] = []
        for signed in dict.fromkeys(entry.movement.signed for entry in told):
            if signed in self._early:
                early = [entry for entry in self._early[signed] if entry.statement is None]
                self._early[signed] = early
                found += early
        return found

    def _take(
        self,
        told: Sequence[ToldEntry],
        found: Found,
        among: Sequence[Entry],
        *,
        statement: Statement | None,
    ) -> None:
        lumps: dict[Entry, list[ToldEntry]] = defaultdict(list)
        held = self._doubtful(told, found, among) if statement is not None else set()
        for n, (one, place) in enumerate(zip(told, found, strict=True)):
            if place is None:
                if n not in held:
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
        if statement is not None:
            self._nearby.note(statement)
        whole = whole_ones(lumps)
        for lump, those in by_lump(lumps).items():
            self._retell(lump, those, whole=lump.statement in whole)

    def _doubtful(
        self, told: Sequence[ToldEntry], found: Found, among: Sequence[Entry]
    ) -> set[int]:
        """New entries of a statement that another format may have notified."""
        new = [n for n, place in enumerate(found) if place is None]
        claimed = {among[place] for place in found if place is not None}
        held = self._doubts.stated(told, new, self._kind, claimed)
        self.doubted += [told[n] for n in sorted(held)]
        return held

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
        entry = first_told(told, self._kind)
        entry.statement = statement
        if statement is not None and may_sum_up(told):
            entry.question = Question()
        if statement is not None:
            statement.entries.append(entry)
        self._keep(entry)
        self.new_entries.append(entry)
        return entry

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._doubts.keep(entry)
        self._by_amount[entry.signed].append(entry)
        if entry.statement is None:
            self._early[entry.signed].append(entry)
        if entry.question is not None:
            self.questions.append(entry)
        for piece in entry.pieces:
            self._batches[piece.signed].append((entry, piece))


_KNOWN: Final = Entry(
    id=None, signed=0, day=date.min, dated=False, reference=None, parts=1, adds_up=True
)
"""Stands for what is known by more than one entry, or not for sure."""


def _any_found(found: Found) -> bool:
    """Whether anything of what was told is known."""
    return any(place is not None for place in found)


def _movements(told: Sequence[ToldEntry]) -> list[Movement]:
    return [entry.movement for entry in told]
