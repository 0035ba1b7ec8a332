"""What a bank's file tells of our accounts: by statement and entry, ready to be compared.

Promises that only what the bank booked becomes an entry: pending and information never do. It
decides nothing about what is known already, and touches no database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from itertools import groupby
from typing import Final

from tillkeeper.contracts.bank import (
    BankFile,
    BankStatement,
    BankTransaction,
    Finding,
    Side,
)
from tillkeeper.contracts.base import EARLIEST, LATEST
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.money import AMOUNT_MINOR_MAX
from tillkeeper.contracts.receipt import reference_digest
from tillkeeper.rules.days import day_of
from tillkeeper.rules.names import compact_number, normalised_name
from tillkeeper.rules.sameness import (
    STATEMENT_KINDS,
    Identity,
    Likeness,
    Movement,
    meaningful_reference,
)

Ours = Callable[[str, str], str | None]
"""How we write the account that a bank's file calls (number, currency); None: it is not ours."""

SWIFT_REFERENCE: Final = 16
"""Characters of a reference that an MT940 has room for."""

LOST_LETTER: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands in a file's text for what could not be read."""

_NO_IDS: Final = frozenset({"", "NOTPROVIDED", "NONREF"})


@dataclass(frozen=True, slots=True)
class ToldEntry:
    """One booked entry; ``details`` are its parts, none where the bank tells a lump only.

    ``pieces`` are the parts as entries of their own, where each of several is money of its own.
    ``nameless``: one part, which names nobody and may be the sum of several.
    """

    place: str
    movement: Movement
    reversal: bool
    adds_up: bool
    details: tuple[BankTransaction, ...]
    pieces: tuple[ToldEntry, ...] = ()
    nameless: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """One statement of the file on one of our accounts; without identity it is a notification."""

    index: int
    number: str
    currency: str
    identity: Identity | None
    entries: tuple[ToldEntry, ...]
    kind: str = ""


@dataclass(slots=True)
class Told:
    """All that a file tells; ``notices`` are entries that are no money, or none yet."""

    tellings: list[Telling] = field(default_factory=list)
    foreign: dict[tuple[str, str], int] = field(default_factory=dict)
    notices: int = 0
    lost: list[Finding] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """Booked entries on our accounts."""
        return sum(len(telling.entries) for telling in self.tellings)


def told_by(found: BankFile, ours: Ours, received_at: datetime) -> Told:
    """Cut a file into what it tells of each of our accounts."""
    told = Told()
    by_statement: dict[int, list[BankTransaction]] = {}
    for transaction in found.transactions:
        by_statement.setdefault(transaction.statement, []).append(transaction)
    for statement in found.statements:
        parts = by_statement.get(statement.index, [])
        currency = _currency(statement, parts)
        if statement.account is None or currency is None:
            continue
        number = ours(statement.account, currency)
        if number is None:
            key = (compact_number(statement.account), currency)
            told.foreign[key] = told.foreign.get(key, 0) + 1
            continue
        cutter = _Cutter(found, statement, number, currency, day_of(received_at))
        told.tellings.append(cutter.telling(parts, told))
    return told


def _currency(statement: BankStatement, parts: Iterable[BankTransaction]) -> str | None:
    said = [statement.currency, *(balance.currency for balance in statement.balances)]
    said.extend(part.entry_currency for part in parts)
    return next((one for one in said if one), None)


def plausible(day: date | None) -> date | None:
    """The day, or None where no book could hold it."""
    return day if day is not None and EARLIEST.date() < day < LATEST.date() else None


