"""Returns that were booked before the debit of the payment which they bring back (C-13).

Files come in any order. While nothing says that the payment was paid, money that names it is a
receipt for people; the debit that comes later makes it the return that it is. So do details that
come after a bare credit. Promises that this happens once, and never to money that people have
decided on meanwhile. A receipt's return that came back is a receipt anyhow.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.entries import Entry, OurPayment
from ledger.engine import fetch
from ledger.payments import Moved

_EARLY: Final = """
SELECT r.digest, e.id, e.amount, t.return_reason
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry JOIN receipts r ON r.entry = e.id
 WHERE t.payment = $1 AND EXISTS (SELECT FROM payments WHERE id = $1 AND merchant IS NOT NULL)
   AND e.side = 'C' AND e.parts = 1 AND e.booked_as = 'entry/' || e.id
   AND r.state = 'UNMATCHED' AND r.amount = e.amount
 ORDER BY e.id LIMIT 1 FOR NO KEY UPDATE OF r"""

_LUMP: Final = """
SELECT digest FROM receipts
 WHERE entry = $1 AND part = 0 AND state = 'UNMATCHED' AND amount = $3
   AND EXISTS (SELECT FROM payments WHERE id = $2 AND merchant IS NOT NULL)
   FOR NO KEY UPDATE"""

_TO_COME: Final = """
SELECT EXISTS (SELECT FROM payments WHERE id = $1 AND state NOT IN ('PAID', 'RETURNED'))
   AND EXISTS (SELECT FROM bank_files WHERE digest <> $2 AND state IN ('RECEIVED', 'READ')
                  AND received_at > now() - make_interval(secs => $3))"""

DEBIT_AWAITED_S: Final = 300.0
"""How long a file that is not booked yet may hold back the return of a payment: it may tell its
debit. Files that wait for each other end by it."""


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


async def lump_return(
    connection: AsyncConnection, entry: Entry, at: datetime
) -> EarlyReturn | None:
    """What a bare credit brought back, now that its details name a payment; its receipt locked.

    The caller holds the platform's locks of the currency.
    """
    ours = entry.payment
    if ours is None:
        return None
    rows = await fetch(connection, _LUMP, (entry.id, ours.id, entry.amount))
    moved = Moved(entry.id, entry.amount, at, ours.reason, received=True)
    return EarlyReturn(rows[0][0], moved) if rows else None


async def debit_to_come(connection: AsyncConnection, payment: OurPayment, digest: str) -> bool:
    """Whether another file than ``digest`` may still tell the payment's debit."""
    looked = (payment.id, digest, DEBIT_AWAITED_S)
    return bool((await fetch(connection, _TO_COME, looked))[0][0])
