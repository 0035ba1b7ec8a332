"""Work for people: one inbox for all lifecycles (P-29, C-05, C-07).

An item says what waits, since when, and what may be done; it never holds personal data, which the
desk reads from what the item is about. It is closed with an outcome only.
"""

from __future__ import annotations

from enum import StrEnum


class ItemKind(StrEnum):
    """What waits for a person; the subject of an item names the thing itself."""

    UNMATCHED_RECEIPT = "UNMATCHED_RECEIPT"
    """``receipt/<digest>``: money that no request explains (P-29)."""
    UNKNOWN_DEBIT = "UNKNOWN_DEBIT"
    """``entry/<id>``: money that left without a payment of ours."""
    CREDIT_REVERSED = "CREDIT_REVERSED"
    """``entry/<id>``: the bank took back money that was credited to a merchant."""
    BANK_FILE_REFUSED = "BANK_FILE_REFUSED"
    """``bank-file/<digest>``: a file of which nothing was taken."""
    BANK_FILE_LOSSES = "BANK_FILE_LOSSES"
    """``bank-file/<digest>``: a file that was read but for the losses listed with it."""
    FOREIGN_STATEMENT = "FOREIGN_STATEMENT"
    """``bank-account/<digest>``: statements of an account that is not configured as ours."""
    STATEMENT_BREAK = "STATEMENT_BREAK"
    """``statement/<id>``: opening and entries do not make the closing balance."""
    STATEMENT_GAP = "STATEMENT_GAP"
    """``bank-account/<id>/gap/<day>``: a statement is missing, or one contradicts the one before."""
    RECONCILIATION_DIFFERENCE = "RECONCILIATION_DIFFERENCE"
    """``reconcile/<account id>/<day>``: book and statement differ (C-14)."""
    PAYMENT_REJECTED = "PAYMENT_REJECTED"
    """``payment/<end-to-end id>``: the bank refused a payment of ours."""
    PAYMENT_OVERDUE = "PAYMENT_OVERDUE"
    """``payment/<end-to-end id>``: the bank says nothing about a payment of ours (C-12)."""


class ItemState(StrEnum):
    """Where an item stands; PROPOSED waits for a second person."""

    OPEN = "OPEN"
    CLAIMED = "CLAIMED"
    PROPOSED = "PROPOSED"
    CLOSED = "CLOSED"


class Outcome(StrEnum):
    """How an item ended; none is ever closed without one (C-05)."""

    MATCHED = "MATCHED"
    RETURNED = "RETURNED"
    CHARGED = "CHARGED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
    """What it was about has come right by itself: a missing statement arrived, a difference went."""
