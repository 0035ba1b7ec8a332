"""What a bank's word does to a payment: a pure table, and when silence has lasted too long (C-12).

No status ever makes a payment PAID, and what is unknown is never taken for a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.payment import PaymentState

RULES: Final = "payments@2026-11"
"""How audit rows name the rules of this module."""

FIRST_LOOK: Final = timedelta(days=3)
"""When a run looks first at a bank that says nothing; the deadline is its rail's (profiles)."""

LOOK_EVERY: Final = timedelta(days=1)
"""How often is looked again after that."""

ACCEPTED: Final = frozenset(
    {"ACTC", "ACCP", "ACSP", "ACSC", "ACWC", "ACCC", "ACFC", "ACWP", "PDNG"}
)
SETTLED: Final = frozenset({"ACSC", "ACCC"})
"""Says that the money has moved: after a no the bank contradicts itself (C-12)."""

REJECTED: Final = "RJCT"

_NO_ID: Final = (None, "", "NOTPROVIDED")

DUPLICATE: Final = frozenset({"AM05", "DU01", "DU02", "DU03", "DU04", "DU05", "DUPL"})
"""Refused because the bank has it already: that proves the first one, it refuses nothing."""


def after_status(state: PaymentState, said: PaymentStatus) -> PaymentState:
    """The state after a bank's status; the same end in whichever order and however often told.

    A payment that is decided stays so. RJCT rejects an accepted payment too.
    """
    if not state.open:
        return state
    if said.status == REJECTED:
        return state if DUPLICATE.intersection(said.reasons) else PaymentState.REJECTED
    return PaymentState.ACCEPTED if said.status in ACCEPTED else state


def said_about(
    end_to_end_id: str, message_id: str | None, statuses: Sequence[PaymentStatus]
) -> tuple[PaymentStatus, ...]:
    """What a file says about one payment: of the lowest level that names it, else nothing."""
    for level in (StatusLevel.TRANSACTION, StatusLevel.PAYMENT, StatusLevel.GROUP):
        named = (one for one in statuses if one.level is level)
        found = tuple(one for one in named if _names(one, end_to_end_id, message_id))
        if found:
            return found
    return ()


def _names(one: PaymentStatus, end_to_end_id: str, message_id: str | None) -> bool:
    """Whether a status names the payment; a file of one payment is called by its id."""
    if one.level is StatusLevel.TRANSACTION:
        # Our files give both ids the same value; a bank may tell the instruction's alone.
        told = one.end_to_end_id
        return (one.instruction_id if told in _NO_ID else told) == end_to_end_id
    name = one.payment_id if one.level is StatusLevel.PAYMENT else one.message_id
    return name is not None and name in (end_to_end_id, message_id)


def is_overdue(state: PaymentState, since: datetime, at: datetime, deadline: timedelta) -> bool:
    """Whether a payment that left, or waits to, ``since`` is undecided for too long at ``at``.

    At the very end of ``deadline`` it is.
    """
    return state.open and at >= since + deadline


def next_look(left_at: datetime, now: datetime) -> datetime:
    """When to look again: first after three days, then every day, always at the same hour."""
    first = left_at + FIRST_LOOK
    if now < first:
        return first
    return first + ((now - first) // LOOK_EVERY + 1) * LOOK_EVERY
