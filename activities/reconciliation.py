"""The door to reconciliation (C-14): one transaction compares a bank account's day."""

from __future__ import annotations

from temporalio import activity

from activities.failures import one_transaction
from activities.heart import heartbeating
from activities.house import House
from ledger.bank.reconciling import reconcile_day
from tillkeeper.contracts.reconciliation import (
    ReconciliationCommand,
    ReconciliationDoor,
    ReconciliationView,
)


class ReconciliationActivities(ReconciliationDoor):
    """ReconciliationDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house

    @activity.defn
    async def reconcile_day(self, command: ReconciliationCommand) -> ReconciliationView:
        """Compare the day, record what differs, open or settle its work item."""
        async with heartbeating():
            return await one_transaction(
                self._house.engine,
                lambda c: reconcile_day(c, command.account, command.day, at=command.at),
            )
