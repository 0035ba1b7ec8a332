"""Who acts, as the issuer of tokens vouches for it (S3, C-07); never a person's name.

A token is good for the one decision that its issuer bound it to, and is spent by it: whoever finds
it elsewhere can decide nothing with it. Its own text appears in no view, no log and no error.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from tillkeeper.contracts.base import Identifier, Model, Moment
from tillkeeper.contracts.errors import Code, flaw
from tillkeeper.contracts.money import AmountMinor, Currency

AUDIENCE: Final = "tillkeeper"
"""Whom the issuer makes the token for."""

LIFE_MAX: Final = timedelta(minutes=5)
"""The longest that a token may be good for (S3)."""

EVERY_MERCHANT: Final = "*"

SYSTEM: Final = "tillkeeper"
"""How the audit names what no person did."""


def _person(value: str) -> str:
    if value.casefold() == SYSTEM:
        raise flaw(Code.FIELD_INVALID, "this name stands for what no person did")
    return value


Actor = Annotated[Identifier, AfterValidator(_person)]
"""The person who acts; never the system's own name (C-07)."""

TokenText = Annotated[str, Field(max_length=4096, repr=False)]
"""A signed token as it travels (Ed25519 JWT); whoever has it can decide once. Empty: none came."""


class ActorToken(Model):
    """What a verified token says: who acts in which roles for which merchants, until when (UTC)."""

    subject: Actor
    roles: tuple[Identifier, ...]
    merchants: tuple[str, ...]
    """Ids, or ``*`` alone for every merchant; none at all for nobody."""
    token_id: Identifier
    issued_at: Moment
    expires_at: Moment
    bound: str | None = None
    """``decision_digest`` of the only decision that it is good for; None: good for none."""

    def acts_for(self, merchant: str) -> bool:
        """Whether the merchant is in the token's scope."""
        return EVERY_MERCHANT in self.merchants or merchant in self.merchants


class Decision(Model):
    """What a token is spent on: exactly what the person was shown.

    ``subject`` names the thing (``withdrawal/<merchant>/<request>``, ``policy/<change>``,
    ``item/<number>/<proposal>``), ``verdict`` what is said of it; the amount in minor units.
    """

    subject: str
    verdict: str
    amount_minor: AmountMinor | None = None
    currency: Currency | None = None
    shown: str | None = None
    """Whatever else was shown: digest of the payee or the policy, a proposal's action."""


def decision_digest(decision: Decision) -> str:
    """64 hexadecimal characters, equal for equal decisions: what a token is bound to."""
    fields = decision.model_dump(mode="json")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def claimed_subject(token: str) -> str:
    """Whom a token says it is of, unverified, and so good for nothing but an answer; or nobody."""
    parts = token.split(".")
    body = parts[1] if len(parts) > 1 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, RecursionError):
        return ""
    subject = claims.get("sub") if isinstance(claims, dict) else None
    # A lone surrogate is not printable; nothing that follows could write it.
    return subject if isinstance(subject, str) and subject.isprintable() else ""
