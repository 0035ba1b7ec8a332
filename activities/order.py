"""The door for order messages that come through workflows (P-43).

After an outage they come back by the thousand: they share transactions in the house's lanes.
"""

from __future__ import annotations

from temporalio import activity

from activities.failures import failing_typed
from activities.house import House
from tillkeeper.contracts.order import OrderDoor, OrderMessage, OrderOutcome


class OrderActivities(OrderDoor):
    """OrderDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._lanes = house.lanes

    @activity.defn
    async def apply_order_message(self, message: OrderMessage) -> OrderOutcome:
        """Apply one message; safe to run twice, since the order's row answers (P-42)."""
        async with failing_typed():
            return await self._lanes.submit(message)
