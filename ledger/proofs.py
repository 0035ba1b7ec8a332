"""Who acts at the desk proves it by a token wherever money moves (S3, C-07).

Promises that nothing is proposed, approved or refused in somebody else's name, and that a token is
good once, for the one of these acts that it is bound to. To take note, to claim and to release need
none; one that comes all the same is spent like any other. It never keeps a token's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.approvals import Refusals, Tried, Verify, spend_token
from ledger.audit import Audit
from ledger.workitems import Item, item_view
from tillkeeper.contracts.actor import ActorToken, Decision, decision_digest
from tillkeeper.contracts.approval import Verdict
from tillkeeper.contracts.binding import item_approval, item_proposal, item_rejection
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
from tillkeeper.sealing import KeyRing

_WORD: Final = "desk/word"
"""What the digests of words at the desk are keyed for."""

Worded = Propose | Approve | RejectProposal | ReleaseItem
"""What may come with a token."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one person decides, when, and with which token."""

    decision: Decision
    token: ActorToken | None
    at: datetime


class Proofs:
    """Reads and spends the tokens of acts on items, inside the caller's transaction."""

    def __init__(self, verify: Verify, ring: KeyRing, profile: str) -> None:
        self._verify = verify
        self._ring = ring
        self._refusals = Refusals(verify, Audit(ring), profile)

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
        if made.body.action not in NEEDS_NO_TOKEN:
            if token is None:
                raise Rejected(Code.TOKEN_MISSING, detail="a token says who decides")
            judge_desk(token, merchant_of(item.subject, made.body.action, made.body.target))
        await self.spend_any(connection, said)

    async def spend_any(self, connection: AsyncConnection, said: Said) -> None:
        """Spend what came, though nobody asked for it. Raises Rejected(TOKEN_…)."""
        if said.token is None:
            return
        kept = self._kept(said.decision)
        if not await spend_token(connection, said.token, said.decision, said.at, kept):
            # The same act again was known by the item itself: this is the same word a second time.
            raise Rejected(Code.TOKEN_SPENT, detail="the token was spent on the same word before")

    async def refuse(
        self, connection: AsyncConnection, item: Item | None, tried: ItemCommand[Any], why: Rejected
    ) -> None:
        """Write a refused act to the audit; the token bound to it is spent."""
        decision, body = _said_in(tried, item), tried.body
        kept = self._kept(decision)
        told = Tried(item_workflow_id(tried.item), decision, body.token, tried.at, kept)
        await self._refusals.record(connection, told, why)

    def _kept(self, decision: Decision) -> str:
        """A keyed digest: from a plain one of a proposal its account could be guessed (C-11)."""
        return self._ring.digest(decision_digest(decision), purpose=_WORD).hex()


def _said_in(tried: ItemCommand[Any], item: Item | None) -> Decision:
    """What an act decides, in the words it came in; a no names what it refuses by its number."""
    number, body = tried.item, tried.body
    if isinstance(body, Propose):
        return item_proposal(number, body)
    if isinstance(body, Approve):
        return item_approval(number, body)
    shown = None if item is None else item_view(item).proposal
    if shown is not None and shown.number == body.proposal:
        return item_rejection(number, shown)
    # Nothing like it stands there: no token can be bound to it.
    return Decision(subject=f"{item_workflow_id(number)}/{body.proposal}", verdict=Verdict.REJECT)
