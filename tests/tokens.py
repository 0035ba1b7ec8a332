"""Tokens for tests: one issuer per session, its verifier, and a token for whoever is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from gateways.identity.issuer import DevelopmentIssuer, Grant
from tillkeeper.contracts.actor import EVERY_MERCHANT, LIFE_MAX, Decision
from tillkeeper.contracts.workitem import Approve, Propose, RejectProposal
from tillkeeper.rules.proving import DESK

Word = TypeVar("Word", Propose, Approve, RejectProposal)

ISSUER: Final = DevelopmentIssuer.generate("test")
VERIFIER: Final = ISSUER.verifier()


def token_for(
    subject: str,
    *roles: str,
    merchants: tuple[str, ...] = (EVERY_MERCHANT,),
    at: datetime | None = None,
    life: timedelta = LIFE_MAX,
    decision: Decision | None = None,
) -> str:
    """A fresh token, good from ``at`` (now) on."""
    grant = Grant(subject=subject, roles=roles, merchants=merchants, life=life, decision=decision)
    return ISSUER.issue(grant, datetime.now(UTC) if at is None else at)


def signed(word: Word, at: datetime | None = None, *, issuer: DevelopmentIssuer = ISSUER) -> Word:
    """What a person says at the desk, with a fresh token of his own."""
    token = issuer.issue(Grant(subject=word.actor, roles=(DESK,)), at or datetime.now(UTC))
    return word.model_copy(update={"token": token})
