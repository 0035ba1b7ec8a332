"""The door of payments out: read, write the file, mark, note silence; each safe to run twice.

The file's name and bytes come from the payment alone, so that writing it twice is one file. The
bank's own door is called between two transactions, once for a payment's life (decision 0014).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.failures import failing_typed, one_transaction
from activities.heart import heartbeating
from activities.house import House
from gateways.bank.exchange import FolderExchange
from gateways.bank.http import WITHIN_S, Answer, BankDoor, Hearing, running_s
from gateways.bank.iso20022.pain001 import write_payments
from ledger.attempts import (
    mark_sending,
    next_attempt,
    record_absence,
    record_answer,
    record_question,
    record_several,
    record_silence,
    stop_if_paid,
)
from ledger.engine import in_transaction
from ledger.payment_rows import PaymentRow, opened_terms, payment_view, read_payment
from ledger.payments import mark_sent, note_overdue
from tillkeeper.contracts.errors import Code, Rejected, Unavailable, rejected_from
from tillkeeper.contracts.payment import (
    PaymentFile,
    PaymentInstruction,
    PaymentParty,
    PaymentState,
    PayoutCommand,
    PayoutDoor,
    PayoutView,
    Rail,
    SentCommand,
)
from tillkeeper.rules.days import day_of
from tillkeeper.rules.payments import is_overdue
from tillkeeper.rules.payouts import next_ask

T = TypeVar("T")

FILE_SUFFIX: Final = ".pain.001.xml"

FRESH_S: Final = 10.0
"""After this long a mark is too old to send by: the payment is asked for instead."""


@dataclass(frozen=True, slots=True)
class _Try:
    """The server's clock in one try of a call: it may have waited long for its turn."""

    at: datetime
    _began_s: float

    @classmethod
    def begun(cls, command: PayoutCommand) -> _Try:
        """The try that begins now."""
        return cls(max(command.at, activity.info().started_time), running_s())

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return running_s() - self._began_s

    @property
    def now(self) -> datetime:
        """The time by that clock."""
        return self.at + timedelta(seconds=self.seconds)


