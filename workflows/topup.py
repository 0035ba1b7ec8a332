"""A top-up request's lifecycle: submitted, then credited, expired or cancelled (P-20 … P-32).

One durable timer stands for the expiry. The database decides: a receipt's signal is only a nudge to
look there, so a lost or forged one can neither credit nor stop anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.account import Body
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.topup import (
    WORKFLOW,
    CancelTopUp,
    TopUpCommand,
    TopUpDoor,
    TopUpRequest,
    TopUpState,
    TopUpView,
    topup_workflow_id,
)
from tillkeeper.failures import as_failure, refusals_told
from workflows.intake import NOTHING, at_the_update_door, start_input, understood
from workflows.lifecycle import (
    AMOUNT_MINOR,
    DUE_AT,
    Lifecycle,
    Listener,
    hears,
    hears_nudge,
    seconds_until,
)

Decision = Callable[[Any, TopUpCommand[Body]], Awaitable[TopUpView]]


def _id_of(request: TopUpRequest) -> str:
    return topup_workflow_id(request.merchant, request.request)


@workflow.defn(name=WORKFLOW)
class TopUpWorkflow(Lifecycle):
    """One request; its result is the final view."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        super().__init__()
        self._view: TopUpView | None = None
        self._nudged = False
        self._request, self._refused = start_input(raw, TopUpRequest, _id_of)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> TopUpView:
        """Submit, then wait for the money, the expiry or a cancellation, whichever is first."""
        if self._request is None:
            await self.end_refused(self._refused)
        await self._submit(self._request)
        if self._refused is not None:
            await self.end_refused(self._refused)
        while self._waits:
            await self._wait()
        await self.drained()
        return self.view()

    @workflow.query
    def view(self) -> TopUpView:
        """The request with its dated steps (P-27)."""
        request = self._request
        seen = self._view or TopUpView(
            merchant="" if request is None else request.merchant,
            currency="" if request is None else request.currency,
            request="" if request is None else request.request,
            amount_minor=0 if request is None else request.amount_minor,
            state=TopUpState.SUBMITTED,
        )
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    @workflow.update
    async def submitted(self, raw: RawValue) -> TopUpView:
        """Wait for the answer: where to pay, or why not; another body is refused (C-02, P-25)."""
        asked = understood(raw, TopUpRequest)
        await workflow.wait_condition(lambda: self._view is not None or self._refused is not None)
        if self._refused is not None:
            raise as_failure(self._refused)
        if self._request is None or fingerprint(asked) != fingerprint(self._request):
            detail = "this request id came with another request"
            raise as_failure(Rejected(Code.KEY_REUSED, detail=detail))
        return self.view()

    @workflow.update
    async def cancel(self, raw: RawValue) -> TopUpView:
        """Cancel, unless it is decided already."""
        with refusals_told():
            await self._cancel(understood(raw, CancelTopUp))
        return self.view()

    submitted.validator(at_the_update_door(TopUpRequest))
    cancel.validator(at_the_update_door(CancelTopUp))

    def listeners(self) -> Mapping[str, Listener]:
        """A receipt's nudge, and the cancellation as a signal."""
        return {
            "receipt_matched": hears_nudge(self._nudge),
            "cancel": hears(CancelTopUp, self._cancel),
        }

    @property
    def _waits(self) -> bool:
        return self._view is not None and self._view.state is TopUpState.WAITING_REMITTANCE

    async def _submit(self, request: TopUpRequest) -> None:
        try:
            self._seen(await self._through(TopUpDoor.submit_topup, request))
        except Rejected as refusal:
            self._refused = refusal

    async def _wait(self) -> None:
        """Until a nudge, a decision, or the expiry; then look at or change the row."""
        expires_at = self._view.expires_at if self._view is not None else None
        timeout = None if expires_at is None else seconds_until(expires_at)
        try:
            await workflow.wait_condition(lambda: self._nudged or not self._waits, timeout=timeout)
            step: Decision[None] = TopUpDoor.read_topup
        except TimeoutError:
            step = TopUpDoor.expire_topup
        except asyncio.CancelledError:
            self.note_cancel()
            return
        self._nudged = False
        try:
            async with self.lock:
                if self._waits:
                    self._seen(await self._through(step, None))
        except asyncio.CancelledError:
            # Cancelled while a decision held the lock: look again after it.
            self._nudged = True
            self.note_cancel()

    async def _nudge(self) -> None:
        self._nudged = True

    async def _cancel(self, body: CancelTopUp) -> None:
        await workflow.wait_condition(lambda: self._view is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused
        async with self.lock:
            try:
                self._seen(await self._through(TopUpDoor.cancel_topup, body))
            except Rejected:
                # It was decided without this run's knowledge: look.
                self._nudged = True
                raise

    async def _through(self, decision: Decision[Body], body: Body) -> TopUpView:
        request = self._request
        if request is None:
            raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        return await self.through(
            decision,
            lambda: TopUpCommand(
                merchant=request.merchant, request=request.request, at=workflow.now(), body=body
            ),
        )

    def _seen(self, view: TopUpView) -> None:
        self._view = view
        amount = format_amount(view.amount_minor, view.currency, grouped=True)
        attributes = [AMOUNT_MINOR.value_set(view.amount_minor)]
        due = [] if view.expires_at is None else [DUE_AT.value_set(view.expires_at)]
        details = f"**{view.state}** · {amount} {view.currency} · until {view.expires_at}"
        self.show(
            *attributes, *due, merchant=view.merchant, stage=view.state.value, details=details
        )
