"""A payment's way to the bank and back: recorded, sent once, then paid or rejected (C-12).

The database decides: a signal says only "look again". Silence is never taken for an answer: the
bank's door is asked, after three days a person is told, and the run goes on waiting. After a proven
no that may be tried again the next attempt follows in the same run (S-44).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    WATCH_SIGNAL,
    WORKFLOW,
    PaymentState,
    PayoutCommand,
    PayoutDoor,
    PayoutStart,
    PayoutView,
    Rail,
    SentCommand,
    payout_workflow_id,
)
from tillkeeper.contracts.withdrawal import (
    CHANGED_SIGNAL,
    withdrawal_of,
    withdrawal_workflow_id,
)
from tillkeeper.failures import kind_of, refusal_in
from tillkeeper.rules.payments import next_look
from workflows.alarm import Alarm
from workflows.calls import ONCE, QUICK, Pace, call, nudge
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import (
    AMOUNT_MINOR,
    DUE_AT,
    NEEDS_PERSON,
    Lifecycle,
    Listener,
    carried,
    hears_nudge,
    seconds_until,
)
from workflows.uncancelled import uncancelled

OUTBOX_PATIENCE: Final = timedelta(minutes=15)
"""How long a file may not get into the outbox before a person is told."""

ON_ITS_WAY: Final = "REMITTING"
_ON_ITS_WAY: Final = (PaymentState.RECORDED, PaymentState.SENT, PaymentState.ACCEPTED)

TRY_AGAIN_AFTER: Final = timedelta(seconds=30)
"""How long a payment that was not even marked waits before it is given to the door again."""

AT_THE_BANK: Final = Pace(within=timedelta(seconds=60), heartbeat=timedelta(seconds=10), bank=True)
"""Longer than the door's own limit; a call whose worker died is known after ten seconds."""

GIVEN: Final = replace(AT_THE_BANK, queued=OUTBOX_PATIENCE)
"""The call that pays: what no worker took has not left, and a person is told."""

Look = Callable[[Any, PayoutCommand], Awaitable[PayoutView]]
Door = Callable[[Any, PayoutCommand], Awaitable[Any]]


def _id_of(start: PayoutStart) -> str:
    return payout_workflow_id(start.end_to_end_id)


class _OfAnotherRun(Rejected):
    """The payment belongs to another payout's run."""


