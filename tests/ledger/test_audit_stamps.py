"""The audit's stamps: C-03, C-07; what we did not write is named, chained or not, by whoever
owns the database.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit import Act, Audit, Change, record_system_act
from ledger.audit_boundary import SUBJECT, begin_stamps
from ledger.audit_chain import head
from ledger.audit_proof import Broken, prove, prove_on
from ledger.engine import execute, fetch, in_transaction
from tests.ledger.audit_support import (
    AT,
    chain_all,
    rewrite_chain,
    write_many,
    write_one,
)  # fmt: skip
from tests.ledger.withdrawal_support import Counter
from tests.stack import engine_on
from tillkeeper.contracts.errors import BookBroken, Unavailable
from tillkeeper.sealing import KeyRing

OLD = 40
FORGED = """
INSERT INTO audit (subject, action, actor, before, after, profile, at)
VALUES ('withdrawal/M1/W1', 'decide_withdrawal', 'O2', '{}', '{"verdict": "APPROVE"}', 'x',
        now())"""
COPIED = """
INSERT INTO audit (subject, action, actor, reason_sealed, before, after, profile, at, stamp)
SELECT subject, action, actor, reason_sealed, before, after, profile, at, stamp FROM audit
 WHERE id = 2"""
SLIPPED_IN = """
INSERT INTO audit OVERRIDING SYSTEM VALUE
SELECT {0}, subject, action, 'O9', reason_sealed, before, after, profile, at, recorded_at
  FROM audit WHERE id = 1"""
EDITED = ("UPDATE audit SET actor = 'O9' WHERE id = 7",)
EXCHANGED = (
    "DELETE FROM audit WHERE id = 7",
    "DELETE FROM audit_chain WHERE audit = 7",
    SLIPPED_IN.format(7),
    "INSERT INTO audit_chain SELECT 7, 7, hash, at FROM audit_chain WHERE place = 6",
)
MOVED = ("""UPDATE audit SET after = after || '{"audit": 99}' WHERE subject = 'audit/stamps'""",)
TAKEN_AWAY = (
    "DELETE FROM audit WHERE subject = 'audit/stamps'",
    "DELETE FROM audit_chain WHERE place = 41",
)
AWKWARD: dict[str, Any] = {
    "zz": 1, "a": {"long": [1, {"b": None, "a": True}], "": "é\u2028\"\\"}, "金额": 2**62,
    "none": None, "empty": {}, "list": [], "text": "𠮷", "off": False,
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def owner(owner_url: str, ring: KeyRing) -> AsyncIterator[AsyncEngine]:
    async with engine_on(owner_url, pool_size=2, ring=ring) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="session")
async def written(engine: AsyncEngine, owner: AsyncEngine, ring: KeyRing) -> AsyncEngine:
    """The owner's engine on an audit of four rows that we wrote, two of them chained."""
    for number in range(4):
        await in_transaction(
            engine,
            lambda c, n=number: write_one(c, ring, f"withdrawal/M1/W{n}"),  # type: ignore[misc]
        )
        if number == 1:
            assert await chain_all(owner) == 2
    return owner


