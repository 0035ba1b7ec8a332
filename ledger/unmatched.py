"""What the unmatched desk looks at: money without a request, and what it was perhaps meant for.

Promises to find requests by index only, and to show payers masked unless asked (P-29, P-31, C-11).
Nothing here writes or locks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import fetch, in_transaction
from ledger.payers import TOLD, Payer, payer_of, text_of
from ledger.workitems import open_item_ids
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.contracts.workitem import (
    ItemKind,
    OverdueRequest,
    Suggestion,
    UnmatchedReceipt,
)
from tillkeeper.rules.names import masked_name, masked_number
from tillkeeper.rules.suggesting import Asked, Payment, suggest
from tillkeeper.sealing import KeyRing

CANDIDATES_MAX: Final = 100
"""Requests looked at on each side: of one company, of one amount, above it and below it."""

_LIST: Final = f"SELECT {TOLD} WHERE r.state = 'UNMATCHED' ORDER BY r.received_at LIMIT $1"

_ONE: Final = f"SELECT {TOLD} WHERE r.digest = $1"

_MATCHABLE: Final = "state IN ('WAITING_REMITTANCE', 'EXPIRED', 'CANCELLED')"

_CANDIDATES: Final = f"""
WITH near AS (
    (SELECT id FROM topup_requests
      WHERE payer_digest = $1 AND currency = $2 AND amount = $3 AND {_MATCHABLE}
      ORDER BY state = 'WAITING_REMITTANCE' DESC, id DESC LIMIT $6)
    UNION
    (SELECT id FROM topup_requests
      WHERE payer_digest = $1 AND currency = $2 AND {_MATCHABLE}
      ORDER BY state = 'WAITING_REMITTANCE' DESC, id DESC LIMIT $6)
    UNION
    (SELECT id FROM topup_requests
      WHERE currency = $2 AND state = 'WAITING_REMITTANCE' AND amount >= $3
        AND amount <= $3::bigint + $3::bigint / 9 + 1
      ORDER BY amount LIMIT $6)
    UNION
    (SELECT id FROM topup_requests
      WHERE currency = $2 AND state = 'WAITING_REMITTANCE' AND amount < $3
        AND amount >= $3::bigint - $3::bigint / 10 - 1
      ORDER BY amount DESC LIMIT $6)
    UNION
    SELECT id FROM topup_requests WHERE code = ANY($4::text[]) AND state = 'WAITING_REMITTANCE'
    UNION
    SELECT $5::bigint WHERE $5::bigint IS NOT NULL)
