"""Payment files as they come to the bank: pain.001 of every version, read safely.

A file whose sums are wrong is rejected whole (AM10, AM18); one that is no payment file at all is
refused. Of a payment that cannot be read, its ids are kept, so that it can be rejected by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from lxml import etree

from gateways.bank.amounts import exact_minor
from gateways.bank.iso20022.document import namespace
from gateways.bank.simulator.models import PaymentOrder, Refused
from tillkeeper.contracts.base import at_the_door
from tillkeeper.contracts.errors import Rejected

NOT_PROVIDED: Final = "NOTPROVIDED"
_ID_CHARS_MAX: Final = 35

Element = etree._Element


@dataclass(frozen=True, slots=True)
class Instruction:
    """One payment of a file; without an ``order`` where it cannot be read."""

    payment_id: str
    instruction_id: str | None
    end_to_end_id: str
    order: PaymentOrder | None


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A file's payments; ``problem`` is the code by which it is rejected whole."""

    message_id: str
    message_name: str
    problem: str | None
    instructions: tuple[Instruction, ...]


def read_payment_file(body: bytes) -> PaymentFile:
    """The payments of a file. Raises Refused(FF01) for what is no pain.001."""
    message = _message(body)
    header = next(_all(message, "GrpHdr"), None)
    message_id = _text(header, "MsgId")
    if header is None or message_id is None or len(message_id) > _ID_CHARS_MAX:
        raise Refused(400, "FF01", "a pain.001 without header")
    instructions = tuple(_instructions(message))
    document = message.getparent()
    name = "" if document is None else namespace(document).rpartition(":")[2]
    return PaymentFile(
        message_id=message_id,
        message_name=name or "pain.001",
        problem=_problem(header, message, len(instructions)),
        instructions=instructions,
    )


def _message(body: bytes) -> Element:
    if b"<!DOCTYPE" in body.replace(b"\0", b"").upper():
        raise Refused(400, "FF01", "a payment file has no document type")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        raise Refused(400, "FF01", "no well-formed XML") from None
    found = next(_all(root, "CstmrCdtTrfInitn"), None)
    if found is None:
        raise Refused(400, "FF01", "no pain.001")
    return found


def _instructions(message: Element) -> Iterator[Instruction]:
    for group in _all(message, "PmtInf"):
        account = _account(group, "DbtrAcct")
        payment_id = _id(_text(group, "PmtInfId"))
        for one in _all(group, "CdtTrfTxInf"):
            instruction = _text(one, "PmtId", "InstrId")
            yield Instruction(
                payment_id=payment_id,
                instruction_id=_id(instruction) if instruction else None,
                end_to_end_id=_id(_text(one, "PmtId", "EndToEndId")),
                order=_order(one, account),
            )


def _order(one: Element, account: str | None) -> PaymentOrder | None:
    amount = next(_all(one, "InstdAmt"), None)
    currency = None if amount is None else str(amount.get("Ccy"))
    lines = [line.text or "" for line in _all(one, "Ustrd")]
    references = [reference.text or "" for reference in _all(one, "Ref")]
    try:
        fields = {
            "account": account,
            "end_to_end_id": _text(one, "PmtId", "EndToEndId"),
            "amount_minor": exact_minor(None if amount is None else amount.text, currency),
            "currency": currency,
            "creditor_name": _text(one, "Cdtr", "Nm"),
            "creditor_account": _account(one, "CdtrAcct"),
            "remittance": "\n".join(lines or references),
        }
        return at_the_door(PaymentOrder, fields)
    except Rejected:
        return None


def _problem(header: Element, message: Element, count: int) -> str | None:
    """Whether the number of payments and the sum of their amounts are those stated."""
    if _text(header, "NbOfTxs") != str(count):
        return "AM18"
    stated = _text(header, "CtrlSum")
    try:
        total = sum((Decimal(one.text or "") for one in _all(message, "InstdAmt")), Decimal(0))
        return "AM10" if stated is not None and Decimal(stated) != total else None
    except InvalidOperation:
        return "AM10"


def _all(element: Element, name: str) -> Iterator[Element]:
    return element.iter(f"{{*}}{name}")


def _text(element: Element | None, *path: str) -> str | None:
    if element is None:
        return None
    found = element.findtext("/".join(f"{{*}}{name}" for name in path))
    return found.strip() if found and found.strip() else None


def _account(element: Element, name: str) -> str | None:
    return _text(element, name, "Id", "IBAN") or _text(element, name, "Id", "Othr", "Id")


def _id(text: str | None) -> str:
    return text if text is not None and len(text) <= _ID_CHARS_MAX else NOT_PROVIDED
