"""A bank file's lifecycle: read and staged, booked entry by entry, told to whom it concerns.

Its bytes are kept before it starts, and the database knows how far it came: a kill anywhere loses
and doubles nothing, and a file that is known changes nothing (C-02, P-26). A file that cannot be
read ends REFUSED; one that breaks us, or that the book does not take, waits, visibly, for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.bank_file import (
    AGAIN,
    WORKFLOW,
    AccountDays,
    BankFileCommand,
    BankFileDoor,
    BankFileRequest,
    BankFileState,
    BankFileView,
    request_workflow_id,
)
from tillkeeper.contracts.errors import Rejected
from workflows.calls import Pace
from workflows.intake import NOTHING, start_input
from workflows.lifecycle import Lifecycle, Listener, hears_nudge
from workflows.reconciliation import look_at_day
from workflows.uncancelled import uncancelled

SILENT: Final = timedelta(seconds=15)
"""What a fail-over to another worker waits, after a kill."""

READING: Final = Pace(within=timedelta(minutes=30), heartbeat=SILENT)
"""128 MiB are read and staged in minutes, on a machine that has other work."""

BOOKING: Final = Pace(within=timedelta(minutes=5), heartbeat=SILENT)
TELLING: Final = Pace(within=timedelta(minutes=30), heartbeat=SILENT)


@workflow.defn(name=WORKFLOW)
class BankFileWorkflow(Lifecycle):
    """One file; its result is what became of it."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: BankFileView | None = None
        self._brought_again = False
        self._request, self._refused = start_input(raw, BankFileRequest, request_workflow_id)
        super().__init__(() if self._request is None else self._request.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> BankFileView:
        """Read, book, tell, answer."""
        request = self._request
        if request is None:
            await self.end_refused(self._refused)
        try:
            await self._work_off(request)
            afresh = BankFileRequest(digest=request.digest, hands_on=request.hands_on)
            while not await self._over():
                if self._long:
                    await self._go_on(afresh)
                await self._work_off(afresh)
        except Rejected as refusal:
            await self.end_refused(refusal)
        return self.view()

    @workflow.query
    def view(self) -> BankFileView:
        """What became of the file so far."""
        digest = "" if self._request is None else self._request.digest
        seen = self._view or BankFileView(digest=digest, state=BankFileState.RECEIVED)
        return seen.model_copy(
            update={"not_understood": self.not_understood, "needs_person": self.needs_person}
        )

    def listeners(self) -> Mapping[str, Listener]:
        """The nudge that the file was brought again: more of it may be read now."""
        return {AGAIN: hears_nudge(self._bring_again)}

    async def _bring_again(self) -> None:
        self._brought_again = True

    async def _over(self) -> bool:
        """Whether nothing is left to do, and nobody has come with the file since we looked."""
        await self.drained()
        return self.view().state.ended and not self._brought_again

    async def _work_off(self, request: BankFileRequest) -> None:
        door = BankFileDoor
        self._brought_again = False
        self._seen(await self.through(door.read_bank_file, self._command, pace=READING))
        if self.view().state is BankFileState.REFUSED:
            return
        if not request.told:
            await self._book(request)
        if not request.hands_on:
            await self._tell_in_steps(request)
        # Whoever came before this look is seen by it.
        self._brought_again = False
        if request.hands_on:
            self._seen(await self.through(door.hand_on_bank_file, self._command, pace=TELLING))
        else:
            self._seen(await self.through(door.end_bank_file, self._command))

    async def _book(self, request: BankFileRequest) -> None:
        """Entries, one transaction for some hundreds, until nothing is left."""
        more = True
        while more:
            try:
                batch = await self.through(BankFileDoor.book_bank_file, self._command, pace=BOOKING)
            except Rejected as refusal:
                # What the bank has booked is refused by nobody: it waits until the book takes it.
                codes = ", ".join(code.value for code in refusal.codes)
                await self._wait_for_person(f"book_bank_file: {codes}")
                continue
            more = batch.more
            if more and self._long:
                await self._go_on(request)

    async def _tell_in_steps(self, request: BankFileRequest) -> None:
        """Tell all, and have the days compared that the file speaks of (C-14)."""
        if not request.told:
            await self.through(BankFileDoor.tell_bank_file, self._command, pace=TELLING)
        found: AccountDays = await self.through(BankFileDoor.days_of_bank_file, self._command)
        for number, one in enumerate(found.days):
            if number < request.days:
                continue
            if self._long:
                await self._go_on(request.model_copy(update={"told": True, "days": number}))
            await uncancelled(look_at_day(one.account, one.day), self.note_cancel)

    async def _go_on(self, request: BankFileRequest) -> NoReturn:
        await self.drained()
        noted = {"not_understood": self.not_understood}
        workflow.continue_as_new(request.model_copy(update=noted))

    def _command(self) -> BankFileCommand:
        return BankFileCommand(digest=self.view().digest, at=workflow.now())

    def _seen(self, view: BankFileView) -> None:
        self._view = view
        said = view.refused or f"{view.new_entries} of {view.entries} entries new"
        lost = f" · {view.losses} losses" if view.losses else ""
        self.show(
            merchant="",
            stage=view.state.value,
            details=f"**{view.state}** · {view.kind or 'unknown'} · {said}{lost}",
        )
