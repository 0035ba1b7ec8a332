"""Parts of what a file tells whole that the bank took back before: receipt and debit end together.

Promises that such a part credits nobody and is paid back to nobody, whichever came first (C-09,
C-13). ``bank`` has moved with both entries. The caller holds the platform's locks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act
from ledger.bank.reversals import IN_SUSPENSE, close_receipts
from ledger.engine import execute, fetch
from ledger.meant import Incoming
from ledger.receiving import Receiver
from ledger.sheet import Effect, Sheet
from ledger.workitems import settle_items
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.workitem import ItemKind, Outcome

# What people have settled or charged meanwhile has no open item any more.
_TAKEN: Final = f"""
SELECT d.id, d.reference_digest, d.amount, a.currency FROM bank_entries d
  JOIN bank_accounts a ON a.id = d.account
  JOIN work_items i ON i.subject = d.booked_as AND i.kind = 'UNKNOWN_DEBIT' AND i.state <> 'CLOSED'
 WHERE d.reference_digest = ANY($1::text[]) AND d.reversal AND {IN_SUSPENSE}
 ORDER BY d.id"""

_REVERSES: Final = "UPDATE bank_entries SET reverses = $2 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class PartsBack:
    """Money to be received; ``debits`` are those that took a part of it back, by its receipt."""

    money: Sequence[Incoming]
    debits: dict[str, int]

    @classmethod
    async def look(cls, connection: AsyncConnection, money: Sequence[Incoming]) -> PartsBack:
        """Which parts the bank has taken back by their own references, each by one debit."""
        parts = [m for m in money if m.part_reference and m.for_topup]
        given = ([m.part_reference for m in parts],)
        left: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for row in await fetch(connection, _TAKEN, given) if parts else ():
            left[row.reference_digest, row.amount, row.currency].append(row.id)
        debits: dict[str, int] = {}
        for part in parts:
            if those := left[part.part_reference, part.amount, part.currency]:
                debits[part.digest] = those.pop(0)
        return cls(
            [replace(m, for_topup=False) if m.digest in debits else m for m in money], debits
        )

    async def take(self, sheet: Sheet, receiver: Receiver, act: Act) -> None:
        """End those receipts, now that they are received, with the debits in suspense."""
        for part in self.money:
            debit = self.debits.get(part.digest)
            if debit is None or part.entry is None:
                continue
            subject = f"entry/{debit}"
            for kind in (TransferKind.RECEIPT_RETURN, TransferKind.RETURN_SETTLED):
                effect = Effect(f"{subject}/{kind.value}", subject, part.booked_at)
                sheet.post(kind, None, currency=part.currency, amount=part.amount, effect=effect)
            state = ReceiptState.REVERSED
            await close_receipts(sheet.connection, receiver.accounts, [part.digest], state, act)
            await settle_items(
                sheet.connection, ItemKind.UNKNOWN_DEBIT, [subject],
                outcome=Outcome.RESOLVED, at=act.at,
            )  # fmt: skip
            await execute(sheet.connection, _REVERSES, (debit, part.entry))
