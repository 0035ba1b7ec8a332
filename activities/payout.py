"""The door of payments out: read, write the file, mark, note silence; each safe to run twice.

The file's name and bytes come from the payment alone, so that writing it twice is one file.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.failures import failing_typed, one_transaction
from activities.house import House
from gateways.bank.exchange import FolderExchange
from gateways.bank.iso20022.pain001 import write_payments
from ledger.engine import in_transaction
from ledger.payment_rows import PaymentRow, opened_terms, payment_view, read_payment
from ledger.payments import mark_sent, note_overdue
from tillkeeper.contracts.errors import Code, Rejected, Unavailable, rejected_from
from tillkeeper.contracts.payment import (
    PaymentFile,
    PaymentInstruction,
    PaymentParty,
    PayoutCommand,
    PayoutDoor,
    PayoutView,
    SentCommand,
)
from tillkeeper.rules.days import day_of

FILE_SUFFIX: Final = ".pain.001.xml"


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
            row = await in_transaction(
                self._house.engine, lambda c: read_payment(c, command.end_to_end_id)
            )
            file = payment_file(self._house, row)
            body = write_payments(file, self._house.payment_format)
            try:
                await asyncio.to_thread(_put, exchange, f"{row.end_to_end_id}{FILE_SUFFIX}", body)
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
            await note_overdue(connection, row.id, command.at)
            return await self._view(connection, command)

        return await one_transaction(self._house.engine, work)

    async def _view(self, connection: AsyncConnection, command: PayoutCommand) -> PayoutView:
        row = await read_payment(connection, command.end_to_end_id)
        return payment_view(self._house.ring, row, command.at)


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
    """The file that carries one payment, and no other; it is paid from our account.

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
    payment = PaymentInstruction(
        **dict(opened_terms(house.ring, row)),
        end_to_end_id=row.end_to_end_id,
        debtor=debtor,
        # The day of the decision, not of the writing: the bytes must never differ.
        requested_on=day_of(row.recorded_at),
    )
    return PaymentFile(
        message_id=row.end_to_end_id, created_at=row.recorded_at, payments=(payment,)
    )
