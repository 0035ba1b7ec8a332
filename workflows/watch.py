"""The watch over runs: looks every ten minutes that nobody is forgotten (C-06).

A run that was terminated or failed cannot come back by itself; its row says that it must. The watch
never ends: it continues as new. It holds nothing, and what it starts outlives it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.watch import (
    WATCH_WORKFLOW_ID,
    WORKFLOW,
    Look,
    LookCommand,
    RunWatchDoor,
    RunWatchRequest,
    RunWatchView,
    latest,
)
from workflows.calls import Pace
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import NEEDS_PERSON, Lifecycle, seconds_until

LOOK_EVERY: Final = timedelta(minutes=10)

LOOKING: Final = Pace(within=timedelta(minutes=10), heartbeat=timedelta(seconds=15))


def _id_of(_request: RunWatchRequest) -> str:
    return WATCH_WORKFLOW_ID


@workflow.defn(name=WORKFLOW)
class RunWatchWorkflow(Lifecycle):
    """The one watch; it never ends, it continues as new."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        request, self._refused = start_input(raw, RunWatchRequest, _id_of)
        self._known = RunWatchView() if request is None else RunWatchView(**dict(request))
        self._began = 0
        self._ended = 0
        self._wanted = 0
        super().__init__(self._known.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> RunWatchView:
        """Look, wait, look again."""
        if self._refused is not None:
            await self.end_refused(self._refused)
        while not (self._long and workflow.all_handlers_finished()):
            await self._look()
            await self._rest()
        workflow.continue_as_new(
            RunWatchRequest(
                revived=self._known.revived,
                last=self._known.last,
                not_understood=self.not_understood,
            )
        )

    @workflow.query
    def view(self) -> RunWatchView:
        """What was found so far, and when it looked last."""
        return self._known.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    @workflow.update
    async def look(self) -> RunWatchView:
        """Look at once; answers what is known after it."""
        mine = self._began + 1
        self._wanted = mine
        await workflow.wait_condition(lambda: self._ended >= mine)
        return self.view()

    @property
    def _called(self) -> bool:
        return self._long or self._wanted > self._began

    async def _look(self) -> None:
        self._began += 1
        at = workflow.now()
        try:
            found = await self.through(
                RunWatchDoor.revive_runs, lambda: LookCommand(at=workflow.now()), pace=LOOKING
            )
        except Rejected as refusal:
            await self.end_refused(refusal)
        self._seen(found, at)
        self._ended = self._began

    async def _rest(self) -> None:
        """Until the next look is due, or asked for, or the run is long enough."""
        due = workflow.now() + LOOK_EVERY
        while not self._called and (left := seconds_until(due)):
            try:
                await workflow.wait_condition(lambda: self._called, timeout=left)
            except TimeoutError:
                return
            except asyncio.CancelledError:
                self.note_cancel()

    def _seen(self, found: Look, at: datetime) -> None:
        known = self._known
        self._known = known.model_copy(
            update={
                "looked_at": at,
                "revived": known.revived + found.revived,
                "last": latest(known.last, found.last),
                "ended": found.ended,
            }
        )
        self.show(
            NEEDS_PERSON.value_set(bool(found.ended)),
            merchant="",
            stage="WATCHING",
            details=f"**WATCHING** · {self._known.revived} revived · looked at {at:%F %T} UTC",
        )
