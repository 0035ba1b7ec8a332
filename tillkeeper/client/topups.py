"""Calls about money that comes in, and order messages left for later (P-20 … P-32, P-43)."""

from __future__ import annotations

from tillkeeper.client.calls import Calls, Ended, same
from tillkeeper.contracts import order, receipt, topup
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.order import OrderMessage, order_workflow_id
from tillkeeper.contracts.receipt import ReceiptReport, ReceiptView, receipt_workflow_id
from tillkeeper.contracts.topup import (
    CancelTopUp,
    TopUpRequest,
    TopUpState,
    TopUpView,
    topup_workflow_id,
)


class TopUpCalls(Calls):
    """Ask to top up, cancel, report a receipt; hand over an order message."""

    async def request_topup(self, request: TopUpRequest) -> TopUpView:
        """Ask to top up; the answer says where to pay, and until when (P-24, P-25).

        Raises Rejected with every reason against it, or KEY_REUSED for another body.
        """
        workflow_id = topup_workflow_id(request.merchant, request.request)
        try:
            view = await self._start_and_ask(
                topup.WORKFLOW, workflow_id, request, update="submitted", view=TopUpView
            )
        except Ended:
            view = await self._recorded(workflow_id, TopUpView)
            same(view, view.fingerprint, request)
        if view.state is TopUpState.REFUSED:
            raise Rejected(*view.refused)
        return view

    async def topup(self, merchant: str, request: str) -> TopUpView:
        """One request with its dated steps (P-27). Raises Rejected(REQUEST_UNKNOWN)."""
        view = await self._view(topup_workflow_id(merchant, request), TopUpView)
        if view is None:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such request")
        return view

    async def cancel_topup(self, merchant: str, request: str, body: CancelTopUp) -> TopUpView:
        """Cancel a request; a cancelled one answers alike. Raises Rejected(REQUEST_DECIDED | …)."""
        workflow_id = topup_workflow_id(merchant, request)
        try:
            return await self._ask(workflow_id, "cancel", body, TopUpView)
        except Ended:
            view = await self._recorded(workflow_id, TopUpView, missing=Code.REQUEST_UNKNOWN)
        if view.state is not TopUpState.CANCELLED:
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the request is {view.state} already")
        return view

    async def report_receipt(self, report: ReceiptReport) -> ReceiptView:
        """Report money that arrived; answers what it was credited to, or why to none (P-21 … P-26).

        Raises Rejected(WRONG_ACCOUNT | KEY_REUSED | TIME_OUT_OF_RANGE).
        """
        workflow_id = receipt_workflow_id(report)
        await self._started(receipt.WORKFLOW, workflow_id, report)
        view = await self._recorded(workflow_id, ReceiptView)
        return same(view, view.fingerprint, report)

    async def hand_over(self, message: OrderMessage) -> str:
        """Leave an order message that the book could not take; it is applied once (P-43).

        Answers the id of the workflow that keeps it; the same message again changes nothing.
        """
        workflow_id = order_workflow_id(message)
        await self._started(order.WORKFLOW, workflow_id, message)
        return workflow_id
