"""One entry of a camt message and its parts, as transactions; whatever is lost of it is told.

An entry with one part, the usual case, is read in one go; of a batch the parts that have ended are
read and forgotten, so that an entry of any length takes no more memory than its transactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from gateways.bank.findings import Findings
from gateways.bank.iso20022 import tables
from gateways.bank.iso20022.dates import day, moment
from gateways.bank.iso20022.document import line_of, local
from gateways.bank.iso20022.entry import (
    AMOUNT,
    CURRENCY,
    Money,
    Part,
    adds_up,
    entry_money,
    part_money,
)
from gateways.bank.iso20022.shapes import Element, Fields, Shapes
from tillkeeper.contracts.bank import UNSAID, BankTransaction, BookingStatus, FileKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.receipt import PayerKind

TRANSACTIONS_MAX: Final = 200_000
CIRCUMSTANCES_MAX: Final = 1_000
SET: Final = frozenset({"true", "1"})
_COUNT_DIGITS_MAX: Final = 15
_STATUSES: Final = {
    "BOOK": BookingStatus.BOOKED,
    "PDNG": BookingStatus.PENDING,
    "FUTR": BookingStatus.PENDING,
    "INFO": BookingStatus.INFORMATION,
}
_CIRCUMSTANCES: Final = (
    *("status", "reversal", "batch_count"),
    *("booked_day", "booked_time", "value_day", "value_time"),
)
_PAYER_KINDS: Final = {kind.value: kind for kind in PayerKind}


@dataclass(slots=True)
class Place:
    """Where in the file the reader is; counts from 1."""

    kind: FileKind
    statement: int = 1
    entry: int = 0
    account: str | None = None

    def next_statement(self) -> None:
        """A statement has ended."""
        self.statement, self.entry, self.account = self.statement + 1, 0, None

    def said(self, part: int | None = None) -> str:
        """The place in words."""
        place = f"statement {self.statement}, entry {self.entry}"
        return place if part is None else f"{place}, transaction {part}"


class EntryReader:
    """Reads the entries of one file, one after the other."""

    def __init__(self, place: Place, findings: Findings) -> None:
        self._place = place
        self._findings = findings
        self._part = Shapes(tables.PART)
        self._entry = Shapes(tables.ENTRY, inner=("NtryDtls/TxDtls", tables.PART))
        self._known: dict[tuple[str | None, ...], dict[str, Any]] = {}
        self._parts: list[Part] = []
        self.transactions: list[BankTransaction] = []

    def advance(self, entry: Element) -> int:
        """Take the parts that have ended of an entry that goes on; returns what was forgotten."""
        forgotten = 0
        for details in entry.iterchildren("{*}NtryDtls"):
            ended = list(details)[:-1]
            self._parts += self._read(details, [one for one in ended if local(one) == "TxDtls"])
            for one in ended:
                if local(one) != "Btch":
                    _forget(one)
                    forgotten += 1
        return forgotten

    def take(self, container: Element, entries: Sequence[Element]) -> None:
        """Take entries that have ended and stand in a row in ``container``."""
        lots = [self._lot_of(entry) for entry in entries]
        said_by_each = self._entry.read_all(container, entries)
        for entry, parts, said in zip(entries, lots, said_by_each, strict=True):
            self._place.entry += 1
            if said.inner is not None and not parts:
                last = entry[-1]
                part = last[0] if len(last) == 1 else next(entry.iter("{*}TxDtls"))
                parts.append((line_of(part), said.inner))
            elif said.inners:
                parts.extend(self._parts_of(entry))
            self._read_entry(said, line_of(entry), parts)

    def _lot_of(self, entry: Element) -> list[Part]:
        """All parts of an entry that has many, read and forgotten; none of one that has not."""
        parts, self._parts = self._parts, []
        last = entry[-1] if len(entry) else entry
        if parts or len(last) > 1:
            parts.extend(self._parts_of(entry))
        return parts

    def _parts_of(self, entry: Element) -> list[Part]:
        """Read each ``TxDtls``, wherever it stands, and forget it."""
        found = list(entry.iter("{*}TxDtls"))
        parents = {one.getparent() for one in found}
        read = self._read(parents.pop() if len(parents) == 1 else None, found)
        for one in found:
            _forget(one)
        return read

    def _read(self, parent: Element | None, parts: list[Element]) -> list[Part]:
        """The line and the fields of each part; they are read together where one parent has all."""
        read = map(self._part.read, parts) if parent is None else self._part.read_all(parent, parts)
        return [(line_of(part), said) for part, said in zip(parts, read, strict=True)]

    def _read_entry(self, entry: Fields, line: int | None, parts: list[Part]) -> None:
        """Read the entry's own fields, then each of its parts with them as fallback."""
        parts = parts or [(line, Fields())]
        try:
            money = entry_money(entry)
        except Rejected as error:
            lost = f"{len(parts)} transaction(s) of an entry of {_said(entry)}"
            self._findings.lose_for(error, self._place.said(), lost=lost, line=line)
            return
        reference = entry.get("bank_reference")
        common = self._circumstances(entry, line).copy()
        common.update(
            statement=self._place.statement,
            entry=self._place.entry,
            parts=len(parts),
            account=self._place.account,
            entry_amount_minor=money.amount_minor,
            entry_currency=money.currency,
            entry_side=money.side,
            bank_reference=reference,
            entry_bank_reference=reference,
            entry_reference=entry.get("entry_reference"),
            information=entry.get("information", ""),
        )
        self._read_parts(parts, money, common, entry)

    def _circumstances(self, entry: Fields, line: int | None) -> dict[str, Any]:
        """All fields with status, reversal, days and count: thousands of entries share them."""
        key = tuple(map(entry.get, _CIRCUMSTANCES))
        known = self._known.get(key)
        if known is None:
            losses = len(self._findings.problems)
            count = entry.get("batch_count", "")
            counted = count.isascii() and count.isdecimal() and len(count) <= _COUNT_DIGITS_MAX
            known = {
                **UNSAID,
                "status": self._status(entry.get("status"), line),
                "reversal": entry.get("reversal") in SET,
                "batch_count": int(count) if counted else None,
                **self._dates(entry, line),
            }
            # what is lost is told of each entry
            if len(self._findings.problems) == losses and len(self._known) < CIRCUMSTANCES_MAX:
                self._known[key] = known
        return known

    def _read_parts(
        self, parts: list[Part], entry: Money, common: dict[str, Any], said: Fields
    ) -> None:
        read: list[tuple[int, Part, Money]] = []
        alone = len(parts) == 1
        for number, part in enumerate(parts, start=1):
            try:
                read.append((number, part, part_money(part[1], entry, said, alone=alone)))
            except Rejected as error:
                lost = f"a transaction of {_said(part[1])}"
                self._findings.lose_for(error, self._place.said(number), lost=lost, line=part[0])
        common["adds_up"] = len(read) == len(parts) and adds_up([one[2] for one in read], entry)
        if read and not common["adds_up"]:
            self._findings.warn(
                Code.BANK_FILE_PARTS_DIFFER,
                self._place.said(),
                detail="the transactions stated do not make up the entry, which is what moved",
                line=parts[0][0],
            )
        if len(self.transactions) + len(read) > TRANSACTIONS_MAX:
            raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 200,000 transactions")
        for number, (line, fields), money in read:
            self.transactions.append(_transaction(common, number, line, fields, money))

    def _status(self, code: str | None, line: int | None) -> BookingStatus:
        """What is not said to be booked is no money; a statement alone lists booked entries."""
        if code is None and self._place.kind is FileKind.CAMT_053:
            return BookingStatus.BOOKED
        found = _STATUSES.get(code or "")
        if found is None:
            detail = "whether the entry is booked: taken as information, never as money"
            where = self._place.said()
            self._findings.lose(Code.BANK_FILE_STATUS, where, detail=detail, line=line)
            return BookingStatus.INFORMATION
        return found

    def _dates(self, said: Fields, line: int | None) -> dict[str, date | datetime | None]:
        booked = said.get("booked_day") or said.get("booked_time")
        value = said.get("value_day") or said.get("value_time")
        time = said.get("booked_time")
        try:
            return {
                "booking_date": day(booked) if booked else None,
                "value_date": day(value) if value else None,
                "booked_at": moment(time) if time else None,
            }
        except ValueError:
            detail = "booking and value date: no date like 2024-05-06"
            self._findings.lose(Code.BANK_FILE_DATE, self._place.said(), detail=detail, line=line)
            return {}


def _forget(element: Element) -> None:
    element.clear()  # first: what is removed whole is walked through once more
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _transaction(
    common: dict[str, Any], number: int, line: int | None, said: Fields, money: Money
) -> BankTransaction:
    for name in (AMOUNT, CURRENCY):
        said.pop(name, None)
    fields = common.copy()
    fields.update(said)
    kind = said.get("payer_kind")
    if kind is not None:
        fields["payer_kind"] = _PAYER_KINDS[kind]
    fields["part"], fields["line"] = number, line
    fields["amount_minor"], fields["currency"], fields["side"] = money
    if said.many:
        references = said.many.get("references", ())
        fields["remittance"] = "\n".join(said.many.get("remittance") or references)
        fields["creditor_references"] = tuple(references)
    return BankTransaction.exact(fields)


def _said(said: Fields) -> str:
    amount = said.get(AMOUNT)
    return f"“{amount[:40]}”" if amount else "no amount"
