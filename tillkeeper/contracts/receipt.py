"""A bank receipt: money that arrived, and the request it was matched to (P-21 … P-26, P-31)."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from tillkeeper.contracts.base import Command, Model, Moment, Name, NotUnderstood, Text
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.money import AmountMinor, Currency

WORKFLOW: Final = "Receipt"


class PayerKind(StrEnum):
    """Whose account paid (P-22); UNKNOWN: the equality of the company's name decides."""

    CORPORATE = "corporate"
    PERSONAL = "personal"
    UNKNOWN = "unknown"


class ReceiptReport(Model):
    """Money that arrived on one of the platform's accounts; amounts in minor units.

    ``bank_reference`` tells receipts on one account apart for ever (P-26).
    ``booked_at`` is the bank's time.
    """

    receiving_account: Name
    bank_reference: Text
    amount_minor: AmountMinor
    currency: Currency = "CNY"
    payer_name: Name
    payer_account: Name
    payer_kind: PayerKind
    booked_at: Moment


def receipt_digest(report: ReceiptReport) -> str:
    """The receipt's identity, without personal data: account and bank reference, hashed.

    Width and spaces do not count: banks pad references, and one receipt must never be two (P-26).
    """
    return reference_digest(report.receiving_account, report.bank_reference)


def reference_digest(account: str, reference: str) -> str:
    """The digest of our account's number and a bank reference, as receipts are known by (P-26)."""
    identity = f"{_compact(account)}\x1f{_compact(reference)}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _compact(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def receipt_workflow_id(report: ReceiptReport) -> str:
    """Workflow ids are never encrypted, hence the digest."""
    return f"receipt/{receipt_digest(report)}"


class ReceiptState(StrEnum):
    """What became of a receipt; REPORTED until it is booked. A foreign one is refused, not kept.

    REVERSED: the bank took it back. DETAILED: its entry's parts have become receipts instead.
    SENT_BACK: it was a payment of ours that came back, as its debit has told since (C-13).
    """

    REPORTED = "REPORTED"
    CREDITED = "CREDITED"
    UNMATCHED = "UNMATCHED"
    RETURNING = "RETURNING"
    RETURNED = "RETURNED"
    REVERSED = "REVERSED"
    DETAILED = "DETAILED"
    SENT_BACK = "SENT_BACK"


class ReceiptView(Model):
    """The answer to a report; the same receipt is always answered alike.

    ``suggests`` names the request that was probably meant, as ``merchant/request`` (P-31).
    ``activated`` is set when this credit made the account active (P-09).
    """

    state: ReceiptState
    digest: str
    amount_minor: int
    currency: str
    reason: Code | None = None
    merchant: str | None = None
    request: str | None = None
    suggests: str | None = None
    activated: bool = False
    booked_at: datetime | None = None
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""
    fingerprint: str = ""


class ReceiptCommand(Command):
    """One report with the workflow's time (UTC)."""

    report: ReceiptReport


class ReceiptDoor(Protocol):
    """One database transaction; safe to run twice."""

    async def book_receipt(self, command: ReceiptCommand) -> ReceiptView:
        """Book the money, match it, credit it and pay dues; or leave it unmatched with a reason.

        Raises Rejected(WRONG_ACCOUNT | TIME_OUT_OF_RANGE | KEY_REUSED).
        """
        ...
