"""The audit's chain: C-03, C-07; what is written is chained once, and no edit stays hidden."""

from __future__ import annotations

import asyncio
import random
import sys
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from time import perf_counter

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit import Audit
from ledger.audit_chain import Chainer, head
from ledger.audit_proof import Proof, prove, prove_on
from ledger.engine import driver, execute, fetch, in_transaction
from ledger.verify import verify, verify_on
from tests.ledger.audit_support import (
    AT,
    EDITS,
    MANY,
    Edit,
    Named,
    chain_all,
    rewrite_chain,
    write_many,
    write_one,
)  # fmt: skip
from tests.stack import engine_on
from tillkeeper.contracts.audit import AuditHead
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.sealing import KeyRing

TRIES = [pytest.param(edit, times, id=edit.__name__) for edit, times in EDITS]
EDITED = 40
MIB = 1 << 20


@pytest_asyncio.fixture(loop_scope="session")
async def owner(owner_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_on(owner_url, pool_size=2) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="session")
async def chained(owner: AsyncEngine) -> AsyncEngine:
    """The owner's engine on an audit of 40 chained rows."""
    await write_many(owner, EDITED)
    assert await chain_all(owner) == EDITED
    return owner


async def places(engine: AsyncEngine) -> list[tuple[int, int]]:
    """The chain: place and row."""
    sql = "SELECT place, audit FROM audit_chain ORDER BY place"
    return [tuple(row) for row in await in_transaction(engine, lambda c: fetch(c, sql, ()))]


async def head_of(engine: AsyncEngine) -> AuditHead:
    return await in_transaction(engine, head)


async def _sneak(connection: AsyncConnection, edit: Edit, rng: random.Random) -> Named:
    """One edit with the triggers off; nothing where a constraint refused it or nothing changed."""
    await execute(connection, "SET LOCAL session_replication_role = replica", ())
    try:
        async with driver(connection).transaction():
            return await edit(connection, rng)
    except asyncpg.IntegrityConstraintViolationError:
        return set()


def _named(found: Proof) -> tuple[int | None, int | None]:
    assert found.broken is not None
    return found.broken.place, found.broken.audit


