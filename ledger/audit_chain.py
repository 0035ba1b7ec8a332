"""Chains the audit's rows off the hot path: each hash covers the one before and the whole row.

An id is given before its row is committed, so a lower one may become visible later. The chainer
reads the highest id that it sees, notes who is writing to ``audit`` at that moment, and chains up
to it only after those have ended: by then each row below is visible or never will be. So the
chain goes up by id, no row is skipped, and a row below its head was slipped in by somebody. It
waits for writers, never they for it: it takes no lock that an insert asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit_stamp import moment
from ledger.engine import copy_rows, fetch, in_transaction
from tillkeeper.contracts.audit import AuditHead

BATCH: Final = 1_000
"""Rows of one transaction."""

START: Final = bytes(32)
"""The hash before the first place."""

_FIELDS: Final = (
    "a.id, a.subject, a.action, a.actor, a.reason_sealed, a.before, a.after, a.profile, a.at"
)

ROW: Final = (
    f"CASE WHEN a.stamp IS NULL THEN record_send(ROW({_FIELDS}, a.recorded_at))"
    f" ELSE record_send(ROW({_FIELDS}, a.stamp, a.recorded_at)) END"
)
"""The whole of an audit row ``a`` as bytes: PostgreSQL's binary form, ``recorded_at`` last.

Rows from before there were stamps are what they were.

The number of fields; then of each its type's oid, its length (-1: NULL), its bytes. Times are
microseconds since 2000-01-01 UTC.
"""

_LOCK: Final = 0x7111_C4A1

_HIGHEST: Final = "SELECT coalesce(max(id), 0) FROM audit"

# Whoever inserts holds this lock from before the id is drawn until the row is visible or gone.
_WRITERS: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
 WHERE relation = 'audit'::regclass AND mode = 'RowExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

_ALONE: Final = "SELECT pg_try_advisory_xact_lock($1)"

_LAST: Final = """
SELECT place, audit, hash, clock_timestamp() AS now
  FROM (SELECT place, audit, hash FROM audit_chain ORDER BY place DESC LIMIT 1) c
 RIGHT JOIN (SELECT 1) one ON true"""

_NEXT: Final = f"""
SELECT a.id, {ROW} FROM audit a WHERE a.id > $1 AND a.id <= $2 ORDER BY a.id LIMIT $3"""

_HEAD: Final = """
SELECT (SELECT count(*) FROM audit_chain) AS rows, c.place, c.hash, clock_timestamp() AS now
  FROM (SELECT place, hash FROM audit_chain ORDER BY place DESC LIMIT 1) c
 RIGHT JOIN (SELECT 1) one ON true"""


@dataclass(frozen=True, slots=True)
class _Horizon:
    """The highest id seen, and who was writing then."""

    highest: int
    writers: frozenset[str]


class Chainer:
    """Chains what is settled; several may run at once, and one may be killed at any moment."""

    def __init__(self, engine: AsyncEngine, *, batch: int = BATCH) -> None:
        self._engine = engine
        self._batch = batch
        self._waiting: _Horizon | None = None

    async def advance(self) -> int:
        """Chain every row that no running transaction can precede; says how many it chained.

        It never waits for a transaction: what is not settled is left to the next call. Raises
        Unavailable, BookBroken.
        """
        settled = await in_transaction(self._engine, self._settled)
        done = 0
        while True:
            chained = await in_transaction(self._engine, lambda c: self._chain(c, settled))
            done += chained
            if chained < self._batch:
                return done

    async def _settled(self, connection: AsyncConnection) -> int:
        """The id up to which all is decided; who writes is looked up after the highest id."""
        highest = (await fetch(connection, _HIGHEST, ()))[0][0]
        writers = frozenset(row[0] for row in await fetch(connection, _WRITERS, ()))
        now = _Horizon(highest, writers)
        if not writers:
            self._waiting = None
            return now.highest
        waited = self._waiting
        if waited is not None and waited.writers & writers:
            return 0
        self._waiting = now
        return 0 if waited is None else waited.highest

    async def _chain(self, connection: AsyncConnection, settled: int) -> int:
        """Chain one batch; 0 where another chainer is at it."""
        if not (await fetch(connection, _ALONE, (_LOCK,)))[0][0]:
            return 0
        place, audit, last, now = (await fetch(connection, _LAST, ()))[0]
        place, audit, last = place or 0, audit or 0, last or START
        chained_at = moment(now)
        rows = await fetch(connection, _NEXT, (audit, settled, self._batch))
        chained: list[tuple[int, int, bytes, datetime]] = []
        for audit_id, row in rows:
            place += 1
            last = link(last, place, chained_at, row)
            chained.append((place, audit_id, last, now))
        if chained:
            await copy_rows(connection, "audit_chain", ("place", "audit", "hash", "at"), chained)
        return len(chained)


def link(before: bytes, place: int, at: bytes, row: bytes) -> bytes:
    """The hash at ``place``: SHA-256 over the hash before, the place, when it was chained, the row.

    ``at`` is microseconds since 2000-01-01 UTC; it and the place are 8 bytes, highest first.
    """
    return sha256(b"".join((before, place.to_bytes(8, "big"), at, row))).digest()


async def head(connection: AsyncConnection) -> AuditHead:
    """Where the chain stands in what ``connection`` sees: what is to be kept outside."""
    rows, place, last, now = (await fetch(connection, _HEAD, ()))[0]
    return AuditHead(place=place or 0, hash=(last or START).hex(), rows=rows, taken_at=now)
