"""Whose token is good for which act at the desk (S3, C-07).

Decides on what a verified token says; it never sees a token's text.
"""

from __future__ import annotations

from typing import Final

from tillkeeper.contracts.actor import EVERY_MERCHANT, ActorToken
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.withdrawal import withdrawal_of
from tillkeeper.contracts.workitem import ItemAction
from tillkeeper.rules.desk import same_person, target_of

DESK: Final = "desk"
"""The role of those who decide on work items."""

NEEDS_NO_TOKEN: Final = frozenset({ItemAction.ACKNOWLEDGE})
"""What moves no money; all else is proposed, approved and refused with a token."""


def judge_person(token: ActorToken, actor: str) -> None:
    """A token proves its own subject, in any case of letters. Raises Rejected(TOKEN_INVALID)."""
    if not same_person(token.subject, actor):
        raise Rejected(Code.TOKEN_INVALID, detail="the token is another person's")


def judge_desk(token: ActorToken, merchant: str) -> None:
    """The role, and the merchant whose money it is. Raises Rejected with every reason."""
    reasons = []
    if DESK not in token.roles:
        reasons.append(Reason(code=Code.ROLE_MISSING, detail=f"the role {DESK} is needed"))
    if not token.acts_for(merchant):
        detail = "the token is for other merchants"
        reasons.append(Reason(code=Code.OUT_OF_SCOPE, detail=detail))
    if reasons:
        raise Rejected(*reasons)


def merchant_of(subject: str, action: ItemAction, target: str | None) -> str:
    """Whose money an action on an item moves: a merchant, or ``*`` for money that is nobody's yet.

    Only a token for every merchant is good for that one.
    """
    if action is ItemAction.MATCH:
        return target_of(target)[0]
    paid = withdrawal_of(subject)
    return EVERY_MERCHANT if paid is None else paid[0]
