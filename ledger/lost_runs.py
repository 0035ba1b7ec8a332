"""Which runs the rows ask for, and what each is to start with again (C-06).

Promises the start input that the first request had, field by field, so that its fingerprint is the
same; times and amounts stay in the rows, where the run finds them. Nothing here writes or locks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import fetch
from tillkeeper.contracts import payment, topup, withdrawal
from tillkeeper.contracts.account import PaymentMethod
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.payment import PayoutStart, payout_workflow_id
from tillkeeper.contracts.topup import TopUpRequest, topup_workflow_id
from tillkeeper.contracts.withdrawal import (
    WithdrawalRequest,
    withdrawal_of,
    withdrawal_workflow_id,
)

PAGE: Final = 500
"""Rows of one answer."""

# A refused attempt is open where the next one is due; its withdrawal names it as the last one.
_PAYMENTS: Final = """
SELECT p.id, p.run, p.end_to_end_id, p.subject
  FROM (SELECT id, coalesce(run, end_to_end_id) AS run, end_to_end_id, subject
          FROM payments
         WHERE state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED') AND recorded_at < $2
         UNION ALL
        SELECT a.id, coalesce(a.run, a.end_to_end_id), a.end_to_end_id, a.subject
          FROM withdrawals w JOIN payments a ON a.id = w.payment
         WHERE w.state = 'REMITTING' AND a.state = 'REJECTED' AND a.retry_at IS NOT NULL
           AND a.recorded_at < $2) p
  LEFT JOIN unnest($1::text[]) AS r (id) ON r.id = 'payout/' || p.run
 WHERE r.id IS NULL AND p.id > $3 ORDER BY p.id LIMIT $4"""

_WITHDRAWALS: Final = """
SELECT w.id, w.merchant, w.request, w.currency, w.amount, w.requested_by, w.accept_suspension,
       w.entry_point
  FROM withdrawals w
  LEFT JOIN unnest($1::text[]) AS r (id) ON r.id = 'withdrawal/' || w.merchant || '/' || w.request
 WHERE w.state IN ('WAITING_APPROVAL', 'APPROVED', 'REMITTING', 'FAILED_MANUAL')
   AND w.requested_at < $2 AND r.id IS NULL AND w.id > $3 ORDER BY w.id LIMIT $4"""

_TOPUPS: Final = """
SELECT t.id, t.merchant, t.request, t.currency, t.amount, t.method, t.entry_point
  FROM topup_requests t
  LEFT JOIN unnest($1::text[]) AS r (id) ON r.id = 'topup/' || t.merchant || '/' || t.request
 WHERE t.state = 'WAITING_REMITTANCE' AND t.requested_at < $2 AND r.id IS NULL AND t.id > $3
 ORDER BY t.id LIMIT $4"""


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run that is asked for: its id, its start input, and who waits for it to run again."""

    row: int
    workflow_id: str
    start: Model
    waits: str | None = None


async def lost_runs(
    connection: AsyncConnection,
    lifecycle: str,
    running: Sequence[str],
    *,
    before: datetime,
    after: int,
) -> list[LostRun]:
    """Up to ``PAGE`` rows behind row ``after``, open since ``before``, without one of ``running``.

    ``lifecycle`` is one of ``WATCHED``.
    """
    sql, made = _LIFECYCLES[lifecycle]
    return [made(row) for row in await fetch(connection, sql, (running, before, after, PAGE))]


def _payout(row: Any) -> LostRun:
    whose = withdrawal_of(row.subject)
    start = PayoutStart(
        end_to_end_id=row.run,
        current=None if row.end_to_end_id == row.run else row.end_to_end_id,
        watched=whose is not None,
    )
    waits = None if whose is None else withdrawal_workflow_id(*whose)
    return LostRun(row.id, payout_workflow_id(row.run), start, waits)


def _withdrawal(row: Any) -> LostRun:
    start = WithdrawalRequest(
        merchant=row.merchant,
        currency=row.currency,
        request=row.request,
        amount_minor=row.amount,
        requested_by=row.requested_by,
        accept_suspension=row.accept_suspension,
        entry_point=row.entry_point,
    )
    return LostRun(row.id, withdrawal_workflow_id(row.merchant, row.request), start)


def _topup(row: Any) -> LostRun:
    start = TopUpRequest(
        merchant=row.merchant,
        currency=row.currency,
        request=row.request,
        amount_minor=row.amount,
        method=PaymentMethod(row.method),
        entry_point=row.entry_point,
    )
    return LostRun(row.id, topup_workflow_id(row.merchant, row.request), start)


_LIFECYCLES: Final = MappingProxyType[str, tuple[str, Callable[[Any], LostRun]]](
    {
        # Payments first: a withdrawal that comes back finds its payout running.
        payment.WORKFLOW: (_PAYMENTS, _payout),
        withdrawal.WORKFLOW: (_WITHDRAWALS, _withdrawal),
        topup.WORKFLOW: (_TOPUPS, _topup),
    }
)

WATCHED: Final = tuple(_LIFECYCLES)
"""The lifecycles whose rows say that a run must be there, in the order of their revival."""
