"""A bank account's day: compared with the book until both agree (C-14).

It looks when it is nudged and once a day, ends when the day is clean, and stops looking after 90
days; what differs then stays at the desk. The database decides; asked again, a new run looks anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.reconciliation import (
    LOOK,
    WORKFLOW,
    ReconciliationCommand,
    ReconciliationDoor,
    ReconciliationStart,
    ReconciliationState,
    ReconciliationView,
    reconciliation_workflow_id,
)
from tillkeeper.failures import as_failure
from workflows.calls import Pace
from workflows.intake import NOTHING, at_the_update_door, start_input, understood
from workflows.lifecycle import (
    AMOUNT_MINOR,
    DUE_AT,
    NEEDS_PERSON,
    Lifecycle,
    Listener,
    hears_nudge,
    seconds_until,
)

EVERY: Final = timedelta(days=1)
SOON: Final = timedelta(minutes=1)
"""After days before were found to disagree: they may explain this one."""

LOOKS_APART: Final = timedelta(seconds=10)
"""Files that come closer together share a look; whoever asks for one is answered at once."""

GIVES_UP_AFTER: Final = timedelta(days=90)
LOOKING: Final = Pace(within=timedelta(minutes=2), heartbeat=timedelta(seconds=30))
"""A year of a thousand movements a day takes two seconds."""

_TRIES: Final = 5


def _id_of(start: ReconciliationStart) -> str:
    return reconciliation_workflow_id(start.account, start.day)


@workflow.defn(name=WORKFLOW)
class ReconciliationWorkflow(Lifecycle):
    """One day of one account; its result is how it was found last."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: ReconciliationView | None = None
        self._start, self._refused = start_input(raw, ReconciliationStart, _id_of)
        # A look answers whoever asked before it began.
        self._asked = 1
        self._looked = 0
        self._looked_at: datetime | None = None
        self._at_once = False
        self._soon = False
        self._passed_on: tuple[date, ...] = ()
        super().__init__(() if self._start is None else self._start.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> ReconciliationView:
        """Look until the day is clean, or for 90 days."""
        if self._start is None:
            await self.end_refused(self._refused)
        while True:
            if not self._idle:
                await self._pause(self._start)
                await self._look(self._start)
                if self._refused is not None:
                    await self.end_refused(self._refused)
            # Not merely drained: a handler that came now waits for one more look.
            await self.wait(lambda: not self._idle or workflow.all_handlers_finished())
            if not self._idle:
                continue
            if self._over:
                return self.view()
            if self._long:
                self._continue_as_new(self._start)
            await self._wait()

    @workflow.query
    def view(self) -> ReconciliationView:
        """How the day was found last."""
        start = self._start
        seen = self._view or ReconciliationView(
            account=0 if start is None else start.account,
            day=date.min if start is None else start.day,
        )
        return seen.model_copy(
            update={
                "given_up": self._view is not None and not self._clean and self._late,
                "not_understood": self.not_understood,
                "needs_person": self.needs_person,
            }
        )

    @workflow.update(name=LOOK)
    async def look_now(self, raw: RawValue) -> ReconciliationView:
        """Compare now, and answer how the day was found."""
        understood(raw, ReconciliationStart)
        self._asked += 1
        self._at_once = True
        mine = self._asked
        await workflow.wait_condition(lambda: self._looked >= mine or self._refused is not None)
        if self._refused is not None:
            raise as_failure(self._refused)
        return self.view()

    look_now.validator(at_the_update_door(ReconciliationStart))

    def listeners(self) -> Mapping[str, Listener]:
        """The nudge that a file of the account was booked."""
        return {LOOK: hears_nudge(self._nudge)}

    @property
    def _idle(self) -> bool:
        return self._looked >= self._asked

    @property
    def _clean(self) -> bool:
        return self._view is not None and self._view.state is ReconciliationState.CLEAN

    @property
    def _since(self) -> datetime:
        since = None if self._start is None else self._start.since
        return since or workflow.info().workflow_start_time

    @property
    def _late(self) -> bool:
        return workflow.now() >= self._since + GIVES_UP_AFTER

    @property
    def _over(self) -> bool:
        return self._clean or self._late

    async def _pause(self, start: ReconciliationStart) -> None:
        """Let nudges gather that come close upon a look."""
        if self._looked_at is None or not start.paced:
            return
        due = self._looked_at + LOOKS_APART
        while not self._at_once and workflow.now() < due:
            try:
                wait_s = seconds_until(due)
                await workflow.wait_condition(lambda: self._at_once, timeout=wait_s)
            except TimeoutError:
                return
            except asyncio.CancelledError:
                self.note_cancel()

    async def _look(self, start: ReconciliationStart) -> None:
        asked, self._at_once = self._asked, False
        try:
            view = await self.through(
                ReconciliationDoor.reconcile_day,
                lambda: ReconciliationCommand(
                    account=start.account, day=start.day, at=workflow.now()
                ),
                pace=LOOKING,
            )
        except Rejected as refusal:
            self._refused = refusal
            return
        self._looked, self._looked_at = asked, workflow.now()
        self._seen(view)
        await self._pass_on(start, view)

    async def _pass_on(self, start: ReconciliationStart, view: ReconciliationView) -> None:
        """Have the days before that were named looked at again, once as long as they are the same.

        They may explain this day: it looks again soon.
        """
        self._soon = bool(view.look_at) and view.look_at != self._passed_on
        try:
            for day in view.look_at if self._soon else ():
                await look_at_day(start.account, day)
        except asyncio.CancelledError:
            self.note_cancel()
            return
        self._passed_on = view.look_at

    async def _wait(self) -> None:
        """Until a nudge, the next day's look, or the day to give up."""
        until = min(workflow.now() + (SOON if self._soon else EVERY), self._since + GIVES_UP_AFTER)
        try:
            wait_s = seconds_until(until)
            await workflow.wait_condition(lambda: not self._idle or self._flooded, timeout=wait_s)
        except TimeoutError:
            self._asked += 1
        except asyncio.CancelledError:
            self.note_cancel()

    async def _nudge(self) -> None:
        self._asked += 1

    def _continue_as_new(self, start: ReconciliationStart) -> NoReturn:
        carried = {
            **start.model_dump(), "since": self._since, "not_understood": self.not_understood,
        }  # fmt: skip
        workflow.continue_as_new(ReconciliationStart.model_validate(carried))

    def _seen(self, view: ReconciliationView) -> None:
        self._view = view
        details = f"**{view.state}** · {view.matched} agree"
        if view.difference_count:
            largest = format_amount(view.largest_minor, view.currency, grouped=True)
            details += f" · {view.difference_count} differ, by {largest} {view.currency} at most"
        self.show(
            AMOUNT_MINOR.value_set(view.largest_minor),
            DUE_AT.value_set(self._since + GIVES_UP_AFTER),
            NEEDS_PERSON.value_set(view.needs_desk),
            merchant="",
            stage=view.state.value,
            details=details,
        )


async def look_at_day(account: int, day: date) -> None:
    """Have a day compared (again): start its run, or nudge the one that there is.

    Called in a workflow; the run outlives its caller and is not waited for.
    """
    workflow_id = reconciliation_workflow_id(account, day)
    for _ in range(_TRIES):
        try:
            await workflow.start_child_workflow(
                WORKFLOW,
                ReconciliationStart(account=account, day=day, paced=True),
                id=workflow_id,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            )
        except WorkflowAlreadyStartedError:
            try:
                await workflow.get_external_workflow_handle(workflow_id).signal(LOOK)
            except FailureError:
                # It ended in between: start anew.
                continue
        return
    workflow.logger.warning("a day to reconcile was ended again and again")
