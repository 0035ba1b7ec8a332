"""A payment's way to the bank and back: recorded, sent as one file, then paid or rejected (C-12).

The database decides: a signal says only "look again". Silence is never taken for an answer: after
three days a person is told, and the run goes on waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    WORKFLOW,
    PaymentState,
    PayoutCommand,
    PayoutDoor,
    PayoutStart,
    PayoutView,
    SentCommand,
    payout_workflow_id,
)
from tillkeeper.rules.payments import next_look
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import (
    AMOUNT_MINOR,
    DUE_AT,
    NEEDS_PERSON,
    Lifecycle,
    Listener,
    hears_nudge,
    seconds_until,
)

EVENTS_PER_RUN_MAX: Final = 400
"""A payment that waits for months is looked at every day, in runs that replay fast."""

OUTBOX_PATIENCE: Final = timedelta(minutes=15)
"""How long a file may not get into the outbox before a person is told."""

Look = Callable[[Any, PayoutCommand], Awaitable[PayoutView]]


def _id_of(start: PayoutStart) -> str:
    return payout_workflow_id(start.end_to_end_id)


@workflow.defn(name=WORKFLOW)
class PayoutWorkflow(Lifecycle):
    """One payment; its result is the final view."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: PayoutView | None = None
        self._nudged = False
        self._writing: asyncio.Task[str] | None = None
        self._start, self._refused = start_input(raw, PayoutStart, _id_of)
        super().__init__(() if self._start is None else self._start.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> PayoutView:
        """Send, then wait for what the bank says; a payment that nobody recorded fails the run."""
        if self._start is None:
            await self.end_refused(self._refused)
        try:
            await self._look(PayoutDoor.read_payment)
        except Rejected as refusal:
            await self.end_refused(refusal)
        while self._state is PaymentState.RECORDED and not self._long:
            await self._send()
        while self._state.open and not self._long:
            await self._wait()
        await self.drained()
        if self._state.open:
            noted = {"not_understood": self.not_understood}
            workflow.continue_as_new(self._start.model_copy(update=noted))
        return self.view()

    @workflow.query
    def view(self) -> PayoutView:
        """The payment with its dated steps; payee and account are masked."""
        name = "" if self._start is None else self._start.end_to_end_id
        seen = self._view or PayoutView(end_to_end_id=name)
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    def listeners(self) -> Mapping[str, Listener]:
        """The bank's nudge."""
        return {OUTCOME_SIGNAL: hears_nudge(self._nudge)}

    @property
    def _state(self) -> PaymentState:
        return PaymentState.RECORDED if self._view is None else self._view.state

    @property
    def _long(self) -> bool:
        info = workflow.info()
        length = info.get_current_history_length()
        return info.is_continue_as_new_suggested() or length >= EVENTS_PER_RUN_MAX

    async def _send(self) -> None:
        """Write the file, then mark it sent; what keeps it from leaving is a person's to mend."""
        if self._writing is None:
            door = PayoutDoor.write_payment_file
            self._writing = asyncio.create_task(self.through(door, self._command))
        if not await self._until(self._writing.done, OUTBOX_PATIENCE):
            await self._hold(self._writing.done, Code.UNAVAILABLE)
            return
        writing, self._writing = self._writing, None
        try:
            message = writing.result()
        except Rejected as refusal:
            seen = self._resumed
            await self._hold(lambda: self._resumed != seen, refusal.codes[0])
            return
        view = await self.through(
            PayoutDoor.mark_payment_sent,
            lambda: SentCommand(**dict(self._command()), message_id=message),
        )
        self._seen(view)

    async def _hold(self, mended: Callable[[], bool], code: Code) -> None:
        """Until that is mended, or a nudge, or the next look: a debit may prove that it left."""
        stuck = f"{PayoutDoor.write_payment_file.__name__}: {code}"
        if not self.needs_person:
            self.needs_person = stuck
            workflow.upsert_search_attributes([NEEDS_PERSON.value_set(True)])
            workflow.logger.error("waits for a person: %s", stuck)
        patience = timedelta(seconds=self._patience())
        in_time = await self._until(lambda: mended() or self._nudged, patience)
        self._nudged = False
        if self.needs_person == stuck:
            self.needs_person = ""
        await self._look(PayoutDoor.read_payment if in_time else PayoutDoor.note_overdue_payment)

    async def _until(self, condition: Callable[[], bool], within: timedelta) -> bool:
        """Wait for ``condition``; False where it did not come in time."""
        until = workflow.now() + within
        while True:
            try:
                await workflow.wait_condition(condition, timeout=seconds_until(until))
                return True
            except TimeoutError:
                return False
            except asyncio.CancelledError:
                self.note_cancel()

    async def _wait(self) -> None:
        """Until a nudge, or the next look at a silent bank."""
        try:
            await workflow.wait_condition(lambda: self._nudged, timeout=self._patience())
            look: Look = PayoutDoor.read_payment
        except TimeoutError:
            look = PayoutDoor.note_overdue_payment
        except asyncio.CancelledError:
            self.note_cancel()
            return
        self._nudged = False
        await self._look(look)

    def _patience(self) -> float:
        """Seconds to the next look at a silent bank."""
        return 0 if self._view is None else seconds_until(_next_look(self._view))

    async def _nudge(self) -> None:
        self._nudged = True

    async def _look(self, door: Look) -> None:
        self._seen(await self.through(door, self._command))

    def _command(self) -> PayoutCommand:
        if self._start is None:
            raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        return PayoutCommand(end_to_end_id=self._start.end_to_end_id, at=workflow.now())

    def _seen(self, view: PayoutView) -> None:
        self._view = view
        amount = format_amount(view.amount_minor, view.currency, grouped=True)
        due = []
        if view.state.open:
            due = [DUE_AT.value_set(_next_look(view))]
        self.show(
            AMOUNT_MINOR.value_set(view.amount_minor),
            NEEDS_PERSON.value_set(view.overdue or bool(self.needs_person)),
            *due,
            merchant="",
            stage=view.state.value,
            details=f"**{view.state}** {view.reason or ''} · {amount} {view.currency}",
        )


def _next_look(view: PayoutView) -> datetime:
    """By when the file left; a bank may have answered before we marked that."""
    now = workflow.now()
    return next_look(view.sent_at or view.recorded_at or now, now)
