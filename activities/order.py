"""The door for single order messages that come through a workflow (P-43): one transaction."""

from __future__ import annotations

from temporalio import activity

from activities.failures import failing_typed
from activities.house import House
from ledger.orders import OrderBook
from tillkeeper.contracts.order import OrderDoor, OrderMessage, OrderOutcome


class OrderActivities(OrderDoor):
    """OrderDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._orders = OrderBook(house.engine)

    @activity.defn
    async def apply_order_message(self, message: OrderMessage) -> OrderOutcome:
        """Apply one message; safe to run twice, since the order's row answers (P-42)."""
        async with failing_typed():
            [outcome] = await self._orders.apply([message])
            return outcome
