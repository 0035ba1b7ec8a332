"""Messages about an order's interest fee, and what became of them (P-40 … P-50.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from pydantic import model_validator

from tillkeeper.contracts.base import Identifier, Model, Moment
from tillkeeper.contracts.errors import Code, flaw
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.money import AmountMinor, Currency

WORKFLOW: Final = "OrderMessage"


class OrderEvent(StrEnum):
    """What a message says about an order."""

    HOLD = "hold"
    RELEASE = "release"
    SETTLE = "settle"
    REFUND = "refund"


class OrderMessage(Model):
    """One message about one order of one merchant.

    ``amount_minor`` is the fee to hold or to give back, in minor units; a settlement has none.
    ``message_id`` tells returns of an order apart; a hold is told by ``fee_version`` (P-42).
    ``at`` is the event's own time; for a hold, the time when the order was placed (P-10).
    """

    event: OrderEvent
    merchant: Identifier
    currency: Currency
    order: Identifier
    at: Moment
    amount_minor: AmountMinor | None = None
    message_id: Identifier | None = None
    fee_version: int = 1

    @model_validator(mode="after")
    def _complete(self) -> OrderMessage:
        settles = self.event is OrderEvent.SETTLE
        if settles is not (self.amount_minor is None):
            raise flaw(Code.FIELD_INVALID, "an amount belongs to every message but a settlement")
        returns = self.event in (OrderEvent.RELEASE, OrderEvent.REFUND)
        if returns is (self.message_id is None):
            raise flaw(
                Code.FIELD_INVALID, "a message id belongs to releases and refunds, and to them only"
            )
        if not 1 <= self.fee_version <= 32_000:
            raise flaw(Code.FIELD_INVALID, "a fee version is 1 to 32000")
        return self


class OrderResult(StrEnum):
    """What became of a message."""

    APPLIED = "applied"
    DUES = "dues"
    PARKED = "parked"
    REPLAYED = "replayed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class OrderOutcome:
    """The answer to one message; the same message is always answered alike.

    ``replayed`` says that an earlier delivery had this effect. ``code`` is set when refused.
    """

    result: OrderResult
    replayed: bool = False
    code: Code | None = None
    detail: str = ""


class HoldState(StrEnum):
    """Where one order's fee stands."""

    PARKED = "parked"
    HELD = "held"
    DUE = "due"
    RELEASED = "released"
    SETTLED = "settled"
    REFUSED = "refused"


class HoldView(Model):
    """One order's fee, in minor units: fee = held + dues + released + cancelled + settled."""

    merchant: str
    currency: str
    order: str
    state: HoldState
    fee_minor: int | None
    held_minor: int
    dues_minor: int
    released_minor: int
    cancelled_minor: int
    settled_minor: int
    refunded_minor: int
    placed_at: datetime | None
    completed_at: datetime | None


def order_workflow_id(message: OrderMessage) -> str:
    """The message's own id, with a digest of its body: another body is another workflow.

    Only messages that the book could not take have one; the book answers contradictions.
    """
    order = f"order/{message.merchant}/{message.currency}/{message.order}"
    told_by = message.message_id or message.fee_version
    return f"{order}/{message.event}/{told_by}/{fingerprint(message)[:8]}"


class OrderDoor(Protocol):
    """One database transaction; safe to run twice."""

    async def apply_order_message(self, message: OrderMessage) -> OrderOutcome:
        """Apply one message to the book (P-43)."""
        ...
