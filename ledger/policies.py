"""The approval policy's versions: proposed by one policy admin, adopted by another (C-07, C-08).

Promises that a version never changes once it is proposed, that it takes effect no earlier than it
was adopted, and that every word about it came with a token. It approves no withdrawal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.approvals import Made, Verify, count_decision, spend_token
from ledger.audit import Act, Audit
from ledger.engine import fetch
from tillkeeper.contracts.actor import ActorToken
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    DecidePolicy,
    PolicyCommand,
    PolicyState,
    PolicyVersion,
    PolicyView,
    ProposePolicy,
    Verdict,
    policy_workflow_id,
)
from tillkeeper.contracts.binding import policy_decision, policy_digest, policy_proposal
from tillkeeper.contracts.errors import Broken, Code, Reason, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.rules.approvals import (
    begins,
    in_force,
    judge_policy_decision,
    judge_policy_proposal,
)
from tillkeeper.rules.desk import same_person
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

_COLUMNS: Final = """
       id, change, fingerprint, state, policy::text AS policy, digest, effective_from,
       reason_sealed, proposed_by, proposed_at, decided_by, decided_at, decision_sealed"""

_READ: Final = f"SELECT {_COLUMNS} FROM approval_policies WHERE change = $1"

_LOCK: Final = "SELECT id FROM approval_policies WHERE change = $1 FOR NO KEY UPDATE"

_INSERT: Final = f"""
INSERT INTO approval_policies (change, fingerprint, state, policy, digest, effective_from,
                               reason_sealed, proposed_by, proposed_at)
VALUES ($1, $2, 'PROPOSED', $3::jsonb, $4, $5, $6, $7, $8)
ON CONFLICT (change) DO NOTHING RETURNING {_COLUMNS}"""

_DECIDE: Final = f"""
UPDATE approval_policies SET state = $2, decided_by = $3, decided_at = $4, decision_sealed = $5
 WHERE id = $1 AND state = 'PROPOSED' RETURNING {_COLUMNS}"""

_ADOPTED: Final = """
SELECT change, effective_from, decided_at, policy::text AS policy
  FROM approval_policies WHERE state = 'ADOPTED' ORDER BY decided_at, id"""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One change of the policy as its row has it; what people typed is sealed."""

    id: int
    change: str
    fingerprint: str
    state: PolicyState
    policy: ApprovalPolicy
    digest: str
    effective_from: datetime
    reason_sealed: bytes = field(repr=False)
    proposed_by: str
    proposed_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_sealed: bytes | None = field(repr=False)

    @property
    def subject(self) -> str:
        """How decisions and audit rows name the change: as its run does."""
        return policy_workflow_id(self.change)


async def adopted_policies(connection: AsyncConnection) -> list[PolicyVersion]:
    """Every adopted version as it was adopted; before the first, the built-in one holds."""
    return [
        PolicyVersion(
            name=policy_workflow_id(row.change),
            effective_from=begins(row.effective_from, row.decided_at),
            policy=ApprovalPolicy.model_validate_json(row.policy),
        )
        for row in await fetch(connection, _ADOPTED, ())
    ]


async def policy_in_force(connection: AsyncConnection, at: datetime) -> PolicyVersion:
    """The version by which a request of ``at`` is approved (C-08)."""
    return in_force(await adopted_policies(connection), at)


