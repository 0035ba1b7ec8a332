"""The verifier: C-03, C-04, P-43, P-46; every falsification of the book is named."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import driver, execute, fetch, in_transaction, make_engine
from ledger.orders import OrderBook
from ledger.verify import verify, verify_on
from tests.ledger.support import open_account, refund
from tests.ledger.tampering import EDITS, Edit, Rows, make_book

TRIES = [pytest.param(edit, times, id=edit.__name__) for edit, times in EDITS]


@pytest_asyncio.fixture(loop_scope="session")
async def owner(owner_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(owner_url, pool_size=2)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def book(owner: AsyncEngine) -> AsyncEngine:
    """The owner's engine on a book with everything in it."""
    await make_book(owner)
    return owner


async def _sneak(connection: AsyncConnection, edit: Edit, rng: random.Random) -> Rows | None:
    """One edit with the triggers off; None when a constraint refused it."""
    await execute(connection, "SET LOCAL session_replication_role = replica", ())
    try:
        async with driver(connection).transaction():
            return await edit(connection, rng)
    except asyncpg.IntegrityConstraintViolationError:
        return None


class TestVerify:
    async def test_sound_book_verifies(self, book: AsyncEngine) -> None:
        """C-03: every check runs, none finds anything, and the sizes say that it saw the book."""
        found = await verify(book)
        assert found.ok, found.broken
        assert found.offending == {}
        assert {"chain", "floors", "sums", "orders", "walls"} <= {c.name for c in found.checks}
        assert found.sizes.transfers > 40
        assert (found.sizes.orders, found.sizes.receipts, found.sizes.refusals) == (18, 2, 1)

    async def test_empty_book_verifies(self, engine: AsyncEngine) -> None:
        """C-03: nothing posted, nothing wrong, as the worker's own role."""
        assert (await verify(engine)).ok

    async def test_parked_message_of_a_placed_order_is_named(self, book: AsyncEngine) -> None:
        """C-09: a message waits only as long as its order is not there."""
        await in_transaction(
            book,
            lambda c: execute(
                c,
                "INSERT INTO hold_returns (account, order_id, message_id, event, amount, result,"
                " effective_at) SELECT account, order_id, 'left', 'release', 1, 'parked', now()"
                " FROM holds WHERE state = 'held' LIMIT 1",
                (),
            ),
        )
        found = await verify(book)
        assert found.broken is not None
        assert (found.broken.check, found.broken.table) == ("parked", "hold_returns")

    async def test_parked_and_orphaned_things_are_notes_not_faults(self, book: AsyncEngine) -> None:
        """P-49: a refund without its order waits; it is counted, not called broken."""
        found = await verify(book)
        assert (found.notes.parked_messages, found.notes.parked_orders) == (2, 2)
        assert (found.notes.unmatched_receipts, found.notes.recorded_backwards) == (1, 0)
        assert found.notes.orphan_transfers == 8

    async def test_reading_role_is_enough(self, book: AsyncEngine) -> None:
        """C-03: an auditor verifies with no right to write."""
        async with book.connect() as connection:
            await execute(connection, "SET ROLE tillkeeper_reader", ())
            assert (await verify_on(connection)).ok

    async def test_writing_is_impossible_meanwhile(self, book: AsyncEngine) -> None:
        """C-03: the verifier's transaction only reads, and posting goes on beside it."""
        await open_account(book, "M3", fund=100)
        await OrderBook(book).apply([refund("M3", "O1", 1)])
        assert (await verify(book)).ok

    @pytest.mark.parametrize(("edit", "times"), TRIES)
    async def test_every_single_edit_is_named(
        self, book: AsyncEngine, edit: Edit, times: int
    ) -> None:
        """L6, C-03: nearly 300 random single edits; the verifier names the bad row of each."""
        rng = random.Random(f"{edit.__name__}-20240506")  # noqa: S311
        done = 0
        async with book.connect() as connection:
            while done < times:
                named = await _sneak(connection, edit, rng)
                if named is not None:
                    found = (await verify_on(connection)).broken
                    assert found is not None, f"{edit.__name__} {done}: {named} not noticed"
                    assert (found.table, found.id) in named, f"{done}: {named}, not {found}"
                    done += 1
                await connection.rollback()

    async def test_truncated_book_is_named(self, book: AsyncEngine) -> None:
        """L6: a book without transfers names the first account that has a balance."""
        async with book.connect() as connection:
            await execute(connection, "ALTER TABLE transfers DISABLE TRIGGER ALL", ())
            await execute(connection, "TRUNCATE transfers", ())
            found = await verify_on(connection)
            assert found.broken is not None
            assert (found.broken.check, found.broken.table) == ("heads", "accounts")
            assert "walls" in found.offending

    async def test_unbalanced_totals_are_named(self, book: AsyncEngine) -> None:
        """C-03: Σ credit side = Σ debit side, per currency."""
        async with book.connect() as connection:
            await execute(
                connection, "UPDATE accounts SET balance = balance + 1 WHERE bucket = 'bank'", ()
            )
            found = await verify_on(connection)
            assert {"heads", "sums"} <= found.offending.keys()
            sums = next(c.first for c in found.checks if c.name == "sums")
            assert sums is not None
            assert sums.id == "CNY"


