"""A withdrawal's lifecycle: reserved, decided by people, paid by a payout's run (P-65 … P-74).

The database decides and remembers: every decision is verified there with its token, a signal only
says "look again". Waits without limit, reminds by one durable timer, and never pays by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.account import Body
from tillkeeper.contracts.approval import Decide
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.payment import PaymentState, PayoutView
from tillkeeper.contracts.withdrawal import (
    CHANGED_SIGNAL,
    WORKFLOW,
    CancelWithdrawal,
    WithdrawalCommand,
    WithdrawalDoor,
    WithdrawalRequest,
    WithdrawalStart,
    WithdrawalState,
    WithdrawalView,
    withdrawal_workflow_id,
)
from tillkeeper.failures import as_failure, refusals_told
from workflows.alarm import Alarm
from workflows.intake import NOTHING, at_the_update_door, start_input, understood
from workflows.lifecycle import (
    AMOUNT_MINOR,
    DUE_AT,
    NEEDS_PERSON,
    Lifecycle,
    Listener,
    carried,
    hears,
    hears_nudge,
)
from workflows.remitting import PayoutLost, paid, see_through, withdrawal_words
from workflows.uncancelled import uncancelled

LOOK_AGAIN: Final = timedelta(hours=1)
"""How often dues that hold an approved withdrawal back are looked at (P-45)."""

LOOK_DAILY: Final = timedelta(days=1)
"""How often a run looks that waits for what nudges it."""

Act = Callable[[Any, WithdrawalCommand[Body]], Awaitable[WithdrawalView]]


def _never() -> bool:
    return False


def _id_of(start: WithdrawalStart) -> str:
    return withdrawal_workflow_id(start.merchant, start.request)


def _unanswered(start: WithdrawalStart | None) -> WithdrawalView:
    return WithdrawalView(
        merchant="" if start is None else start.merchant,
        currency="" if start is None else start.currency,
        request="" if start is None else start.request,
        amount_minor=0 if start is None else start.amount_minor,
        state=WithdrawalState.SUBMITTED,
    )


def _has_changed(refusal: Rejected) -> bool:
    """Whether the row is not what this run shows: decided, or with another payee (P-69)."""
    if Code.REQUEST_DECIDED in refusal.codes:
        return True
    return Code.DECISION_STALE in refusal.codes and workflow.patched("stale-looks")


@workflow.defn(name=WORKFLOW)
class WithdrawalWorkflow(Lifecycle):
    """One request; its result is the final view."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: WithdrawalView | None = None
        self._look = False
        self._alarm = Alarm()
        self._paying: asyncio.Task[PayoutView | None] | None = None
        self._start, self._refused = start_input(raw, WithdrawalStart, _id_of)
        self._last = None if self._start is None else carried(self._start.last)
        super().__init__(() if self._start is None else self._start.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> WithdrawalView:
        """Reserve, wait for the decision, see the payment through."""
        if self._start is None:
            await self.end_refused(self._refused)
        await self._submit(self._start.body())
        if self._refused is not None:
            await self.end_refused(self._refused)
        while self._state.open and not self._long:
            await self._go_on()
        await self.drained()
        if self._state.open:
            passed = {"last": self._view, "not_understood": self.not_understood}
            workflow.continue_as_new(self._start.model_copy(update=passed))
        return self.view()

    @workflow.query
    def view(self) -> WithdrawalView:
        """The request with its dated steps (P-27, P-73); payee and account are masked."""
        seen = self._view or self._last or _unanswered(self._start)
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    @workflow.update
    async def submitted(self, raw: RawValue) -> WithdrawalView:
        """Wait for the answer: reserved, or why not; another body is refused (C-02)."""
        asked = understood(raw, WithdrawalRequest)
        await workflow.wait_condition(self._answered)
        if self._refused is not None:
            raise as_failure(self._refused)
        if self._start is None or fingerprint(asked) != fingerprint(self._start.body()):
            detail = "this request id came with another request"
            raise as_failure(Rejected(Code.KEY_REUSED, detail=detail))
        return self.view()

    @workflow.update
    async def decide(self, raw: RawValue) -> WithdrawalView:
        """A person's yes or no, verified and counted where it takes effect (P-68, C-07)."""
        return await self._update(WithdrawalDoor.decide_withdrawal, understood(raw, Decide))

    @workflow.update
    async def cancel(self, raw: RawValue) -> WithdrawalView:
        """The merchant takes the request back, unless it is approved."""
        door = WithdrawalDoor.cancel_withdrawal
        return await self._update(door, understood(raw, CancelWithdrawal))

    submitted.validator(at_the_update_door(WithdrawalRequest))
    decide.validator(at_the_update_door(Decide))
    cancel.validator(at_the_update_door(CancelWithdrawal))

    def listeners(self) -> Mapping[str, Listener]:
        """Both decisions may also come as signals; ``changed`` looks at the row again."""
        door = WithdrawalDoor
        return {
            "decide": hears(Decide, lambda body: self._do(door.decide_withdrawal, body)),
            "cancel": hears(CancelWithdrawal, lambda body: self._do(door.cancel_withdrawal, body)),
            CHANGED_SIGNAL: hears_nudge(self._nudge),
        }

    @property
    def _state(self) -> WithdrawalState:
        return WithdrawalState.SUBMITTED if self._view is None else self._view.state

    def _answered(self) -> bool:
        return self._view is not None or self._refused is not None

    async def _submit(self, request: WithdrawalRequest) -> None:
        try:
            self._seen(await self._through(WithdrawalDoor.submit_withdrawal, request))
        except Rejected as refusal:
            self._refused = refusal

    async def _go_on(self) -> None:
        """Wait for whatever this state waits for, then look at the row or change it."""
        view = self._view
        if view is None:
            return
        now = workflow.now()
        match view.state:
            case WithdrawalState.WAITING_APPROVAL:
                await self._wait(view.remind_at, WithdrawalDoor.remind_of_withdrawal)
            case WithdrawalState.APPROVED if view.remit_at is not None and view.remit_at > now:
                await self._wait(view.remit_at, WithdrawalDoor.remit_withdrawal)
            case WithdrawalState.APPROVED:
                due = now + LOOK_AGAIN if view.blocked else now
                remit = WithdrawalDoor.remit_withdrawal
                await self._wait(due, remit, nudged=remit)
            case WithdrawalState.REMITTING if view.payment is not None:
                await self._remit(view.payment)
            case _:
                await self._wait(now + LOOK_DAILY, WithdrawalDoor.read_withdrawal)

    async def _wait(
        self,
        due: datetime | None,
        act: Act[None],
        *,
        nudged: Act[None] = WithdrawalDoor.read_withdrawal,
    ) -> None:
        """Until ``due``, then ``act``; a nudge before that looks; a decision goes before both."""
        state = self._state
        await self._until(lambda: self._look or self._state is not state, due)
        look, self._look = self._look, False
        if self._state is not state or self._long:
            return
        over = due is not None and workflow.now() >= due
        if over or look:
            await self._act(act if over else nudged)

    async def _act(self, act: Act[None]) -> None:
        """Call the door for the run itself, unless a decision has moved the request meanwhile."""
        refused = await uncancelled(self._unless_moved(act), self.note_cancel)
        if refused is not None:
            # Nobody is there to hear it: only a defect refuses what the run itself asks.
            await self._stuck(f"{act.__name__}: {refused.codes[0]}")

    async def _unless_moved(self, act: Act[None]) -> Rejected | None:
        state = self._state
        async with self.lock:
            if self._state is state:
                try:
                    self._seen(await self._through(act, None))
                except Rejected as refusal:
                    return refusal
        return None

    async def _remit(self, payment: PayoutView) -> None:
        """See the payment through by its own run; how it ended stands in the row already."""
        paying = self._paying or asyncio.create_task(see_through(payment))
        self._paying = paying
        await self._until(paying.done, None)
        if not paying.done():
            return
        self._paying = None
        try:
            known = paying.result()
        except PayoutLost as lost:
            await self._stuck(str(lost))
            await self._act(WithdrawalDoor.read_withdrawal)
            return
        if known is not None and known.state is PaymentState.PAID and self._view is not None:
            self._seen(paid(self._view, known))
            return
        await self._act(WithdrawalDoor.read_withdrawal)
        if known is None and self._state is WithdrawalState.REMITTING:
            # An earlier run of ours began that payout, which will say ``changed`` to this one.
            await self._wait(workflow.now() + LOOK_DAILY, WithdrawalDoor.read_withdrawal)

    async def _stuck(self, what: str) -> None:
        """Show that a person is needed, until ``resume``, a nudge or the next day."""
        seen = self._resumed
        self.needs_person = what
        workflow.upsert_search_attributes([NEEDS_PERSON.value_set(True)])
        workflow.logger.error("waits for a person: %s", what)
        until = workflow.now() + LOOK_DAILY
        await self._until(lambda: self._resumed != seen or self._look, until)
        self.needs_person = ""
        if self._view is not None:
            self._seen(self._view)

    async def _until(self, condition: Callable[[], bool], due: datetime | None) -> None:
        """Wait for ``condition``, for ``due``, or until the run is long enough."""
        rung = _never if due is None else self._alarm.at(due)
        await self.wait(lambda: condition() or self._long or rung())

    async def _nudge(self) -> None:
        self._look = True

    async def _update(self, act: Act[Body], body: Body) -> WithdrawalView:
        with refusals_told():
            await self._do(act, body)
        return self.view()

    async def _do(self, act: Act[Body], body: Body) -> None:
        """One decision at a time, once the request is answered. Raises Rejected."""
        await workflow.wait_condition(self._answered)
        if self._refused is not None:
            raise self._refused
        async with self.lock:
            try:
                self._seen(await self._through(act, body))
            except Rejected as refusal:
                self._look = self._look or _has_changed(refusal)
                raise

    async def _through(self, act: Act[Body], body: Body) -> WithdrawalView:
        start = self._start
        if start is None:
            raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        return await self.through(
            act,
            lambda: WithdrawalCommand(
                merchant=start.merchant, request=start.request, at=workflow.now(), body=body
            ),
        )

    def _seen(self, view: WithdrawalView) -> None:
        self._view = view
        waits = view.escalated or view.state is WithdrawalState.FAILED_MANUAL
        due = {
            WithdrawalState.WAITING_APPROVAL: view.remind_at,
            WithdrawalState.APPROVED: view.remit_at,
        }.get(view.state)
        self.show(
            AMOUNT_MINOR.value_set(view.amount_minor),
            NEEDS_PERSON.value_set(bool(self.needs_person) or (waits and view.state.open)),
            DUE_AT.value_unset() if due is None else DUE_AT.value_set(due),
            merchant=view.merchant,
            stage=view.state.value,
            details=withdrawal_words(view),
        )
