"""A bank receipt's lifecycle: booked and, if it pays exactly one request, credited (P-21 … P-26).

One transaction does it all; what follows are nudges. A receipt that is not ours fails the run, so
that it may be reported again once the accounts are right.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.account import account_workflow_id
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.receipt import (
    WORKFLOW,
    ReceiptCommand,
    ReceiptDoor,
    ReceiptReport,
    ReceiptState,
    ReceiptView,
    receipt_digest,
    receipt_workflow_id,
)
from tillkeeper.contracts.topup import topup_workflow_id
from workflows.calls import nudge
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import AMOUNT_MINOR, Lifecycle


@workflow.defn(name=WORKFLOW)
class ReceiptWorkflow(Lifecycle):
    """One receipt; its result is the answer to its report."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        super().__init__()
        self._view: ReceiptView | None = None
        self._report, self._refused = start_input(raw, ReceiptReport, receipt_workflow_id)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> ReceiptView:
        """Book the receipt, tell whom it concerns, answer."""
        report = self._report
        if report is None:
            await self.end_refused(self._refused)
        try:
            self._seen(
                await self.through(
                    ReceiptDoor.book_receipt,
                    # When it was reported: a worker's downtime makes no payment late (C-06, P-31).
                    lambda: ReceiptCommand(report=report, at=workflow.info().workflow_start_time),
                )
            )
        except Rejected as refusal:
            await self.end_refused(refusal)
        await self._tell()
        await self.drained()
        return self.view()

    @workflow.query
    def view(self) -> ReceiptView:
        """What became of the receipt so far."""
        report = self._report
        seen = self._view or ReceiptView(
            state=ReceiptState.REPORTED,
            digest="" if report is None else receipt_digest(report),
            amount_minor=0 if report is None else report.amount_minor,
            currency="" if report is None else report.currency,
        )
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    async def _tell(self) -> None:
        """Nudge the request that was credited, and the account that became active, to look."""
        view = self._view
        if view is None or view.merchant is None or view.request is None:
            return
        await nudge(topup_workflow_id(view.merchant, view.request), "receipt_matched")
        if view.activated:
            await nudge(account_workflow_id(view.merchant, view.currency), "refresh")

    def _seen(self, view: ReceiptView) -> None:
        self._view = view
        stage = view.state.value if view.reason is None else view.reason.value
        self.show(
            AMOUNT_MINOR.value_set(view.amount_minor),
            merchant=view.merchant or "",
            stage=stage,
            details=f"**{view.state}** {view.reason or ''}",
        )
