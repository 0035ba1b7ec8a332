"""Tokens for tests: one issuer per session, its verifier, and a token for whoever is needed.

``token_for`` makes a token that is bound to nothing, which no door takes; it remembers its grant,
so that whoever builds a word with it binds it to exactly that word (``for_withdrawal`` and the
like). The same token for the same decision is the same text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from gateways.identity.issuer import DevelopmentIssuer, Grant
from tillkeeper.contracts.actor import EVERY_MERCHANT, LIFE_MAX, Decision, decision_digest
from tillkeeper.contracts.approval import Decide, DecidePolicy, Delegate, ProposePolicy
from tillkeeper.contracts.binding import (
    delegation_decision,
    item_approval,
    item_proposal,
    item_rejection,
    policy_decision,
    policy_proposal,
    withdrawal_decision,
)
from tillkeeper.contracts.withdrawal import WithdrawalView
from tillkeeper.contracts.workitem import Approve, ItemView, Propose, RejectProposal
from tillkeeper.rules.proving import DESK

Word = TypeVar("Word", Propose, Approve, RejectProposal)
Body = TypeVar("Body", Decide, ProposePolicy, DecidePolicy, Delegate, Propose, Approve,
               RejectProposal)  # fmt: skip

ISSUER: Final = DevelopmentIssuer.generate("test")
VERIFIER: Final = ISSUER.verifier()


class Unbound(str):
    """A token that is good for nothing yet, and who it is to be for."""

    __slots__ = ("_at", "_bound", "_grant", "_issuer")

    def __new__(cls, grant: Grant, at: datetime, issuer: DevelopmentIssuer = ISSUER) -> Unbound:
        made = super().__new__(cls, issuer.issue(grant, at))
        made._grant, made._at, made._issuer = grant, at, issuer
        made._bound = {}
        return made

    _grant: Grant
    _at: datetime
    _issuer: DevelopmentIssuer
    _bound: dict[str, str]

    def to(self, decision: Decision) -> str:
        """The token of the same grant that is good for exactly this."""
        bound = self._grant.model_copy(update={"decision": decision})
        digest = decision_digest(decision)
        return self._bound.setdefault(digest, self._issuer.issue(bound, self._at))


def token_for(
    subject: str,
    *roles: str,
    merchants: tuple[str, ...] = (EVERY_MERCHANT,),
    at: datetime | None = None,
    life: timedelta = LIFE_MAX,
    issuer: DevelopmentIssuer = ISSUER,
) -> Unbound:
    """A fresh token, good from ``at`` (now) on, to be bound by whoever builds the word."""
    grant = Grant(subject=subject, roles=roles, merchants=merchants, life=life)
    return Unbound(grant, datetime.now(UTC) if at is None else at, issuer)


def bound_token(token: str, decision: Decision) -> str:
    """The token bound to ``decision``; any other text as it is, for it may be meant to be wrong."""
    return token.to(decision) if isinstance(token, Unbound) else token


def for_withdrawal(view: WithdrawalView, body: Decide, token: str) -> Decide:
    """The decision with its token."""
    return _with(body, token, withdrawal_decision(view.merchant, view.request, body))


def for_proposal(body: ProposePolicy, token: str) -> ProposePolicy:
    """The proposal of a policy with its token."""
    return _with(body, token, policy_proposal(body))


def for_policy(change: str, body: DecidePolicy, token: str) -> DecidePolicy:
    """The decision on a policy with its token."""
    return _with(body, token, policy_decision(change, body))


def for_delegation(body: Delegate, token: str) -> Delegate:
    """The delegation with its token."""
    return _with(body, token, delegation_decision(body))


def on_item(item: ItemView | int, word: Propose | Approve | RejectProposal) -> Decision:
    """What a word at the desk decides; a no needs the item as it was shown."""
    number = item if isinstance(item, int) else item.item
    if isinstance(word, Propose):
        return item_proposal(number, word)
    if isinstance(word, Approve):
        return item_approval(number, word)
    shown = None if isinstance(item, int) else item.proposal
    # Where nothing is proposed, the token is bound to something that is not this.
    return (
        Decision(subject="nothing", verdict="REJECT")
        if shown is None
        else item_rejection(number, shown)
    )


def for_item(item: ItemView | int, word: Word, token: str) -> Word:
    """What a person says at the desk with his token."""
    return _with(word, token, on_item(item, word))


def signed(
    item: ItemView | int,
    word: Word,
    at: datetime | None = None,
    *,
    issuer: DevelopmentIssuer = ISSUER,
) -> Word:
    """What a person says of an item at the desk, with a fresh token of his own for just that."""
    return for_item(item, word, token_for(word.actor, DESK, at=at, issuer=issuer))


def _with(body: Body, token: str, decision: Decision) -> Body:
    return body.model_copy(update={"token": bound_token(token, decision)})
