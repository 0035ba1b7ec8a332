"""One append-only row per state change: actor, reason, what changed; never personal data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute

SYSTEM: Final = "tillkeeper"
"""The actor of changes that no person made."""

_INSERT: Final = """
INSERT INTO audit (subject, action, actor, reason, before, after, profile, at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8)"""


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes something, why, when, and under which rule profile."""

    action: str
    actor: str
    at: datetime
    profile: str
    reason: str = ""


async def record(
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
    parameters = (subject, act.action, act.actor, act.reason, old, new, act.profile, act.at)
    await execute(connection, _INSERT, parameters)
