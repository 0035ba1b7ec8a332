"""The door to lost runs: what runs by Temporal, what must run by the database, and the difference.

Promises one listing and one statement for each lifecycle where nothing is lost, and that a run
which is there, or has ended well, is left alone. It moves no money and changes no row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.failures import failing_typed
from activities.heart import heartbeating
from activities.house import House
from activities.nudging import asked, nudge_all
from ledger.engine import in_transaction
from ledger.lost_runs import PAGE, WATCHED, LostRun, lost_runs
from tillkeeper.contracts.watch import Look, LookCommand, RevivedRun, RunWatchDoor, latest
from tillkeeper.contracts.withdrawal import CHANGED_SIGNAL

LISTED_AT_ONCE: Final = 1_000
"""Runs in one page of the listing, as many as Temporal gives."""

STARTED_AT_ONCE: Final = 20

OPEN_FOR: Final = timedelta(minutes=5)
"""What is open for less may be starting, or not be listed yet."""

ANSWER_WITHIN: Final = timedelta(seconds=10)

_log = logging.getLogger(__name__)


class _Begun(Enum):
    REVIVED = "revived"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(slots=True)
class _Found:
    """What a look has come to so far."""

    revived: int = 0
    last: tuple[RevivedRun, ...] = ()
    ended: tuple[RevivedRun, ...] = ()

    def note(self, begun: Iterable[tuple[LostRun, _Begun]], at: datetime) -> None:
        """Count and name what came of some runs."""
        for lost, how in begun:
            one = RevivedRun(workflow_id=lost.workflow_id, at=at)
            if how is _Begun.REVIVED:
                self.revived += 1
                self.last = latest(self.last, [one])
            if how is _Begun.ENDED:
                self.ended = latest(self.ended, [one])


class RunWatchActivities(RunWatchDoor):
    """RunWatchDoor on Temporal's list of runs and PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house

    @activity.defn
    async def revive_runs(self, command: LookCommand) -> Look:
        """Compare, and start again what is missing (C-06)."""
        async with failing_typed(), heartbeating():
            found = _Found()
            for lifecycle in WATCHED:
                # Listed before the rows are read: what ends in between was listed, and is not lost.
                running = await asked(_running(activity.client(), lifecycle))
                await self._revive(lifecycle, running, command, found)
            return Look(revived=found.revived, last=found.last, ended=found.ended)

    async def _revive(
        self, lifecycle: str, running: Sequence[str], command: LookCommand, found: _Found
    ) -> None:
        after = 0
        while lost := await self._lost(lifecycle, running, command, after):
            for n in range(0, len(lost), STARTED_AT_ONCE):
                some = lost[n : n + STARTED_AT_ONCE]
                began = await asyncio.gather(*(_begun(lifecycle, one) for one in some))
                found.note(zip(some, began, strict=True), command.at)
            if len(lost) < PAGE:
                return
            after = lost[-1].row

    async def _lost(
        self, lifecycle: str, running: Sequence[str], command: LookCommand, after: int
    ) -> list[LostRun]:
        before = command.at - OPEN_FOR
        return await in_transaction(
            self._house.engine,
            lambda c: lost_runs(c, lifecycle, running, before=before, after=after),
        )


async def _running(client: Client, lifecycle: str) -> list[str]:
    """The ids of all runs of a lifecycle, page by page."""
    query = f"WorkflowType = '{lifecycle}' AND ExecutionStatus = 'Running'"
    listed = client.list_workflows(query, page_size=LISTED_AT_ONCE, rpc_timeout=ANSWER_WITHIN)
    return [run.id async for run in listed]


async def _begun(lifecycle: str, lost: LostRun) -> _Begun:
    how = await asked(_start(activity.client(), lifecycle, lost))
    if how is _Begun.REVIVED:
        _log.warning("%s did not run and was started again", lost.workflow_id)
        if lost.waits is not None:
            # It may be lost itself, and comes next.
            await nudge_all([(lost.waits, CHANGED_SIGNAL)])
    if how is _Begun.ENDED:
        _log.error("%s ended well, and its row is open", lost.workflow_id)
    return how


async def _start(client: Client, lifecycle: str, lost: LostRun) -> _Begun:
    """Start it; one that runs is left alone, and so is one that ended well."""
    try:
        await client.start_workflow(
            lifecycle,
            lost.start,
            id=lost.workflow_id,
            task_queue=activity.info().task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            rpc_timeout=ANSWER_WITHIN,
        )
    except WorkflowAlreadyStartedError:
        known = await client.get_workflow_handle(lost.workflow_id).describe()
        completed = known.status is WorkflowExecutionStatus.COMPLETED
        return _Begun.ENDED if completed else _Begun.RUNNING
    return _Begun.REVIVED
