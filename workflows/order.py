"""An order message that the book could not take: kept, shown as work, applied once (P-43).

Orders never start a workflow; this one begins where the hot path ended, when the database was away
for longer than its caller could wait. The message is never dropped and never becomes dues unseen.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.order import (
    WORKFLOW,
    OrderDoor,
    OrderMessage,
    OrderOutcome,
    order_workflow_id,
)
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import AMOUNT_MINOR, NEEDS_PERSON, Lifecycle

WORK_ITEM = "HOLD_FAILED_TECHNICAL"


@workflow.defn(name=WORKFLOW)
class OrderMessageWorkflow(Lifecycle):
    """One message; its result is what became of it."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        super().__init__()
        self._message, self._refused = start_input(raw, OrderMessage, order_workflow_id)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> OrderOutcome:
        """Show the work, try until the book answers, close the work."""
        message = self._message
        if message is None:
            await self.end_refused(self._refused)
        self._show(message, WORK_ITEM, needs_person=True)
        outcome = await self.through(OrderDoor.apply_order_message, lambda: message)
        self._show(message, outcome.result.value, needs_person=False)
        await self.drained()
        return outcome

    @workflow.query
    def view(self) -> OrderMessage | None:
        """The full message."""
        return self._message

    def _show(self, message: OrderMessage, stage: str, *, needs_person: bool) -> None:
        self.show(
            AMOUNT_MINOR.value_set(message.amount_minor or 0),
            NEEDS_PERSON.value_set(needs_person),
            merchant=message.merchant,
            stage=stage,
            details=f"**{stage}** · {message.event} of order {message.order}",
        )