class TestChain:
    async def test_rows_are_chained_once_in_their_order(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: as the worker's own role; a second look changes nothing."""
        chainer = Chainer(engine)
        assert await chainer.advance() == 0
        first = await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        second = await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        assert [await chainer.advance(), await chainer.advance()] == [2, 0]
        assert await places(engine) == [(1, first), (2, second)]
        found = await prove(engine)
        assert (found.ok, found.unchained, found.backdated) == (True, 0, 0)
        assert (found.head.place, found.head.rows) == (2, 2)

    async def test_empty_audit_has_a_head(self, engine: AsyncEngine) -> None:
        """C-07: place 0, and it may be kept outside like any other."""
        kept = await head_of(engine)
        assert (kept.place, kept.rows, kept.hash) == (0, 0, "0" * 64)
        assert (await prove(engine, [kept])).ok

    async def test_the_chain_waits_for_a_slow_transaction_with_a_low_id(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: a lower id becomes visible later; it is neither skipped nor waited for."""
        chainer = Chainer(engine)
        async with engine.connect() as slow:
            low = await write_one(slow, ring, "slow")
            high = await in_transaction(engine, lambda c: write_one(c, ring, "quick"))
            assert high > low
            assert [await chainer.advance() for _ in range(3)] == [0, 0, 0]
            found = await prove(engine)
            assert (found.ok, found.unchained) == (True, 1)
            await slow.commit()
        assert await chainer.advance() == 2
        assert await places(engine) == [(1, low), (2, high)]

    async def test_an_undone_transaction_leaves_a_gap_that_nobody_waits_for(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: ids are lost, places are not."""
        chainer = Chainer(engine)
        async with engine.connect() as undone:
            await write_one(undone, ring, "undone")
            kept = await in_transaction(engine, lambda c: write_one(c, ring, "kept"))
            assert await chainer.advance() == 0
            await undone.rollback()
        assert await chainer.advance() == 1
        assert await places(engine) == [(1, kept)]
        assert (await prove(engine)).ok

    async def test_later_writers_do_not_hold_up_what_came_before_them(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: however many overlap, the chain goes on."""
        chainer = Chainer(engine)
        async with engine.connect() as first, engine.connect() as second:
            await write_one(first, ring, "first")
            await in_transaction(engine, lambda c: write_one(c, ring, "between"))
            assert await chainer.advance() == 0
            await write_one(second, ring, "second")
            await first.commit()
            assert await chainer.advance() == 2
            await second.commit()
        assert await chainer.advance() == 1

    async def test_no_insert_waits_for_the_chainer(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: a chaining transaction that never ends holds up nobody who writes."""
        await write_many(engine, 5)
        async with engine.connect() as stuck:
            chainer = Chainer(engine)
            settled = await chainer._settled(stuck)
            assert await chainer._chain(stuck, settled) == 5
            row = in_transaction(engine, lambda c: write_one(c, ring, "quick"))
            assert await asyncio.wait_for(row, 5) == 6
            assert await Chainer(engine).advance() == 0
            await stuck.rollback()
        assert await Chainer(engine).advance() == 6

    async def test_chainers_side_by_side_chain_each_row_once(self, engine: AsyncEngine) -> None:
        """C-02: one at a time, whoever comes first."""
        await write_many(engine, 300)
        chainers = [Chainer(engine, batch=7) for _ in range(6)]
        done = 0
        while len(await places(engine)) < 300:
            done += sum(await asyncio.gather(*(chainer.advance() for chainer in chainers)))
        assert done == 300
        assert [place for place, _ in await places(engine)] == list(range(1, 301))
        assert (await prove(engine)).ok

    async def test_killed_between_batches_it_goes_on(
        self, engine: AsyncEngine, owner: AsyncEngine
    ) -> None:
        """C-06: every connection of the chainer is killed again and again."""
        await write_many(engine, 400)
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = $1 AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        login = engine.url.username
        kills = 0
        while len(await places(owner)) < 400:
            chaining = asyncio.create_task(Chainer(engine, batch=5).advance())
            while not chaining.done() and kills < 40:
                await asyncio.sleep(0.01)
                rows = await in_transaction(owner, lambda c: fetch(c, kill, (login,)))
                kills += rows[0][0]
            await asyncio.gather(chaining, return_exceptions=True)
            assert chaining.exception() is None or isinstance(chaining.exception(), Unavailable)
        assert kills >= 10
        assert (await prove(owner)).head.rows == 400

    async def test_concurrent_writers_slow_and_undone_ones_lose_nothing(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: at every moment the chain is whole; in the end it holds every row that stands."""
        rng = random.Random(20261128)  # noqa: S311
        ended = asyncio.Event()

        async def write(number: int) -> None:
            for turn in range(12):
                async with engine.connect() as connection:
                    for _ in range(rng.randint(1, 4)):
                        await write_one(connection, ring, f"writer/{number}/{turn}")
                        await asyncio.sleep(rng.random() * 0.02)
                    if number == 0:
                        await asyncio.sleep(0.2)
                    await (connection.rollback() if rng.random() < 0.2 else connection.commit())

        async def chain() -> None:
            chainers = [Chainer(engine, batch=3) for _ in range(2)]
            while not ended.is_set():
                await asyncio.gather(*(chainer.advance() for chainer in chainers))
                assert (found := await prove(engine)).ok, found.broken

        chaining = asyncio.create_task(chain())
        await asyncio.gather(*(write(number) for number in range(5)))
        ended.set()
        await chaining
        await Chainer(engine, batch=50).advance()
        rows = await in_transaction(
            engine, lambda c: fetch(c, "SELECT id FROM audit ORDER BY 1", ())
        )
        assert [audit for _, audit in await places(engine)] == [row[0] for row in rows]
        assert (await prove(engine)).ok


class TestLink:
    async def test_the_bytes_of_a_row_are_what_the_decision_record_says(
        self, owner: AsyncEngine
    ) -> None:
        """C-07: anybody can compute the chain, in any release of ours and of PostgreSQL."""
        when = ((AT - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)).to_bytes(8)
        fields: list[tuple[int, bytes | None]] = [
            (20, (1).to_bytes(8)), (25, b"item/1"), (25, b"approve"), (25, b"O2"), (17, None),
            (3802, b'\x01{"a": "\xe5\xb7\xb2", "b": [1, 2.50]}'), (3802, b"\x01{}"), (25, b"p"),
            (1184, when), (1184, when),
        ]  # fmt: skip
        wanted = len(fields).to_bytes(4)
        for oid, sent in fields:
            length = -1 if sent is None else len(sent)
            wanted += oid.to_bytes(4) + length.to_bytes(4, signed=True) + (sent or b"")
        insert = """
INSERT INTO audit (subject, action, actor, before, after, profile, at, recorded_at)
VALUES ('item/1', 'approve', 'O2', '{"b": [1, 2.50], "a": "已"}', '{}', 'p', $1, $1)"""
        await in_transaction(owner, lambda c: execute(c, insert, (AT,)))
        await chain_all(owner)
        read = "SELECT hash, timestamptz_send(at) FROM audit_chain"
        stored, chained_at = (await in_transaction(owner, lambda c: fetch(c, read, ())))[0]
        assert stored == sha256(bytes(32) + (1).to_bytes(8) + chained_at + wanted).digest()


class TestProve:
    @pytest.mark.parametrize(("edit", "times"), TRIES)
    async def test_every_edit_of_the_owner_is_named(
        self, chained: AsyncEngine, edit: Edit, times: int
    ) -> None:
        """C-03, C-07: 190 edits with the rules off; the first broken place is named."""
        rng = random.Random(f"{edit.__name__}-20261128")  # noqa: S311
        done = 0
        async with chained.connect() as connection:
            while done < times:
                named = await _sneak(connection, edit, rng)
                if named:
                    found = await prove_on(connection)
                    assert found.broken is not None, f"{edit.__name__} {done}: {named}"
                    assert _named(found) in named, f"{done}: {named}, not {found.broken}"
                    done += 1
                await connection.rollback()

    async def test_a_chain_rewritten_as_a_whole_is_found_by_the_head_kept_outside(
        self, chained: AsyncEngine
    ) -> None:
        """C-07: all hashes fit again, and only what no owner holds says that they are others."""
        async with chained.connect() as connection:
            early = await head(connection)
            await execute(connection, MANY, (10, AT))
            await connection.commit()
        assert await chain_all(chained) == 10
        late = await head_of(chained)
        async with chained.connect() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, "UPDATE audit SET actor = 'O9' WHERE id = 45", ())
            await rewrite_chain(connection)
            assert (await prove_on(connection)).ok
            assert (await prove_on(connection, [early])).ok
            assert _named(await prove_on(connection, [early, late])) == (50, 50)
            await connection.rollback()
        assert (await prove(chained, [early, late])).ok

    async def test_a_chain_cut_short_is_found_by_the_head_kept_outside(
        self, chained: AsyncEngine
    ) -> None:
        """C-07: the last rows and places are gone without a trace inside; new rows come."""
        kept = await head_of(chained)
        async with chained.connect() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, "DELETE FROM audit_chain WHERE place > 37", ())
            await execute(connection, "DELETE FROM audit WHERE id > 37", ())
            assert (await prove_on(connection)).ok
            assert _named(await prove_on(connection, [kept])) == (38, None)
            await connection.commit()
        await write_many(chained, 3)
        assert await chain_all(chained) == 3
        assert (await prove(chained)).ok
        assert _named(await prove(chained, [kept]))[0] == 40

    async def test_rows_dated_back_are_told(self, chained: AsyncEngine) -> None:
        """C-07: appended today, recorded last week: whole, and worth a look."""
        await in_transaction(
            chained,
            lambda c: execute(
                c,
                "INSERT INTO audit (subject, action, actor, before, after, profile, at,"
                " recorded_at) SELECT subject, action, actor, before, after, profile, at,"
                " recorded_at - interval '7 days' FROM audit WHERE id = 1",
                (),
            ),
        )
        told = await prove(chained)
        assert (told.ok, told.unchained) == (True, 1)
        assert told.unchained_since is not None
        await chain_all(chained)
        told = await prove(chained)
        assert (told.ok, told.backdated, told.unchained) == (True, 1, 0)

    async def test_the_books_verifier_goes_up_the_chain_too(self, chained: AsyncEngine) -> None:
        """C-03: `tillkeeper verify` names the row."""
        assert (await verify(chained)).ok
        async with chained.connect() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, "UPDATE audit SET actor = 'O9' WHERE id = 7", ())
            found = (await verify_on(connection)).broken
            assert found is not None
            assert (found.check, found.table, found.id) == ("audit", "audit", "7")

    async def test_reading_role_is_enough(self, chained: AsyncEngine) -> None:
        """C-03: an auditor verifies with no right to write."""
        async with chained.connect() as connection:
            await execute(connection, "SET ROLE tillkeeper_reader", ())
            assert (await prove_on(connection)).ok

    async def test_memory_stays_flat_over_100_000_rows(
        self, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """C-03: as much memory as for a few rows; the rates are printed, not judged."""
        await write_many(engine, 100_000)
        started = perf_counter()
        assert await chain_all(engine) == 100_000
        chained_s = perf_counter() - started
        started = perf_counter()
        assert (await prove(engine)).ok
        proved_s = perf_counter() - started
        tracemalloc.start()
        try:
            assert (await prove(engine)).head.rows == 100_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        with capsys.disabled():
            sys.stdout.write(
                f"\n100,000 rows: chained {100_000 / chained_s:,.0f}/s, verified"
                f" {100_000 / proved_s:,.0f}/s, peak {peak / MIB:.1f} MiB\n"
            )
        assert peak < 16 * MIB


class TestHistory:
    async def test_rows_of_a_subject_with_the_reason_opened(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: who, what, when, why; the place once it is chained."""
        await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        await chain_all(engine)
        await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W2"))
        audit = Audit(ring)
        rows = await in_transaction(engine, lambda c: audit.history(c, "withdrawal/M1/W1", 10))
        assert [row.place for row in rows] == [1, None]
        assert (rows[0].actor, rows[0].action, rows[0].reason) == ("O2", "approve", "as agreed")
        assert (rows[0].before, rows[0].after) == ({"state": "A"}, {"state": "B", "token": "J1"})
        latest = await in_transaction(engine, lambda c: audit.history(c, "withdrawal/M1/W1", 1))
        assert [row.place for row in latest] == [None]