@workflow.defn(name=WORKFLOW)
class PayoutWorkflow(Lifecycle):
    """One payment; its result is the final view."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: PayoutView | None = None
        self._nudged = False
        self._writing: asyncio.Task[str] | None = None
        self._alarm = Alarm()
        self._start, self._refused = start_input(raw, PayoutStart, _id_of)
        self._name = "" if self._start is None else _current(self._start)
        self._watched = self._start is not None and self._start.watched
        self._last = None if self._start is None else carried(self._start.known)
        super().__init__(() if self._start is None else self._start.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> PayoutView:
        """Send, then wait for what the bank says; a payment that nobody recorded fails the run."""
        if self._start is None:
            await self.end_refused(self._refused)
        try:
            await self._begin(self._start)
        except Rejected as refusal:
            await self.end_refused(refusal)
        try:
            while self._goes_on and not self._long:
                await self._go_on()
        except _OfAnotherRun as refusal:
            await self.end_refused(refusal)
        await self.drained()
        if self._goes_on:
            passed = {
                "not_understood": self.not_understood, "current": self._name, "known": self._view,
                "watched": self._watched,
            }  # fmt: skip
            workflow.continue_as_new(self._start.model_copy(update=passed))
        await self._tell()
        return self.view()

    @workflow.query
    def view(self) -> PayoutView:
        """The payment with its dated steps; payee and account are masked."""
        seen = self._view or self._last or PayoutView(end_to_end_id=self._name)
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    def listeners(self) -> Mapping[str, Listener]:
        """The bank's nudge; and whoever cannot wait for this run's result asks to be told."""
        return {OUTCOME_SIGNAL: hears_nudge(self._nudge), WATCH_SIGNAL: hears_nudge(self._watch)}

    @property
    def _state(self) -> PaymentState:
        return PaymentState.RECORDED if self._view is None else self._view.state

    @property
    def _goes_on(self) -> bool:
        """Whether the bank's word is still to come, or another attempt follows."""
        return self._state.open or (self._view is not None and self._view.retry_at is not None)

    async def _begin(self, start: PayoutStart) -> None:
        """Look at the payment, unless whoever recorded it has told it just now."""
        known = start.known
        if known is None or known.end_to_end_id != self._name or not _just_recorded(known):
            await self._look(PayoutDoor.read_payment)
        else:
            self._view = known

    async def _go_on(self) -> None:
        """Do what this state asks for."""
        if self._state is PaymentState.RECORDED:
            await self._send()
        elif self._state.open:
            await self._wait()
        else:
            await self._try_again()

    async def _send(self) -> None:
        """Let it leave by its rail; what keeps it from leaving is a person's to mend."""
        by_door = self._view is not None and self._view.rail is Rail.HTTP
        await (self._give() if by_door else self._write())

    async def _give(self) -> None:
        """Give it to the bank's door, once; whatever comes of that, the database tells."""
        try:
            view = await uncancelled(self._submit(), self.note_cancel)
        except Rejected as refusal:
            await self._mend(PayoutDoor.submit_payment, refusal)
            return
        if view is not None:
            self.needs_person = ""
            self._seen(view)
            return
        await self._look(PayoutDoor.read_payment)
        if self._state is not PaymentState.RECORDED:
            self.needs_person = ""
            return
        # It was not even marked, so nothing has left. The look has answered whatever nudged.
        if self._nudged and workflow.patched("nudged-before-a-pause"):
            self._nudged = False
        await self._until(lambda: self._nudged, TRY_AGAIN_AFTER)

    async def _submit(self) -> PayoutView | None:
        """One call, never repeated; None where it was not answered (decision 0014)."""
        door = PayoutDoor.submit_payment
        try:
            return await call(door, self._command(), pace=GIVEN, retry=ONCE)
        except ActivityError as error:
            refusal = refusal_in(error)
            if refusal is not None:
                raise refusal from None
            workflow.logger.warning("not answered: %s", kind_of(error))
            if _nobody_took_it(error):
                self.needs_person = f"{door.__name__}: {Code.UNAVAILABLE}"
            return None

    async def _write(self) -> None:
        """Write the file, then mark it sent."""
        if self._writing is None:
            door = PayoutDoor.write_payment_file
            self._writing = asyncio.create_task(self.through(door, self._command))
        if not await self._until(self._writing.done, OUTBOX_PATIENCE):
            await self._hold(PayoutDoor.write_payment_file, self._writing.done, Code.UNAVAILABLE)
            return
        writing, self._writing = self._writing, None
        try:
            message = writing.result()
        except Rejected as refusal:
            await self._mend(PayoutDoor.write_payment_file, refusal)
            return
        view = await self.through(
            PayoutDoor.mark_payment_sent,
            lambda: SentCommand(**dict(self._command()), message_id=message),
        )
        self._seen(view)

    async def _mend(self, door: Door, refusal: Rejected) -> None:
        """Until a person has mended what ``door`` refuses; a payment of nobody ends the run."""
        if Code.PAYMENT_UNKNOWN in refusal.codes:
            await self.end_refused(refusal)
        if Code.REQUEST_DECIDED in refusal.codes:
            # It is not what this run took it for: nothing of it leaves by this way.
            await self._look(PayoutDoor.read_payment)
            return
        seen = self._resumed
        await self._hold(door, lambda: self._resumed != seen, refusal.codes[0])

    async def _hold(self, door: Door, mended: Callable[[], bool], code: Code) -> None:
        """Until that is mended, or a nudge, or the next look: a debit may prove that it left."""
        stuck = f"{door.__name__}: {code}"
        if not self.needs_person:
            self.needs_person = stuck
            workflow.upsert_search_attributes([NEEDS_PERSON.value_set(True)])
            workflow.logger.error("waits for a person: %s", stuck)
        patience = timedelta(seconds=self._patience())
        in_time = await self._until(lambda: mended() or self._nudged or self._flooded, patience)
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
        """Until a nudge, the next question at the bank's door, or the next look at its silence."""
        ask_at = None if self._view is None else self._view.ask_at
        patience = self._patience()
        asks = ask_at is not None and seconds_until(ask_at) < patience
        if asks and ask_at is not None:
            patience = seconds_until(ask_at)
        try:
            await self._rest(patience)
            look: Look = PayoutDoor.read_payment
        except TimeoutError:
            look = PayoutDoor.ask_about_payment if asks else PayoutDoor.note_overdue_payment
        except asyncio.CancelledError:
            self.note_cancel()
            return
        if self._flooded and not self._nudged and look is PayoutDoor.read_payment:
            return
        self._nudged = False
        try:
            await self._look(look, AT_THE_BANK if look is PayoutDoor.ask_about_payment else QUICK)
        except Rejected as refusal:
            await self._mend(look, refusal)

    async def _rest(self, patience: float) -> None:
        """Until a nudge, or a run long enough. Raises TimeoutError after ``patience`` seconds."""
        if self._view is None or self._view.rail is Rail.FILE:
            await workflow.wait_condition(lambda: self._nudged or self._flooded, timeout=patience)
            return
        rung = self._alarm.at(workflow.now() + timedelta(seconds=patience))
        await workflow.wait_condition(lambda: self._nudged or self._flooded or rung())
        if rung() and not self._nudged:
            raise TimeoutError

    async def _try_again(self) -> None:
        """When it is due, record the next attempt and go on with it."""
        due = None if self._view is None else self._view.retry_at
        wait = due is not None and seconds_until(due)
        if wait and await self._until(lambda: self._flooded, timedelta(seconds=wait)):
            return
        view = await self.through(PayoutDoor.record_next_attempt, self._command)
        self._name = view.end_to_end_id
        self._seen(view)

    def _patience(self) -> float:
        """Seconds to the next look at a silent bank."""
        return 0 if self._view is None else seconds_until(_next_look(self._view))

    async def _nudge(self) -> None:
        self._nudged = True

    async def _watch(self) -> None:
        self._watched = True

    async def _tell(self) -> None:
        """Nudge the withdrawal whose earlier run began this payout."""
        whose = None if self._view is None else withdrawal_of(self._view.subject)
        if self._watched and whose is not None:
            await uncancelled(
                nudge(withdrawal_workflow_id(*whose), CHANGED_SIGNAL), self.note_cancel
            )
            await self.drained()

    async def _look(self, door: Look, pace: Pace = QUICK) -> None:
        self._seen(await self.through(door, self._command, pace=pace))

    def _command(self) -> PayoutCommand:
        if self._start is None:
            raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        return PayoutCommand(end_to_end_id=self._name, at=workflow.now())

    def _seen(self, view: PayoutView) -> None:
        if self._start is not None and view.run not in ("", self._start.end_to_end_id):
            # Whoever started this run named a payment of another one: it must not end by that.
            raise _OfAnotherRun(Code.PAYMENT_UNKNOWN, detail="no payment of this run")
        self._view = view
        amount = format_amount(view.amount_minor, view.currency, grouped=True)
        due = due_of(view, workflow.now())
        self.show(
            AMOUNT_MINOR.value_set(view.amount_minor),
            NEEDS_PERSON.value_set(view.overdue or bool(self.needs_person)),
            *([] if due is None else [DUE_AT.value_set(due)]),
            merchant=view.merchant,
            stage=stage_of(view),
            details=f"**{view.state}** {view.reason or ''} · {amount} {view.currency}",
        )


