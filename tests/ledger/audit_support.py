"""An audit to chain, and what the owner of a database may do to it with the rules switched off."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit import Act, Audit
from ledger.audit_chain import ROW, START, Chainer, link
from ledger.engine import execute, fetch, in_transaction
from tillkeeper.sealing import KeyRing

AT: Final = datetime(2026, 11, 5, 9, 0, tzinfo=UTC)

MANY: Final = """
INSERT INTO audit (subject, action, actor, reason_sealed, before, after, profile, at)
SELECT 'withdrawal/M1/W' || n, 'change', 'O' || n % 7,
       CASE WHEN n % 3 > 0 THEN decode(md5(n::text), 'hex') END,
       jsonb_build_object('state', 'A', 'amount', n), jsonb_build_object('state', '已付'),
       'jd-prepaid@2023-11', $2::timestamptz + n * interval '1 s'
  FROM generate_series(1, $1::int) AS n"""

Named = set[tuple[int | None, int | None]]
"""Places and rows, one of which the verifier must name."""

Edit = Callable[[AsyncConnection, random.Random], Awaitable[Named]]


async def write_one(connection: AsyncConnection, ring: KeyRing, subject: str) -> int:
    """One row, as the ledger writes it; its id."""
    act = Act("approve", "O2", AT, "jd-prepaid@2023-11", "as agreed")
    await Audit(ring).record(
        connection, act, subject, before={"state": "A"}, after={"state": "B", "token": "J1"}
    )
    return int((await fetch(connection, "SELECT max(id) FROM audit", ()))[0][0])


async def write_many(engine: AsyncEngine, count: int) -> None:
    """``count`` rows in one statement."""
    await in_transaction(engine, lambda c: execute(c, MANY, (count, AT)))


async def chain_all(engine: AsyncEngine) -> int:
    """Chain what is settled, nobody writing."""
    return await Chainer(engine).advance()


async def rewrite_chain(connection: AsyncConnection) -> None:
    """Every place and hash again, over the rows as they stand now: what only an anchor finds."""
    rows = await fetch(connection, f"SELECT a.id, {ROW} FROM audit a ORDER BY a.id", ())  # noqa: S608
    times = await fetch(
        connection, "SELECT at, timestamptz_send(at) FROM audit_chain ORDER BY place", ()
    )
    await execute(connection, "DELETE FROM audit_chain", ())
    last = START
    for place, ((number, row), (at, sent)) in enumerate(zip(rows, times, strict=False), 1):
        last = link(last, place, sent, row)
        insert = "INSERT INTO audit_chain (place, audit, hash, at) VALUES ($1, $2, $3, $4)"
        await execute(connection, insert, (place, number, last, at))


async def _pick(connection: AsyncConnection, rng: random.Random, count: int = 1) -> list[Any]:
    rows = await fetch(connection, "SELECT place, audit FROM audit_chain ORDER BY place", ())
    return sorted(rng.sample(rows, count))


_COLUMNS: Final = (
    "subject = subject || 'x'", "subject = ''", "action = 'reject'", "actor = actor || ' '",
    "actor = 'nobody'", "reason_sealed = NULL", "reason_sealed = '\\x00'::bytea",
    "reason_sealed = coalesce(reason_sealed, '') || '\\x01'::bytea", "before = '{}'",
    "before = before || '{\"amount\": 1}'", "after = after || '{\"by\": \"O9\"}'",
    "after = before, before = after", "profile = 'other'", "at = at + interval '1 microsecond'",
    "at = 'infinity'", "recorded_at = recorded_at - interval '1 microsecond'",
    "recorded_at = '-infinity'", "subject = action, action = subject",
    "subject = subject || action, action = ''",
)  # fmt: skip


async def edit_row(connection: AsyncConnection, rng: random.Random) -> Named:
    """One column of one row, by whatever little."""
    [(place, number)] = await _pick(connection, rng)
    before = "SELECT a::text FROM audit a WHERE id = $1"
    old = await fetch(connection, before, (number,))
    await execute(connection, f"UPDATE audit SET {rng.choice(_COLUMNS)} WHERE id = $1", (number,))  # noqa: S608
    unchanged = await fetch(connection, before, (number,)) == old
    return set() if unchanged else {(place, number)}


async def swap_contents(connection: AsyncConnection, rng: random.Random) -> Named:
    """Two rows change places: everything but their ids."""
    [(place, first), (_, second)] = await _pick(connection, rng, 2)
    columns = "subject, action, actor, reason_sealed, before, after, profile, at, recorded_at"
    await execute(
        connection,
        f"UPDATE audit a SET ({columns}) = (SELECT {columns} FROM audit o WHERE o.id ="  # noqa: S608
        " CASE a.id WHEN $1::bigint THEN $2::bigint ELSE $1 END) WHERE a.id IN ($1, $2)",
        (first, second),
    )
    return {(place, first)}


async def delete_row(connection: AsyncConnection, rng: random.Random) -> Named:
    """A row is gone; its place stays."""
    [(place, number)] = await _pick(connection, rng)
    await execute(connection, "DELETE FROM audit WHERE id = $1", (number,))
    return {(place, number)}


async def delete_both(connection: AsyncConnection, rng: random.Random) -> Named:
    """A row and its place are gone, the last of the chain excepted."""
    count = (await fetch(connection, "SELECT count(*) FROM audit_chain", ()))[0][0]
    [(place, number)] = await _pick(connection, rng)
    if place == count:
        return set()
    await execute(connection, "DELETE FROM audit_chain WHERE place = $1", (place,))
    await execute(connection, "DELETE FROM audit WHERE id = $1", (number,))
    if rng.random() < 0.5:
        await _shift(connection, place, -1)
        return {(place, number + 1)}
    return {(place, None)}


async def delete_place(connection: AsyncConnection, rng: random.Random) -> Named:
    """A place is gone, the last excepted; the places after it close up, or do not."""
    count = (await fetch(connection, "SELECT count(*) FROM audit_chain", ()))[0][0]
    [(place, number)] = await _pick(connection, rng)
    if place == count:
        return set()
    await execute(connection, "DELETE FROM audit_chain WHERE place = $1", (place,))
    if rng.random() < 0.5:
        await _shift(connection, place, -1)
        return {(place, number)}
    return {(place, None)}


async def insert_row(connection: AsyncConnection, rng: random.Random) -> Named:
    """A row slipped in among older ones, with or without a place of its own."""
    [(place, number)] = await _pick(connection, rng)
    await execute(connection, "ALTER TABLE audit ALTER COLUMN id DROP IDENTITY", ())
    await execute(connection, "UPDATE audit SET id = -id * 2", ())
    await execute(connection, "UPDATE audit SET id = -id", ())
    await rewrite_chain(connection)
    forged = number * 2 - 1
    await execute(
        connection,
        "INSERT INTO audit SELECT $1::bigint, subject, action, 'forged',"
        " reason_sealed, before, after, profile, at, recorded_at FROM audit WHERE id = $2",
        (forged, number * 2),
    )
    if rng.random() < 0.5:
        await _shift(connection, place - 1, 1)
        insert = "INSERT INTO audit_chain (place, audit, hash) VALUES ($1, $2, sha256('x'))"
        await execute(connection, insert, (place, forged))
    return {(place, forged)}


async def edit_link(connection: AsyncConnection, rng: random.Random) -> Named:
    """One column of one place: its hash, its time, or its number."""
    [(place, number)] = await _pick(connection, rng)
    changes = (
        "hash = sha256(hash)", "at = at + interval '1 microsecond'", "at = 'infinity'",
        "place = place + 1000000", "place = -place",
    )  # fmt: skip
    change = rng.choice(changes)
    await execute(connection, f"UPDATE audit_chain SET {change} WHERE place = $1", (place,))  # noqa: S608
    if change == "place = -place":
        return {(1, None)}
    return {(place, None if change.startswith("place") else number)}


async def swap_links(connection: AsyncConnection, rng: random.Random) -> Named:
    """Two places change their rows, with or without their hashes."""
    [(place, first), (other, second)] = await _pick(connection, rng, 2)
    what = rng.choice(["place", "audit"])
    change = f"UPDATE audit_chain SET {what} = $2 WHERE {what} = $1"  # noqa: S608
    one, two = (place, other) if what == "place" else (first, second)
    for old, new in ((one, -1), (two, one), (-1, two)):
        await execute(connection, change, (old, new))
    return {(place, first)}


async def _shift(connection: AsyncConnection, above: int, by: int) -> None:
    """Renumber all places above one."""
    far = 10**9
    move = "UPDATE audit_chain SET place = place + $2 WHERE place > $1"
    await execute(connection, move, (above, far))
    await execute(connection, move, (far, by - far))


EDITS: tuple[tuple[Edit, int], ...] = (
    (edit_row, 80), (swap_contents, 15), (delete_row, 15), (delete_both, 15), (delete_place, 15),
    (insert_row, 15), (edit_link, 20), (swap_links, 15),
)  # fmt: skip
"""Every way, and how many times it is tried."""
