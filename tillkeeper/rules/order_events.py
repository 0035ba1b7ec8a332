"""What one row of an order-event file means for the order's interest fee (P-40 … P-50.1).

Decides only. The same rows in the same order always give the same messages, with the same ids, so
that a file may be read again from its start; the fee given back never exceeds the fee of the price.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from tillkeeper.contracts.base import ID_CHARS_MAX, Identifier, Model, Moment, Text
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.money import AmountMinor, Currency
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.rules.fees import fee_basis_points, fee_minor, fee_to_return_minor
from tillkeeper.rules.profiles import PrepaidProfile

REMEMBERED_MAX: Final = 1_000_000
"""Orders, and their later rows, that are remembered at once; the oldest order is forgotten first.

280 to 370 bytes each (measured with ids of 32 characters): 360 MiB at most.
"""
LATER_ROWS_MAX: Final = 10_000
"""Rows about one order that came back, or wait; more are refused."""

OrderKey = tuple[str, str, str]
"""(merchant, currency, order)."""

Decided = tuple[int, OrderMessage | Reason | None]
"""What a line means: a message to send, the reason of a refusal, or nothing (moves no money)."""


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
class _Later:
    """A row about an order that was placed before: delivered, cancelled or come back."""

    line: int
    at: datetime
    event: str
    gross: int
    instalments: int | None
    message_id: str


@dataclass(slots=True)
class _Order:
    """One order so far. ``gross`` is None until its purchase was read: then its rows wait.

    ``given`` holds (price, fee) by message id.
    """

    gross: int | None = None
    basis_points: int = 0
    refused: bool = False
    returned: int = 0
    fee_given: int = 0
    given: dict[str, tuple[int, int]] | None = None
    waiting: list[_Later] | None = None

    @property
    def free(self) -> bool:
        """Whether its fee rounds to nothing, so that the book never hears of it."""
        return self.gross is not None and fee_minor(self.gross, self.basis_points) == 0

    @property
    def later_rows(self) -> int:
        """How many later rows are kept with it."""
        return len(self.given or ()) + len(self.waiting or ())


class EventMapping:
    """Turns rows into messages; remembers prices so that returns give back what they should.

    Rows that come before their order's purchase wait for it, so that any order of the rows gives
    the same (C-09, P-49). Each row is decided once, at once or with a later one.
    """

    def __init__(self, profile: PrepaidProfile, *, instalments: int | None = None) -> None:
        """``instalments`` prices the rows that carry none. Raises Rejected when it has no price."""
        if instalments is not None:
            fee_basis_points(instalments, profile)
        self._profile = profile
        self._instalments = instalments
        self._orders: dict[str, _Order] = {}
        self._remembered = 0
        self._decided: list[Decided] = []

    def read(self, row: EventRow) -> list[Decided]:
        """What this row decides, in the order in which the messages are to be sent."""
        match row.event:
            case FileEvent.PURCHASED:
                self._purchased(row)
            case FileEvent.DELIVERED | FileEvent.CANCELED | FileEvent.UNAVAILABLE:
                self._later(row, row.order)
            case FileEvent.RETURNED if row.ref_order is not None:
                self._later(row, row.ref_order)
            case FileEvent.RETURNED | FileEvent.RETURN_UNMATCHED:
                detail = "the return names no order"
                self._say(row.line, Reason(code=Code.RETURN_WITHOUT_ORDER, detail=detail))
            case FileEvent.APPROVED | FileEvent.SHIPPED:
                self._say(row.line, None)
            case _:
                self._say(row.line, Reason(code=Code.EVENT_UNKNOWN, detail="no such event"))
        return self._take_decided()

    def refuse(self, key: OrderKey) -> list[Decided]:
        """Note that an order's purchase could not be read: all of its rows are refused."""
        name = "/".join(key)
        order = self._order(name)
        order.refused = order.gross is None
        if order.refused:
            self._decide_waiting(name, order)
        return self._take_decided()

    def rest(self) -> Iterator[list[Decided]]:
        """At the file's end: rows whose purchase is not in it, with the fee of their own price."""
        for name, order in self._orders.items():
            if order.waiting:
                self._decide_waiting(name, order)
                yield self._take_decided()

    @property
    def waiting(self) -> int:
        """Rows that wait for their purchase; counted one by one."""
        return sum(len(order.waiting or ()) for order in self._orders.values())

    def _purchased(self, row: EventRow) -> None:
        """Hold the fee of the price (P-40, P-41), then do what waited for it."""
        name = f"{row.merchant}/{row.currency}/{row.order}"
        order = self._order(name)
        if order.refused:
            self._say(row.line, _ORDER_REFUSED)
            return
        try:
            basis_points = self._basis_points(row.instalments)
        except Rejected as refusal:
            order.refused = order.gross is None
            self._say(row.line, refusal.reasons[0])
        else:
            # A second purchase of the same order is the book's to judge; its first price stays.
            if order.gross is None or order.free:
                order.gross, order.basis_points = row.gross_minor, basis_points
            fee = fee_minor(row.gross_minor, basis_points)
            hold = _message(name, OrderEvent.HOLD, row.at, amount_minor=fee) if fee else None
            self._say(row.line, hold)
        self._decide_waiting(name, order)

    def _later(self, row: EventRow, order_id: str) -> None:
        name = f"{row.merchant}/{row.currency}/{order_id}"
        order = self._order(name)
        delivered = row.event == FileEvent.DELIVERED
        message_id = "" if delivered else _message_id(row)
        later = _Later(
            row.line, row.at, row.event, row.gross_minor, row.instalments, message_id
        )  # fmt: skip
        if order.gross is not None or order.refused:
            self._say(row.line, self._decide(name, order, later))
        elif order.later_rows >= LATER_ROWS_MAX:
            self._say(row.line, _TOO_MANY)
        else:
            order.waiting = order.waiting or []
            order.waiting.append(later)
            self._remembered += 1

    def _decide(self, name: str, order: _Order, row: _Later) -> OrderMessage | Reason | None:
        if order.refused:
            return _ORDER_REFUSED
        if row.event == FileEvent.DELIVERED:
            return None if order.free else _message(name, OrderEvent.SETTLE, row.at)
        return self._given_back(name, order, row)

    def _given_back(self, name: str, order: _Order, row: _Later) -> OrderMessage | Reason | None:
        """Release the fee of goods that came back, refunded once settled (P-48 … P-50.1)."""
        if order.given is None:
            order.given = {}
        known = order.given.get(row.message_id)
        if known is None:
            if order.later_rows >= LATER_ROWS_MAX:
                return _TOO_MANY
            try:
                known = row.gross, self._fee_back(order, row)
            except Rejected as refusal:
                return refusal.reasons[0]
            order.given[row.message_id] = known
            order.fee_given += known[1]
            self._remembered += 1
        elif known[0] != row.gross:
            detail = "another return of this order at the same time has another price"
            return Reason(code=Code.KEY_REUSED, detail=detail)
        fee = known[1]
        if not fee:
            return None
        return _message(
            name, OrderEvent.RELEASE, row.at, amount_minor=fee, message_id=row.message_id
        )

    def _fee_back(self, order: _Order, row: _Later) -> int:
        """The fee to give back: the difference of two fees, so that parts add up to the whole.

        A cancellation takes what is left. Of an unknown purchase the goods themselves are priced.
        """
        if order.gross is None:
            basis_points = self._basis_points(row.instalments)
            order.returned += row.gross
            return max(fee_minor(order.returned, basis_points) - order.fee_given, 0)
        left = max(order.gross - order.returned, 0)
        goods = left if row.event != FileEvent.RETURNED else row.gross
        goods = min(goods, row.gross)
        if goods > left:
            detail = "more goods come back than were bought"
            raise Rejected(Reason(code=Code.EXCEEDS_HELD, detail=detail))
        order.returned += goods
        due_back = fee_to_return_minor(
            order.gross,
            returned_before_minor=0,
            returned_now_minor=order.returned,
            basis_points=order.basis_points,
        )
        return max(due_back - order.fee_given, 0)

    def _decide_waiting(self, name: str, order: _Order) -> None:
        """Decide what waited, in the order in which it was read."""
        waiting, order.waiting = order.waiting or (), None
        self._remembered -= len(waiting)
        for row in waiting:
            self._say(row.line, self._decide(name, order, row))

    def _basis_points(self, instalments: int | None) -> int:
        count = instalments or self._instalments
        if count is None:
            detail = "the row has no instalment count; give one with --instalments"
            raise Rejected(Reason(code=Code.INSTALMENTS_NOT_PRICED, detail=detail))
        return fee_basis_points(count, self._profile)

    def _order(self, name: str) -> _Order:
        while self._remembered >= REMEMBERED_MAX:
            oldest = next(iter(self._orders))
            forgotten = self._orders[oldest]
            self._decide_waiting(oldest, forgotten)
            self._remembered -= 1 + forgotten.later_rows
            del self._orders[oldest]
        found = self._orders.get(name)
        if found is None:
            found = self._orders[name] = _Order()
            self._remembered += 1
        return found

    def _say(self, line: int, decision: OrderMessage | Reason | None) -> None:
        self._decided.append((line, decision))

    def _take_decided(self) -> list[Decided]:
        decided, self._decided = self._decided, []
        return decided


_ORDER_REFUSED: Final = Reason(
    code=Code.ORDER_REFUSED, detail="the purchase of this order was refused"
)
_TOO_MANY: Final = Reason(
    code=Code.TOO_MANY, detail=f"more than {LATER_ROWS_MAX} rows about one order"
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
    name: str,
    event: OrderEvent,
    at: datetime,
    *,
    amount_minor: int | None = None,
    message_id: str | None = None,
) -> OrderMessage:
    merchant, currency, order = name.split("/")
    return OrderMessage(
        event=event,
        merchant=merchant,
        currency=currency,
        order=order,
        at=at,
        amount_minor=amount_minor,
        message_id=message_id,
    )
