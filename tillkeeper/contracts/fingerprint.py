"""Tells whether the same key came with the same body (C-02); says nothing about the body itself.

Fields that stand at their default are left out, so that a field added later with a default does not
change the fingerprint of what was sent before. A default, once published, must never change.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Final

from tillkeeper.contracts.base import Model

FINGERPRINT_CHARS: Final = 32


def canonical(body: Model) -> str:
    """One text for equal bodies: sorted keys, no defaults, times in UTC."""
    fields = body.model_dump(exclude_defaults=True)
    return json.dumps(
        fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
    )


def fingerprint(body: Model) -> str:
    """32 hexadecimal characters, equal for equal bodies; sealed wherever ``body`` must be."""
    return hashlib.sha256(canonical(body).encode()).hexdigest()[:FINGERPRINT_CHARS]


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"no canonical form of {type(value).__name__}")
