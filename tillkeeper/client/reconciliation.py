"""Calls about reconciliation: have a bank account's day compared with the book (C-14)."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import date
from typing import Any, Final

from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from tillkeeper.client.calls import Calls, Ended, answered
from tillkeeper.contracts.base import at_the_door
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.reconciliation import (
    LOOK,
    WORKFLOW,
    ReconciliationStart,
    ReconciliationView,
    reconciliation_workflow_id,
)

_LOOK_S: Final = 0.05


class ReconciliationCalls(Calls):
    """Compare now."""

    async def reconcile(self, account: int, day: date) -> ReconciliationView:
        """Compare the day now and answer how it was found; a clean one is compared anew (C-14).

        ``account`` is its number in the book. Raises Rejected(BANK_ACCOUNT_UNKNOWN), Unavailable.
        """
        start = at_the_door(ReconciliationStart, {"account": account, "day": day})
        operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            WORKFLOW,
            start,
            id=reconciliation_workflow_id(account, day),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )
        try:
            return await answered(
                self._client.execute_update_with_start_workflow(
                    LOOK,
                    start,
                    start_workflow_operation=operation,
                    result_type=ReconciliationView,
                    rpc_timeout=self._within,
                )
            )
        except Ended:
            raise Unavailable("the look ended while it was asked for; ask again") from None
        finally:
            # The start keeps its own failure; one that nobody looks at is logged with a traceback.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(operation.workflow_handle(), _LOOK_S)
