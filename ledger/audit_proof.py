"""Recomputes the audit's chain and names the first place or row that does not fit (C-03, C-07).

It reads the chain by place and the audit by id, side by side and once, in one unchanging view, in
the same memory for any length. A sound chain goes up by id without leaving a row out, so each edit,
deletion, insertion and reordering shows where it was done. Who rewrites every hash as well is found
by a head that was kept outside. It never repairs anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import asyncpg.cursor
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit_chain import ROW, START, head, link
from ledger.engine import driver, fetch
from ledger.snapshot import snapshot
from tillkeeper.contracts.audit import AuditHead

_ROWS_AT_ONCE: Final = 2_000

_LINKS: Final = """
SELECT c.place, c.audit, c.hash, timestamptz_send(c.at) FROM audit_chain c ORDER BY c.place"""

_ROWS: Final = f"SELECT a.id, {ROW} FROM audit a ORDER BY a.id"

_UNCHAINED: Final = """
SELECT count(*), min(recorded_at) FROM audit
 WHERE id > (SELECT coalesce(max(audit), 0) FROM audit_chain)"""

_BACK: Final = 60_000_000
"""Microseconds: one row's clock may be that much behind an older row's."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that does not fit: the place of the chain, the audit row, or both."""

    place: int | None
    audit: int | None
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What was verified. Not broken and yet told: rows that are not chained yet, and chained rows
    recorded a minute or more before one with a lower id (dated back, or the clock was).
    """

    head: AuditHead
    broken: Broken | None
    unchained: int
    unchained_since: datetime | None
    backdated: int

    @property
    def ok(self) -> bool:
        """Whether the chain is whole, and goes through every head that was kept outside."""
        return self.broken is None


async def prove(engine: AsyncEngine, anchors: Sequence[AuditHead] = ()) -> Proof:
    """Verify the chain as it stands now, and that it goes through ``anchors``. Raises Unavailable.

    It needs the reading role only.
    """
    async with snapshot(engine) as connection:
        return await prove_on(connection, anchors)


async def prove_on(connection: AsyncConnection, anchors: Sequence[AuditHead] = ()) -> Proof:
    """Verify what the open transaction of ``connection`` sees."""
    raw = driver(connection)
    walk = _Walk(_Stream(raw, _LINKS), _Stream(raw, _ROWS), _expected(anchors))
    broken = await walk.run()
    count, since = (await fetch(connection, _UNCHAINED, ()))[0]
    return Proof(await head(connection), broken, count, since, walk.backdated)


def _expected(anchors: Sequence[AuditHead]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for anchor in anchors:
        found.setdefault(anchor.place, set()).add(anchor.hash)
    return found


class _Stream:
    """One query's rows, a page at a time."""

    def __init__(self, raw: asyncpg.Connection, sql: str) -> None:
        self._raw = raw
        self._sql = sql
        self._cursor: asyncpg.cursor.Cursor[Any] | None = None
        self._page: deque[Any] = deque()

    async def next(self) -> Any | None:
        """The next row, None at the end."""
        if not self._page:
            if self._cursor is None:
                self._cursor = await self._raw.cursor(self._sql)
            self._page.extend(await self._cursor.fetch(_ROWS_AT_ONCE))
        return self._page.popleft() if self._page else None


@dataclass(slots=True)
class _Walk:
    """Goes up the chain and the audit together."""

    links: _Stream
    rows: _Stream
    anchors: Mapping[int, set[str]]
    place: int = 0
    audit: int = 0
    last: bytes = START
    recorded: int = 0
    backdated: int = 0

    async def run(self) -> Broken | None:
        """The first thing that does not fit."""
        broken = self._anchored()
        while broken is None and (step := await self.links.next()) is not None:
            broken = self._follows(step) or self._hashes(step, await self.rows.next())
            broken = broken or self._anchored()
        return broken or self._long_enough()

    def _follows(self, step: Any) -> Broken | None:
        """Places go up by one, ids go up."""
        place, audit = step[0], step[1]
        self.place += 1
        if place != self.place:
            return Broken(self.place, None, f"place {self.place}", f"place {place}")
        if audit <= self.audit:
            expected = f"a row above {self.audit}, the one before"
            return Broken(place, audit, expected, f"row {audit}")
        return None

    def _hashes(self, step: Any, row: Any | None) -> Broken | None:
        """The next row of the audit is the one that is chained here, unchanged."""
        place, audit, stored, at = step
        if row is None or row[0] > audit:
            return Broken(place, audit, f"row {audit} as it was chained", "the row is gone")
        if row[0] < audit:
            found = f"place {place} holds row {audit}"
            return Broken(place, row[0], f"a place for row {row[0]} before row {audit}", found)
        self.audit = audit
        self.last = link(self.last, place, at, row[1])
        if stored != self.last:
            return Broken(place, audit, f"hash {self.last.hex()}", f"hash {stored.hex()}")
        recorded = int.from_bytes(row[1][-8:], "big", signed=True)
        self.backdated += recorded < self.recorded - _BACK
        self.recorded = max(recorded, self.recorded)
        return None

    def _anchored(self) -> Broken | None:
        """The hash at this place is the one that was kept outside."""
        wrong = self.anchors.get(self.place, set()) - {self.last.hex()}
        if not wrong:
            return None
        expected = f"hash {min(wrong)}, as was kept outside"
        found = f"hash {self.last.hex()}: this place or one before was rewritten"
        return Broken(self.place, self.audit or None, expected, found)

    def _long_enough(self) -> Broken | None:
        """The chain goes at least as far as what was kept outside."""
        furthest = max(self.anchors, default=0)
        if furthest <= self.place:
            return None
        expected = f"a chain up to place {furthest}, as was kept outside"
        return Broken(self.place + 1, None, expected, f"it ends at place {self.place}")
