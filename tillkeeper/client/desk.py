"""Calls of the desk: what people do with work items (P-29, C-05, C-07).

Whatever was done is answered alike when it is done again, also after the item's end; any other act
on a closed item is refused ITEM_CLOSED.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError
from temporalio.client import WorkflowExecution, WorkflowHandle

from tillkeeper.client.calls import Calls, Ended, answered
from tillkeeper.contracts import payment, workitem
from tillkeeper.contracts.errors import Code, Rejected, rejected_from
from tillkeeper.contracts.payment import PayoutStart, payout_workflow_id
from tillkeeper.contracts.workitem import (
    ITEM_ID_MAX,
    Approve,
    ClaimItem,
    ItemStart,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
    WaitingRun,
    item_workflow_id,
)
from tillkeeper.rules.desk import (
    judge_approval,
    judge_claim,
    judge_proposal,
    judge_rejection,
    judge_release,
)

RUNS_MAX: Final = 200
"""How many waiting runs are listed at most, the oldest of them."""

_WORKFLOW_ID_BYTES_MAX: Final = 1_000

_WAITING: Final = "NeedsPerson = true AND ExecutionStatus = 'Running'"


class DeskCalls(Calls):
    """Claim, propose, approve, reject; and find the runs that wait for a person."""

    async def claim_item(self, item: int, body: ClaimItem) -> ItemView:
        """Take an item. Raises Rejected(ITEM_OWNED | ITEM_PROPOSED | ITEM_CLOSED | …)."""
        return await self._act(item, "claim", body, judge_claim)

    async def release_item(self, item: int, body: ReleaseItem) -> ItemView:
        """Give it back, or withdraw one's proposal. Raises Rejected(ITEM_PROPOSED | …)."""
        return await self._act(item, "release", body, judge_release)

    async def propose(self, item: int, body: Propose) -> ItemView:
        """Propose what a second person decides; an acknowledgement closes the item at once.

        Raises Rejected(ACTION_NOT_ALLOWED | TARGET_MISSING | REQUEST_… | RECEIPT_… | …).
        """
        return await self._act(item, "propose", body, judge_proposal)

    async def approve(self, item: int, body: Approve) -> ItemView:
        """Approve exactly what was shown; it is done and the item closed.

        Raises Rejected(OWN_PROPOSAL | PROPOSAL_STALE | ITEM_NOT_PROPOSED | …); nothing changed.
        """
        return await self._act(item, "approve", body, judge_approval)

    async def reject(self, item: int, body: RejectProposal) -> ItemView:
        """Refuse a proposal. Raises Rejected(OWN_PROPOSAL | PROPOSAL_STALE | ITEM_CLOSED | …)."""
        return await self._act(item, "reject", body, judge_rejection)

    async def waiting_runs(self, limit: int = RUNS_MAX) -> tuple[WaitingRun, ...]:
        """Runs of any lifecycle that wait for a person, the oldest first."""
        return await answered(self._waiting_runs(limit))

    async def resume(self, workflow_id: str) -> str:
        """Make a waiting run try again; answers what it waited for, empty where it did not.

        Raises Rejected(REQUEST_UNKNOWN) where no such run waits.
        """
        if not 0 < len(workflow_id.encode()) <= _WORKFLOW_ID_BYTES_MAX:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="no such run is waiting")
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id)
        try:
            return await answered(
                handle.execute_update("resume", result_type=str, rpc_timeout=self._within)
            )
        except Ended:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="no such run is waiting") from None

    async def start_payout(self, end_to_end_id: str) -> None:
        """See that a recorded payment has its run; one that failed or was stopped begins again."""
        try:
            start = PayoutStart(end_to_end_id=end_to_end_id)
        except ValidationError as error:
            raise rejected_from(error) from None
        await self._started(payment.WORKFLOW, payout_workflow_id(end_to_end_id), start)

    async def _act(
        self, item: int, update: str, body: Any, judge: Callable[[ItemView, Any], bool]
    ) -> ItemView:
        if not 1 <= item <= ITEM_ID_MAX:
            raise Rejected(Code.ITEM_UNKNOWN, detail="there is no such item")
        workflow_id = item_workflow_id(item)
        start = self._starting(workitem.WORKFLOW, workflow_id, ItemStart(item=item))
        try:
            return await self._ask_with_start(start, update, body, ItemView)
        except Ended:
            view = await self._recorded(workflow_id, ItemView, missing=Code.ITEM_UNKNOWN)
        judge(view, body)
        if view.payment is not None:
            await self.start_payout(view.payment)
        return view

    async def _waiting_runs(self, limit: int) -> tuple[WaitingRun, ...]:
        found = [
            _waiting(run)
            async for run in self._client.list_workflows(_WAITING, rpc_timeout=self._within)
        ]
        return tuple(sorted(found, key=lambda run: run.since)[:limit])


def _waiting(run: WorkflowExecution) -> WaitingRun:
    said = {pair.key.name: pair.value for pair in run.typed_search_attributes}
    return WaitingRun(
        workflow_id=run.id,
        lifecycle=run.workflow_type,
        stage=str(said.get("Stage", "")),
        merchant=str(said.get("Merchant", "")),
        amount_minor=said.get("AmountMinor"),
        since=run.start_time,
    )