def _booked_on(part: BankTransaction) -> date | None:
    """The booking day; a time that has a zone is cut into a day by the business clock."""
    at = part.booked_at
    if at is not None and EARLIEST < at < LATEST:
        return day_of(at)
    return plausible(part.booking_date)


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts one statement of one of our accounts."""

    found: BankFile
    statement: BankStatement
    number: str
    currency: str
    received_on: date

    def telling(self, parts: list[BankTransaction], told: Told) -> Telling:
        """The statement's booked entries; what is none is counted in ``told``."""
        identity = self._identity()
        stated = identity is not None
        fallback = self._fallback() if identity is None else identity.closing_on
        entries, dropped = [], 0
        for _, group in groupby(parts, key=lambda part: part.entry):
            details = tuple(group)
            if not self._is_money(details[0], told):
                continue
            entry = self._entry(details, fallback)
            if stated or entry.movement.reference is not None:
                entries.append(entry)
            else:
                told.notices += 1
                dropped += self.found.kind in STATEMENT_KINDS
        if dropped:
            # nobody may ever state it again: this was the statement
            where = f"statement {self.statement.index}"
            why = f"{dropped} booked entries without a reference, and not both balances"
            told.lost.append(Finding(code=Code.BANK_FILE_BALANCE, where=where, detail=why))
        return Telling(
            self.statement.index,
            self.number,
            self.currency,
            identity,
            tuple(entries),
            kind=self.found.kind.value,
        )

    def _is_money(self, part: BankTransaction, told: Told) -> bool:
        """Whether the entry is booked; one that no book could hold is lost, and told."""
        if not part.booked or part.entry_amount_minor == 0:
            told.notices += 1
            return False
        if part.entry_currency == self.currency and part.entry_amount_minor <= AMOUNT_MINOR_MAX:
            return True
        where = f"statement {part.statement}, entry {part.entry}"
        why = "another currency than its account's, or more than any amount"
        told.lost.append(Finding(code=Code.BANK_FILE_AMOUNT, where=where, detail=why))
        return False

    def _entry(self, parts: tuple[BankTransaction, ...], fallback: date) -> ToldEntry:
        first = parts[0]
        day = _booked_on(first) or plausible(first.value_date)
        gained = first.entry_side is Side.CREDIT
        reference = _reference(parts)
        movement = Movement(
            signed=first.entry_amount_minor if gained else -first.entry_amount_minor,
            day=day or fallback,
            dated=day is not None,
            reference=None if reference is None else reference_digest(self.number, reference),
            likeness=partial(likeness_of, self.number, parts, known=False),
        )
        told = ToldEntry(
            place=f"{first.statement}.{first.entry}",
            movement=movement,
            reversal=first.reversal,
            adds_up=first.adds_up,
            details=() if _is_lump(parts) or _is_illegible(parts) else parts,
            nameless=first.parts == 1 and not (first.reversal or any(_named(first))),
        )
        if not _splits(parts):
            return told
        return replace(told, pieces=tuple(_piece(self.number, told, one) for one in parts))

    def _identity(self) -> Identity | None:
        """What the statement is known by, or None: it is a report or a notification."""
        opening, closing = self.statement.opening, self.statement.closing
        if self.found.kind not in STATEMENT_KINDS or opening is None or closing is None:
            return None
        if not opening.currency == closing.currency == self.currency:
            return None
        number, page = self.statement.number, self.statement.page
        return Identity(
            kind=self.found.kind.value,
            identifier=self.statement.identifier,
            number=f"{number}/{page}" if number and page else number,
            opening=opening.signed_minor,
            opening_on=plausible(opening.on),
            closing=closing.signed_minor,
            closing_on=plausible(closing.on) or self._fallback(),
        )

    def _fallback(self) -> date:
        created = self.found.created_at
        return plausible(None if created is None else created.date()) or self.received_on


def _reference(parts: tuple[BankTransaction, ...]) -> str | None:
    """The entry's own reference, or the one that is the only part's."""
    own = meaningful_reference(parts[0].entry_bank_reference)
    if own is not None or parts[0].parts > 1:
        return own
    return meaningful_reference(parts[0].bank_reference)


def part_reference(number: str, part: BankTransaction) -> str | None:
    """The digest of a part's own reference."""
    own = meaningful_reference(part.bank_reference)
    return None if own is None else reference_digest(number, own)


def _splits(parts: Sequence[BankTransaction]) -> bool:
    """Whether several parts make the entry up, each of them money of its own."""
    first = parts[0]
    return (
        first.adds_up
        and len(parts) == first.parts > 1
        and all(
            (one.side, one.currency) == (first.entry_side, first.entry_currency)
            and (one.amount_minor or 0) > 0
            for one in parts
        )
    )


def _piece(number: str, told: ToldEntry, part: BankTransaction) -> ToldEntry:
    """A part as an entry of its own."""
    amount = part.amount_minor or 0
    alone = part.model_copy(
        update={"part": 1, "parts": 1, "entry_amount_minor": amount, "entry_bank_reference": None}
    )
    movement = replace(
        told.movement,
        signed=amount if told.movement.signed > 0 else -amount,
        reference=part_reference(number, part),
        likeness=partial(likeness_of_part, number, part, known=False),
    )
    return replace(told, place=f"{told.place}.{part.part}", movement=movement, details=(alone,))


