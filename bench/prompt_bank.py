"""A bank that answers at once: it takes every payment and tells the debits in camt.054 files.

What it says is read, booked and passed on by the same code as a real bank's files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.http import Answer, Hearing
from gateways.bank.simulator.messages import notification
from gateways.bank.simulator.models import Movement
from ledger.bank.files import Arrival, receive_file
from ledger.engine import in_transaction
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.payment import PaymentInstruction
from tillkeeper.rules.days import day_of
from tillkeeper.sealing import KeyRing

TOLD_EVERY_S: Final = 5.0
"""How often a file tells what was debited since the last one; it caps what flies at 24 a second.

Banks that notify at once do so every few minutes: each file is a lifecycle of its own.
"""


class PromptBank:
    """A ``BankDoor``; ``take`` hands over the debits that no file has told yet."""

    def __init__(self) -> None:
        self._debits: list[Movement] = []
        self._number = count(1)

    async def submit(self, payment: PaymentInstruction) -> Answer:
        """Accept and debit it."""
        now = datetime.now(UTC)
        self._debits.append(
            Movement(
                key=payment.end_to_end_id, account=payment.debtor.account,
                currency=payment.currency, side="debit", amount_minor=payment.amount_minor,
                counterparty_name=payment.creditor.name,
                counterparty_account=payment.creditor.account,
                end_to_end_id=payment.end_to_end_id,
                bank_reference=f"PB{next(self._number):09d}", day=day_of(now),
            )
        )  # fmt: skip
        said = PaymentStatus(
            level=StatusLevel.TRANSACTION, stated_at=StatusLevel.TRANSACTION, status="ACSC",
            end_to_end_id=payment.end_to_end_id,
        )  # fmt: skip
        return Answer(Hearing.SAID, (said,), f"prompt:{payment.end_to_end_id}")

    async def ask(self, payment: PaymentInstruction) -> Answer:
        """Nobody has to ask."""
        return Answer(Hearing.NOTHING)

    def take(self) -> list[Movement]:
        """The debits since the last call."""
        debits, self._debits = self._debits, []
        return debits

    def file(self, debits: list[Movement]) -> bytes:
        """A camt.054 that tells ``debits``, all of one account."""
        first = debits[0]
        account: dict[str, Any] = {
            "number": first.account, "currency": first.currency, "owner": "Bench",
        }  # fmt: skip
        name = f"PB-N{next(self._number):07d}"
        return notification(name, datetime.now(UTC), [(cast("Any", account), debits)])


@asynccontextmanager
async def telling(
    bank: PromptBank, till: Tillkeeper, engine: AsyncEngine, ring: KeyRing
) -> AsyncIterator[None]:
    """Import what the bank tells, file after file, while the block runs."""

    async def tell() -> None:
        if debits := bank.take():
            arrival = Arrival("prompt.xml", "import", None, datetime.now(UTC))
            body = bank.file(debits)
            digest = await in_transaction(engine, lambda c: receive_file(c, ring, body, arrival))
            await _worked_off(till, digest)

    async with every(TOLD_EVERY_S, tell):
        yield


async def _worked_off(till: Tillkeeper, digest: str) -> None:
    """Ask until it is done: under load it takes longer than one call may."""
    while True:
        try:
            await till.import_bank_file(digest)
        except Unavailable:
            continue
        return


@asynccontextmanager
async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Begin ``work`` each time while the block runs, whether the last has ended or not.

    A bank waits for nobody to have worked off its last file. A failure ends the block; its end
    waits for what has begun.
    """

    async def forever() -> None:
        while True:
            await asyncio.sleep(seconds)
            group.create_task(begun())

    async def begun() -> None:
        await work()

    async with asyncio.TaskGroup() as group:
        timer = group.create_task(forever())
        yield
        timer.cancel()
