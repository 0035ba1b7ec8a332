"""Tokens for tests: one issuer per session, its verifier, and a token for whoever is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from gateways.identity.issuer import DevelopmentIssuer, Grant
from tillkeeper.contracts.actor import EVERY_MERCHANT, LIFE_MAX, Decision

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
