"""The nouns of the double-entry book: buckets, kinds of transfers, requests and outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tillkeeper.contracts.base import Identifier, Model, Moment, Text
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.money import AmountMinor, Currency


class Side(StrEnum):
    """On which side an account grows: liabilities and income by credit, assets by debit."""

    CREDIT = "C"
    DEBIT = "D"


class Bucket(StrEnum):
    """The chart of accounts. A merchant's buckets and the platform's."""

    AVAILABLE = "available"
    FROZEN = "frozen"
    WITHDRAWING = "withdrawing"
    DUES = "dues"
    BANK = "bank"
    UNMATCHED_RECEIPTS = "unmatched_receipts"
    UNMATCHED_PAYMENTS = "unmatched_payments"
    RETURNING_RECEIPTS = "returning_receipts"
    BANK_CHARGES = "bank_charges"
    FEE_INCOME = "fee_income"
    DUES_UNEARNED = "dues_unearned"


class TransferKind(StrEnum):
    """Every way in which money moves, by its effect in rules.md 1.4."""

    RECEIPT = "receipt"
    RECEIPT_REVERSED = "receipt_reversed"
    RECEIPT_RETURN = "receipt_return"
    RECEIPT_RETURN_PAID = "receipt_return_paid"
    RECEIPT_RETURN_FAILED = "receipt_return_failed"
    RETURN_SETTLED = "return_settled"
    BANK_DEBIT = "bank_debit"
    BANK_DEBIT_REVERSED = "bank_debit_reversed"
    BANK_CHARGE = "bank_charge"
    TOPUP = "topup"
    HOLD = "hold"
    DUES_RAISED = "dues_raised"
    RELEASE = "release"
    SETTLEMENT = "settlement"
    SETTLED_REFUND = "settled_refund"
    WITHDRAWAL = "withdrawal"
    WITHDRAWAL_PAID = "withdrawal_paid"
    WITHDRAWAL_RETURNED = "withdrawal_returned"
    PAYMENT_SHORTFALL = "payment_shortfall"
    WITHDRAWAL_SETTLED = "withdrawal_settled"
    WITHDRAWAL_SENT_BACK = "withdrawal_sent_back"
    RECEIPT_SENT_BACK = "receipt_sent_back"
    DUES_HELD = "dues_held"
    DUES_SETTLED = "dues_settled"
    DUES_CLEARED = "dues_cleared"
    DUES_CANCELLED = "dues_cancelled"


class TransferRequest(Model):
    """One transfer by its template; ``merchant`` is None for transfers within the platform.

    ``name`` names one effect for ever (``topup/<merchant>/<request>/credit``). ``link`` joins
    neighbouring requests of one batch: they succeed or fail together. Amounts in minor units.
    """

    name: Text
    kind: TransferKind
    currency: Currency
    amount_minor: AmountMinor
    effective_at: Moment
    merchant: Identifier | None = None
    subject: Text
    link: str | None = None


class TransferResult(StrEnum):
    """What became of a transfer request."""

    POSTED = "posted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """The answer to one request; asked again, the same answer with ``replayed`` set."""

    result: TransferResult
    replayed: bool = False
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Balances:
    """One prepaid account's figures in minor units, at ``at``."""

    merchant: str
    currency: str
    available: int
    frozen: int
    withdrawing: int
    dues: int
    at: datetime
