"""The bank's messages to its customer: camt.053.001.08, camt.054.001.08 and pain.002.001.10.

Valid by the official schemas; every entry carries the bank's reference, once for the entry and
once for its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from sqlite3 import Row
from typing import Final

from lxml import etree

from gateways.bank.simulator.models import Movement
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.payment import is_iban
from tillkeeper.contracts.receipt import PayerKind
from tillkeeper.rules.days import BUSINESS_ZONE, zone

STATEMENT: Final = "camt.053.001.08"
NOTIFICATION: Final = "camt.054.001.08"
STATUS: Final = "pain.002.001.10"
_LINE_CHARS: Final = 140
_SIDES: Final = {"credit": "CRDT", "debit": "DBIT"}

Element = etree._Element


@dataclass(frozen=True, slots=True)
class Stated:
    """A closed day of an account: number of the statement and both balances in minor units."""

    sequence: int
    day: date
    opening: int
    closing: int


@dataclass(frozen=True, slots=True)
class Told:
    """One payment's status; ``early`` says settled before it is."""

    payment_id: str
    instruction_id: str | None
    end_to_end_id: str
    status: str
    reason: str | None = None


def statement(
    message_id: str, at: datetime, account: Row, stated: Stated, moved: Sequence[Movement]
) -> bytes:
    """The camt.053 of one account and day, with opening and closing balance."""
    document, message = _document(STATEMENT, "BkToCstmrStmt")
    _header(message, message_id, at)
    element = _sub(message, "Stmt")
    _sub(element, "Id", message_id)
    _sub(element, "ElctrncSeqNb", str(stated.sequence))
    _sub(element, "CreDtTm", _time(at))
    _own_account(element, account)
    for code, minor in (("OPBD", stated.opening), ("CLBD", stated.closing)):
        balance = _sub(element, "Bal")
        _sub(_sub(_sub(balance, "Tp"), "CdOrPrtry"), "Cd", code)
        _amount(balance, minor, account["currency"])
        _sub(balance, "CdtDbtInd", "CRDT")
        _sub(_sub(balance, "Dt"), "Dt", stated.day.isoformat())
    for movement in moved:
        _entry(element, movement, account["owner"])
    return _bytes(document)


def notification(
    message_id: str, at: datetime, told: Sequence[tuple[Row, Sequence[Movement]]]
) -> bytes:
    """One camt.054 with credits and debits of several accounts."""
    document, message = _document(NOTIFICATION, "BkToCstmrDbtCdtNtfctn")
    _header(message, message_id, at)
    for number, (account, moved) in enumerate(told, start=1):
        element = _sub(message, "Ntfctn")
        _sub(element, "Id", f"{message_id}-{number}")
        _sub(element, "CreDtTm", _time(at))
        _own_account(element, account)
        for movement in moved:
            _entry(element, movement, account["owner"])
    return _bytes(document)


def status(
    message_id: str,
    at: datetime,
    original: tuple[str, str],
    told: Sequence[Told],
    problem: str = "",
) -> bytes:
    """The pain.002 about a file (its message id and name) and its payments."""
    document, message = _document(STATUS, "CstmrPmtStsRpt")
    _header(message, message_id, at)
    group = _sub(message, "OrgnlGrpInfAndSts")
    _sub(group, "OrgnlMsgId", original[0])
    _sub(group, "OrgnlMsgNmId", original[1])
    _sub(group, "GrpSts", _overall([one.status for one in told]) if not problem else "RJCT")
    if problem:
        _sub(_sub(_sub(group, "StsRsnInf"), "Rsn"), "Cd", problem)
    for payment_id in dict.fromkeys(one.payment_id for one in told):
        ours = [one for one in told if one.payment_id == payment_id]
        payment = _sub(message, "OrgnlPmtInfAndSts")
        _sub(payment, "OrgnlPmtInfId", payment_id)
        _sub(payment, "PmtInfSts", _overall([one.status for one in ours]))
        for one in ours:
            _transaction_status(payment, one, at)
    return _bytes(document)


def _transaction_status(payment: Element, told: Told, at: datetime) -> None:
    element = _sub(payment, "TxInfAndSts")
    if told.instruction_id:
        _sub(element, "OrgnlInstrId", told.instruction_id)
    _sub(element, "OrgnlEndToEndId", told.end_to_end_id)
    _sub(element, "TxSts", told.status)
    if told.reason:
        _sub(_sub(_sub(element, "StsRsnInf"), "Rsn"), "Cd", told.reason)
    _sub(element, "AccptncDtTm", _time(at))


def _overall(statuses: Sequence[str]) -> str:
    return statuses[0] if len(set(statuses)) == 1 else "PART"


