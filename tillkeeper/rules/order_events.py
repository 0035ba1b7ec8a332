"""What one row of an order-event file means for the order's interest fee (P-40 … P-50.1).

Decides only. The same rows in the same order always give the same messages, with the same ids, so
that a file may be read again from its start; the fee given back never exceeds the fee of the price.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from tillkeeper.contracts.base import ID_CHARS_MAX, Identifier, Model, Moment, Text
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.money import AmountMinor, Currency
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.rules.fees import fee_basis_points, fee_minor, fee_to_return_minor
from tillkeeper.rules.profiles import PrepaidProfile

ORDERS_REMEMBERED_MAX: Final = 2_000_000
"""Orders whose price is remembered for their returns; the oldest is forgotten first."""

OrderKey = tuple[str, str, str]
"""(merchant, currency, order)."""


class FileEvent(StrEnum):
    """What a row may say."""

    PURCHASED = "PURCHASED"
    APPROVED = "APPROVED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELED = "CANCELED"
    UNAVAILABLE = "UNAVAILABLE"
    RETURNED = "RETURNED"
    RETURN_UNMATCHED = "RETURN_UNMATCHED"


class EventRow(Model):
    """One row, read and checked; ``line`` is 1-based, ``gross_minor`` the price in minor units.

    ``instalments`` is None where the file carries none. ``ref_order`` is the order that goods
    came back from.
    """

    line: int
    at: Moment
    merchant: Identifier
    order: Identifier
    event: Text
    gross_minor: AmountMinor
    currency: Currency
    instalments: int | None = None
    ref_order: Identifier | None = None


@dataclass(slots=True)
class _Order:
    """One order so far. ``gross`` is None until its purchase was read; ``given`` by message id."""

    gross: int | None = None
    basis_points: int = 0
    refused: bool = False
    returned: int = 0
    given: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Whether its fee rounds to nothing, so that the book never hears of it."""
        return self.gross is not None and fee_minor(self.gross, self.basis_points) == 0


