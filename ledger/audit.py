"""One append-only row per state change: actor, reason, what changed; never personal data.

Each row is stamped with the key ring (``ledger.audit_stamp``): one that somebody else wrote, or
changed later, is named by ``ledger.audit_proof``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit_stamp import canonical, stamp
from ledger.engine import execute, fetch, ring_of
from tillkeeper.sealing import KeyRing

SYSTEM: Final = "tillkeeper"
"""The actor of changes that no person made."""

REASON: Final = "audit/reason"
"""What a reason is sealed for."""

_INSERT: Final = """
INSERT INTO audit (subject, action, actor, reason_sealed, before, after, profile, at, stamp)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8, $9)"""

_INSERT_ALL: Final = """
INSERT INTO audit (subject, action, actor, reason_sealed, before, after, profile, at, stamp)
SELECT c.subject, $5, $6, $7::bytea, c.before::jsonb, c.after::jsonb, $8, $9, c.stamp
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
       AS c (subject, before, after, stamp)"""

_HISTORY: Final = """
SELECT a.id, c.place, a.action, a.actor, a.reason_sealed, a.before::text, a.after::text, a.profile,
       a.at, a.recorded_at
  FROM audit a LEFT JOIN audit_chain c ON c.audit = a.id
 WHERE a.subject = $1 ORDER BY a.id DESC LIMIT $2"""

Change = tuple[str, dict[str, Any], dict[str, Any]]
"""A subject, and its fields before and after."""


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes something, why, when, and under which rule profile.

    ``token`` is the id of the token that the actor proved himself by, never its text.
    """

    action: str
    actor: str
    at: datetime
    profile: str
    reason: str = ""
    token: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row as it stands, its reason opened; ``place`` in the chain is None until it has one."""

    id: int
    place: int | None
    action: str
    actor: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]
    profile: str
    at: datetime
    recorded_at: datetime


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
        change = (subject, before, after)
        await _write(connection, self._ring, act, change, self._reason(act))

    async def record_all(
        self, connection: AsyncConnection, act: Act, changes: Sequence[Change]
    ) -> None:
        """Write down the same act on many subjects, in one statement."""
        if not changes:
            return
        reason = self._reason(act)
        differing = [_differing(before, after) for _, before, after in changes]
        subjects = [subject for subject, _, _ in changes]
        stamps = [
            _stamp(self._ring, act, subject, changed, reason)
            for subject, changed in zip(subjects, differing, strict=True)
        ]
        columns = (subjects, [d[0] for d in differing], [d[1] for d in differing], stamps)
        parameters = (*columns, act.action, act.actor, reason, act.profile, act.at)
        await execute(connection, _INSERT_ALL, parameters)

    async def history(
        self, connection: AsyncConnection, subject: str, limit: int
    ) -> list[AuditRow]:
        """The latest ``limit`` rows of ``subject``, oldest first, with what people typed."""
        rows = await fetch(connection, _HISTORY, (subject, limit))
        return [self._opened(*row) for row in reversed(rows)]

    def _opened(
        self, number: int, place: int | None, action: str, actor: str, *rest: Any
    ) -> AuditRow:
        sealed, before, after, *when = rest
        reason = "" if sealed is None else self._ring.open_text(sealed, purpose=REASON)
        old, new = json.loads(before), json.loads(after)
        return AuditRow(number, place, action, actor, reason, old, new, *when)

    def _reason(self, act: Act) -> bytes | None:
        return self._ring.seal_text(act.reason, purpose=REASON) if act.reason else None


async def record_system_act(
    connection: AsyncConnection,
    act: Act,
    subject: str,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    """Write down a change for which nobody typed a reason: nothing is to be sealed.

    It is stamped with the engine's ring. Raises BookBroken where the engine has none.
    """
    await _write(connection, ring_of(connection), act, (subject, before, after), None)


async def _write(
    connection: AsyncConnection, ring: KeyRing, act: Act, change: Change, reason: bytes | None
) -> None:
    subject, before, after = change
    told = {} if act.token is None else {"token": act.token}
    changed = _differing(before, after | told)
    stamped = _stamp(ring, act, subject, changed, reason)
    row = (subject, act.action, act.actor, reason, *changed, act.profile, act.at, stamped)
    await execute(connection, _INSERT, row)


def _stamp(
    ring: KeyRing, act: Act, subject: str, changed: tuple[str, str], reason: bytes | None
) -> bytes:
    texts = (subject, act.action, act.actor, act.profile)
    return stamp(ring, texts, changed, reason, act.at)


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, str]:
    names = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    old = canonical({k: before[k] for k in names if k in before})
    new = canonical({k: after[k] for k in names if k in after})
    return old, new