def stage_of(view: PayoutView) -> str:
    """How people find it: what is on its way by the bank's door is one stage, from the start."""
    by_door = view.rail is Rail.HTTP
    return ON_ITS_WAY if by_door and view.state in _ON_ITS_WAY else view.state.value


def due_of(view: PayoutView, now: datetime) -> datetime | None:
    """When something is to happen next without the bank; None where nothing is."""
    if not view.state.open:
        return view.retry_at
    by_door = view.rail is Rail.HTTP
    left = view.recorded_at if by_door else view.sent_at or view.recorded_at
    return next_look(left or now, now)


def _nobody_took_it(error: ActivityError) -> bool:
    """Whether the call lay in the queue all the time: no worker serves the bank."""
    cause = error.cause
    waited = TimeoutType.SCHEDULE_TO_START
    return isinstance(cause, ActivityTimeout) and cause.type is waited


def _current(start: PayoutStart) -> str:
    """The attempt that the run has come to."""
    return start.current or start.end_to_end_id


def _just_recorded(known: PayoutView) -> bool:
    """Whether there is nothing to look at yet: nobody is believed that more has happened."""
    return known.state is PaymentState.RECORDED and known.sent_at is None


def _next_look(view: PayoutView) -> datetime:
    """By when the file left; a bank may have answered before we marked that."""
    now = workflow.now()
    return next_look(view.sent_at or view.recorded_at or now, now)
