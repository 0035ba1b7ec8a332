"""Calls about reconciliation: have a bank account's day compared with the book (C-14)."""

from __future__ import annotations

from datetime import date

from tillkeeper.client.calls import ANEW, Calls, Ended
from tillkeeper.contracts.base import at_the_door
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.reconciliation import (
    LOOK,
    WORKFLOW,
    ReconciliationStart,
    ReconciliationView,
    reconciliation_workflow_id,
)


class ReconciliationCalls(Calls):
    """Compare now."""

    async def reconcile(self, account: int, day: date) -> ReconciliationView:
        """Compare the day now and answer how it was found; a clean one is compared anew (C-14).

        ``account`` is its number in the book. Raises Rejected(BANK_ACCOUNT_UNKNOWN), Unavailable.
        """
        start = at_the_door(ReconciliationStart, {"account": account, "day": day, "paced": True})
        workflow_id = reconciliation_workflow_id(account, day)
        operation = self._starting(WORKFLOW, workflow_id, start, reuse=ANEW)
        try:
            return await self._ask_with_start(operation, LOOK, start, ReconciliationView)
        except Ended:
            raise Unavailable("the look ended while it was asked for; ask again") from None
