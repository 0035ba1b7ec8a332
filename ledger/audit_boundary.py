"""Where stamps begin in an audit that is older than they are (C-03, C-07; decision 0015).

A book from before has rows without a stamp. Once, when the first worker with stamps starts, a
stamped row says up to which id that is so, and what the chain's hash was there: older rows are held
by that hash, which the owner of the database can compute and yet not stamp. A book that began with
stamps has no such row, and no row without a stamp. It never writes a second one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit import SYSTEM, Act, Audit
from ledger.audit_chain import ROW, Chainer
from ledger.audit_stamp import changed_to, made_by_us, read
from ledger.engine import execute, fetch, in_transaction
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.sealing import KeyRing

SUBJECT: Final = "audit/stamps"
RULES: Final = "stamps@2026-11"
WAIT_S: Final = 10.0
"""How long the rows from before may take to be chained."""

_PAUSE_S: Final = 0.5
_LOCK: Final = 0x7111_C4A2

_ALONE: Final = "SELECT pg_advisory_xact_lock($1)"

_BEGUN: Final = """
SELECT NOT EXISTS (SELECT FROM audit) OR EXISTS (SELECT FROM audit WHERE stamp IS NOT NULL)"""

_LAST: Final = """
SELECT c.place, c.audit, c.hash, (SELECT max(id) FROM audit) AS highest, clock_timestamp() AS now
  FROM (SELECT place, audit, hash FROM audit_chain ORDER BY place DESC LIMIT 1) c
 RIGHT JOIN (SELECT 1) one ON true"""

_SAID: Final = f"SELECT a.id, {ROW} FROM audit a WHERE a.subject = $1 ORDER BY a.id"


@dataclass(frozen=True, slots=True)
class Boundary:
    """The last row that needs no stamp, and its place and hash (hex) in the chain; 0: none."""

    audit: int = 0
    place: int = 0
    hash: str = ""


async def begin_stamps(engine: AsyncEngine, ring: KeyRing, *, wait_s: float = WAIT_S) -> bool:
    """Say where stamps begin, unless it was said or there is nothing older; whether it did.

    Raises Unavailable where the rows from before are not chained within ``wait_s`` seconds: workers
    of an earlier release still write.
    """
    chainer, waited = Chainer(engine), 0.0
    while True:
        await chainer.advance()
        done = await in_transaction(engine, lambda c: _begin(c, ring))
        if done is not None:
            return done
        if waited >= wait_s:
            raise Unavailable("workers of an earlier release still write into the audit")
        await asyncio.sleep(_PAUSE_S)
        waited += _PAUSE_S


async def boundary_of(connection: AsyncConnection, ring: KeyRing) -> Boundary:
    """What was said with a stamp of the ring; without it no row may lack a stamp."""
    for number, sent in await fetch(connection, _SAID, (SUBJECT,)):
        row = read(sent)
        if made_by_us(ring, row):
            said = changed_to(row)
            return Boundary(min(said["audit"], number - 1), said["place"], said["hash"])
    return Boundary()


async def _begin(connection: AsyncConnection, ring: KeyRing) -> bool | None:
    """None where rows from before are not chained yet."""
    await execute(connection, _ALONE, (_LOCK,))
    if (await fetch(connection, _BEGUN, ()))[0][0]:
        return False
    place, audit, last, highest, now = (await fetch(connection, _LAST, ()))[0]
    if audit != highest:
        return None
    act = Act("begin_stamps", SYSTEM, now, RULES)
    after = {"audit": audit, "place": place, "hash": last.hex()}
    await Audit(ring).record(connection, act, SUBJECT, before={}, after=after)
    return True
