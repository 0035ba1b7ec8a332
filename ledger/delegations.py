"""Delegations: whom a person lets decide in his roles, until when (P-68, C-07).

Promises that nobody delegates a role that his token does not have, nor anything to himself, and
that a delegation once recorded never changes: a later one between the same two people replaces it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.approvals import Verify, spend_token
from ledger.audit import Act, Audit
from ledger.engine import fetch
from tillkeeper.contracts.actor import ActorToken
from tillkeeper.contracts.approval import (
    Delegate,
    DelegationCommand,
    DelegationView,
    delegation_workflow_id,
)
from tillkeeper.contracts.binding import delegation_decision
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.rules.approvals import judge_delegation
from tillkeeper.rules.desk import same_person
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

_READ: Final = """
SELECT delegation, fingerprint, delegator, delegate, roles, merchants, since, until
  FROM delegations WHERE delegation = $1"""

_INSERT: Final = """
INSERT INTO delegations (delegation, fingerprint, delegator, delegate, roles, merchants, since,
                         until, reason_sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (delegation) DO NOTHING RETURNING delegation"""


class Delegations:
    """Records delegations, inside the caller's transaction."""

    def __init__(self, ring: KeyRing, profile: PrepaidProfile, verify: Verify) -> None:
        self._ring = ring
        self._profile = profile
        self._verify = verify
        self._audit = Audit(ring)

    async def record(
        self, connection: AsyncConnection, command: DelegationCommand
    ) -> DelegationView:
        """Record a delegation by whoever the token names; the same one again, the same answer."""
        body, at = command.body, command.at
        token = self._verify(body.token, at)
        stamp = fingerprint(body.without_token())
        decision = delegation_decision(body)
        new = not await fetch(connection, _READ, (body.delegation,))
        if await spend_token(connection, token, decision, at) and new:
            judge_delegation(body, token, at)
            await self._insert(connection, body, token, stamp, at)
        row = (await fetch(connection, _READ, (body.delegation,)))[0]
        if row.fingerprint != stamp or not same_person(row.delegator, token.subject):
            raise Rejected(Code.KEY_REUSED, detail="this delegation was made in other words")
        return _view(row)

    async def _insert(
        self,
        connection: AsyncConnection,
        body: Delegate,
        token: ActorToken,
        stamp: str,
        at: datetime,
    ) -> None:
        subject = delegation_workflow_id(body.delegation)
        values = (
            body.delegation, stamp, token.subject, body.delegate, list(body.roles),
            list(token.merchants), at, body.until,
            self._ring.seal_text(body.reason, purpose=f"{subject}/reason"),
        )  # fmt: skip
        if await fetch(connection, _INSERT, values):
            name, by = self._profile.name, token.subject
            act = Act("delegate", by, at, name, body.reason, token.token_id)
            after = {
                "delegate": body.delegate,
                "roles": list(body.roles),
                "merchants": list(token.merchants),
                "until": body.until.isoformat(),
            }
            await self._audit.record(connection, act, subject, before={}, after=after)


def _view(row: Any) -> DelegationView:
    return DelegationView(
        delegation=row.delegation,
        delegator=row.delegator,
        delegate=row.delegate,
        roles=tuple(row.roles),
        merchants=tuple(row.merchants),
        since=row.since,
        until=row.until,
        fingerprint=row.fingerprint,
    )
