"""Who decided what, with which token: tokens are spent here, decisions counted (P-68, C-07, S3).

Promises that a token is good for the one decision that it is bound to and for no other, that the
same decision with the same token is known again even after the token expired, and that who decides
is what the token says. It judges nobody (``tillkeeper.rules.approvals``) and never keeps a token's
text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act, Audit
from ledger.engine import execute, fetch
from tillkeeper.contracts.actor import ActorToken, Decision, decision_digest
from tillkeeper.contracts.approval import DecisionView, Verdict
from tillkeeper.contracts.errors import Broken, Code, Reason, Rejected
from tillkeeper.rules.approvals import Counted, Delegated
from tillkeeper.sealing import KeyRing

Verify = Callable[[str, datetime], ActorToken]
"""Reads a token's text at a moment. Raises Rejected(TOKEN_MISSING | TOKEN_INVALID); whether it has
expired is not its business, for a token that was spent is known for ever."""

NOBODY: Final = "unknown"
"""The actor of what came without a token that anybody signed."""

_REFUSE: Final = "refuse_decision"

_SPENT: Final = "SELECT decision, refused FROM spent_tokens WHERE token = $1"

_SPEND: Final = """
INSERT INTO spent_tokens (token, decision, subject, actor, at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (token) DO NOTHING RETURNING token"""

_SPEND_REFUSED: Final = """
INSERT INTO spent_tokens (token, decision, subject, actor, at, refused)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (token) DO NOTHING"""

_TOKENS_OWN: Final = frozenset(
    {
        Code.TOKEN_MISSING,
        Code.TOKEN_INVALID,
        Code.TOKEN_EXPIRED,
        Code.TOKEN_SPENT,
        Code.TOKEN_UNBOUND,
        Code.FILES_UNREAD,
    }
)
"""Refusals by which a token is not spent: nobody has used it."""

_COUNT: Final = """
INSERT INTO decisions (subject, verdict, level, actor, on_behalf_of, decision, token, reason_sealed,
                       at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

_DECISIONS: Final = """
SELECT verdict, level, actor, on_behalf_of, decision, reason_sealed, at FROM decisions
 WHERE subject = $1 ORDER BY id"""

_DELEGATIONS: Final = """
SELECT DISTINCT ON (lower(delegator)) delegator, delegate, roles, merchants, until
  FROM delegations WHERE lower(delegate) = lower($1) AND since <= $2
 ORDER BY lower(delegator), id DESC"""

_REFUSED: Final = """
SELECT EXISTS (SELECT FROM audit WHERE subject = $1 AND action = $2 AND actor = $3 AND at = $4
                  AND after = $5::jsonb)"""


@dataclass(frozen=True, slots=True)
class Made:
    """One decision that counts: in which level, for whom, and why."""

    token: ActorToken
    decision: Decision
    level: str
    on_behalf_of: str | None = None
    reason: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision as its row has it; the reason sealed."""

    verdict: Verdict
    level: str
    actor: str
    on_behalf_of: str | None
    decision: str
    reason_sealed: bytes | None = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class Tried:
    """A decision that somebody tried: on which thing, and with which token's text."""

    subject: str
    decision: Decision
    text: str = field(repr=False)
    at: datetime
    kept: str | None = None


async def spend_token(
    connection: AsyncConnection,
    token: ActorToken,
    decision: Decision,
    at: datetime,
    kept: str | None = None,
) -> bool:
    """Spend the token on exactly this decision; False where it was spent on this very one before.

    A spent token is known before its expiry is looked at, so that the same act is answered alike
    for ever, a refused one by the same codes: another try needs another token. Whatever it is not
    bound to neither takes effect nor spends it. ``kept`` is how the row names the decision where
    its own digest, which anybody can compute, must not be at rest. Raises
    Rejected(TOKEN_UNBOUND | TOKEN_INVALID | TOKEN_EXPIRED | TOKEN_SPENT | …).
    """
    digest = decision_digest(decision)
    if token.bound not in (None, digest):
        raise Rejected(Code.TOKEN_INVALID, detail="the token was made for another decision")
    unbound, expired = token.bound is None, at >= token.expires_at
    kept = kept or digest
    row = (token.token_id, kept, decision.subject, token.subject, at)
    if not unbound and not expired and await fetch(connection, _SPEND, row):
        return True
    if await _spent_on(connection, token, kept):
        return False
    if expired:
        raise Rejected(Code.TOKEN_EXPIRED, detail="the token has expired")
    if unbound:
        detail = "the token names no decision; its issuer binds it to exactly one"
        raise Rejected(Code.TOKEN_UNBOUND, detail=detail)
    raise Broken("a token is spent and yet it is not")


async def count_decision(
    connection: AsyncConnection, ring: KeyRing, made: Made, at: datetime
) -> None:
    """Record a decision whose token was spent just now; it is never changed again."""
    reason, decision = made.reason, made.decision
    sealed = ring.seal_text(reason, purpose=_purpose(decision.subject)) if reason else None
    row = (
        decision.subject, decision.verdict, made.level, made.token.subject, made.on_behalf_of,
        decision_digest(decision), made.token.token_id, sealed, at,
    )  # fmt: skip
    await execute(connection, _COUNT, row)


async def decisions_of(connection: AsyncConnection, subject: str) -> list[DecisionRow]:
    """Every decision that was counted for ``subject``, in its order."""
    rows = await fetch(connection, _DECISIONS, (subject,))
    return [DecisionRow(Verdict(row.verdict), *row[1:]) for row in rows]


def counted(rows: Sequence[DecisionRow], digest: str) -> tuple[Counted, ...]:
    """Those among ``rows`` that approved exactly what ``digest`` stands for."""
    return tuple(
        Counted(row.actor, row.on_behalf_of, row.level, row.verdict)
        for row in rows
        if row.decision == digest
    )


def decision_views(
    ring: KeyRing, subject: str, rows: Sequence[DecisionRow]
) -> tuple[DecisionView, ...]:
    """What people see of the decisions on ``subject``."""
    return tuple(
        DecisionView(
            verdict=row.verdict,
            level=row.level,
            actor=row.actor,
            on_behalf_of=row.on_behalf_of,
            reason=""
            if row.reason_sealed is None
            else ring.open_text(row.reason_sealed, purpose=_purpose(subject)),
            at=row.at,
        )
        for row in rows
    )


async def delegations_to(
    connection: AsyncConnection, delegate: str, at: datetime
) -> tuple[Delegated, ...]:
    """What was delegated to a person at ``at``: of each delegator the latest word counts."""
    rows = await fetch(connection, _DELEGATIONS, (delegate, at))
    return tuple(
        Delegated(row.delegator, row.delegate, tuple(row.roles), tuple(row.merchants), row.until)
        for row in rows
        if at < row.until
    )


class Refusals:
    """Writes refused decisions into the audit, under the name that their token proves."""

    def __init__(self, verify: Verify, audit: Audit, profile: str) -> None:
        self._verify = verify
        self._audit = audit
        self._profile = profile

    async def record(self, connection: AsyncConnection, tried: Tried, refusal: Rejected) -> None:
        """Write it, once for one call, and spend the token that was bound to exactly this.

        In a transaction of its own, for the refusal undid the other one. So what was refused is not
        done later by whoever finds its token, and nobody spends a token that is meant for another.
        """
        token = self._token(tried)
        actor, proof = (NOBODY, None) if token is None else (token.subject, token.token_id)
        act = Act(_REFUSE, actor, tried.at, self._profile, token=proof)
        after: dict[str, Any] = {"refused": [code.value for code in refusal.codes]}
        told = after if proof is None else {**after, "token": proof}
        known = (tried.subject, act.action, actor, tried.at, json.dumps(told))
        if not (await fetch(connection, _REFUSED, known))[0][0]:
            await self._audit.record(connection, act, tried.subject, before={}, after=after)
        digest = decision_digest(tried.decision)
        if token is None or token.bound != digest or _TOKENS_OWN.intersection(refusal.codes):
            return
        kept = tried.kept or digest
        row = (proof, kept, tried.decision.subject, actor, tried.at, after["refused"])
        await execute(connection, _SPEND_REFUSED, row)

    def _token(self, tried: Tried) -> ActorToken | None:
        """None where nobody signed it."""
        try:
            return self._verify(tried.text, tried.at)
        except Rejected:
            return None


async def _spent_on(connection: AsyncConnection, token: ActorToken, kept: str) -> bool:
    found = await fetch(connection, _SPENT, (token.token_id,))
    if found and found[0].decision != kept:
        raise Rejected(Code.TOKEN_SPENT, detail="the token was spent on another decision")
    if found and found[0].refused is not None:
        detail = "as before; another try needs another token"
        raise Rejected(*(Reason(code=Code(one), detail=detail) for one in found[0].refused))
    return bool(found)


def _purpose(subject: str) -> str:
    return f"{subject}/decision"
