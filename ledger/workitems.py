"""The rows of work items: opened and settled in the transaction that makes or ends the need.

Promises that one kind and subject has at most one open item, that none is closed without an
outcome (C-05), and that nobody approves what he proposed (C-07). What people type is sealed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act, Audit
from ledger.engine import execute, fetch
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.payment import PaymentParty
from tillkeeper.contracts.workitem import (
    ITEM_ID_MAX,
    ItemAction,
    ItemKind,
    ItemState,
    ItemView,
    Outcome,
    ProposalView,
    Propose,
    item_workflow_id,
)
from tillkeeper.rules.desk import allowed_actions
from tillkeeper.rules.names import masked_name, masked_number
from tillkeeper.sealing import KeyRing

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

_COLUMNS: Final = """
SELECT i.id, i.kind, i.subject, i.state, i.reason, i.amount, i.currency, i.context::text AS context,
       i.opened_at, i.owner, i.claimed_at, i.proposals, i.action, i.target, i.proposal_sealed,
       i.proposed_by, i.proposed_at, i.decided_by, i.outcome, i.closed_at,
       coalesce(r.activated AND i.outcome = 'MATCHED', false) AS activated,
       coalesce(p.run, p.end_to_end_id) AS run,
       CASE WHEN p.subject LIKE 'withdrawal/%' THEN p.subject END AS paid_for
  FROM work_items i
  LEFT JOIN payments p ON i.outcome IN ('RETURNED', 'PAID', 'NOT_PAID')
   AND p.end_to_end_id = i.target
  LEFT JOIN receipts r ON i.kind = 'UNMATCHED_RECEIPT' AND r.digest = substr(i.subject, 9)"""

_READ: Final = f"{_COLUMNS} WHERE i.id = $1"

_LOCK: Final = "SELECT id FROM work_items WHERE id = $1 FOR NO KEY UPDATE"

_LIST_OPEN: Final = f"""{_COLUMNS}
 WHERE i.state <> 'CLOSED' AND ($1::text IS NULL OR i.kind = $1)
 ORDER BY i.opened_at, i.id LIMIT $2"""

_LIST_ALL: Final = f"""{_COLUMNS}
 WHERE $1::text IS NULL OR i.kind = $1 ORDER BY i.id DESC LIMIT $2"""

_OPEN_OF: Final = """
SELECT subject, id FROM work_items
 WHERE kind = $1 AND subject = ANY($2::text[]) AND state <> 'CLOSED'"""

_UPDATE: Final = """
UPDATE work_items
   SET state = $2, owner = $3, claimed_at = $4, proposals = $5, action = $6, target = $7,
       proposal_sealed = $8, proposed_by = $9, proposed_at = $10, decided_by = $11, outcome = $12,
       closed_at = $13
 WHERE id = $1 AND state <> 'CLOSED' RETURNING id"""


@dataclass(frozen=True, slots=True)
class NewItem:
    """A need; ``amount`` in minor units, ``context`` without personal data."""

    kind: ItemKind
    subject: str
    reason: str = ""
    amount: int | None = None
    currency: str | None = None
    context: Mapping[str, str | int | None] = field(default_factory=dict)


async def open_items(
    connection: AsyncConnection, items: Sequence[NewItem], *, at: datetime
) -> None:
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


async def open_item_ids(
    connection: AsyncConnection, kind: ItemKind, subjects: Sequence[str]
) -> dict[str, int]:
    """The open items of these subjects: subject → number."""
    rows = await fetch(connection, _OPEN_OF, (kind.value, list(subjects)))
    return {row.subject: row.id for row in rows}


class Proposal(Model):
    """What was proposed, as it is sealed: the body, and for a return whom it pays."""

    body: Propose
    payee: PaymentParty | None = None
    payee_digest: str | None = None
    payee_differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One item as its row has it, opened; ``proposal`` holds personal data, so it is not shown."""

    id: int
    kind: ItemKind
    subject: str
    state: ItemState
    reason: str
    amount: int | None
    currency: str | None
    context: Mapping[str, str | int | None]
    opened_at: datetime
    owner: str | None
    claimed_at: datetime | None
    proposals: int
    action: ItemAction | None
    target: str | None
    proposal: Proposal | None = field(repr=False)
    proposed_by: str | None
    proposed_at: datetime | None
    decided_by: str | None
    outcome: Outcome | None
    closed_at: datetime | None
    activated: bool
    run: str | None
    paid_for: str | None

    @property
    def name(self) -> str:
        """How audit rows and seals name the item."""
        return item_workflow_id(self.id)


