"""The rows of work items: opened and settled in the transaction that makes or ends the need.

Promises that one kind and subject has at most one open item, that none is closed without an
outcome (C-05), and that nobody approves what he proposed (C-07).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute, fetch
from tillkeeper.contracts.workitem import ItemKind, Outcome

_OPEN: Final = """
INSERT INTO work_items (kind, subject, state, reason, amount, currency, context, opened_at)
SELECT i.kind, i.subject, 'OPEN', i.reason, i.amount, i.currency, i.context::jsonb, $7
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
       AS i (kind, subject, reason, amount, currency, context)
ON CONFLICT (kind, subject) WHERE state <> 'CLOSED' DO NOTHING"""

_SETTLE: Final = """
UPDATE work_items SET state = 'CLOSED', outcome = $3, closed_at = $4, decided_by = NULL
 WHERE kind = $1 AND subject = ANY($2::text[]) AND state <> 'CLOSED'
RETURNING id"""


@dataclass(frozen=True, slots=True)
class NewItem:
    """A need; ``amount`` in minor units, ``context`` without personal data."""

    kind: ItemKind
    subject: str
    reason: str = ""
    amount: int | None = None
    currency: str | None = None
    context: Mapping[str, str | int | None] = field(default_factory=dict)


async def open_items(connection: AsyncConnection, items: Sequence[NewItem], *, at: datetime) -> None:
    """Open items; where one of that kind and subject is open already, it stays as it is."""
    if not items:
        return
    columns = (
        [item.kind.value for item in items],
        [item.subject for item in items],
        [item.reason for item in items],
        [item.amount for item in items],
        [item.currency for item in items],
        [json.dumps(dict(item.context), ensure_ascii=False) for item in items],
    )
    await execute(connection, _OPEN, (*columns, at))


async def settle_items(
    connection: AsyncConnection,
    kind: ItemKind,
    subjects: Sequence[str],
    *,
    outcome: Outcome,
    at: datetime,
) -> int:
    """Close what came right without a decision at the desk; answers how many were open."""
    if not subjects:
        return 0
    rows = await fetch(connection, _SETTLE, (kind.value, list(subjects), outcome.value, at))
    return len(rows)
