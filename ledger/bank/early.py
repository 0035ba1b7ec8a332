"""Returns that were booked before the debit of the payment which they bring back (C-13).

Files come in any order. While nothing says that the payment was paid, money that names it is a
receipt for people; the debit that comes later makes it the return that it is. Promises that this
happens once, and never to money that people have decided on meanwhile. A receipt's return that came
back is a receipt anyhow.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.entries import OurPayment
from ledger.engine import fetch
from ledger.payments import Moved

_EARLY: Final = """
SELECT r.digest, e.id, e.amount, t.return_reason
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry JOIN receipts r ON r.entry = e.id
 WHERE t.payment = $1 AND EXISTS (SELECT FROM payments WHERE id = $1 AND merchant IS NOT NULL)
   AND e.side = 'C' AND e.parts = 1 AND e.booked_as = 'entry/' || e.id
   AND r.state = 'UNMATCHED' AND r.amount = e.amount
 ORDER BY e.id LIMIT 1 FOR NO KEY UPDATE OF r"""


class EarlyReturn(NamedTuple):
    """An unmatched receipt that brings a payment back, and what its entry moved."""

    digest: str
    moved: Moved


async def early_return(
    connection: AsyncConnection, payment: OurPayment, at: datetime
) -> EarlyReturn | None:
    """The first booked credit that names the payment and is nobody's still; its receipt locked.

    The caller holds the platform's locks of the currency.
    """
    rows = await fetch(connection, _EARLY, (payment.id,))
    if not rows:
        return None
    digest, entry, amount, reason = rows[0]
    return EarlyReturn(digest, Moved(entry, amount, at, reason, received=True))
