"""Connections and transactions: plans that do not age, copies that stand or fall with the rest."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ledger.book import Book
from ledger.engine import copy_rows, driver, fetch, in_transaction
from ledger.orders import OrderBook
from ledger.snapshot import snapshot
from tests.ledger.support import hold, open_account
from tests.stack import END_OTHERS, engine_on
from tillkeeper.contracts.errors import BookBroken, Code, Rejected
from tillkeeper.contracts.order import OrderResult

_CUT_OFF_ONCE = """
CREATE SEQUENCE tries; GRANT ALL ON SEQUENCE tries TO public;
CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    IF NEW.kind = 'hold' AND nextval('tries') = 2 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(0.1);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cut_off BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION cut_off()"""

_TABLE = "CREATE TABLE t (a int); GRANT ALL ON t TO public"


async def _as_owner(owner_url: str, statements: str) -> None:
    engine = create_async_engine(owner_url)
    async with engine.begin() as connection:
        await driver(connection).execute(statements)
    await engine.dispose()


class TestInTransaction:
    async def test_cut_off_while_it_rolls_back_it_leaves_nothing_open(
        self, database_url: str
    ) -> None:
        """C-06: a worker that stops cancels what it does, more than once."""
        sleep = "SELECT pg_sleep(5)"
        async with engine_on(database_url, pool_size=1) as engine:
            for _ in range(20):
                task = asyncio.create_task(in_transaction(engine, lambda c: fetch(c, sleep, ())))
                await asyncio.sleep(0.02)
                for _ in range(3):
                    task.cancel()
                    await asyncio.sleep(0)
                await asyncio.gather(task, return_exceptions=True)
                rows = await in_transaction(engine, lambda c: fetch(c, "SELECT 1 AS one", ()))
                assert rows[0].one == 1

    async def test_cut_off_anywhere_what_is_answered_later_stands(
        self, database_url: str, owner_url: str
    ) -> None:
        """C-06: no later transaction becomes a part of one that was cut off while it began."""
        await _as_owner(owner_url, _TABLE)
        insert, read = "INSERT INTO t VALUES ($1) RETURNING a", "SELECT a FROM t ORDER BY a"
        async with engine_on(database_url, pool_size=1) as engine:
            for number in range(120):
                cut = in_transaction(engine, lambda c: fetch(c, "SELECT 1", ()))
                task = asyncio.create_task(cut)
                for _ in range(number % 12):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await in_transaction(engine, lambda c: fetch(c, insert, (number,)))  # noqa: B023
        async with engine_on(database_url, pool_size=1) as other:
            rows = await in_transaction(other, lambda c: fetch(c, read, ()))
        assert [row.a for row in rows] == list(range(120))

    async def test_a_connection_lost_between_two_statements_is_replaced(
        self, database_url: str, owner_url: str
    ) -> None:
        """F03: the work is run again from its start."""
        tries = 0

        async def work(connection: AsyncConnection) -> int:
            nonlocal tries
            tries += 1
            await fetch(connection, "SELECT 1", ())
            if tries == 1:
                await _as_owner(owner_url, END_OTHERS)
                while not driver(connection).is_closed():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            return int((await fetch(connection, "SELECT 2", ()))[0][0])

        async with engine_on(database_url, pool_size=1) as engine:
            assert (await in_transaction(engine, work), tries) == (2, 2)

    async def test_two_statements_at_once_are_a_defect_and_no_outage(
        self, engine: AsyncEngine
    ) -> None:
        """L4: nobody waits for a database that is not away."""

        async def work(connection: AsyncConnection) -> None:
            sleep = fetch(connection, "SELECT pg_sleep(0.05)", ())
            await asyncio.gather(sleep, fetch(connection, "SELECT 1", ()))

        with pytest.raises(BookBroken, match="at once"):
            await in_transaction(engine, work)

    async def test_a_migration_beside_it_is_tried_again(
        self, database_url: str, owner_url: str
    ) -> None:
        """Design 3: what was prepared before a deployment's migration is prepared anew."""
        await _as_owner(owner_url, _TABLE)

        async def look(connection: AsyncConnection) -> list[object]:
            await fetch(connection, "SELECT pg_sleep(0.05)", ())
            return await fetch(connection, "SELECT * FROM t", ())

        alter = "ALTER TABLE t ALTER a TYPE text; INSERT INTO t VALUES ('x')"
        async with engine_on(database_url, pool_size=8) as engine:
            # Every connection of the pool prepares it.
            await asyncio.gather(*(in_transaction(engine, look) for _ in range(8)))
            await _as_owner(owner_url, alter)
            after = await in_transaction(engine, lambda c: fetch(c, "SELECT * FROM t", ()))
        assert [tuple(row) for row in after] == [("x",)]

    @pytest.mark.parametrize("word", ["\udcff\udcfe", "a\x00b"])
    async def test_a_text_that_no_database_keeps_is_the_senders_fault(
        self, engine: AsyncEngine, word: str
    ) -> None:
        """C-04: the book is not broken by what somebody looks for; a statement of ours may be."""
        with pytest.raises(Rejected) as caught:
            await in_transaction(engine, lambda c: fetch(c, "SELECT $1::text", (word,)))
        assert caught.value.codes == (Code.INPUT_NOT_UNDERSTOOD,)
        with pytest.raises(BookBroken):
            await in_transaction(engine, lambda c: fetch(c, "SELECT $1::text", (1,)))