SELECT q.id, q.merchant, q.request, q.amount, q.state, q.requested_at, q.expires_at, q.code,
       q.currency, p.legal_name_sealed
  FROM near n JOIN topup_requests q ON q.id = n.id JOIN prepaid_accounts p ON p.id = q.account
 WHERE q.currency = $2 AND q.{_MATCHABLE} AND p.state <> 'CLOSED'
   AND NOT EXISTS (SELECT FROM receipts o WHERE o.topup = q.id)"""

_OVERDUE: Final = """
SELECT t.merchant, t.request, t.currency, t.amount, t.requested_at, t.decided_at,
       ARRAY (SELECT i.id
                FROM (SELECT digest FROM receipts
                       WHERE state = 'UNMATCHED' AND payer_digest = t.payer_digest
                         AND currency = t.currency
                       UNION
                      SELECT digest FROM receipts
                       WHERE state = 'UNMATCHED' AND currency = t.currency AND amount = t.amount
                     ) r
                JOIN work_items i ON i.subject = 'receipt/' || r.digest AND i.state <> 'CLOSED'
               ORDER BY i.id LIMIT $3) AS receipts
  FROM topup_requests t
 WHERE t.state = 'EXPIRED' AND t.decided_at >= $1
   AND NOT EXISTS (SELECT FROM receipts o WHERE o.topup = t.id)
 ORDER BY t.decided_at, t.id LIMIT $2"""

_RECEIPTS_NAMED: Final = 5


class Unmatched:
    """Reads unmatched receipts with one key ring."""

    def __init__(self, engine: AsyncEngine, ring: KeyRing) -> None:
        self._engine = engine
        self._ring = ring

    async def oldest(self, limit: int) -> list[UnmatchedReceipt]:
        """Unmatched receipts, the oldest first, masked, each with its likeliest request."""

        async def work(connection: AsyncConnection) -> list[UnmatchedReceipt]:
            rows = await fetch(connection, _LIST, (limit,))
            subjects = [f"receipt/{row.digest}" for row in rows]
            items = await open_item_ids(connection, ItemKind.UNMATCHED_RECEIPT, subjects)
            found = []
            for row in rows:
                shown = await self._shown(connection, row, reveal=False)
                best = {"suggestions": shown.suggestions[:1]}
                item = {"item": items.get(f"receipt/{row.digest}")}
                found.append(shown.model_copy(update=best | item))
            return found

        return await in_transaction(self._engine, work)

    async def overdue(self, since: datetime, limit: int) -> list[OverdueRequest]:
        """Requests that ran out at ``since`` or later and are not paid, the oldest first (P-29)."""
        values = (since, limit, _RECEIPTS_NAMED)
        rows = await in_transaction(self._engine, lambda c: fetch(c, _OVERDUE, values))
        return [
            OverdueRequest(
                request=f"{row.merchant}/{row.request}",
                amount_minor=row.amount,
                currency=row.currency,
                requested_at=row.requested_at,
                expired_at=row.decided_at,
                receipts=tuple(row.receipts),
            )
            for row in rows
        ]

    async def one(self, digest: str) -> UnmatchedReceipt:
        """One unmatched receipt with its payer's name and all suggestions.

        Raises Rejected(RECEIPT_UNKNOWN | RECEIPT_DECIDED).
        """

        async def work(connection: AsyncConnection) -> UnmatchedReceipt:
            rows = await fetch(connection, _ONE, (digest,))
            if not rows:
                raise Rejected(Code.RECEIPT_UNKNOWN, detail="there is no such receipt")
            row = rows[0]
            if row.state != ReceiptState.UNMATCHED:
                raise Rejected(Code.RECEIPT_DECIDED, detail=f"the receipt is {row.state} already")
            subject = f"receipt/{digest}"
            items = await open_item_ids(connection, ItemKind.UNMATCHED_RECEIPT, [subject])
            shown = await self._shown(connection, row, reveal=True)
            return shown.model_copy(update={"item": items.get(subject)})

        return await in_transaction(self._engine, work)

    async def _shown(
        self, connection: AsyncConnection, row: Any, *, reveal: bool
    ) -> UnmatchedReceipt:
        payer = payer_of(self._ring, row)
        name = payer.name or ""
        return UnmatchedReceipt(
            digest=row.digest,
            amount_minor=row.amount,
            currency=row.currency,
            reason=None if row.reason is None else Code(row.reason),
            payer=name if reveal or not name else masked_name(name),
            payer_account=masked_number(payer.account) if payer.account else "",
            payer_kind=row.payer_kind,
            text=text_of(self._ring, row) if reveal else "",
            booked_at=row.booked_at,
            received_at=row.received_at,
            suggestions=await self._suggestions(connection, row, payer),
        )

    async def _suggestions(
        self, connection: AsyncConnection, row: Any, payer: Payer
    ) -> tuple[Suggestion, ...]:
        payment = Payment(row.amount, row.currency, payer.name, row.received_at, payer.codes)
        key = (row.payer_digest, row.currency, row.amount, list(payer.codes), row.suggests)
        found = await fetch(connection, _CANDIDATES, (*key, CANDIDATES_MAX))
        return suggest(payment, [self._asked(one) for one in found])

    def _asked(self, row: Any) -> Asked:
        purpose = f"account/{row.merchant}/{row.currency}/legal-name"
        return Asked(
            id=row.id,
            merchant=row.merchant,
            request=row.request,
            amount_minor=row.amount,
            state=TopUpState(row.state),
            requested_at=row.requested_at,
            expires_at=row.expires_at,
            legal_name=self._ring.open_text(row.legal_name_sealed, purpose=purpose),
            code=row.code,
        )