def _is_lump(parts: tuple[BankTransaction, ...]) -> bool:
    """Whether nothing is said of who paid or was paid: the bank may detail it in another file."""
    return len(parts) == 1 and not any(_said(parts[0]))


def _is_illegible(parts: tuple[BankTransaction, ...]) -> bool:
    """Whether letters of who paid are lost: the file, with its letters declared, details it yet.

    A debit stays as it is told: it may name a payment of ours (C-12).
    """
    first = parts[0]
    written = first.debtor_name or first.remittance
    return first.parts == 1 and first.side is Side.CREDIT and LOST_LETTER in written


def _said(part: BankTransaction) -> Iterator[str | None]:
    yield from _named(part)
    yield from (part.remittance, part.transaction_id, part.return_reason)
    yield meaningful_id(part.instruction_id)


def _named(part: BankTransaction) -> Iterator[str | None]:
    yield from (part.debtor_name, part.debtor_account, part.creditor_name, part.creditor_account)
    yield from (part.ultimate_debtor_name, part.ultimate_creditor_name)
    yield meaningful_id(part.end_to_end_id)


def likeness_of(number: str, parts: Sequence[BankTransaction], *, known: bool) -> Likeness:
    """What an entry on our account ``number`` may be known by beside its digest (P-26).

    Banks name the entry or its only part, in other case, padded, or cut to 16 characters.
    """
    first = parts[0]
    said = [first.entry_bank_reference]
    if first.parts > 1:
        return _likeness(number, said, (), known=known)
    end_to_end = meaningful_id(first.end_to_end_id)
    people = [_payer(first.debtor_name), f"id {end_to_end}" if end_to_end else None]
    return _likeness(number, [*said, first.bank_reference], people, known=known)


def likeness_kept(number: str, parts: Sequence[BankTransaction], reference: str | None) -> Likeness:
    """The same of what is kept, which is known by its digest ``reference``, too."""
    found = likeness_of(number, parts, known=True)
    own = frozenset() if reference is None else frozenset({reference})
    return replace(found, references=found.references | own)


def likeness_of_part(number: str, part: BankTransaction, *, known: bool) -> Likeness:
    """What one of several parts may be known by where it is told alone."""
    return likeness_of(number, [part.model_copy(update={"parts": 1})], known=known)


def reported_likeness(number: str, reference: str, payer: str, *, known: bool) -> Likeness:
    """What a receipt that was reported may be known by."""
    return _likeness(number, [reference], [_payer(payer)], known=known)


def _payer(name: str | None) -> str | None:
    payer = normalised_name(name or "")
    return f"payer {payer}" if payer else None


def _likeness(
    number: str, said: Iterable[str | None], people: Iterable[str | None], *, known: bool
) -> Likeness:
    marks: set[str] = set()
    for reference in filter(None, map(meaningful_reference, said)):
        marks.update(_marks(reference, known=known))
    return Likeness(
        frozenset(reference_digest(number, mark) for mark in marks),
        frozenset(hashlib.sha256(one.encode()).hexdigest() for one in people if one),
    )


def _marks(reference: str, *, known: bool) -> Iterator[str]:
    """A reference in each form in which another file may write it.

    Two long ones that begin alike are not equal: only one that is short may be another cut off.
    """
    folded = reference.casefold()
    bare = folded.lstrip("0") or folded
    yield from (reference, reference.upper(), folded, bare)
    if not known and len(reference) > SWIFT_REFERENCE:
        # Of a lump only the digest is kept: the whole reference, cut off or not.
        yield from (reference[:SWIFT_REFERENCE], reference[:SWIFT_REFERENCE].upper())
    for text in dict.fromkeys((folded, bare)):
        if len(text) >= SWIFT_REFERENCE:
            cut = len(text) == SWIFT_REFERENCE
            yield f"{text[:SWIFT_REFERENCE]} {'cut' if cut is known else 'long'}"


def meaningful_id(text: str | None) -> str | None:
    """An identification, or None where the bank wrote that there is none."""
    return None if (text or "").strip().upper() in _NO_IDS else text