class TestCopyRows:
    async def test_connection_lost_in_the_middle_of_a_copy_holds_each_order_once(
        self, database_url: str, owner_url: str
    ) -> None:
        """Design 2: the batch is run again from its start, and nothing of the first try stays."""
        messages = [hold("M1", f"O{number}", 10_00) for number in range(3)]
        async with engine_on(database_url) as engine:
            await open_account(engine, "M1", fund=100_00)
            await _as_owner(owner_url, _CUT_OFF_ONCE)
            outcomes = await OrderBook(engine).apply(messages)
            balances = await Book(engine).balances("M1", "CNY")
        assert [o.result for o in outcomes] == [OrderResult.APPLIED] * 3
        assert (balances.available, balances.frozen) == (70_00, 30_00)

    async def test_copy_outside_a_transaction_is_broken(self, engine: AsyncEngine) -> None:
        """A copy that commits alone would leave half a posting."""
        async with engine.connect() as connection:
            with pytest.raises(BookBroken):
                await copy_rows(connection, "holds", ("account", "order_id"), [(1, "O1")])
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM holds")) == 0


class TestSnapshot:
    async def test_a_connection_that_the_server_left_is_replaced(
        self, database_url: str, owner_url: str
    ) -> None:
        """F03: a reader after a restart is not told that the database is away."""
        sleep = "SELECT pg_sleep(0.05)"
        async with engine_on(database_url, pool_size=4) as engine:
            await asyncio.gather(
                *(in_transaction(engine, lambda c: fetch(c, sleep, ())) for _ in range(4))
            )
            await _as_owner(owner_url, END_OTHERS)
            await asyncio.sleep(0.1)
            await in_transaction(engine, lambda c: fetch(c, "SELECT 1", ()))
            for _ in range(4):
                async with snapshot(engine) as connection:
                    assert (await fetch(connection, "SELECT 2", ()))[0][0] == 2
                async with engine.connect() as connection:
                    assert await connection.scalar(text("SELECT 3")) == 3


class TestMakeEngine:
    async def test_posting_plans_look_ups_and_a_snapshot_may_scan(self, database_url: str) -> None:
        """A plan made on an empty table and kept made singles four times slower within 90,000."""
        show = "SHOW enable_seqscan"
        async with engine_on(database_url) as engine:
            posting = await in_transaction(engine, lambda c: fetch(c, show, ()))
            async with snapshot(engine) as connection:
                reading = await fetch(connection, show, ())
            after = await in_transaction(engine, lambda c: fetch(c, show, ()))
        assert [rows[0][0] for rows in (posting, reading, after)] == ["off", "on", "off"]
