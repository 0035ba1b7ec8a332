"""One append-only row per state change: actor, reason, what changed; never personal data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute
from tillkeeper.sealing import KeyRing

SYSTEM: Final = "tillkeeper"
"""The actor of changes that no person made."""

REASON: Final = "audit/reason"
"""What a reason is sealed for."""

_INSERT: Final = """
INSERT INTO audit (subject, action, actor, reason_sealed, before, after, profile, at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8)"""


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes something, why, when, and under which rule profile."""

    action: str
    actor: str
    at: datetime
    profile: str
    reason: str = ""


class Audit:
    """The append-only book of acts; reasons, which people type, are sealed."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def record(
        self,
        connection: AsyncConnection,
        act: Act,
        subject: str,
        *,
        before: dict[str, Any],
        after: dict[str, Any],
    ) -> None:
        """Write down a change of ``subject``: only the fields that differ."""
        names = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
        old = json.dumps({k: before[k] for k in names if k in before}, ensure_ascii=False)
        new = json.dumps({k: after[k] for k in names if k in after}, ensure_ascii=False)
        reason = self._ring.seal_text(act.reason, purpose=REASON) if act.reason else None
        parameters = (subject, act.action, act.actor, reason, old, new, act.profile, act.at)
        await execute(connection, _INSERT, parameters)