class TestWalls:
    @pytest.mark.parametrize(
        ("sabotage", "row"),
        [
            ("ALTER TABLE transfers DISABLE TRIGGER transfers_immutable", "transfers_immutable"),
            ("DROP TRIGGER transfers_no_truncate ON transfers", "transfers_no_truncate"),
            ("ALTER TABLE audit DISABLE TRIGGER ALL", "audit_immutable"),
            ("GRANT DELETE ON transfers TO tillkeeper_writer", "transfers"),
            ("GRANT UPDATE (amount) ON transfers TO tillkeeper_reader", "transfers"),
            ("ALTER TABLE accounts DROP CONSTRAINT accounts_floor", "accounts_floor"),
            ("ALTER TABLE transfers DROP CONSTRAINT transfers_key", "transfers_key"),
            (
                "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RETURN coalesce(NEW, OLD); END'",
                "audit_chain_immutable",
            ),
        ],
    )
    async def test_wall_torn_down_is_named(
        self, owner: AsyncEngine, sabotage: str, row: str
    ) -> None:
        """C-03: a database rule that is gone is a finding even while all figures agree."""
        async with owner.connect() as connection:
            await execute(connection, sabotage, ())
            found = (await verify_on(connection)).broken
            assert found is not None
            assert (found.check, found.table, found.id) == ("walls", "catalog", row)


_CHANGES = (
    "UPDATE {} SET recorded_at = now()",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "UPDATE {} SET recorded_at = now() WHERE false",
)


class TestImmutability:
    @pytest.mark.parametrize("change", _CHANGES)
    @pytest.mark.parametrize("table", ["transfers", "refusals", "audit"])
    async def test_application_role_may_not_change_a_row(
        self, engine: AsyncEngine, table: str, change: str
    ) -> None:
        """C-03, L6: permission denied, for the role that the worker uses."""
        with pytest.raises(asyncpg.PostgresError) as refusal:
            async with engine.begin() as connection:
                await execute(connection, change.format(table), ())
        assert refusal.value.sqlstate == "42501"

    @pytest.mark.parametrize("change", _CHANGES[:3])
    @pytest.mark.parametrize("table", ["transfers", "refusals"])
    async def test_owner_is_stopped_by_the_trigger(
        self, book: AsyncEngine, table: str, change: str
    ) -> None:
        """C-03: the owner of the table may, and the rule says no."""
        with pytest.raises(asyncpg.PostgresError) as refusal:
            async with book.begin() as connection:
                await execute(connection, change.format(table), ())
        assert refusal.value.sqlstate == "TK001"
        assert (await in_transaction(book, lambda c: fetch(c, f"TABLE {table}", ()))) != []