@pytest_asyncio.fixture(loop_scope="session")
async def older(owner: AsyncEngine, ring: KeyRing) -> AsyncEngine:
    """The owner's engine on a book from before there were stamps, which begins with them."""
    await write_many(owner, OLD)
    assert await begin_stamps(owner, ring)
    await in_transaction(owner, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
    await chain_all(owner)
    return owner


async def sneak(
    engine: AsyncEngine, ring: KeyRing | None, *edits: str, rewrite: bool = False
) -> Broken | None:
    """What is proved after the owner's edits, the rules off; then all is undone."""
    async with engine.connect() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica", ())
        for edit in edits:
            assert (await connection.exec_driver_sql(edit)).rowcount >= 1, edit
        if rewrite:
            await rewrite_chain(connection)
        broken = (await prove_on(connection, ring=ring)).broken
        await connection.rollback()
    return broken


class TestWrite:
    async def test_every_way_of_writing_is_stamped_whatever_it_says(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: PostgreSQL keeps JSON in an order of its own, and the stamp still fits."""
        audit = Audit(ring)
        act = Act("change", "O2", AT, "p", "理由", "J1")
        old = AWKWARD | {"zz": 2, "gone": 1}

        async def write(connection: AsyncConnection) -> None:
            await audit.record(connection, act, "a/1", before=old, after=AWKWARD)
            changes: list[Change] = [(f"b/{n}", {}, AWKWARD | {"n": n}) for n in range(3)]
            await audit.record_all(connection, act, changes)
            await record_system_act(connection, act, "c/1", before={}, after=AWKWARD)

        await in_transaction(engine, write)
        for chained in (0, 5):
            found = await prove(engine, ring=ring)
            assert (found.broken, found.unstamped, found.head.rows) == (None, 0, chained)
            await chain_all(engine)

    async def test_whole_lifecycles_prove_row_by_row(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: accounts, requests, refusals and approvals, as the ledger writes them."""
        counter = Counter(engine, ring)
        await counter.account(fund=9_000_00)
        await counter.approve(await counter.submit(2_000_00, "W1"))
        await counter.reject(await counter.submit(1_000_00, "W2"))
        await counter.submit(99_000_000_00, "W3")
        found = await prove(engine, ring=ring)
        assert (found.broken, found.unstamped) == (None, 0)
        assert found.unchained > 5

    async def test_an_engine_without_a_ring_writes_nothing(
        self, database_url: str, ring: KeyRing
    ) -> None:
        """C-07: a row without a stamp would look like somebody else's."""
        act = Act("change", "O2", AT, "p")
        async with engine_on(database_url) as bare:
            with pytest.raises(BookBroken, match="key ring"):
                await in_transaction(
                    bare, lambda c: record_system_act(c, act, "a/1", before={}, after={"a": 1})
                )
            assert (await prove(bare, ring=ring)).unchained == 0

    def test_nobody_else_writes_into_the_audit(self) -> None:
        """C-07: two statements in one module."""
        tree = Path(__file__).resolve().parents[2]
        rooms = ("activities", "bench", "console", "gateways", "ledger", "tillkeeper", "worker")
        found = [
            file.name
            for room in (*rooms, "workflows")
            for file in (tree / room).rglob("*.*")
            if file.suffix in (".py", ".sql")
            for _ in re.findall(r"INTO\s+audit\b", file.read_text(encoding="utf-8"), re.IGNORECASE)
        ]
        assert found == ["audit.py", "audit.py"]


class TestProve:
    async def test_a_forged_row_is_named_before_and_after_it_is_chained(
        self, written: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: the chain takes it like any other; the stamp is missing."""
        await in_transaction(written, lambda c: execute(c, FORGED, ()))
        broken = (await prove(written, ring=ring)).broken
        assert broken is not None
        assert (broken.place, broken.audit, broken.found) == (None, 5, "no stamp")
        await chain_all(written)
        assert (await prove(written)).ok
        broken = (await prove(written, ring=ring)).broken
        assert broken is not None
        assert (broken.place, broken.audit) == (5, 5)

    @pytest.mark.parametrize(
        "change",
        [
            "actor = 'somebody-else'", "subject = 'withdrawal/M1/W9'", "action = 'reject'",
            "profile = 'q'", "at = at + interval '1 microsecond'", "reason_sealed = NULL",
            "reason_sealed = reason_sealed || '\\x00'::bytea", "before = '{}'",
            "after = after || '{\"state\": \"C\"}'", "after = before, before = after",
            "subject = action, action = subject", "at = 'infinity'", "stamp = NULL",
            "stamp = substr(stamp, 1, 20) || stamp",
            "stamp = (SELECT stamp FROM audit WHERE id = 2)",
            "after = ('{\"a\": ' || repeat('9', 5000) || '}')::jsonb",
            "after = (repeat('[', 5000) || repeat(']', 5000))::jsonb", "after = '[1]'",
        ],
    )  # fmt: skip
    async def test_an_edit_before_the_row_is_chained_is_named(
        self, written: AsyncEngine, ring: KeyRing, change: str
    ) -> None:
        """C-07: between its writing and its chaining, a row is held by its stamp."""
        edit = f"UPDATE audit SET {change} WHERE id = 3"  # noqa: S608 - the test's own
        broken = await sneak(written, ring, edit)
        assert broken is not None
        assert (broken.place, broken.audit) == (None, 3)
        assert await sneak(written, None, edit) is None

    async def test_a_row_written_twice_is_named(self, written: AsyncEngine, ring: KeyRing) -> None:
        """C-07: a copy of what we wrote, approved once, is no second approval."""
        broken = await sneak(written, ring, COPIED)
        assert broken is not None
        assert (broken.audit, broken.found) == (5, "the stamp of row 2")

    async def test_a_chain_rewritten_as_a_whole_hides_no_edit(
        self, written: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: whoever computes all hashes anew cannot compute one stamp, and needs no anchor to
        be found.
        """
        edit = "UPDATE audit SET actor = 'O9' WHERE id = 2"
        assert await sneak(written, None, edit, rewrite=True) is None
        broken = await sneak(written, ring, edit, rewrite=True)
        assert broken is not None
        assert (broken.place, broken.audit) == (2, 2)

    async def test_stamps_outlive_a_rotation_and_no_other_ring_makes_them(
        self, written: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07, C-11: the row names its key; a stranger's key of the same name is no key."""
        rotated = ring.rotated("k2")
        await in_transaction(written, lambda c: write_one(c, rotated, "withdrawal/M1/W5"))
        assert (await prove(written, ring=rotated)).ok
        broken = (await prove(written, ring=ring)).broken
        assert broken is not None
        assert (broken.audit, broken.found) == (
            5,
            "a stamp by key k2, which the ring does not have",
        )
        broken = (await prove(written, ring=KeyRing.generate("test").rotated("k2"))).broken
        assert broken is not None
        assert broken.audit == 1

    async def test_reading_role_is_enough(self, written: AsyncEngine, ring: KeyRing) -> None:
        """C-03: an auditor with the ring verifies with no right to write."""
        async with written.connect() as connection:
            await execute(connection, "SET ROLE tillkeeper_reader", ())
            assert (await prove_on(connection, ring=ring)).ok

    async def test_rows_that_nothing_chains_are_told_after_a_minute(
        self, written: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: not while the chain goes on, however far behind it is."""
        assert not (await prove(written, ring=ring)).stalled
        late = "UPDATE audit SET recorded_at = recorded_at - interval '61 s' WHERE id > 2"
        idle = "UPDATE audit_chain SET at = at - interval '61 s'"
        async with written.connect() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, late, ())
            assert not (await prove_on(connection)).stalled
            await execute(connection, idle, ())
            assert (await prove_on(connection)).stalled
            await execute(connection, "DELETE FROM audit_chain", ())
            assert (await prove_on(connection)).stalled
            await execute(connection, "UPDATE audit SET recorded_at = '-infinity'", ())
            found = await prove_on(connection, ring=ring)
            assert (found.stalled, found.unchained_since) == (True, None)
            await connection.rollback()


class TestBoundary:
    async def test_rows_from_before_are_told_and_held_by_the_chain(
        self, older: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: said once; a second worker says nothing."""
        found = await prove(older, ring=ring)
        assert (found.broken, found.unstamped, found.head.rows) == (None, OLD, OLD + 2)
        assert not await begin_stamps(older, ring)
        assert (await prove(older, ring=ring)).head.rows == OLD + 2

    async def test_a_book_that_begins_with_stamps_has_no_row_without(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: nothing is said where nothing is older."""
        assert not await begin_stamps(engine, ring)
        await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        await write_many(engine, 1)
        assert not await begin_stamps(engine, ring)
        broken = (await prove(engine, ring=ring)).broken
        assert broken is not None
        assert (broken.audit, broken.found) == (2, "no stamp")

    @pytest.mark.parametrize(
        ("edits", "rewrite", "named"),
        [
            ((FORGED,), False, 43),
            ((FORGED,), True, 43),
            (EDITED, True, 40),
            ((SLIPPED_IN.format(0),), False, 0),
            (EXCHANGED, True, 40),
            (MOVED, True, 1),
            (TAKEN_AWAY, True, 1),
        ],
    )
    async def test_no_forged_row_passes_for_an_old_one(
        self, older: AsyncEngine, ring: KeyRing, edits: tuple[str, ...], rewrite: bool, named: int
    ) -> None:
        """C-07: appended, edited among the old with all hashes anew, slipped in below, exchanged,
        and the boundary moved or taken away: each is named, without a head kept outside.
        """
        broken = await sneak(older, ring, *edits, rewrite=rewrite)
        assert broken is not None
        assert broken.audit == named, broken

    async def test_stamps_that_begin_anew_are_found_by_the_head_kept_outside(
        self, older: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: all stamps are taken away and a worker starts; hashes cover stamps."""
        async with older.connect() as connection:
            kept = await head(connection)
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, f"DELETE FROM audit WHERE subject = '{SUBJECT}'", ())  # noqa: S608
            await execute(connection, "UPDATE audit SET stamp = NULL", ())
            await execute(connection, FORGED, ())
            await execute(connection, "INSERT INTO audit_chain VALUES (43, 43, sha256('x'))", ())
            await rewrite_chain(connection)
            await connection.commit()
        assert await begin_stamps(older, ring)
        assert (await prove(older, ring=ring)).ok
        broken = (await prove(older, [kept], ring=ring)).broken
        assert broken is not None
        assert broken.place == kept.place

    async def test_stamps_do_not_begin_while_earlier_workers_write(
        self, owner: AsyncEngine, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: their rows would lack a stamp above the boundary."""
        await write_many(owner, 3)
        async with engine.connect() as slow:
            await execute(slow, FORGED, ())
            await write_many(owner, 1)
            with pytest.raises(Unavailable, match="earlier release"):
                await begin_stamps(owner, ring, wait_s=0.5)
            await slow.commit()
        assert await begin_stamps(owner, ring, wait_s=timedelta(seconds=5).total_seconds())
        found = await prove(owner, ring=ring)
        assert (found.broken, found.unstamped) == (None, 5)
        rows = await in_transaction(
            owner, lambda c: fetch(c, "SELECT after::text FROM audit ORDER BY id DESC LIMIT 1", ())
        )
        assert '"audit": 5' in rows[0][0]
