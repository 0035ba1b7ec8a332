"""Reads the signed tokens of those who decide: JWT, Ed25519, made for us by one issuer (S3, C-07).

Promises that whatever is not exactly such a token is refused, by the clock it is given and the keys
it was made with, never by what the token's own header points to. It must never repeat a token, or a
part of one, in an error, a repr or a log.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.types import Options
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from tillkeeper.contracts.actor import AUDIENCE, EVERY_MERCHANT, LIFE_MAX, Actor, ActorToken
from tillkeeper.contracts.base import LATEST, Identifier, Model
from tillkeeper.contracts.errors import Code, Rejected, flaw

ALGORITHM: Final = "EdDSA"
BOUND_CLAIM: Final = "decision"
"""The claim that binds a token to one decision: its ``decision_digest``."""

TOKEN_CHARS_MAX: Final = 4096
SKEW_MAX: Final = timedelta(seconds=30)
"""How far the issuer's clock may be ahead of ours."""

KEYS_MAX: Final = 64
_KEY_BYTES: Final = 32
_CLAIMS: Final = ("iss", "aud", "sub", "roles", "merchants", "jti", "iat", "exp")
# The library's clock is the wall clock; here the caller's counts.
_CHECKS: Final[Options] = {
    "require": list(_CLAIMS),
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
_KEY_ID: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{43}={0,1}", re.ASCII)


class KeysRefused(ValueError):  # noqa: N818 - named like the tree in contracts.errors
    """The text holds no usable set of public keys; a ValueError, so that settings report it."""


def _or_every(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return value if value == EVERY_MERCHANT else check(value)


def _all_or_some(value: tuple[str, ...]) -> tuple[str, ...]:
    if EVERY_MERCHANT in value and len(value) > 1:
        raise flaw(Code.FIELD_INVALID, "every merchant, or some of them")
    return value


Roles = Annotated[tuple[Identifier, ...], Field(strict=False, max_length=64)]
"""The roles that an issuer vouches for."""

Merchants = Annotated[
    tuple[Annotated[Identifier, WrapValidator(_or_every)], ...],
    Field(strict=False, max_length=256),
    AfterValidator(_all_or_some),
]
"""Ids of merchants, or ``*`` alone for every one."""

_Seconds = Annotated[int, Field(ge=0, lt=int(LATEST.timestamp()))]


class _Claims(Model):
    sub: Actor
    roles: Roles
    merchants: Merchants
    jti: Identifier
    iat: _Seconds
    exp: _Seconds
    nbf: _Seconds = 0
    decision: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class TokenVerifier:
    """Knows one issuer and its public keys by their ids; its clock is the caller's (UTC)."""

    def __init__(self, issuer: str, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._issuer = issuer
        self._keys = dict(keys)

    def verify(self, token: str, at: datetime) -> ActorToken:
        """Who acts at ``at``; at ``exp`` itself the token has expired.

        Raises Rejected(TOKEN_MISSING | TOKEN_INVALID | TOKEN_EXPIRED).
        """
        found = self.recognise(token, at)
        if at >= found.expires_at:
            raise Rejected(Code.TOKEN_EXPIRED, detail="the token has expired")
        return found

    def recognise(self, token: str, at: datetime) -> ActorToken:
        """Who signed in, whether or not the token has expired since.

        For telling a token that was spent on the very same act before, and nothing else.
        Raises Rejected(TOKEN_MISSING | TOKEN_INVALID).
        """
        if not token:
            raise Rejected(Code.TOKEN_MISSING, detail="a token says who decides")
        claims = self._claims(token)
        # Refused out here, so that no error of a library travels on: it may hold the token.
        if claims is None:
            raise Rejected(Code.TOKEN_INVALID, detail="no valid token of the issuer")
        issued, expires, begins = (_moment(s) for s in (claims.iat, claims.exp, claims.nbf))
        if not timedelta(0) < expires - issued <= LIFE_MAX:
            detail = f"a token is good for {LIFE_MAX // timedelta(minutes=1)} minutes at most"
            raise Rejected(Code.TOKEN_INVALID, detail=detail)
        if max(issued, begins) > at + SKEW_MAX:
            raise Rejected(Code.TOKEN_INVALID, detail="the token is of the future")
        return ActorToken(
            subject=claims.sub,
            roles=claims.roles,
            merchants=claims.merchants,
            token_id=claims.jti,
            issued_at=issued,
            expires_at=expires,
            bound=claims.decision,
        )

    def _claims(self, token: str) -> _Claims | None:
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            return None
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                return None
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                options=_CHECKS,
            )
            return _Claims.model_validate(payload)
        except (jwt.PyJWTError, ValidationError, ValueError, TypeError, RecursionError):
            return None


def read_jwks(text: str) -> dict[str, Ed25519PublicKey]:
    """The public keys of a JWKS by their ids; whatever is no public Ed25519 key is refused.

    Raises KeysRefused.
    """
    keys = _listed(text)
    if not 1 <= len(keys) <= KEYS_MAX:
        raise KeysRefused(f"it must list 1 to {KEYS_MAX} keys")
    found: dict[str, Ed25519PublicKey] = {}
    for place, entry in enumerate(keys, start=1):
        name, key = _public_key(entry, place)
        if name in found:
            raise KeysRefused(f"key {place} has the kid of another one")
        found[name] = key
    return found


def _listed(text: str) -> list[Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    keys = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(keys, list):
        raise KeysRefused("it is not a JSON object with a list of keys")
    return keys


def _public_key(entry: Any, place: int) -> tuple[str, Ed25519PublicKey]:
    if not isinstance(entry, dict) or (entry.get("kty"), entry.get("crv")) != ("OKP", "Ed25519"):
        raise KeysRefused(f"key {place} is no Ed25519 key (kty OKP, crv Ed25519)")
    if "d" in entry:
        raise KeysRefused(f"key {place} is a private key: only its issuer may have it")
    if entry.get("use", "sig") != "sig" or entry.get("alg", ALGORITHM) != ALGORITHM:
        raise KeysRefused(f"key {place} is not for signatures by {ALGORITHM}")
    name, x = entry.get("kid"), entry.get("x")
    if not isinstance(name, str) or _KEY_ID.fullmatch(name) is None:
        raise KeysRefused(f"key {place} needs a kid: 1 to 128 visible characters")
    if not isinstance(x, str) or _BASE64URL.fullmatch(x) is None:
        raise KeysRefused(f"key {place} needs its x: {_KEY_BYTES} bytes in base64url")
    raw = base64.urlsafe_b64decode(x.rstrip("=") + "=")
    if len(set(raw)) == 1:
        raise KeysRefused(f"key {place} is one repeated byte")
    return name, Ed25519PublicKey.from_public_bytes(raw)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