class ItemRows:
    """Reads and writes ``work_items`` with one key ring, inside the caller's transaction."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.audit = Audit(ring)

    async def read(self, connection: AsyncConnection, item: int) -> Item:
        """The item as it stands. Raises Rejected(ITEM_UNKNOWN)."""
        rows = await fetch(connection, _READ, (item,)) if 1 <= item <= ITEM_ID_MAX else []
        if not rows:
            raise Rejected(Code.ITEM_UNKNOWN, detail="there is no such item")
        return self._opened(rows[0])

    async def locked(self, connection: AsyncConnection, item: int) -> Item:
        """The item under its lock, which is held until the transaction ends."""
        if 1 <= item <= ITEM_ID_MAX:
            await fetch(connection, _LOCK, (item,))
        # A statement of its own: waiting for a lock does not refresh a statement's snapshot.
        return await self.read(connection, item)

    async def inbox(
        self,
        connection: AsyncConnection,
        kind: ItemKind | None = None,
        *,
        closed: bool = False,
        limit: int,
    ) -> list[ItemView]:
        """Open items, the oldest first; with ``closed`` all of them, the newest first."""
        statement = _LIST_ALL if closed else _LIST_OPEN
        rows = await fetch(connection, statement, (kind, limit))
        return [item_view(self._opened(row)) for row in rows]

    async def change(
        self, connection: AsyncConnection, before: Item, act: Act, **changes: Any
    ) -> Item:
        """Write ``changes`` and an audit row; the caller holds the item's lock."""
        after: Item = replace(before, **changes)
        proposal = after.proposal
        sealed = proposal and self._ring.seal_text(
            proposal.model_dump_json(), purpose=f"{after.name}/proposal"
        )
        row = (
            after.id, after.state, after.owner, after.claimed_at, after.proposals, after.action,
            after.target, sealed, after.proposed_by, after.proposed_at, after.decided_by,
            after.outcome, after.closed_at,
        )  # fmt: skip
        if not await fetch(connection, _UPDATE, row):
            raise Broken("an item ended while it was locked")
        told = {} if after.outcome is None else {"proposed_by": after.proposed_by}
        if proposal is not None and proposal.payee_digest is not None:
            told |= {"payee": proposal.payee_digest}
        await self.audit.record(
            connection, act, after.name, before=_audited(before), after=_audited(after) | told
        )
        return after

    def _opened(self, row: Any) -> Item:
        sealed = row.proposal_sealed
        purpose = f"{item_workflow_id(row.id)}/proposal"
        plain: dict[str, Any] = {
            "kind": ItemKind(row.kind),
            "state": ItemState(row.state),
            "context": json.loads(row.context),
            "action": None if row.action is None else ItemAction(row.action),
            "outcome": None if row.outcome is None else Outcome(row.outcome),
            "proposal": None
            if sealed is None
            else Proposal.model_validate_json(self._ring.open_text(sealed, purpose=purpose)),
        }
        names = [f.name for f in fields(Item)]
        return Item(**{n: plain[n] if n in plain else getattr(row, n) for n in names})


def item_view(item: Item) -> ItemView:
    """What people may see: whom a return pays is masked (C-11)."""
    closed = item.outcome is not None
    matched = item.outcome is Outcome.MATCHED
    return ItemView(
        item=item.id,
        kind=item.kind,
        subject=item.subject,
        state=item.state,
        reason=item.reason,
        amount_minor=item.amount,
        currency=item.currency,
        context=item.context,
        opened_at=item.opened_at,
        owner=item.owner,
        claimed_at=item.claimed_at,
        actions=() if closed else allowed_actions(item.kind, item.subject),
        proposals=item.proposals,
        proposal=_proposal_view(item),
        outcome=item.outcome,
        decided_by=item.decided_by,
        closed_at=item.closed_at,
        credited=item.target if matched else None,
        activated=item.activated,
        payment=item.run,
        paid_for=item.paid_for,
    )


def _proposal_view(item: Item) -> ProposalView | None:
    made, payee = item.proposal, item.proposal and item.proposal.payee
    if made is None or item.proposed_at is None:
        return None
    return ProposalView(
        number=item.proposals,
        action=made.body.action,
        target=made.body.target,
        amount_minor=item.amount,
        reason=made.body.reason,
        payee=masked_name(payee.name) if payee else "",
        payee_account=masked_number(payee.account) if payee else "",
        payee_digest=made.payee_digest,
        payee_differs=made.payee_differs,
        proposed_by=made.body.actor,
        proposed_at=item.proposed_at,
        fingerprint=fingerprint(made.body),
    )


def _audited(item: Item) -> dict[str, Any]:
    """The fields whose changes are audited."""
    return {
        "state": item.state,
        "owner": item.owner,
        "proposals": item.proposals,
        "action": item.action,
        "target": item.target,
        "decided_by": item.decided_by,
        "outcome": item.outcome,
    }
