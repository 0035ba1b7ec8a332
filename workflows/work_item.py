"""A work item in people's hands: claimed, proposed, decided by a second person (P-29, C-05, C-07).

It begins with the first act and ends with the item. The database decides and remembers; this run
passes acts on one at a time, waits without limit, and reminds once a day of what lies undecided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from tillkeeper.contracts import payment
from tillkeeper.contracts.account import account_workflow_id
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.payment import PayoutStart, payout_workflow_id
from tillkeeper.contracts.topup import topup_workflow_id
from tillkeeper.contracts.withdrawal import CHANGED_SIGNAL, withdrawal_of, withdrawal_workflow_id
from tillkeeper.contracts.workitem import (
    WORKFLOW,
    Approve,
    Body,
    ClaimItem,
    ItemCommand,
    ItemStart,
    ItemState,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
    WorkItemDoor,
    item_workflow_id,
)
from tillkeeper.failures import as_failure, refusals_told
from tillkeeper.rules.desk import target_of
from workflows.calls import nudge
from workflows.intake import NOTHING, at_the_update_door, start_input, understood
from workflows.lifecycle import AMOUNT_MINOR, Lifecycle, Listener, hears, hears_nudge

REMIND_AFTER: Final = timedelta(days=1)

Act = Callable[[Any, ItemCommand[Body]], Awaitable[ItemView]]


def _id_of(start: ItemStart) -> str:
    return item_workflow_id(start.item)


@workflow.defn(name=WORKFLOW)
class WorkItemWorkflow(Lifecycle):
    """One item; its result is how it ended, and by whom."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: ItemView | None = None
        self._look = False
        self._start, self._refused = start_input(raw, ItemStart, _id_of)
        super().__init__(() if self._start is None else self._start.not_understood)
        self._reminders = 0 if self._start is None else self._start.reminders

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> ItemView:
        """Read the item, then wait until people or events have closed it; tell whom it concerns."""
        await self._read()
        while self._waits and not self._long:
            await self._wait()
        if self._refused is not None or self._start is None:
            await self.end_refused(self._refused)
        await self.drained()
        if self._waits:
            carried = {"reminders": self._reminders, "not_understood": self.not_understood}
            workflow.continue_as_new(self._start.model_copy(update=carried))
        # A task of its own, which a request to cancel does not reach: what was approved goes on.
        telling = asyncio.create_task(self._tell())
        await self.wait(telling.done)
        telling.result()
        await self.drained()
        return self.view()

    @workflow.query
    def view(self) -> ItemView:
        """The item as people may see it. Fails until it was read for the first time."""
        if self._view is None:
            raise as_failure(self._refused or Rejected(Code.UNAVAILABLE, detail="not read yet"))
        return self._view.model_copy(
            update={
                "reminders": self._reminders,
                "not_understood": self.not_understood,
                "needs_person": self.needs_person,
            }
        )

    @workflow.update
    async def claim(self, raw: RawValue) -> ItemView:
        """Take the item."""
        return await self._update(WorkItemDoor.claim_item, understood(raw, ClaimItem))

    @workflow.update
    async def release(self, raw: RawValue) -> ItemView:
        """Give the item back."""
        return await self._update(WorkItemDoor.release_item, understood(raw, ReleaseItem))

    @workflow.update
    async def propose(self, raw: RawValue) -> ItemView:
        """Propose an action, or acknowledge."""
        return await self._update(WorkItemDoor.propose_action, understood(raw, Propose))

    @workflow.update
    async def approve(self, raw: RawValue) -> ItemView:
        """A second person's yes (C-07)."""
        return await self._update(WorkItemDoor.approve_proposal, understood(raw, Approve))

    @workflow.update
    async def reject(self, raw: RawValue) -> ItemView:
        """A second person's no."""
        return await self._update(WorkItemDoor.reject_proposal, understood(raw, RejectProposal))

    claim.validator(at_the_update_door(ClaimItem))
    release.validator(at_the_update_door(ReleaseItem))
    propose.validator(at_the_update_door(Propose))
    approve.validator(at_the_update_door(Approve))
    reject.validator(at_the_update_door(RejectProposal))

    def listeners(self) -> Mapping[str, Listener]:
        """Every act may also come as a signal; ``refresh`` looks at the item again."""
        door = WorkItemDoor
        return {
            "claim": hears(ClaimItem, lambda b: self._do(door.claim_item, b)),
            "release": hears(ReleaseItem, lambda b: self._do(door.release_item, b)),
            "propose": hears(Propose, lambda b: self._do(door.propose_action, b)),
            "approve": hears(Approve, lambda b: self._do(door.approve_proposal, b)),
            "reject": hears(RejectProposal, lambda b: self._do(door.reject_proposal, b)),
            "refresh": hears_nudge(self._refresh),
        }

    @property
    def _waits(self) -> bool:
        return self._view is not None and self._view.open

    async def _read(self) -> None:
        """Look at the row; an item that there is none of ends the run."""
        try:
            await self._do(WorkItemDoor.read_item, None)
        except Rejected as refusal:
            self._refused = refusal

    async def _wait(self) -> None:
        """Until the item is closed, or a day later: then look, for it may have come right."""
        due = False
        try:
            await workflow.wait_condition(
                lambda: self._look or not self._waits or self._long, timeout=REMIND_AFTER
            )
        except TimeoutError:
            due = True
        except asyncio.CancelledError:
            self.note_cancel()
            return
        self._look = False
        if self._waits and not self._long:
            await self._read()
        if due and self._view is not None and self._view.state in _IN_HAND:
            self._reminders += 1
            self._seen(self._view)

    async def _refresh(self) -> None:
        self._look = True

    async def _update(self, act: Act[Body], body: Body) -> ItemView:
        with refusals_told():
            await self._do(act, body)
        return self.view()

    async def _do(self, act: Act[Body], body: Body) -> None:
        """One act at a time. Raises Rejected."""
        start = self._start
        if start is None:
            raise self._refused or Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        async with self.lock:
            self._seen(
                await self.through(
                    act, lambda: ItemCommand(item=start.item, at=workflow.now(), body=body)
                )
            )

    async def _tell(self) -> None:
        """Start the payment; nudge whatever run waits for what was decided."""
        view = self._view
        waiting = None if view is None else withdrawal_of(view.subject)
        if waiting is not None:
            # Its own run sees the new payment through, or ends with the money that went back.
            await nudge(withdrawal_workflow_id(*waiting), CHANGED_SIGNAL)
            return
        if view is not None and view.payment is not None:
            await _start_payout(view.payment)
        paid_for = None if view is None else withdrawal_of(view.paid_for or "")
        if paid_for is not None:
            await nudge(withdrawal_workflow_id(*paid_for), CHANGED_SIGNAL)
        if view is not None and view.credited is not None:
            merchant, request = target_of(view.credited)
            await nudge(topup_workflow_id(merchant, request), "receipt_matched")
            if view.activated:
                await nudge(account_workflow_id(merchant, view.currency or ""), "refresh")

    def _seen(self, view: ItemView) -> None:
        self._view = view
        reminded = f" · reminded {self._reminders} times" if self._reminders else ""
        self.show(
            *([AMOUNT_MINOR.value_set(view.amount_minor)] if view.amount_minor else []),
            merchant="",
            stage=view.state.value,
            details=f"**{view.kind}** {view.state}{reminded} · {view.subject}",
        )


_IN_HAND: Final = (ItemState.CLAIMED, ItemState.PROPOSED)


async def _start_payout(end_to_end_id: str) -> None:
    """Start the payment's own run, which outlives this one; where it runs, nudge it."""
    try:
        await workflow.start_child_workflow(
            payment.WORKFLOW,
            PayoutStart(end_to_end_id=end_to_end_id),
            id=payout_workflow_id(end_to_end_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        )
    except WorkflowAlreadyStartedError:
        await nudge(payout_workflow_id(end_to_end_id), payment.OUTCOME_SIGNAL)
