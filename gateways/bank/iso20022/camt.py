"""camt.052, camt.053 and camt.054 of every version: per ``TxDtls`` with the entry as fallback.

Only ``BOOK`` is money. An entry whose parts do not make it up is told by a warning and by
``adds_up``; an amount that cannot be read exactly is a problem and its transaction is left out.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

from gateways.bank.findings import Findings
from gateways.bank.iso20022 import tables
from gateways.bank.iso20022.dates import day, day_or_none, moment, moment_or_none
from gateways.bank.iso20022.document import Document, line_of, local, release
from gateways.bank.iso20022.entry import Money, Part, adds_up, entry_money, part_money
from gateways.bank.iso20022.shapes import Element, Fields, Shapes
from tillkeeper.contracts.bank import (
    BankFile,
    BankStatement,
    BankTransaction,
    BookingStatus,
    FileKind,
    Side,
    StatementBalance,
)
from tillkeeper.contracts.errors import Code, Rejected

TRANSACTIONS_MAX: Final = 200_000
CONTAINERS: Final = frozenset({"Rpt", "Stmt", "Ntfctn"})
_COUNT_DIGITS_MAX: Final = 15
_SET: Final = frozenset({"true", "1"})
_STATUSES: Final = {
    "BOOK": BookingStatus.BOOKED,
    "PDNG": BookingStatus.PENDING,
    "FUTR": BookingStatus.PENDING,
    "INFO": BookingStatus.INFORMATION,
}


class CamtReader:
    """Reads one document; ``read`` may be called once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._findings = Findings()
        self._part, self._entry = Shapes(tables.PART), Shapes(tables.ENTRY)
        self._statements: list[BankStatement] = []
        self._transactions: list[BankTransaction] = []
        self._header = Fields()
        self._account = Fields()
        self._parts: list[Part] = []
        self._balances: list[StatementBalance] = []
        self._balances_met = 0
        self._entries = 0

    def read(self) -> BankFile:
        """All that the file says. Raises Rejected(BANK_FILE_…) and then nothing of it holds."""
        for element in self._document.elements(
            "TxDtls", "Ntry", "Bal", "Acct", "GrpHdr", *sorted(CONTAINERS)
        ):
            self._take(element)
        return BankFile(
            kind=self._document.kind,
            version=self._document.version,
            digest=self._document.digest,
            message_id=self._header.get("message_id"),
            created_at=moment_or_none(self._header.get("created_at")),
            statements=tuple(self._statements),
            transactions=tuple(self._transactions),
            problems=tuple(self._findings.problems),
            warnings=tuple(self._findings.warnings),
        )

    def _take(self, element: Element) -> None:
        name = local(element)
        if name == "TxDtls":
            self._parts.append((line_of(element), self._part.read(element)))
            release(element)
        elif name == "Ntry":
            self._entries += 1
            self._read_entry(self._entry.read(element), line_of(element))
            self._parts = []
            release(element)
        elif name in CONTAINERS:
            self._read_statement(Shapes(tables.STATEMENT).read(element), line_of(element))
            release(element)
        elif name == "GrpHdr":
            self._header = Shapes(tables.HEADER).read(element)
        elif (parent := element.getparent()) is not None and local(parent) in CONTAINERS:
            if name == "Acct":
                self._account = Shapes(tables.ACCOUNT).read(element)
            else:
                self._read_balance(Shapes(tables.BALANCE).read(element), line_of(element))

    def _here(self, part: int | None = None) -> str:
        place = f"statement {len(self._statements) + 1}, entry {self._entries}"
        return place if part is None else f"{place}, transaction {part}"

    def _read_statement(self, said: Fields, line: int | None) -> None:
        last = said.get("last_page")
        if "account" not in self._account:
            where = f"statement {len(self._statements) + 1}"
            detail = "no number of the account: whose statement this is, is lost"
            self._findings.lose(Code.BANK_FILE_HEADER, where, detail=detail, line=line)
        self._statements.append(
            BankStatement(
                index=len(self._statements) + 1,
                identifier=said.get("identifier"),
                account=self._account.get("account"),
                currency=self._account.get("currency"),
                number=said.get("number"),
                page=said.get("page"),
                last_page=None if last is None else last in _SET,
                entries=self._entries,
                balances=tuple(self._balances),
            )
        )
        self._account = Fields()
        self._balances, self._balances_met, self._entries = [], 0, 0

    def _read_balance(self, said: Fields, line: int | None) -> None:
        """A balance without a side is a credit, as banks that leave it out mean it."""
        self._balances_met += 1
        try:
            money = entry_money(said, default=Side.CREDIT)
        except Rejected as error:
            where = f"statement {len(self._statements) + 1}, balance {self._balances_met}"
            self._findings.lose_for(error, where, lost="a balance", line=line)
            return
        self._balances.append(
            StatementBalance(
                kind=said.get("kind", "?"),
                amount_minor=money.amount_minor or 0,
                currency=money.currency,
                side=money.side,
                on=day_or_none(said.get("day")),
            )
        )

    def _read_entry(self, entry: Fields, line: int | None) -> None:
        """Read the entry's own fields, then each of its parts with them as fallback."""
        parts: list[Part] = self._parts or [(line, Fields())]
        try:
            money = entry_money(entry)
        except Rejected as error:
            lost = f"{len(parts)} transaction(s) of an entry of {_said(entry)}"
            self._findings.lose_for(error, self._here(), lost=lost, line=line)
            return
        count = entry.get("batch_count", "")
        counted = count.isascii() and count.isdecimal() and len(count) <= _COUNT_DIGITS_MAX
        common = {
            "statement": len(self._statements) + 1,
            "entry": self._entries,
            "parts": len(parts),
            "account": self._account.get("account"),
            "status": self._status(entry.get("status"), line),
            "reversal": entry.get("reversal") in _SET,
            "entry_amount_minor": money.amount_minor,
            "entry_currency": money.currency,
            "entry_side": money.side,
            "batch_count": int(count) if counted else None,
            "bank_reference": entry.get("bank_reference"),
            "entry_reference": entry.get("entry_reference"),
            "information": entry.get("information", ""),
            **self._dates(entry, line),
        }
        self._read_parts(parts, money, common, entry)

    def _read_parts(
        self, parts: list[Part], entry: Money, common: dict[str, Any], said: Fields
    ) -> None:
        read: list[tuple[int, Part, Money]] = []
        for number, part in enumerate(parts, start=1):
            try:
                money = part_money(part[1], entry, said, alone=len(parts) == 1)
            except Rejected as error:
                lost = f"a transaction of {_said(part[1])}"
                self._findings.lose_for(error, self._here(number), lost=lost, line=part[0])
            else:
                read.append((number, part, money))
        common["adds_up"] = len(read) == len(parts) and adds_up([m for *_, m in read], entry)
        if read and not common["adds_up"]:
            self._findings.warn(
                Code.BANK_FILE_PARTS_DIFFER,
                self._here(),
                detail="the transactions stated do not make up the entry, which is what moved",
                line=parts[0][0],
            )
        if len(self._transactions) + len(read) > TRANSACTIONS_MAX:
            raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 200,000 transactions")
        for number, (line, fields), money in read:
            self._transactions.append(_transaction(common, number, line, fields, money))

    def _status(self, code: str | None, line: int | None) -> BookingStatus:
        """What is not said to be booked is no money; a statement alone lists booked entries."""
        if code is None and self._document.kind is FileKind.CAMT_053:
            return BookingStatus.BOOKED
        found = _STATUSES.get(code or "")
        if found is None:
            detail = "whether the entry is booked: taken as information, never as money"
            self._findings.lose(Code.BANK_FILE_STATUS, self._here(), detail=detail, line=line)
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
            self._findings.lose(Code.BANK_FILE_DATE, self._here(), detail=detail, line=line)
            return {}


_MONEY_FIELDS: Final = ("amount", "amount_currency", "side")


def _transaction(
    common: dict[str, Any], number: int, line: int | None, said: Fields, money: Money
) -> BankTransaction:
    fields: dict[str, Any] = {**common, **said}
    for name in _MONEY_FIELDS:
        fields.pop(name, None)
    references = said.many.get("references", [])
    return BankTransaction(
        **fields,
        part=number,
        line=line,
        amount_minor=money.amount_minor,
        currency=money.currency,
        side=money.side,
        remittance="\n".join(said.many.get("remittance") or references),
        creditor_references=tuple(references),
    )


def _said(said: Fields) -> str:
    amount = said.get("amount")
    return f"“{amount[:40]}”" if amount else "no amount"
