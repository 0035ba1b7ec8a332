"""What one message does to one order's fee (P-40 … P-50.1, T2 … T6, T10 … T12, C-09).

Every function changes the given ``OrderFee`` and answers with the transfers that make it true in
the book. The same messages in any order end in the same figures: what comes too early is parked by
the caller until ``placed`` or ``completed``; goods given back cancel unpaid dues first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Code

Effect = tuple[TransferKind, int]
"""A transfer by kind and amount in minor units."""


@dataclass(slots=True)
class OrderFee:
    """One order's fee in minor units: fee = held + dues + released + cancelled + settled."""

    fee: int | None = None
    fee_version: int | None = None
    held: int = 0
    dues: int = 0
    released: int = 0
    cancelled: int = 0
    settled: int = 0
    refunded: int = 0
    refused: str | None = None
    placed_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def placed(self) -> bool:
        """Whether the hold message has arrived."""
        return self.fee is not None

    @property
    def completed(self) -> bool:
        """Whether the consumer has received the goods."""
        return self.completed_at is not None


def place(order: OrderFee, fee: int, available: int) -> list[Effect]:
    """Hold the whole fee, or make the whole fee dues: never a part (P-40, P-42, P-44)."""
    order.fee = fee
    if fee <= available:
        order.held = fee
        return [(TransferKind.HOLD, fee)]
    order.dues = fee
    return [(TransferKind.DUES_RAISED, fee)]


def complete(order: OrderFee, at: datetime) -> list[Effect]:
    """Settle what is held; unpaid dues stay due and settle when they are paid (P-50, T11)."""
    order.completed_at = at
    settled, order.held = order.held, 0
    order.settled += settled
    return [(TransferKind.SETTLEMENT, settled)] if settled else []


def give_back(order: OrderFee, amount: int) -> list[Effect] | Code:
    """Give back ``amount`` of the fee of a placed order; a code when it is more than there is.

    Unpaid dues are cancelled first (P-47). Then a hold is released (P-48), or, after completion, a
    settlement refunded (P-49, P-50.1).
    """
    cancelled = min(order.dues, amount)
    rest = amount - cancelled
    if order.completed and rest > order.settled - order.refunded:
        return Code.EXCEEDS_SETTLED
    if not order.completed and rest > order.held:
        return Code.EXCEEDS_HELD
    effects: list[Effect] = []
    if cancelled:
        order.dues -= cancelled
        order.cancelled += cancelled
        effects.append((TransferKind.DUES_CANCELLED, cancelled))
    if rest and order.completed:
        order.refunded += rest
        effects.append((TransferKind.SETTLED_REFUND, rest))
    elif rest:
        order.held -= rest
        order.released += rest
        effects.append((TransferKind.RELEASE, rest))
    return effects


def pay_dues(order: OrderFee, amount: int) -> list[Effect]:
    """Pay ``amount`` of the order's dues: into the hold, or settled at once (P-46, T10, T11)."""
    order.dues -= amount
    if order.completed:
        order.settled += amount
        return [(TransferKind.DUES_SETTLED, amount), (TransferKind.DUES_CLEARED, amount)]
    order.held += amount
    return [(TransferKind.DUES_HELD, amount), (TransferKind.DUES_CLEARED, amount)]
