"""A report of one part of what a file tells whole: the part takes the report's place (P-26).

Promises that the money is in the book once, with the file's entry, that whoever was credited stays
credited, and that a request keeps exactly one receipt. The caller holds the platform's locks of the
currency and posts the reversal of what the report booked.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows
from ledger.audit import Act
from ledger.bank.reversals import close_receipts
from ledger.engine import execute, fetch
from ledger.meant import Incoming
from tillkeeper.contracts.receipt import ReceiptState

_REPORT: Final = """
SELECT state, topup, activated, matched_by FROM receipts
 WHERE digest = $1 AND reference_digest = digest AND entry IS NULL
   AND state IN ('CREDITED', 'UNMATCHED', 'RETURNING', 'RETURNED', 'REVERSED')"""

# Its payment names the report: it stays, as the receipt of the part.
_STANDS: Final = "UPDATE receipts SET entry = $2, part = $3 WHERE digest = $1"

# What took the report's money back takes the part's: the entry that it reverses is told now.
_REVERSES: Final = """
UPDATE bank_entries SET reverses = $2 WHERE id = (
       SELECT e.id FROM bank_entries e JOIN transfers t ON t.subject = e.booked_as
        WHERE e.reference_digest = $1 AND e.side = 'D' AND e.reverses IS NULL AND e.amount = $3
          AND t.kind = 'receipt_reversed' ORDER BY e.id LIMIT 1)
RETURNING id"""

# The reference goes with the money: no other entry may be taken for this report.
_LEAVE: Final = """
UPDATE receipts SET state = 'REVERSED', topup = NULL, activated = false, matched_by = NULL,
       reference_digest = NULL
 WHERE digest = $1"""

_TAKE: Final = """
INSERT INTO receipts (digest, fingerprint, amount, currency, state, payer_sealed, payer_digest,
                      payer_kind, topup, activated, booked_at, received_at, entry, part,
                      reference_digest, matched_by)
VALUES ($1, $2, $3, $4, $16, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"""

_REQUEST: Final = "UPDATE topup_requests SET receipt = $2 WHERE id = $1 AND receipt = $3"


async def take_over(
    connection: AsyncConnection, accounts: AccountRows, report: str, part: Incoming, act: Act
) -> ReceiptState | None:
    """Let a part stand for the report of digest ``report``; answers what the report was.

    CREDITED: the part has its request now. RETURNING, RETURNED: the report is the part's receipt
    now. UNMATCHED: the part is still to be received. REVERSED: the bank took its money back before,
    and the part is reversed. None: an entry tells the report.
    """
    rows = await fetch(connection, _REPORT, (report,))
    if not rows:
        return None
    was = ReceiptState(rows[0].state)
    if was is ReceiptState.UNMATCHED:
        await close_receipts(connection, accounts, [report], ReceiptState.REVERSED, act)
        await execute(connection, _LEAVE, (report,))
        return was
    if was in (ReceiptState.RETURNING, ReceiptState.RETURNED):
        await execute(connection, _STANDS, (report, part.entry, part.part))
        return was
    if was is ReceiptState.REVERSED:
        taken = (report, part.entry, part.amount)
        if not await fetch(connection, _REVERSES, taken):
            return None
    topup, activated, matched_by = rows[0].topup, rows[0].activated, rows[0].matched_by
    await execute(connection, _LEAVE, (report,))
    row = (
        part.digest, part.fingerprint, part.amount, part.currency, part.payer_sealed,
        part.payer_digest, part.payer_kind.value, topup, activated, part.booked_at,
        part.received_at, part.entry, part.part, part.reference_digest, matched_by, was.value,
    )  # fmt: skip
    await execute(connection, _TAKE, row)
    if topup is not None:
        await execute(connection, _REQUEST, (topup, part.digest, report))
    after = {"state": ReceiptState.REVERSED.value, "receipt": part.digest}
    change = (f"receipt/{report}", {"state": was.value}, after)
    await accounts.audit.record_all(connection, act, [change])
    return was
