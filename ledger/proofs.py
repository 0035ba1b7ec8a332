"""Who acts at the desk proves it by a token wherever money moves (S3, C-07).

Promises that nothing is proposed, approved or refused in somebody else's name, and that a token is
good for one of these acts on one proposal. To take note, to claim and to release need none; one
that comes all the same must be good. It never keeps a token's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.approvals import Verify, record_refusal, refused_by, spend_token
from ledger.audit import Audit
from ledger.workitems import Item
from tillkeeper.contracts.actor import ActorToken, Decision
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.workitem import (
    Approve,
    ItemCommand,
    Propose,
    RejectProposal,
    ReleaseItem,
    item_workflow_id,
)
from tillkeeper.rules.proving import NEEDS_NO_TOKEN, judge_desk, judge_person, merchant_of

Worded = Propose | Approve | RejectProposal | ReleaseItem
"""What may come with a token."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one person says of the proposal that stands, when, and with which token."""

    verdict: str
    token: ActorToken | None
    at: datetime


class Proofs:
    """Reads and spends the tokens of acts on items, inside the caller's transaction."""

    def __init__(self, verify: Verify, audit: Audit, profile: str) -> None:
        self._verify = verify
        self._audit = audit
        self._profile = profile

    def read(self, body: Worded, at: datetime) -> ActorToken | None:
        """Who signed in, None where no token came.

        Raises Rejected(TOKEN_INVALID) also for a token of somebody else's.
        """
        if not body.token:
            return None
        token = self._verify(body.token, at)
        judge_person(token, body.actor)
        return token

    async def spend(self, connection: AsyncConnection, item: Item, said: Said) -> None:
        """Spend the token on exactly this word on the item's proposal, where it needs one.

        Raises Rejected(TOKEN_… | ROLE_MISSING | OUT_OF_SCOPE).
        """
        made, token = item.proposal, said.token
        if made is None:
            raise Broken("a proposal was judged and is not there")
        if made.body.action in NEEDS_NO_TOKEN:
            good(token, said.at)
            return
        if token is None:
            raise Rejected(Code.TOKEN_MISSING, detail="a token says who decides")
        judge_desk(token, merchant_of(item.subject, made.body.action, made.body.target))
        decision = Decision(
            subject=f"{item.name}/{item.proposals}",
            verdict=said.verdict,
            amount_minor=item.amount,
            currency=item.currency,
            shown=made.payee_digest or made.body.target,
        )
        await spend_token(connection, token, decision, said.at)

    async def refuse(
        self, connection: AsyncConnection, command: ItemCommand[Any], refusal: Rejected
    ) -> None:
        """Write a refused act to the audit, for nothing else is kept of it."""
        act = refused_by(self._verify, command.body.token, command.at, self._profile)
        subject = item_workflow_id(command.item)
        await record_refusal(connection, self._audit, act, subject, refusal)


def good(token: ActorToken | None, at: datetime) -> None:
    """A token that nobody asked for is still one that has not expired. Raises Rejected."""
    if token is not None and at >= token.expires_at:
        raise Rejected(Code.TOKEN_EXPIRED, detail="the token has expired")
