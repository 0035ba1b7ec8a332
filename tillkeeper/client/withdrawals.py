"""Calls about money that goes out: ask, decide, take back, look (P-65 … P-74).

Whoever decides is what his token says; it is verified where the decision takes effect, not here,
also when the request's run is over by then.
"""

from __future__ import annotations

from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from tillkeeper.client.calls import ONCE, Calls, Ended, Starting, same
from tillkeeper.contracts import withdrawal
from tillkeeper.contracts.approval import Decide
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.late import LateCancellation, LateDecision
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalRequest,
    WithdrawalState,
    WithdrawalView,
    withdrawal_workflow_id,
)


class WithdrawalCalls(Calls):
    """Ask to withdraw, approve or reject, cancel, look."""

    async def request_withdrawal(self, request: WithdrawalRequest) -> WithdrawalView:
        """Reserve the money and wait for approval, or be answered as it stands (P-66 … P-68).

        Raises Rejected with every reason against it, or KEY_REUSED for another body.
        """
        workflow_id = withdrawal_workflow_id(request.merchant, request.request)
        try:
            view = await self._ask_with_start(
                self._withdrawing(request), "submitted", request, WithdrawalView
            )
        except Ended:
            view = await self._recorded(workflow_id, WithdrawalView)
            same(view, view.fingerprint, request)
        if view.state is WithdrawalState.REFUSED:
            raise Rejected(*view.refused)
        return view

    async def withdrawal(self, merchant: str, request: str) -> WithdrawalView:
        """One request with its dated steps, as its run knows it (P-27, P-73).

        What the bank sends back after it was paid stands in the database only (C-13).
        Raises Rejected(REQUEST_UNKNOWN).
        """
        view = await self._view(withdrawal_workflow_id(merchant, request), WithdrawalView)
        if view is None:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such request")
        return view

    async def decide_withdrawal(self, merchant: str, request: str, body: Decide) -> WithdrawalView:
        """Approve or reject exactly what was shown; the same decision again is answered alike.

        Raises Rejected(TOKEN_… | OWN_REQUEST | ALREADY_DECIDED | ROLE_MISSING | DECISION_STALE |
        REQUEST_DECIDED | …).
        """
        workflow_id = withdrawal_workflow_id(merchant, request)
        try:
            return await self._ask(workflow_id, "decide", body, WithdrawalView)
        except Ended:
            word = LateDecision(merchant=merchant, request=request, body=body)
            return await self._late(word, WithdrawalView)

    async def cancel_withdrawal(
        self, merchant: str, request: str, body: CancelWithdrawal
    ) -> WithdrawalView:
        """Take a request back before it is approved; a cancelled one answers alike.

        Raises Rejected(REQUEST_DECIDED | REQUEST_UNKNOWN).
        """
        workflow_id = withdrawal_workflow_id(merchant, request)
        try:
            return await self._ask(workflow_id, "cancel", body, WithdrawalView)
        except Ended:
            word = LateCancellation(merchant=merchant, request=request, body=body)
            return await self._late(word, WithdrawalView)

    def _withdrawing(self, request: WithdrawalRequest) -> Starting:
        amount = format_amount(request.amount_minor, request.currency, grouped=True)
        return WithStartWorkflowOperation(
            withdrawal.WORKFLOW,
            request,
            id=withdrawal_workflow_id(request.merchant, request.request),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=ONCE,
            static_summary=f"{amount} {request.currency} to {request.merchant}",
        )
