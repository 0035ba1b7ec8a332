"""The bank exchange's lifecycle: watches the inbox for ever and starts a lifecycle for every file.

No cron: one long look after another, each durable. Files that are kept but were left behind, by a
kill or by whoever brought them, are started too. It holds nothing: everything can be done again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from tillkeeper.contracts import bank_file
from tillkeeper.contracts.bank_file import (
    AGAIN,
    EXCHANGE_WORKFLOW,
    EXCHANGE_WORKFLOW_ID,
    BankExchangeDoor,
    BankExchangeRequest,
    BankExchangeView,
    BankFileRequest,
    WatchCommand,
    bank_file_workflow_id,
)
from tillkeeper.contracts.errors import Rejected
from workflows.calls import Pace
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import Lifecycle
from workflows.uncancelled import uncancelled

WATCH_S: Final = 300
"""How long one look lasts where nothing arrives."""

_TRIES: Final = 5

WATCHING: Final = Pace(within=timedelta(seconds=2 * WATCH_S), heartbeat=timedelta(seconds=15))


def _id_of(_request: BankExchangeRequest) -> str:
    return EXCHANGE_WORKFLOW_ID


@workflow.defn(name=EXCHANGE_WORKFLOW)
class BankExchangeWorkflow(Lifecycle):
    """The one exchange; it never ends, it continues as new."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._request, self._refused = start_input(raw, BankExchangeRequest, _id_of)
        self._taken = 0 if self._request is None else self._request.taken
        super().__init__(() if self._request is None else self._request.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> BankExchangeView:
        """Watch, start what arrived, watch again."""
        if self._request is None:
            await self.end_refused(self._refused)
        sweep = True
        while not self._long:
            self._show()
            try:
                await self._watch(sweep=sweep)
            except Rejected as refusal:
                await self.end_refused(refusal)
            sweep = False
        await self._go_on()

    @workflow.query
    def view(self) -> BankExchangeView:
        """How many files came, and what waits for a person."""
        return BankExchangeView(
            taken=self._taken, not_understood=self.not_understood, needs_person=self.needs_person
        )

    async def _watch(self, *, sweep: bool) -> None:
        found = await self.through(
            BankExchangeDoor.watch_inbox,
            lambda: WatchCommand(seconds=WATCH_S, sweep=sweep),
            pace=WATCHING,
        )
        for digest in found.digests:
            start = _start(digest, fresh=found.fresh)
            self._taken += await uncancelled(start, self.note_cancel)

    async def _go_on(self) -> NoReturn:
        await self.drained()
        workflow.continue_as_new(
            BankExchangeRequest(taken=self._taken, not_understood=self.not_understood)
        )

    def _show(self) -> None:
        self.show(merchant="", stage="WATCHING", details=f"**WATCHING** · {self._taken} files")


async def _start(digest: str, *, fresh: bool) -> bool:
    """Start a file's lifecycle, which outlives this one; False where it runs already.

    One that runs is told that its file was brought again: it may have looked for the last time.
    """
    workflow_id = bank_file_workflow_id(digest)
    for _ in range(_TRIES):
        try:
            await workflow.start_child_workflow(
                bank_file.WORKFLOW,
                BankFileRequest(digest=digest, hands_on=True),
                id=workflow_id,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            )
        except WorkflowAlreadyStartedError:
            if not fresh:
                return False
            try:
                await workflow.get_external_workflow_handle(workflow_id).signal(AGAIN)
            except FailureError:
                # It ended in between: start anew.
                continue
            return False
        return True
    return False
