"""Writes payment files (pain.001.001.03, .09); what its schema does not allow never leaves.

The same payments give the same bytes, for ever. Nothing is cut short, rounded or replaced: what a
file cannot carry was refused by the contracts, and what they let through is checked once more here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from lxml import etree

from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.money import exponent, format_amount
from tillkeeper.contracts.payment import (
    PaymentFile,
    PaymentFormat,
    PaymentInstruction,
    PaymentParty,
)

_NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
_CHINESE_CLEARING: Final = "CNAPS"
_CHINESE_CLEARING_DIGITS: Final = 12
_ID_CHARS_MAX: Final = 35
_SCHEMAS: Final = "sepaxml"
"""The package that brings the official schemas; nothing else of it is used."""

Element = etree._Element


def write_payments(file: PaymentFile, version: PaymentFormat) -> bytes:
    """The file in UTF-8, held against its schema.

    Raises Rejected(FIELD_INVALID | PAYMENT_FILE_INVALID), Broken where the schema is not there.
    """
    body = _Writer(file, version).written()
    check_payments(body, version)
    return body


def check_payments(body: bytes, version: PaymentFormat) -> None:
    """Hold a file against its schema. Raises Rejected(PAYMENT_FILE_INVALID), names no value."""
    try:
        tree = etree.fromstring(body, _parser())
    except etree.XMLSyntaxError:
        raise Rejected(Code.PAYMENT_FILE_INVALID, detail="no well-formed XML") from None
    schema = payment_schema(version)
    if not schema.validate(tree):
        found: Any = schema.error_log
        first = found[0]
        detail = f"{first.type_name} at {_place(tree, first.path)}"
        raise Rejected(Code.PAYMENT_FILE_INVALID, detail=detail)


@cache
def payment_schema(version: PaymentFormat) -> etree.XMLSchema:
    """The official schema of a version. Raises Broken where the package lacks it."""
    try:
        text = files(_SCHEMAS).joinpath("schemas", f"{version.value}.xsd").read_bytes()
        return etree.XMLSchema(etree.fromstring(text, _parser()))
    except (OSError, ModuleNotFoundError, etree.LxmlError):
        raise Broken(f"no schema of {version.value}: no payment file can leave") from None


def control_sum(payments: Sequence[PaymentInstruction]) -> str:
    """The sum of all amounts whatever their currencies, exact, as the standard wants it."""
    digits = max(exponent(one.currency) for one in payments)
    total = sum(p.amount_minor * 10 ** (digits - exponent(p.currency)) for p in payments)
    whole, part = divmod(total, 10**digits)
    return f"{whole}.{part:0{digits}d}" if digits else str(whole)


class _Writer:
    """Builds one document; element names differ between the versions in two places only."""

    def __init__(self, file: PaymentFile, version: PaymentFormat) -> None:
        self._file = file
        self._latest = version is PaymentFormat.PAIN_001_09
        self._namespace = f"{_NAMESPACE}{version.value}"

    def written(self) -> bytes:
        own: dict[Any, str] = {None: self._namespace}
        root = etree.Element(f"{{{self._namespace}}}Document", nsmap=own)
        message = self._add(root, "CstmrCdtTrfInitn")
        self._header(message)
        groups = self._groups()
        for number, payments in enumerate(groups, start=1):
            self._group(message, payments, self._group_id(number, len(groups)))
        text: bytes = etree.tostring(
            root, xml_declaration=True, encoding="UTF-8", pretty_print=True
        )
        return text

    def _header(self, message: Element) -> None:
        file = self._file
        header = self._add(message, "GrpHdr")
        self._add(header, "MsgId", file.message_id)
        created = file.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._add(header, "CreDtTm", created)
        self._totals(header, file.payments)
        self._add(self._add(header, "InitgPty"), "Nm", file.payments[0].debtor.name)

    def _groups(self) -> list[list[PaymentInstruction]]:
        def key(one: PaymentInstruction) -> tuple[str, ...]:
            day = one.requested_on.isoformat()
            return (one.debtor.model_dump_json(), one.currency, day, str(one.sepa))

        return [list(group) for _, group in groupby(sorted(self._file.payments, key=key), key)]

    def _group_id(self, number: int, of: int) -> str:
        found = self._file.message_id if of == 1 else f"{self._file.message_id}-{number}"
        if len(found) > _ID_CHARS_MAX:
            raise Rejected(Code.FIELD_INVALID, detail="the message id leaves no room for a number")
        return found

    def _group(self, message: Element, payments: list[PaymentInstruction], name: str) -> None:
        first = payments[0]
        group = self._add(message, "PmtInf")
        self._add(group, "PmtInfId", name)
        self._add(group, "PmtMtd", "TRF")
        self._totals(group, payments)
        if first.sepa:
            level = self._add(self._add(group, "PmtTpInf"), "SvcLvl")
            self._add(level, "Cd", "SEPA")
        day = self._add(group, "ReqdExctnDt")
        (self._add(day, "Dt") if self._latest else day).text = first.requested_on.isoformat()
        self._add(self._add(group, "Dbtr"), "Nm", first.debtor.name)
        self._account(group, "DbtrAcct", first.debtor, first.currency)
        self._agent(group, "DbtrAgt", first.debtor)
        if first.sepa:
            self._add(group, "ChrgBr", "SLEV")
        for payment in payments:
            self._transaction(group, payment)

    def _totals(self, parent: Element, payments: Sequence[PaymentInstruction]) -> None:
        self._add(parent, "NbOfTxs", str(len(payments)))
        self._add(parent, "CtrlSum", control_sum(payments))

    def _transaction(self, group: Element, payment: PaymentInstruction) -> None:
        one = self._add(group, "CdtTrfTxInf")
        ids = self._add(one, "PmtId")
        self._add(ids, "InstrId", payment.end_to_end_id)
        self._add(ids, "EndToEndId", payment.end_to_end_id)
        text = format_amount(payment.amount_minor, payment.currency)
        amount = self._add(self._add(one, "Amt"), "InstdAmt", text)
        amount.set("Ccy", payment.currency)
        creditor = payment.creditor
        if any((creditor.bic, creditor.clearing_code, creditor.bank_name)):
            self._agent(one, "CdtrAgt", creditor)
        self._add(self._add(one, "Cdtr"), "Nm", creditor.name)
        self._account(one, "CdtrAcct", creditor)
        self._add(self._add(one, "RmtInf"), "Ustrd", payment.remittance)

    def _account(
        self, parent: Element, name: str, party: PaymentParty, currency: str | None = None
    ) -> None:
        account = self._add(parent, name)
        where = self._add(account, "Id")
        if party.iban:
            self._add(where, "IBAN", party.account)
        else:
            self._add(self._add(where, "Othr"), "Id", party.account)
        if currency is not None:
            self._add(account, "Ccy", currency)

    def _agent(self, parent: Element, name: str, party: PaymentParty) -> None:
        bank = self._add(self._add(parent, name), "FinInstnId")
        if party.bic:
            self._add(bank, "BICFI" if self._latest else "BIC", party.bic)
        if party.clearing_code:
            member = self._add(bank, "ClrSysMmbId")
            code = party.clearing_code
            if len(code) == _CHINESE_CLEARING_DIGITS and code.isdecimal():
                self._add(self._add(member, "ClrSysId"), "Cd", _CHINESE_CLEARING)
            self._add(member, "MmbId", code)
        # SEPA takes one way of naming a bank, and a BIC is the surer one.
        if party.bank_name and not (party.iban and party.bic):
            self._add(bank, "Nm", party.bank_name)
        if not any((party.bic, party.clearing_code, party.bank_name)):
            self._add(self._add(bank, "Othr"), "Id", "NOTPROVIDED")

    def _add(self, parent: Element, name: str, text: str | None = None) -> Element:
        child = etree.SubElement(parent, f"{{{self._namespace}}}{name}")
        child.text = text
        return child


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def _place(tree: Element, path: str | None) -> str:
    """The names of the elements that lead to ``path``."""
    found: Any = tree.getroottree().xpath(path or "/*")
    names = [
        etree.QName(one).localname for one in (*reversed([*found[0].iterancestors()]), found[0])
    ]
    return "/".join(names)