class EventMapping:
    """Turns rows into messages; remembers prices so that returns give back what they should."""

    def __init__(self, profile: PrepaidProfile, *, instalments: int | None = None) -> None:
        """``instalments`` prices the rows that carry none. Raises Rejected when it has no price."""
        if instalments is not None:
            fee_basis_points(instalments, profile)
        self._profile = profile
        self._instalments = instalments
        self._orders: dict[OrderKey, _Order] = {}

    def message_for(self, row: EventRow) -> OrderMessage | Reason | None:
        """The message to send, the reason for a refusal, or None for a row that moves no money."""
        match row.event:
            case FileEvent.PURCHASED:
                return self._purchased(row)
            case FileEvent.DELIVERED:
                return self._delivered(row)
            case FileEvent.CANCELED | FileEvent.UNAVAILABLE:
                return self._given_back(row, row.order)
            case FileEvent.RETURNED if row.ref_order is not None:
                return self._given_back(row, row.ref_order)
            case FileEvent.RETURNED | FileEvent.RETURN_UNMATCHED:
                detail = "the return names no order"
                return Reason(code=Code.RETURN_WITHOUT_ORDER, detail=detail)
            case FileEvent.APPROVED | FileEvent.SHIPPED:
                return None
            case _:
                return Reason(code=Code.EVENT_UNKNOWN, detail="no such event")

    def refuse(self, key: OrderKey) -> None:
        """Note that an order's purchase could not be read: its later rows are refused."""
        order = self._order(key)
        order.refused = order.gross is None

    def _purchased(self, row: EventRow) -> OrderMessage | Reason | None:
        """Hold the fee of the price (P-40, P-41)."""
        order = self._order((row.merchant, row.currency, row.order))
        if order.refused:
            return _ORDER_REFUSED
        try:
            basis_points = self._basis_points(row)
        except Rejected as refusal:
            order.refused = order.gross is None
            return refusal.reasons[0]
        # A second purchase of the same order is the book's to judge; its first price stays.
        if order.gross is None or order.free:
            order.gross, order.basis_points = row.gross_minor, basis_points
        fee = fee_minor(row.gross_minor, basis_points)
        return _message(row, OrderEvent.HOLD, row.order, amount_minor=fee) if fee else None

    def _delivered(self, row: EventRow) -> OrderMessage | Reason | None:
        """Settle what is held (P-50)."""
        order = self._order((row.merchant, row.currency, row.order))
        if order.refused:
            return _ORDER_REFUSED
        return None if order.free else _message(row, OrderEvent.SETTLE, row.order)

    def _given_back(self, row: EventRow, order_id: str) -> OrderMessage | Reason | None:
        """Release the fee of goods that came back, refunded once settled (P-48 … P-50.1)."""
        order = self._order((row.merchant, row.currency, order_id))
        if order.refused:
            return _ORDER_REFUSED
        message_id = _message_id(row)
        known = order.given.get(message_id)
        if known is None:
            try:
                known = self._give_back(order, row)
            except Rejected as refusal:
                return refusal.reasons[0]
            order.given[message_id] = known
        elif known[0] != row.gross_minor:
            detail = "another return of this order at the same time has another price"
            return Reason(code=Code.KEY_REUSED, detail=detail)
        fee = known[1]
        if not fee:
            return None
        return _message(row, OrderEvent.RELEASE, order_id, amount_minor=fee, message_id=message_id)

    def _give_back(self, order: _Order, row: EventRow) -> tuple[int, int]:
        """The row's price and the fee to give back for it; a cancellation takes what is left."""
        if order.gross is None:
            fee = fee_minor(row.gross_minor, self._basis_points(row))
            order.returned += row.gross_minor
            return row.gross_minor, fee
        left = max(order.gross - order.returned, 0)
        goods = left if row.event != FileEvent.RETURNED else row.gross_minor
        goods = min(goods, row.gross_minor)
        if goods > left:
            detail = "more goods come back than were bought"
            raise Rejected(Reason(code=Code.EXCEEDS_HELD, detail=detail))
        given = sum(fee for _, fee in order.given.values())
        order.returned += goods
        due_back = fee_to_return_minor(
            order.gross,
            returned_before_minor=0,
            returned_now_minor=order.returned,
            basis_points=order.basis_points,
        )
        return row.gross_minor, max(due_back - given, 0)

    def _basis_points(self, row: EventRow) -> int:
        count = row.instalments or self._instalments
        if count is None:
            detail = "the row has no instalment count; give one with --instalments"
            raise Rejected(Reason(code=Code.INSTALMENTS_NOT_PRICED, detail=detail))
        return fee_basis_points(count, self._profile)

    def _order(self, key: OrderKey) -> _Order:
        found = self._orders.get(key)
        if found is None:
            if len(self._orders) >= ORDERS_REMEMBERED_MAX:
                del self._orders[next(iter(self._orders))]
            found = self._orders[key] = _Order()
        return found


_ORDER_REFUSED: Final = Reason(
    code=Code.ORDER_REFUSED, detail="the purchase of this order was refused"
)


def _message_id(row: EventRow) -> str:
    """Tells the returns of one order apart: the returning row's order and its time (UTC)."""
    stated = f"{row.order}@{row.at:%Y%m%dT%H%M%S}"
    if row.at.microsecond:
        stated += f".{row.at.microsecond:06d}"
    if len(stated) <= ID_CHARS_MAX:
        return stated
    return blake2b(stated.encode(), digest_size=24).hexdigest()


def _message(
    row: EventRow,
    event: OrderEvent,
    order_id: str,
    *,
    amount_minor: int | None = None,
    message_id: str | None = None,
) -> OrderMessage:
    return OrderMessage(
        event=event,
        merchant=row.merchant,
        currency=row.currency,
        order=order_id,
        at=row.at,
        amount_minor=amount_minor,
        message_id=message_id,
    )
