"""The one table of posting templates; rules.md 1.4 (T1 … T12) is its specification."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tillkeeper.contracts.book import Bucket, Side, TransferKind


@dataclass(frozen=True, slots=True)
class Template:
    """Which bucket a transfer debits and which it credits.

    ``income`` tells how a merchant's statement shows it: True green,
    False red, None not at all (P-77).
    """

    debit: Bucket
    credit: Bucket
    income: bool | None = None


@dataclass(frozen=True, slots=True)
class BucketRule:
    """On which side a bucket grows, whether it may go below zero, and whose it is.

    Platform buckets that every settlement touches are split into ``shards``, summed on read.
    """

    side: Side
    floored: bool
    platform: bool = False
    shards: int = 1


_B = Bucket
_K = TransferKind

CHART: Final = MappingProxyType(
    {
        _B.AVAILABLE: BucketRule(Side.CREDIT, floored=True),
        _B.FROZEN: BucketRule(Side.CREDIT, floored=True),
        _B.WITHDRAWING: BucketRule(Side.CREDIT, floored=True),
        _B.DUES: BucketRule(Side.DEBIT, floored=True),
        _B.BANK: BucketRule(Side.DEBIT, floored=False, platform=True),
        _B.UNMATCHED_RECEIPTS: BucketRule(Side.CREDIT, floored=True, platform=True),
        _B.UNMATCHED_PAYMENTS: BucketRule(Side.DEBIT, floored=True, platform=True),
        _B.RETURNING_RECEIPTS: BucketRule(Side.CREDIT, floored=True, platform=True),
        _B.BANK_CHARGES: BucketRule(Side.DEBIT, floored=False, platform=True),
        _B.FEE_INCOME: BucketRule(Side.CREDIT, floored=False, platform=True, shards=16),
        _B.DUES_UNEARNED: BucketRule(Side.CREDIT, floored=True, platform=True, shards=16),
    }
)

TEMPLATES: Final = MappingProxyType(
    {
        _K.RECEIPT: Template(_B.BANK, _B.UNMATCHED_RECEIPTS),
        _K.RECEIPT_REVERSED: Template(_B.UNMATCHED_RECEIPTS, _B.BANK),
        _K.RECEIPT_RETURN: Template(_B.UNMATCHED_RECEIPTS, _B.RETURNING_RECEIPTS),
        _K.RECEIPT_RETURN_PAID: Template(_B.RETURNING_RECEIPTS, _B.BANK),
        _K.RECEIPT_RETURN_FAILED: Template(_B.RETURNING_RECEIPTS, _B.UNMATCHED_RECEIPTS),
        _K.RETURN_SETTLED: Template(_B.RETURNING_RECEIPTS, _B.UNMATCHED_PAYMENTS),
        _K.BANK_DEBIT: Template(_B.UNMATCHED_PAYMENTS, _B.BANK),
        _K.BANK_DEBIT_REVERSED: Template(_B.BANK, _B.UNMATCHED_PAYMENTS),
        _K.BANK_CHARGE: Template(_B.BANK_CHARGES, _B.UNMATCHED_PAYMENTS),
        _K.PAYMENT_SHORTFALL: Template(_B.UNMATCHED_PAYMENTS, _B.BANK_CHARGES),
        _K.TOPUP: Template(_B.UNMATCHED_RECEIPTS, _B.AVAILABLE, income=True),  # T1
        _K.HOLD: Template(_B.AVAILABLE, _B.FROZEN),  # T2
        _K.DUES_RAISED: Template(_B.DUES, _B.DUES_UNEARNED),  # T3
        _K.RELEASE: Template(_B.FROZEN, _B.AVAILABLE),  # T4
        _K.SETTLEMENT: Template(_B.FROZEN, _B.FEE_INCOME, income=False),  # T5
        _K.SETTLED_REFUND: Template(_B.FEE_INCOME, _B.AVAILABLE, income=True),  # T6
        _K.WITHDRAWAL: Template(_B.AVAILABLE, _B.WITHDRAWING, income=False),  # T7
        _K.WITHDRAWAL_PAID: Template(_B.WITHDRAWING, _B.BANK),  # T8
        _K.WITHDRAWAL_RETURNED: Template(_B.WITHDRAWING, _B.AVAILABLE, income=True),  # T9
        _K.WITHDRAWAL_SETTLED: Template(_B.WITHDRAWING, _B.UNMATCHED_PAYMENTS),  # T8, by people
        _K.WITHDRAWAL_SENT_BACK: Template(_B.BANK, _B.AVAILABLE, income=True),  # C-13
        _K.RECEIPT_SENT_BACK: Template(
            _B.UNMATCHED_RECEIPTS, _B.AVAILABLE, income=True
        ),  # likewise
        _K.DUES_HELD: Template(_B.AVAILABLE, _B.FROZEN),  # T10, with DUES_CLEARED
        _K.DUES_SETTLED: Template(_B.AVAILABLE, _B.FEE_INCOME, income=False),  # T11, likewise
        _K.DUES_CLEARED: Template(_B.DUES_UNEARNED, _B.DUES),  # T10, T11
        _K.DUES_CANCELLED: Template(_B.DUES_UNEARNED, _B.DUES),  # T12
    }
)

STATEMENT_KINDS: Final = MappingProxyType(
    {kind: template.income for kind, template in TEMPLATES.items() if template.income is not None}
)
"""Kinds that change available + frozen and so stand in the account statement: True is income."""
