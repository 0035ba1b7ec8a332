"""Who may approve: a change of the policy decided by a second person, and delegations (C-07, C-08).

The database verifies every token and decides; these runs pass on what people say, one thing at a
time, and wait without limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.account import Body
from tillkeeper.contracts.approval import (
    DELEGATION_WORKFLOW,
    POLICY_WORKFLOW,
    ApprovalDoor,
    DecidePolicy,
    Delegate,
    DelegationCommand,
    DelegationView,
    PolicyCommand,
    PolicyStart,
    PolicyState,
    PolicyView,
    ProposePolicy,
    delegation_workflow_id,
    policy_workflow_id,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.failures import as_failure, refusals_told
from workflows.intake import NOTHING, at_the_update_door, start_input, understood
from workflows.lifecycle import Lifecycle, Listener, hears

Act = Callable[[Any, PolicyCommand[Body]], Awaitable[PolicyView]]


def _policy_id(start: PolicyStart) -> str:
    return policy_workflow_id(start.change)


def _delegation_id(request: Delegate) -> str:
    return delegation_workflow_id(request.delegation)


@workflow.defn(name=POLICY_WORKFLOW)
class PolicyChangeWorkflow(Lifecycle):
    """One change of the policy; its result is how it was decided."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: PolicyView | None = None
        self._start, self._refused = start_input(raw, PolicyStart, _policy_id)
        super().__init__(() if self._start is None else self._start.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> PolicyView:
        """Record the proposal, then wait for a second policy admin."""
        if self._start is None:
            await self.end_refused(self._refused)
        try:
            await self._through(ApprovalDoor.propose_policy, self._start.body())
        except Rejected as refusal:
            self._refused = refusal
            await self.end_refused(refusal)
        await self.wait(lambda: not self._waits or self._long)
        await self.drained()
        if self._waits:
            carried = {"not_understood": self.not_understood}
            workflow.continue_as_new(self._start.model_copy(update=carried))
        return self.view()

    @workflow.query
    def view(self) -> PolicyView:
        """The change with its policy, its digest and who decided."""
        start = self._start
        seen = self._view or PolicyView(change="" if start is None else start.change)
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    @workflow.update
    async def proposed(self, raw: RawValue) -> PolicyView:
        """Wait for the answer to the proposal; another body is refused (C-02).

        Whoever proposes it again has his own token verified.
        """
        body = understood(raw, ProposePolicy)
        asked = body.without_token()
        await workflow.wait_condition(lambda: self._view is not None or self._refused is not None)
        if self._refused is not None:
            raise as_failure(self._refused)
        if self._start is None or fingerprint(asked) != fingerprint(self._start.without_token()):
            detail = "this change came with another policy, date or reason"
            raise as_failure(Rejected(Code.KEY_REUSED, detail=detail))
        if body.token != self._start.token and workflow.patched("proposed-again"):
            with refusals_told():
                async with self.lock:
                    await self._through(ApprovalDoor.propose_policy, body)
        return self.view()

    @workflow.update
    async def decide(self, raw: RawValue) -> PolicyView:
        """A second person's yes or no to exactly this policy (C-07)."""
        with refusals_told():
            await self._decide(understood(raw, DecidePolicy))
        return self.view()

    proposed.validator(at_the_update_door(ProposePolicy))
    decide.validator(at_the_update_door(DecidePolicy))

    def listeners(self) -> Mapping[str, Listener]:
        """The decision may also come as a signal."""
        return {"decide": hears(DecidePolicy, self._decide)}

    @property
    def _waits(self) -> bool:
        return self._view is not None and self._view.state is PolicyState.PROPOSED

    async def _decide(self, body: DecidePolicy) -> None:
        await workflow.wait_condition(lambda: self._view is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused
        async with self.lock:
            await self._through(ApprovalDoor.decide_policy, body)

    async def _through(self, act: Act[Body], body: Body) -> None:
        start = self._start
        if start is None:
            raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        self._view = await self.through(
            act, lambda: PolicyCommand(change=start.change, at=workflow.now(), body=body)
        )
        view = self._view
        details = f"**{view.state}** by {view.proposed_by} · from {view.effective_from}"
        self.show(merchant="", stage=view.state.value, details=details)


@workflow.defn(name=DELEGATION_WORKFLOW)
class DelegationWorkflow(Lifecycle):
    """One delegation; its result is what was recorded."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        super().__init__()
        self._view: DelegationView | None = None
        self._request, self._refused = start_input(raw, Delegate, _delegation_id)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> DelegationView:
        """Record it once; its end is a date, which nobody has to wait for."""
        request = self._request
        if request is None:
            await self.end_refused(self._refused)
        try:
            self._view = await self.through(
                ApprovalDoor.record_delegation,
                lambda: DelegationCommand(at=workflow.now(), body=request),
            )
        except Rejected as refusal:
            await self.end_refused(refusal)
        details = f"{self._view.delegator} → {self._view.delegate} · until {self._view.until}"
        self.show(merchant="", stage="RECORDED", details=details)
        await self.drained()
        return self._view

    @workflow.query
    def view(self) -> DelegationView:
        """The delegation. Fails until it was recorded."""
        if self._view is None:
            raise as_failure(self._refused or Rejected(Code.UNAVAILABLE, detail="not recorded yet"))
        return self._view
