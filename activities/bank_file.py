"""The door to banks' files: read and staged, booked, told; the database knows how far each came."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.common import WorkflowIDReusePolicy

from activities.failures import failing_typed, one_transaction
from activities.heart import heartbeating
from activities.house import House
from activities.nudging import asked, nudge_all
from gateways.bank.reading import read_bank_bytes
from ledger.bank.booking import Booker, book_entries
from ledger.bank.files import FileRow, file_body, file_row, file_told, refuse_file
from ledger.bank.overview import file_view, locked_state
from ledger.bank.ready import Ready
from ledger.bank.staging import StatementBook, ready_file, stage_file
from ledger.bank.telling import CreditedRequest, credited_by, days_of, payments_named_by
from ledger.engine import in_transaction
from ledger.payments import apply_statuses
from ledger.receiving import Receiver
from tillkeeper.contracts import reconciliation
from tillkeeper.contracts.account import account_workflow_id
from tillkeeper.contracts.bank_file import (
    AccountDay,
    AccountDays,
    BankFileCommand,
    BankFileDoor,
    BankFileState,
    BankFileView,
    Batch,
    Told,
)
from tillkeeper.contracts.errors import Code, Rejected, Unavailable
from tillkeeper.contracts.payment import OUTCOME_SIGNAL, payout_workflow_id
from tillkeeper.contracts.reconciliation import ReconciliationStart, reconciliation_workflow_id
from tillkeeper.contracts.topup import topup_workflow_id

ENTRIES_PER_TRANSACTION: Final = 500
TOLD_AT_ONCE: Final = 20

MATCHED: Final = "receipt_matched"


class BankFileActivities(BankFileDoor):
    """BankFileDoor on PostgreSQL; the readers work in a thread."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._book = StatementBook(house.ring, house.ours, house.accounts)
        self._booker = Booker(Receiver(house.ring, house.accounts, house.profile))

    @activity.defn
    async def read_bank_file(self, command: BankFileCommand) -> BankFileView:
        """Read the bytes, store what they say, or refuse them; a file that was read stays so."""
        async with failing_typed(), heartbeating():
            row = await in_transaction(self._house.engine, lambda c: file_row(c, command.digest))
            if row is None:
                raise _unknown()
            if row.state.value == BankFileState.RECEIVED.value:
                await self._read(row, command)
            view = await in_transaction(self._house.engine, lambda c: self._view(c, command))
            await self._put_aside(view)
            return view

    @activity.defn
    async def book_bank_file(self, command: BankFileCommand) -> Batch:
        """Book the next entries in one transaction."""
        async with heartbeating():
            return await one_transaction(self._house.engine, lambda c: self._next(c, command))

    @activity.defn
    async def hand_on_bank_file(self, command: BankFileCommand) -> BankFileView:
        """Tell all whom the file concerns, have its days compared, note that this is done."""
        async with failing_typed(), heartbeating():
            await self._tell(command.digest)
            for one in (await self._days(command.digest)).days:
                await _look_at(one)
            return await in_transaction(self._house.engine, lambda c: self._end(c, command))

    @activity.defn
    async def tell_bank_file(self, command: BankFileCommand) -> Told:
        """Nudge all whom the file concerns; whoever has ended needs no nudge."""
        async with failing_typed(), heartbeating():
            return Told(lifecycles=await self._tell(command.digest))

    @activity.defn
    async def days_of_bank_file(self, command: BankFileCommand) -> AccountDays:
        """The days that the file speaks of."""
        async with failing_typed():
            return await self._days(command.digest)

    @activity.defn
    async def end_bank_file(self, command: BankFileCommand) -> BankFileView:
        """Note that all were told; the file as it stands."""
        return await one_transaction(self._house.engine, lambda c: self._end(c, command))

    async def _read(self, row: FileRow, command: BankFileCommand) -> None:
        engine = self._house.engine
        body = await in_transaction(engine, lambda c: file_body(c, self._house.ring, row.digest))
        try:
            found = await asyncio.to_thread(read_bank_bytes, body, encoding=row.encoding)
            ready = await asyncio.to_thread(ready_file, self._book, found, row.received_at)
            await in_transaction(engine, lambda c: self._stage(c, command, ready))
        except Rejected as refused:
            why = refused  # the name of an except clause does not outlive it
            await in_transaction(engine, lambda c: refuse_file(c, row.digest, why, command.at))

    async def _next(self, connection: AsyncConnection, command: BankFileCommand) -> Batch:
        digest = command.digest
        if await locked_state(connection, digest) is BankFileState.RECEIVED:
            # Booked by a try whose answer was lost, and brought again since: it is read anew first.
            return Batch(entries=0, more=False)
        booked = await book_entries(
            connection, self._booker, digest, limit=ENTRIES_PER_TRANSACTION, at=command.at
        )
        return Batch(entries=booked.entries, more=booked.more)

    async def _stage(
        self, connection: AsyncConnection, command: BankFileCommand, ready: Ready
    ) -> None:
        await stage_file(connection, self._book, command.digest, ready, at=command.at)
        if ready.found.statuses:
            await apply_statuses(connection, ready.found.statuses, command.digest, command.at)

    async def _end(self, connection: AsyncConnection, command: BankFileCommand) -> BankFileView:
        await file_told(connection, command.digest, at=command.at)
        return await self._view(connection, command)

    async def _view(self, connection: AsyncConnection, command: BankFileCommand) -> BankFileView:
        view = await file_view(connection, command.digest)
        if view is None:
            raise _unknown()
        return view

    async def _put_aside(self, view: BankFileView) -> None:
        """A refused file goes to the refused ones of the exchange, its code beside it."""
        exchange = self._house.exchange
        if exchange is None or view.refused is None:
            return
        try:
            await asyncio.to_thread(exchange.refuse_taken, view.digest, view.refused.value)
        except OSError as error:
            raise Unavailable(f"a refused file stays: {type(error).__name__}") from error

    async def _tell(self, digest: str) -> int:
        return await self._tell_credited(digest) + await self._tell_payments(digest)

    async def _days(self, digest: str) -> AccountDays:
        days = await in_transaction(self._house.engine, lambda c: days_of(c, digest))
        return AccountDays(days=days)

    async def _tell_credited(self, digest: str) -> int:
        after = told = 0
        while page := await self._credited(digest, after):
            topups = [(topup_workflow_id(one.merchant, one.request), MATCHED) for one in page]
            accounts = {
                (account_workflow_id(one.merchant, one.currency), "refresh")
                for one in page
                if one.activated
            }
            told += await nudge_all([*topups, *sorted(accounts)])
            after = page[-1].id
        return told

    async def _tell_payments(self, digest: str) -> int:
        after = told = 0
        while page := await self._payments(digest, after):
            told += await nudge_all(
                [(payout_workflow_id(name), OUTCOME_SIGNAL) for _, name in page]
            )
            after = page[-1][0]
        return told

    async def _credited(self, digest: str, after: int) -> list[CreditedRequest]:
        return await in_transaction(
            self._house.engine,
            lambda c: credited_by(c, digest, after=after, limit=TOLD_AT_ONCE),
        )

    async def _payments(self, digest: str, after: int) -> list[tuple[int, str]]:
        return await in_transaction(
            self._house.engine,
            lambda c: payments_named_by(c, digest, after=after, limit=TOLD_AT_ONCE),
        )


def _unknown() -> Rejected:
    return Rejected(Code.BANK_FILE_UNKNOWN, detail="no such file is kept")


async def _look_at(one: AccountDay) -> None:
    """Have a day compared (again): start its run, or nudge the one that there is."""
    await asked(
        activity.client().start_workflow(
            reconciliation.WORKFLOW,
            ReconciliationStart(account=one.account, day=one.day, paced=True),
            id=reconciliation_workflow_id(one.account, one.day),
            task_queue=activity.info().task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=reconciliation.LOOK,
        )
    )
