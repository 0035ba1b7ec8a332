"""Recomputes the audit's chain and names the first place or row that does not fit (C-03, C-07).

It reads the chain by place and the audit by id, side by side and once, in one unchanging view, in
the same memory for any length. A sound chain goes up by id without leaving a row out, so each edit,
deletion, insertion and reordering shows where it was done. Who rewrites every hash as well is found
by a head that was kept outside.

With a key ring it also proves of every row, chained or not, that we wrote it as it stands. It never
repairs anything.
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

from ledger.audit_boundary import Boundary, boundary_of
from ledger.audit_chain import ROW, START, head, link
from ledger.audit_stamp import made_by_us, read
from ledger.engine import driver, fetch
from ledger.snapshot import snapshot
from tillkeeper.contracts.audit import AuditHead
from tillkeeper.sealing import KeyRing, key_id_of

_ROWS_AT_ONCE: Final = 2_000

_LINKS: Final = """
SELECT c.place, c.audit, c.hash, timestamptz_send(c.at) FROM audit_chain c ORDER BY c.place"""

_ROWS: Final = f"SELECT a.id, {ROW} FROM audit a ORDER BY a.id"

STALLED_S: Final = 60
"""Seconds after which a row must be chained, or something have been."""

_UNCHAINED: Final = f"""
WITH late AS (SELECT clock_timestamp() - interval '{STALLED_S} s' AS at)
SELECT count(*) AS rows, min(recorded_at) FILTER (WHERE isfinite(recorded_at)) AS since,
       coalesce(min(recorded_at) < (SELECT at FROM late), false)
       AND NOT EXISTS (SELECT FROM audit_chain c, late WHERE c.at >= late.at) AS stalled
  FROM audit WHERE id > (SELECT coalesce(max(audit), 0) FROM audit_chain)"""

_TWICE: Final = """
SELECT c.place, a.id, a.first
  FROM (SELECT id, min(id) OVER (PARTITION BY stamp) AS first FROM audit
         WHERE stamp IS NOT NULL) a LEFT JOIN audit_chain c ON c.audit = a.id
 WHERE a.id > a.first ORDER BY a.id LIMIT 1"""

_OUTSIDE: Final = "as was kept outside"
_WHEN_BEGUN: Final = "as was stamped when stamps began"

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

    ``unstamped`` are rows from before there were stamps, which the chain alone holds; None: stamps
    were not looked at. ``stalled``: rows wait for more than a minute, and nothing is chained.
    """

    head: AuditHead
    broken: Broken | None
    unchained: int
    unchained_since: datetime | None
    backdated: int
    unstamped: int | None = None
    stalled: bool = False

    @property
    def ok(self) -> bool:
        """Whether the chain is whole, and goes through every head that was kept outside."""
        return self.broken is None


async def prove(
    engine: AsyncEngine, anchors: Sequence[AuditHead] = (), *, ring: KeyRing | None = None
) -> Proof:
    """Verify the chain as it stands now, and that it goes through ``anchors``; with ``ring`` also
    the stamps. Raises Unavailable.

    It needs the reading role only.
    """
    async with snapshot(engine) as connection:
        return await prove_on(connection, anchors, ring=ring)


async def prove_on(
    connection: AsyncConnection,
    anchors: Sequence[AuditHead] = (),
    *,
    ring: KeyRing | None = None,
) -> Proof:
    """Verify what the open transaction of ``connection`` sees."""
    raw = driver(connection)
    kept = [(anchor.place, anchor.hash, _OUTSIDE) for anchor in anchors]
    stamps = None
    if ring is not None:
        stamps = _Stamps(ring, await boundary_of(connection, ring))
        begun = stamps.boundary
        kept.append((begun.place, begun.hash or START.hex(), _WHEN_BEGUN))
    walk = _Walk(_Stream(raw, _LINKS), _Stream(raw, _ROWS), _expected(kept), stamps)
    broken = await walk.run()
    if broken is None and stamps is not None:
        broken = await _copied(connection)
    rows, since, stalled = (await fetch(connection, _UNCHAINED, ()))[0]
    unstamped = None if stamps is None else stamps.unstamped
    top = await head(connection)
    return Proof(top, broken, rows, since, walk.backdated, unstamped, stalled)


def _expected(anchors: Sequence[tuple[int, str, str]]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for place, kept, whence in anchors:
        found.setdefault(place, {})[kept] = whence
    return found


async def _copied(connection: AsyncConnection) -> Broken | None:
    """The first row with a stamp that an earlier one has: no two that we make are alike."""
    rows = await fetch(connection, _TWICE, ())
    if not rows:
        return None
    place, audit, first = rows[0]
    return Broken(place, audit, "a stamp of its own", f"the stamp of row {first}")


@dataclass(slots=True)
class _Stamps:
    """Proves of single rows that we wrote them; counts those from before there were stamps."""

    ring: KeyRing
    boundary: Boundary
    unstamped: int = 0

    def look_at(self, place: int | None, audit: int, sent: bytes) -> Broken | None:
        """Whether the row may stand as it does."""
        row = read(sent)
        if row.stamp is None and audit <= self.boundary.audit:
            self.unstamped += 1
            return None
        if made_by_us(self.ring, row):
            return None
        found = "no stamp"
        if row.stamp is not None:
            key = key_id_of(row.stamp)
            found = "a stamp over something else"
            if key not in self.ring.keys:
                found = f"a stamp by key {key}, which the ring does not have"
        return Broken(place, audit, "a stamp of ours over what the row says", found)


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
    anchors: Mapping[int, Mapping[str, str]]
    stamps: _Stamps | None = None
    place: int = 0
    audit: int = 0
    last: bytes = START
    recorded: int = 0
    backdated: int = 0

    async def run(self) -> Broken | None:
        """The first thing that does not fit."""
        broken = self._anchored()
        while broken is None and (step := await self.links.next()) is not None:
            row = await self.rows.next()
            broken = self._follows(step) or self._hashes(step, row)
            broken = broken or self._anchored() or self._stamped(self.place, row)
        broken = broken or self._long_enough()
        # Rows that are not chained yet are held by their stamps alone.
        while broken is None and self.stamps and (row := await self.rows.next()) is not None:
            broken = self._stamped(None, row)
        return broken

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

    def _stamped(self, place: int | None, row: Any) -> Broken | None:
        return None if self.stamps is None else self.stamps.look_at(place, *row)

    def _anchored(self) -> Broken | None:
        """The hash at this place is the one that was kept outside."""
        kept = self.anchors.get(self.place, {})
        wrong = min(kept.keys() - {self.last.hex()}, default=None)
        if wrong is None:
            return None
        expected = f"hash {wrong}, {kept[wrong]}"
        found = f"hash {self.last.hex()}: this place or one before was rewritten"
        return Broken(self.place, self.audit or None, expected, found)

    def _long_enough(self) -> Broken | None:
        """The chain goes at least as far as what was kept outside."""
        furthest = max(self.anchors, default=0)
        if furthest <= self.place:
            return None
        expected = f"a chain up to place {furthest}, {min(self.anchors[furthest].values())}"
        return Broken(self.place + 1, None, expected, f"it ends at place {self.place}")
