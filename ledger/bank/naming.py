"""Which payments of ours the lines of a file name, and that the bank said so (C-12).

A line that is no money names a payment all the same: pending, information, or booked without a
reference by which its statement could be recognised. Promises that every debit line of our accounts
is heard, whether it becomes an entry or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.told import meaningful_id
from ledger.engine import fetch
from ledger.named import DEBIT_BOOKED, DEBIT_NOTED, keep_names
from tillkeeper.contracts.bank import BankFile, BankTransaction, Side

_PAYMENTS: Final = """
SELECT id, end_to_end_id FROM payments WHERE end_to_end_id = ANY($1::text[])"""


async def payments_in(
    connection: AsyncConnection, parts: Iterable[BankTransaction]
) -> dict[str, int]:
    """Payments of ours that the parts name: end-to-end id → row id."""
    named = sorted({name for part in parts for name in _names(part)})
    rows = await fetch(connection, _PAYMENTS, (named,)) if named else ()
    return {row.end_to_end_id: row.id for row in rows}


def payment_in(part: BankTransaction, payments: dict[str, int]) -> int | None:
    """The payment that a part names, of ``payments``.

    Our files give the instruction and the payment one id; a bank may tell either alone.
    """
    return next((payments[name] for name in _names(part) if name in payments), None)


async def hear_names(
    connection: AsyncConnection, found: BankFile, digest: str, ours: Collection[int], at: datetime
) -> None:
    """Keep which payments the debit lines name in those statements that are ``ours``, by index."""
    debits = [
        one for one in found.transactions
        if one.statement in ours and one.entry_side is Side.DEBIT
    ]  # fmt: skip
    payments = await payments_in(connection, debits)
    said: dict[int, str] = {}
    for line in debits if payments else ():
        payment = payment_in(line, payments)
        if payment is not None and said.get(payment) != DEBIT_BOOKED:
            said[payment] = DEBIT_BOOKED if line.booked else DEBIT_NOTED
    if said:
        await keep_names(connection, digest, said, at)


def _names(part: BankTransaction) -> list[str]:
    told = (meaningful_id(part.end_to_end_id), meaningful_id(part.instruction_id))
    return [name for name in told if name is not None]
