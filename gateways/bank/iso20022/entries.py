"""One entry of a camt message and its parts, as transactions; whatever is lost of it is told.

An entry with one part, the usual case, is read in one go; of a batch the parts that have ended are
read and forgotten, so that an entry of any length takes no more memory than its transactions. What
a run says is read as its elements would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from gateways.bank.findings import Findings
from gateways.bank.iso20022 import tables
from gateways.bank.iso20022.dates import day, moment
from gateways.bank.iso20022.document import line_of, local
from gateways.bank.iso20022.entry import (
    AMOUNT,
    CIRCUMSTANCES,
    CURRENCY,
    PAYER_KINDS,
    Circumstances,
    Money,
    adds_up,
    entry_money,
    part_money,
)
from gateways.bank.iso20022.quick import QuickEntry, QuickPart
from gateways.bank.iso20022.runs import OddRunError, Runs, Said
from gateways.bank.iso20022.shapes import Element, Fields, Shapes, Template
from tillkeeper.contracts.bank import UNSAID, BankTransaction, BookingStatus, FileKind
from tillkeeper.contracts.errors import Code, Rejected

TRANSACTIONS_MAX: Final = 200_000
CIRCUMSTANCES_MAX: Final = 1_000
SET: Final = frozenset({"true", "1"})
UNSET: Final = frozenset({"false", "0"})
Part = tuple[int | None, Fields | Said]
"""The line on which a ``TxDtls`` begins, and what it says."""

_COUNT_DIGITS_MAX: Final = 15
_STATUSES: Final = {
    "BOOK": BookingStatus.BOOKED,
    "PDNG": BookingStatus.PENDING,
    "FUTR": BookingStatus.PENDING,
    "INFO": BookingStatus.INFORMATION,
}


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
        self.runs = Runs({"Ntry": self._entry, "TxDtls": self._part}, inner="TxDtls")
        self._known: dict[Circumstances, dict[str, Any]] = {}
        self._quick: dict[Template, QuickEntry] = {}
        self._quick_parts: dict[Template, QuickPart] = {}
        self._parts: list[Part] = []
        self.transactions: list[BankTransaction] = []

    def advance(self, entry: Element) -> int:
        """Take the parts that have ended of an entry that goes on; returns what was forgotten."""
        *ended, last = entry if len(entry) else [entry]
        inside = list(last)[:-1] if local(last) == "NtryDtls" else []
        for one in (*ended, *inside):
            self._parts += self._parts_in(entry, one)
        forgotten = [one for one in inside if local(one) != "Btch"]
        for one in forgotten:
            _forget(one)
        return len(forgotten)

    def take(self, entry: Element) -> None:
        """Take an entry that has ended."""
        self._place.entry += 1
        parts, self._parts = self._parts, []
        if parts or (len(entry) and len(entry[-1]) > 1):
            parts += self._parts_in(entry, entry)  # first: what is left has a usual shape
        said = self._entry.read(entry)
        if said.inner is not None and not parts:
            parts.append((line_of(next(entry.iter("{*}TxDtls"))), said.inner))
        else:
            parts += self._parts_in(entry, entry)
        self._read_entry(said, line_of(entry), parts)

    def take_run(self, mark: Element) -> None:
        """Take the entries of a run that stood in the place of ``mark``."""
        for said in self.runs.taken(mark, "Ntry"):
            self._place.entry += 1
            fields = self._quickly(said)
            if fields is not None:
                self.transactions.append(BankTransaction.exact(fields))
                continue
            entry = said.fields()
            parts: list[Part] = []
            if entry.inner is not None:
                parts.append((said.inner_line, entry.inner))
            self._read_entry(entry, said.line, parts)
        self._check_number(more=0)

    def _check_number(self, *, more: int) -> None:
        if len(self.transactions) + more > TRANSACTIONS_MAX:
            raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 200,000 transactions")

    def _quickly(self, said: Said) -> dict[str, Any] | None:
        """All fields of the only transaction of a usual entry."""
        quick = self._quick.get(said.template)
        if quick is None:
            quick = self._quick[said.template] = QuickEntry(said.template.groups, self._known)
        fields = quick.fields(said.values)
        if fields is not None:
            fields["statement"], fields["entry"] = self._place.statement, self._place.entry
            fields["account"], fields["line"] = self._place.account, said.inner_line
        return fields

    def _parts_in(self, entry: Element, inside: Element) -> list[Part]:
        """Read each ``TxDtls``, wherever it stands, one in another too, and forget it."""
        parts: list[Part] = []
        found = list(inside.iter(*self.runs.tags("TxDtls")))
        for one in found:
            if local(one) == "TxDtls":
                parts.append((line_of(one), self._part.read(one)))
                continue
            parent = one.getparent()
            if parent is None or local(parent) != "NtryDtls" or parent.getparent() is not entry:
                raise OddRunError
            parts += [(said.line, said) for said in self.runs.taken(one, "TxDtls")]
        for one in found:
            _forget(one)
        return parts

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
        key = tuple(map(entry.get, CIRCUMSTANCES))
        known = self._known.get(key)
        if known is None:
            losses = len(self._findings.problems)
            count = entry.get("batch_count", "")
            counted = count.isascii() and count.isdecimal() and len(count) <= _COUNT_DIGITS_MAX
            known = {
                **UNSAID,
                "status": self._status(entry.get("status"), line),
                "reversal": self._reversal(entry.get("reversal"), line),
                "batch_count": int(count) if counted else None,
                **self._dates(entry, line),
            }
            # what is lost is told of each entry
            if len(self._findings.problems) == losses and len(self._known) < CIRCUMSTANCES_MAX:
                self._known[key] = known
        return known

    def _reversal(self, said: str | None, line: int | None) -> bool:
        """Whether it takes back another; what is neither yes nor no may, and credits nobody."""
        if said not in (None, *SET, *UNSET):
            where, detail = self._place.said(), "RvslInd is neither true nor false: taken as true"
            self._findings.lose(Code.BANK_FILE_STATUS, where, detail=detail, line=line)
        return said not in (None, *UNSET)

    def _read_parts(
        self, parts: list[Part], entry: Money, common: dict[str, Any], said: Fields
    ) -> None:
        read: list[tuple[int, Part, Money]] = []
        alone = len(parts) == 1
        for number, part in enumerate(parts, start=1):
            try:
                stated = part[1]
                if alone or not isinstance(stated, Said):
                    money = part_money(_fields(stated), entry, said, alone=alone)
                else:
                    money = self._quick_part(stated).money(stated.values, entry)
                read.append((number, part, money))
            except Rejected as error:
                lost = f"a transaction of {_said(_fields(part[1]))}"
                self._findings.lose_for(error, self._place.said(number), lost=lost, line=part[0])
        common["adds_up"] = len(read) == len(parts) and adds_up([one[2] for one in read], entry)
        if read and not common["adds_up"]:
            self._findings.warn(
                Code.BANK_FILE_PARTS_DIFFER,
                self._place.said(),
                detail="the transactions stated do not make up the entry, which is what moved",
                line=parts[0][0],
            )
        self._check_number(more=len(read))
        for number, (line, stated), money in read:
            fields = common.copy()
            if isinstance(stated, Said):
                self._quick_part(stated).fill(fields, stated.values)
            else:
                _fill(fields, stated)
            fields["part"], fields["line"] = number, line
            fields["amount_minor"], fields["currency"], fields["side"] = money
            self.transactions.append(BankTransaction.exact(fields))

    def _quick_part(self, said: Said) -> QuickPart:
        quick = self._quick_parts.get(said.template)
        if quick is None:
            quick = self._quick_parts[said.template] = QuickPart(said.template.groups)
        return quick

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


def _fields(part: Fields | Said) -> Fields:
    return part.fields() if isinstance(part, Said) else part


def _fill(fields: dict[str, Any], said: Fields) -> None:
    """Put all that a part says, but its money, into the fields of a transaction."""
    for name in (AMOUNT, CURRENCY):
        said.pop(name, None)
    fields.update(said)
    kind = said.get("payer_kind")
    if kind is not None:
        fields["payer_kind"] = PAYER_KINDS[kind]
    if said.many:
        references = said.many.get("references", ())
        fields["remittance"] = "\n".join(said.many.get("remittance") or references)
        fields["creditor_references"] = tuple(references)


def _said(said: Fields) -> str:
    amount = said.get(AMOUNT)
    return f"“{amount[:40]}”" if amount else "no amount"
