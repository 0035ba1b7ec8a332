"""A word that comes when the run which it belongs to is over: passed to the database, answered.

The database verifies and decides as for every other one. What it changes all the same, because the
run was lost and not over, is told to the run that may be there by then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.approval import (
    ApprovalDoor,
    DelegationCommand,
    DelegationView,
    PolicyCommand,
    PolicyView,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.late import (
    WORKFLOW,
    LateCancellation,
    LateDecision,
    LateDelegation,
    LatePolicyDecision,
    LateProposal,
    LateStart,
    late_workflow_id,
)
from tillkeeper.contracts.withdrawal import (
    CHANGED_SIGNAL,
    WithdrawalCommand,
    WithdrawalDoor,
    WithdrawalView,
    withdrawal_workflow_id,
)
from workflows.calls import nudge
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import Lifecycle

View = WithdrawalView | PolicyView | DelegationView


def _id_of(start: LateStart) -> str:
    return late_workflow_id(start.name)


@workflow.defn(name=WORKFLOW)
class LateWordWorkflow(Lifecycle):
    """One word; its result is the answer."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        super().__init__()
        self._start, self._refused = start_input(raw, LateStart, _id_of)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> Any:
        """Pass it on, once."""
        if self._start is None:
            await self.end_refused(self._refused)
        try:
            view = await self._passed_on(self._start)
        except Rejected as refusal:
            await self.end_refused(refusal)
        if isinstance(view, WithdrawalView) and view.state.open:
            await nudge(withdrawal_workflow_id(view.merchant, view.request), CHANGED_SIGNAL)
        await self.drained()
        return view

    async def _passed_on(self, start: LateStart) -> View:
        """Ask the door that the word belongs to. Raises Rejected."""
        approvals, withdrawals, now = ApprovalDoor, WithdrawalDoor, workflow.now
        match start.word:
            case LateDecision() as word:
                return await self.through(withdrawals.decide_withdrawal, lambda: _on(word, now()))
            case LateCancellation() as word:
                return await self.through(withdrawals.cancel_withdrawal, lambda: _on(word, now()))
            case LateProposal(body=proposed):
                change = proposed.change
                return await self.through(
                    approvals.propose_policy,
                    lambda: PolicyCommand(change=change, at=now(), body=proposed),
                )
            case LatePolicyDecision(change=change, body=decided):
                return await self.through(
                    approvals.decide_policy,
                    lambda: PolicyCommand(change=change, at=now(), body=decided),
                )
            case LateDelegation(body=lent):
                return await self.through(
                    approvals.record_delegation, lambda: DelegationCommand(at=now(), body=lent)
                )
        raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="a word of no kind")


def _on(word: LateDecision | LateCancellation, at: datetime) -> WithdrawalCommand[Any]:
    return WithdrawalCommand(merchant=word.merchant, request=word.request, at=at, body=word.body)