class PayoutActivities(PayoutDoor):
    """PayoutDoor on PostgreSQL and the exchange with the bank."""

    def __init__(self, house: House) -> None:
        self._house = house

    @activity.defn
    async def read_payment(self, command: PayoutCommand) -> PayoutView:
        """The payment as it stands."""
        return await one_transaction(self._house.engine, lambda c: self._view(c, command))

    @activity.defn
    async def write_payment_file(self, command: PayoutCommand) -> str:
        """Put the payment's file into the outbox; its message id (C-12)."""
        async with failing_typed():
            exchange = self._house.exchange
            if exchange is None:
                raise Rejected(Code.BANK_EXCHANGE_MISSING, detail="no exchange is configured")
            row = await self._in(lambda c: read_payment(c, command.end_to_end_id))
            name = f"{row.end_to_end_id}{FILE_SUFFIX}"
            begun = exchange.has_begun(name)
            if not begun:
                await self._in(lambda c: stop_if_paid(c, row, command.at))
                row = await self._in(lambda c: read_payment(c, command.end_to_end_id))
            file = payment_file(self._house, row)
            if _leaves_by_file(row, begun=begun):
                body = write_payments(file, self._house.payment_format)
                try:
                    await asyncio.to_thread(_put, exchange, name, body)
                except OSError as error:
                    raise Unavailable(f"the outbox cannot be written: {error.errno}") from None
            return file.message_id

    @activity.defn
    async def mark_payment_sent(self, command: SentCommand) -> PayoutView:
        """Remember that the file has left."""

        async def work(connection: AsyncConnection) -> PayoutView:
            row = await read_payment(connection, command.end_to_end_id)
            await mark_sent(connection, row.id, command.message_id, command.at)
            return await self._view(connection, command)

        return await one_transaction(self._house.engine, work)

    @activity.defn
    async def note_overdue_payment(self, command: PayoutCommand) -> PayoutView:
        """Open work for a person where the bank is silent; the payment as it stands (C-12)."""

        async def work(connection: AsyncConnection) -> PayoutView:
            row = await read_payment(connection, command.end_to_end_id)
            await note_overdue(connection, row.id, command.at, self._house.profile)
            return await self._view(connection, command)

        return await one_transaction(self._house.engine, work)

    @activity.defn
    async def submit_payment(self, command: PayoutCommand) -> PayoutView:
        """Mark, call, record the answer; what nobody answered is UNCLEAR (C-12)."""
        async with failing_typed(), heartbeating():
            door, tried = self._door(), _Try.begun(command)
            payment, marked = await self._in(lambda c: self._marked(c, command, tried.at))
            if not marked or tried.seconds >= FRESH_S:
                return await self._in(lambda c: self._view(c, command))
            answer = await door.submit(payment)
            ended = tried.now

            async def work(connection: AsyncConnection) -> PayoutView:
                await self._answered(connection, command, answer, ended)
                if answer.hearing is Hearing.NOTHING:
                    await record_silence(connection, command.end_to_end_id, ended)
                return await self._view(connection, command)

            return await self._in(work)

    @activity.defn
    async def ask_about_payment(self, command: PayoutCommand) -> PayoutView:
        """Ask the bank, record what it says (C-12, E-09)."""
        async with failing_typed(), heartbeating():
            door, tried = self._door(), _Try.begun(command)
            row = await self._in(lambda c: read_payment(c, command.end_to_end_id))
            payment = payment_instruction(self._house, row)
            answer = await door.ask(payment)
            heard = tried.now

            async def work(connection: AsyncConnection) -> PayoutView:
                await self._answered(connection, command, answer, heard)
                await record_question(connection, command.end_to_end_id, command.at)
                if self._ran_out(row, command.at):
                    await note_overdue(connection, row.id, command.at, self._house.profile)
                return await self._view(connection, command)

            return await self._in(work)

    @activity.defn
    async def record_next_attempt(self, command: PayoutCommand) -> PayoutView:
        """The next attempt after a proven no, or the refused one where none follows."""

        async def work(connection: AsyncConnection) -> PayoutView:
            name = await next_attempt(
                connection, self._house.ring, command.end_to_end_id, self._house.rails, command.at
            )
            made = command.model_copy(update={"end_to_end_id": name})
            return await self._view(connection, made)

        return await one_transaction(self._house.engine, work)

    async def _answered(
        self, connection: AsyncConnection, command: PayoutCommand, answer: Answer, heard: datetime
    ) -> None:
        """Record what was ``heard`` then. What the bank did not know, it did not when asked."""
        name, source = command.end_to_end_id, f"{answer.source}/{heard.isoformat()}"
        if answer.said:
            await record_answer(connection, name, answer.said, source, heard)
        if answer.hearing is Hearing.NOT_FOUND:
            await record_absence(connection, name, source, command.at, self._house.visibility)
        if answer.hearing is Hearing.SEVERAL:
            await record_several(connection, name, heard)

    async def _in(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await in_transaction(self._house.engine, work)

    def _ran_out(self, row: PaymentRow, at: datetime) -> bool:
        """Whether the rail's deadline ran out since the last question.

        It may before the run looks at the bank's silence. Once only: what a person has taken note
        of is not told again with every question.
        """
        since, kept = row.waits_since, self._house.profile.payout_deadline(row.rail)
        told = is_overdue(row.state, since, row.asked_at or since, kept)
        return not told and is_overdue(row.state, since, at, kept)

    def _door(self) -> BankDoor:
        if self._house.door is None:
            raise Rejected(Code.BANK_DOOR_MISSING, detail="no door of a bank is configured")
        return self._house.door

    async def _marked(
        self, connection: AsyncConnection, command: PayoutCommand, at: datetime
    ) -> tuple[PaymentInstruction, bool]:
        """What to send, and whether this try may send it: what cannot be told is not marked."""
        row = await read_payment(connection, command.end_to_end_id)
        payment = payment_instruction(self._house, row)
        gone_by = at + timedelta(seconds=FRESH_S + WITHIN_S)
        return payment, await mark_sending(connection, row, at, gone_by)

    async def _view(self, connection: AsyncConnection, command: PayoutCommand) -> PayoutView:
        row = await read_payment(connection, command.end_to_end_id)
        view = payment_view(self._house.ring, row, command.at, self._house.profile)
        if row.sending_at is None:
            return view
        due = next_ask(view, row.sending_at, (row.asked_at, row.asked), self._house.visibility)
        return view.model_copy(update={"ask_at": due})


def _leaves_by_file(row: PaymentRow, *, begun: bool) -> bool:
    """Whether its file is to be given out now; False where that is done, and the bank answered.

    What a run claims to know is not believed. Raises Rejected(REQUEST_DECIDED) for any other.
    """
    recorded = row.state is PaymentState.RECORDED
    if row.rail is not Rail.FILE or not (recorded or begun):
        detail = f"by {row.rail.value}, {row.state}: no file of it leaves"
        raise Rejected(Code.REQUEST_DECIDED, detail=detail)
    return recorded


def _put(exchange: FolderExchange, name: str, body: bytes) -> None:
    """Give the file out once. Other bytes under its name are an earlier try's, which stay."""
    try:
        exchange.put(name, body)
    except Rejected as refusal:
        if Code.FILE_EXISTS not in refusal.codes:
            raise
        # Settings changed since: what was marked first counts, whether it has left or is to.
        with suppress(FileNotFoundError):
            exchange.put(name, (exchange.outbox / f".{name}.staged").read_bytes())


def payment_file(house: House, row: PaymentRow) -> PaymentFile:
    """The file that carries one payment, and no other. Raises as ``payment_instruction``."""
    return PaymentFile(
        message_id=row.end_to_end_id,
        created_at=row.recorded_at,
        payments=(payment_instruction(house, row),),
    )


def payment_instruction(house: House, row: PaymentRow) -> PaymentInstruction:
    """What the bank is told of one payment; it is paid from our account.

    Raises Rejected(BANK_ACCOUNT_UNKNOWN), and what is wrong with our account as settings have it.
    """
    ours = house.receiving(row.currency)
    if ours is None:
        raise Rejected(Code.BANK_ACCOUNT_UNKNOWN, detail="we have no account of this currency")
    try:
        debtor = PaymentParty(
            name=ours.name, account=ours.number, bank_name=ours.bank, bic=ours.bic,
            clearing_code=ours.clearing_code,
        )  # fmt: skip
    except ValidationError as error:
        raise rejected_from(error) from None
    return PaymentInstruction(
        **dict(opened_terms(house.ring, row)),
        end_to_end_id=row.end_to_end_id,
        debtor=debtor,
        # The day of the decision, not of the writing: the bytes must never differ.
        requested_on=day_of(row.recorded_at),
    )