def _entry(parent: Element, movement: Movement, owner: str) -> None:
    entry = _sub(parent, "Ntry")
    _amount(entry, movement.amount_minor, movement.currency)
    _sub(entry, "CdtDbtInd", _SIDES[movement.side])
    if movement.reversal:
        _sub(entry, "RvslInd", "true")
    _sub(_sub(entry, "Sts"), "Cd", "BOOK")
    for name in ("BookgDt", "ValDt"):
        _sub(_sub(entry, name), "Dt", movement.day.isoformat())
    _sub(entry, "AcctSvcrRef", movement.bank_reference)
    domain = _sub(_sub(entry, "BkTxCd"), "Domn")
    _sub(domain, "Cd", "PMNT")
    family = _sub(domain, "Fmly")
    _sub(family, "Cd", "RCDT" if movement.side == "credit" else "ICDT")
    _sub(family, "SubFmlyCd", "RRTN" if movement.reason else "OTHR")
    details = _sub(_sub(entry, "NtryDtls"), "TxDtls")
    references = _sub(details, "Refs")
    _sub(references, "AcctSvcrRef", movement.bank_reference)
    _sub(references, "EndToEndId", movement.end_to_end_id or "NOTPROVIDED")
    _amount(details, movement.amount_minor, movement.currency)
    _sub(details, "CdtDbtInd", _SIDES[movement.side])
    _parties(details, movement, owner)
    if movement.remittance.strip():
        remittance = _sub(details, "RmtInf")
        for line in movement.remittance.splitlines():
            for start in range(0, len(line), _LINE_CHARS):
                _sub(remittance, "Ustrd", line[start : start + _LINE_CHARS])
    if movement.reason:
        _sub(_sub(_sub(details, "RtrInf"), "Rsn"), "Cd", movement.reason)


def _parties(details: Element, movement: Movement, owner: str) -> None:
    """Debtor and creditor: who paid and who was paid, the account's owner being one of them."""
    parties = _sub(details, "RltdPties")
    # A reversal names the parties of what it undoes.
    gained = (movement.side == "credit") != movement.reversal
    for role, other in (("Dbtr", gained), ("Cdtr", not gained)):
        if not other:
            _sub(_sub(_sub(parties, role), "Pty"), "Nm", owner)
            _account(_sub(parties, f"{role}Acct"), movement.account)
        elif movement.counterparty_name:
            party = _sub(_sub(parties, role), "Pty")
            _sub(party, "Nm", movement.counterparty_name)
            if movement.counterparty_kind is not None:
                _identity(party, movement.counterparty_kind, movement.counterparty_account)
            _account(_sub(parties, f"{role}Acct"), movement.counterparty_account)


def _identity(party: Element, kind: PayerKind, number: str) -> None:
    """A party is a company by its OrgId and a person by its PrvtId."""
    name = "OrgId" if kind is PayerKind.CORPORATE else "PrvtId"
    _sub(_sub(_sub(_sub(party, "Id"), name), "Othr"), "Id", f"SIM-{number[-4:]}")


def _document(message: str, name: str) -> tuple[Element, Element]:
    namespace = f"urn:iso:std:iso:20022:tech:xsd:{message}"
    document = etree.fromstring(f'<Document xmlns="{namespace}"/>'.encode())
    return document, _sub(document, name)


def _header(message: Element, message_id: str, at: datetime) -> None:
    header = _sub(message, "GrpHdr")
    _sub(header, "MsgId", message_id)
    _sub(header, "CreDtTm", _time(at))


def _own_account(element: Element, account: Row) -> None:
    own = _sub(element, "Acct")
    _account(own, account["number"])
    _sub(own, "Ccy", account["currency"])
    _sub(_sub(own, "Ownr"), "Nm", account["owner"])


def _account(element: Element, number: str) -> None:
    identity = _sub(element, "Id")
    if is_iban(number):
        _sub(identity, "IBAN", number)
    else:
        _sub(_sub(identity, "Othr"), "Id", number)


def _amount(element: Element, minor: int, currency: str) -> None:
    _sub(element, "Amt", format_amount(minor, currency)).set("Ccy", currency)


def _sub(parent: Element, name: str, text: str | None = None) -> Element:
    namespace = str(parent.tag).partition("}")[0]
    made = etree.SubElement(parent, f"{namespace}}}{name}")
    made.text = text
    return made


def _time(at: datetime) -> str:
    return at.astimezone(zone(BUSINESS_ZONE)).isoformat(timespec="seconds")


def _bytes(document: Element) -> bytes:
    return etree.tostring(document, xml_declaration=True, encoding="UTF-8")