class Policies:
    """The acts on changes of the policy, inside the caller's transaction."""

    def __init__(self, ring: KeyRing, profile: PrepaidProfile, verify: Verify) -> None:
        self._ring = ring
        self._profile = profile
        self._verify = verify
        self._audit = Audit(ring)

    async def propose(
        self, connection: AsyncConnection, command: PolicyCommand[ProposePolicy]
    ) -> PolicyView:
        """Record a proposal; it changes nothing until a second person adopts it."""
        body = command.body
        token = self._verify(body.token, command.at)
        digest = policy_digest(body.policy, body.effective_from)
        decision = policy_proposal(body)
        new = not await fetch(connection, _READ, (body.change,))
        if await spend_token(connection, token, decision, command.at) and new:
            judge_policy_proposal(body, token, command.at)
            await self._insert(connection, command, token, digest)
        row = await recorded_change(connection, body.change)
        if row.fingerprint != fingerprint(body.without_token()) or not same_person(
            row.proposed_by, token.subject
        ):
            raise Rejected(Code.KEY_REUSED, detail="this change was proposed in other words")
        return self._view(row)

    async def decide(
        self, connection: AsyncConnection, command: PolicyCommand[DecidePolicy]
    ) -> PolicyView:
        """Adopt or refuse exactly the policy that was shown; never one's own (C-07)."""
        body, at = command.body, command.at
        token = self._verify(body.token, at)
        await fetch(connection, _LOCK, (command.change,))
        row = await recorded_change(connection, command.change)
        decision = policy_decision(command.change, body)
        if await spend_token(connection, token, decision, at):
            _judge(row, token, body)
            made = Made(token, decision, "policy", reason=body.reason or "")
            await count_decision(connection, self._ring, made, at)
            row = await self._decide(connection, row, token, command)
        return self._view(row)

    async def _insert(
        self,
        connection: AsyncConnection,
        command: PolicyCommand[ProposePolicy],
        token: ActorToken,
        digest: str,
    ) -> None:
        body = command.body
        subject = policy_workflow_id(body.change)
        values = (
            body.change, fingerprint(body.without_token()), body.policy.model_dump_json(),
            digest, body.effective_from,
            self._ring.seal_text(body.reason, purpose=f"{subject}/reason"), token.subject,
            command.at,
        )  # fmt: skip
        if await fetch(connection, _INSERT, values):
            after = {"state": PolicyState.PROPOSED.value, "digest": digest}
            act = self._act("propose_policy", token, command.at, body.reason)
            await self._audit.record(connection, act, subject, before={}, after=after)

    async def _decide(
        self,
        connection: AsyncConnection,
        row: PolicyRow,
        token: ActorToken,
        command: PolicyCommand[DecidePolicy],
    ) -> PolicyRow:
        body, at = command.body, command.at
        adopted = body.verdict is Verdict.APPROVE
        state = PolicyState.ADOPTED if adopted else PolicyState.REJECTED
        reason = body.reason or ""
        sealed = self._ring.seal_text(reason, purpose=f"{row.subject}/decision") if reason else None
        rows = await fetch(connection, _DECIDE, (row.id, state.value, token.subject, at, sealed))
        if not rows:
            raise Broken("a change of the policy was decided while it was locked")
        act = self._act("adopt_policy" if adopted else "reject_policy", token, at, reason)
        before, after = {"state": row.state.value}, {"state": state.value, "digest": row.digest}
        await self._audit.record(connection, act, row.subject, before=before, after=after)
        return _opened(rows[0])

    def _act(self, action: str, token: ActorToken, at: datetime, reason: str) -> Act:
        return Act(action, token.subject, at, self._profile.name, reason, token.token_id)

    def _view(self, row: PolicyRow) -> PolicyView:
        opened, sealed = self._ring.open_text, row.decision_sealed
        return PolicyView(
            change=row.change,
            state=row.state,
            policy=row.policy,
            policy_digest=row.digest,
            effective_from=row.effective_from,
            reason=opened(row.reason_sealed, purpose=f"{row.subject}/reason"),
            proposed_by=row.proposed_by,
            proposed_at=row.proposed_at,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
            decision_reason=""
            if sealed is None
            else opened(sealed, purpose=f"{row.subject}/decision"),
            fingerprint=row.fingerprint,
        )


def _judge(row: PolicyRow, token: ActorToken, body: DecidePolicy) -> None:
    """Raises Rejected with every reason against this decision."""
    if row.state is not PolicyState.PROPOSED:
        detail = f"the change is {row.state.value} already"
        raise Rejected(Code.REQUEST_DECIDED, detail=detail)
    stale = Reason(code=Code.DECISION_STALE, detail="another policy was proposed")
    reasons = [] if body.policy_digest == row.digest else [stale]
    try:
        judge_policy_decision(row.proposed_by, token)
    except Rejected as refusal:
        raise Rejected(*refusal.reasons, *reasons) from None
    if reasons:
        raise Rejected(*reasons)


async def recorded_change(connection: AsyncConnection, change: str) -> PolicyRow:
    """A change of the policy as it stands. Raises Rejected(REQUEST_UNKNOWN)."""
    rows = await fetch(connection, _READ, (change,))
    if not rows:
        raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such change of the policy")
    return _opened(rows[0])


def _opened(row: Any) -> PolicyRow:
    plain = dict(row)
    plain["state"] = PolicyState(row.state)
    plain["policy"] = ApprovalPolicy.model_validate_json(row.policy)
    return PolicyRow(**plain)
