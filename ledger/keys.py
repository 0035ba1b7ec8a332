"""Sixteen-byte keys and fingerprints of effects.

A key starts with the effect's own stated time, so that its index grows at the end; the business
rows guard against the same effect under another time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

from asyncpg.pgproto.pgproto import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def effect_key(name: str, at: datetime) -> UUID:
    """The key of the effect called ``name`` whose stated time is ``at`` (aware, 1970 or later)."""
    stated = ((at - _EPOCH) // _MILLISECOND).to_bytes(6, "big")
    return UUID(stated + blake2b(name.encode(), digest_size=10).digest())


def fingerprint(body: str) -> UUID:
    """Digest of everything that must be equal when a key is used again."""
    return UUID(blake2b(body.encode(), digest_size=16).digest())
