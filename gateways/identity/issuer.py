"""The issuer of a development stack: signs tokens for whoever holds its key file.

It stands where production has an identity provider, and production refuses it. It must never show
its private key but in the text of that file.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from gateways.identity.tokens import (
    ALGORITHM,
    BOUND_CLAIM,
    KeysRefused,
    Merchants,
    Roles,
    TokenVerifier,
)
from tillkeeper.contracts.actor import (
    AUDIENCE,
    EVERY_MERCHANT,
    LIFE_MAX,
    Actor,
    Decision,
    decision_digest,
)
from tillkeeper.contracts.base import Model

DEVELOPMENT_ISSUER: Final = "tillkeeper-development"
ISSUER_FILE: Final = "issuer.json"
"""Its file in the home of an embedded stack, readable by the owner only."""

_FIELDS: Final = frozenset({"issuer", "kid", "private_key"})
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII)


class Grant(Model):
    """What a token is to say: who, in which roles, for whom, how long, for which decision."""

    subject: Actor
    roles: Roles
    merchants: Merchants = (EVERY_MERCHANT,)
    life: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=LIFE_MAX)] = LIFE_MAX
    decision: Decision | None = None


class DevelopmentIssuer:
    """One private key with its id."""

    def __init__(self, kid: str, key: Ed25519PrivateKey) -> None:
        self._kid = kid
        self._key = key

    def __repr__(self) -> str:
        return f"DevelopmentIssuer(kid={self._kid!r})"

    @classmethod
    def generate(cls, kid: str) -> DevelopmentIssuer:
        """A new issuer with a random key."""
        return cls(kid, Ed25519PrivateKey.generate())

    @classmethod
    def from_json(cls, text: str) -> DevelopmentIssuer:
        """Read the text of the key file. Raises KeysRefused on anything unexpected."""
        fields = _fields(text)
        kid, key = fields.get("kid"), fields.get("private_key")
        if fields.keys() != _FIELDS or fields.get("issuer") != DEVELOPMENT_ISSUER:
            raise KeysRefused("it is not a file of the development issuer")
        if not isinstance(kid, str) or _KEY_ID.fullmatch(kid) is None:
            raise KeysRefused("its kid is 1 to 32 letters, digits, dots, dashes or underscores")
        if not isinstance(key, str) or _KEY.fullmatch(key) is None:
            raise KeysRefused("its private key is 32 bytes in base64")
        return cls(kid, Ed25519PrivateKey.from_private_bytes(base64.b64decode(key)))

    def to_json(self) -> str:
        """The text of the key file; whoever has it can sign for anybody."""
        key = base64.b64encode(self._key.private_bytes_raw()).decode()
        fields = {"issuer": DEVELOPMENT_ISSUER, "kid": self._kid, "private_key": key}
        return json.dumps(fields, indent=2)

    def issue(self, grant: Grant, at: datetime) -> str:
        """A token that says so from ``at`` on, to whole seconds (UTC)."""
        issued = int(at.timestamp())
        claims: dict[str, Any] = {
            "iss": DEVELOPMENT_ISSUER,
            "aud": AUDIENCE,
            "sub": grant.subject,
            "roles": list(grant.roles),
            "merchants": list(grant.merchants),
            "jti": secrets.token_hex(16),
            "iat": issued,
            "exp": issued + grant.life // timedelta(seconds=1),
        }
        if grant.decision is not None:
            claims[BOUND_CLAIM] = decision_digest(grant.decision)
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._kid})

    def verifier(self) -> TokenVerifier:
        """What reads this issuer's tokens; it holds the public key only."""
        return TokenVerifier(DEVELOPMENT_ISSUER, {self._kid: self._key.public_key()})


def _fields(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        # The error carries the whole text: it must not travel on as a cause.
        return {}
    return parsed if isinstance(parsed, dict) else {}
