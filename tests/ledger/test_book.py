"""The book's own promises: once per key, floors, links, immutability, history (C-02 … C-04)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ledger.book import Book
from ledger.engine import execute, fetch, in_transaction, make_engine
from ledger.orders import OrderBook
from tests.ledger.support import DAY, figures, hold, open_account, top_up, topup_requests
from tests.stack import END_OTHERS, Database
from tillkeeper.contracts.book import TransferKind, TransferRequest, TransferResult
from tillkeeper.contracts.errors import BookBroken, Code, Rejected, Unavailable
from tillkeeper.contracts.money import AMOUNT_MINOR_MAX


def _withdrawal(number: int, amount: int, *, link: str | None = None) -> TransferRequest:
    return TransferRequest(
        name=f"withdrawal/W{number}/reserve", kind=TransferKind.WITHDRAWAL, currency="CNY",
        amount_minor=amount, effective_at=DAY, merchant="M1", subject=f"withdrawal/W{number}",
        link=link,
    )  # fmt: skip


_ROWS = (
    "INSERT INTO audit (subject, action, actor, before, after, profile, at)"
    " VALUES ('s', 'a', 'x', '{}', '{}', 'p', now())",
    "INSERT INTO refusals (key, fingerprint, code)"
    " VALUES (gen_random_uuid(), gen_random_uuid(), 'X')",
)


async def _balances(engine: AsyncEngine, merchant: str = "M1") -> tuple[int, int, int]:
    return figures(await Book(engine).balances(merchant, "CNY"))


class TestPost:
    async def test_same_request_five_times_posts_once(self, engine: AsyncEngine) -> None:
        """C-02."""
        await open_account(engine, "M1", fund=5_000)
        outcomes = [(await Book(engine).post([_withdrawal(1, 700)]))[0] for _ in range(5)]
        assert [o.replayed for o in outcomes] == [False, True, True, True, True]
        assert await _balances(engine) == (4_300, 0, 0)

    async def test_same_request_from_eight_callers_at_once_posts_once(
        self, engine: AsyncEngine
    ) -> None:
        await open_account(engine, "M1", fund=5_000)
        outcomes = await asyncio.gather(
            *(Book(engine).post([_withdrawal(1, 700)]) for _ in range(8))
        )
        assert sorted(o.replayed for [o] in outcomes) == [False] + [True] * 7
        assert await _balances(engine) == (4_300, 0, 0)

    async def test_same_key_with_another_amount_conflicts(self, engine: AsyncEngine) -> None:
        """C-02: same key, other body."""
        await open_account(engine, "M1", fund=5_000)
        first, other = await Book(engine).post([_withdrawal(1, 700), _withdrawal(1, 701)])
        assert first.result is TransferResult.POSTED
        assert other.code is Code.KEY_REUSED
        assert await _balances(engine) == (4_300, 0, 0)

    async def test_refusal_is_remembered_although_money_came(self, engine: AsyncEngine) -> None:
        """Design §2: the same key answers the same for ever."""
        await open_account(engine, "M1", fund=500)
        [first] = await Book(engine).post([_withdrawal(1, 700)])
        await top_up(engine, "M1", 5_000, number=2)
        [again] = await Book(engine).post([_withdrawal(1, 700)])
        assert first.code is again.code is Code.INSUFFICIENT_FUNDS
        assert again.replayed
        assert await _balances(engine) == (5_500, 0, 0)

    async def test_linked_requests_fail_together_and_neighbours_stand(
        self, engine: AsyncEngine
    ) -> None:
        await open_account(engine, "M1", fund=1_000)
        outcomes = await Book(engine).post(
            [
                _withdrawal(1, 100),
                _withdrawal(2, 500, link="pair"),
                _withdrawal(3, 600, link="pair"),
                _withdrawal(4, 900),
            ]
        )
        assert [o.code for o in outcomes] == [
            None, Code.LINKED_REFUSED, Code.INSUFFICIENT_FUNDS, None,
        ]  # fmt: skip
        assert await _balances(engine) == (0, 0, 0)

    async def test_linked_requests_sent_again_are_answered_alike(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1", fund=1_000)
        pair = [_withdrawal(1, 500, link="pair"), _withdrawal(2, 600, link="pair")]
        first = await Book(engine).post(pair)
        again = await Book(engine).post(pair)
        assert [o.code for o in first] == [o.code for o in again]

    async def test_key_twice_in_a_group_that_fails_is_refused_once(
        self, engine: AsyncEngine
    ) -> None:
        await open_account(engine, "M1", fund=1_000)
        group = [_withdrawal(1, 500, link="g"), _withdrawal(1, 500, link="g")]
        outcomes = await Book(engine).post([*group, _withdrawal(2, 600, link="g")])
        assert [o.code for o in outcomes] == [
            Code.LINKED_REFUSED, Code.LINKED_REFUSED, Code.INSUFFICIENT_FUNDS,
        ]  # fmt: skip
        assert await _balances(engine) == (1_000, 0, 0)

    async def test_posted_member_keeps_its_answer_in_a_failing_group(
        self, engine: AsyncEngine
    ) -> None:
        """C-02: asked alone or in company, the same key is answered alike."""
        await open_account(engine, "M1", fund=1_000)
        await Book(engine).post([_withdrawal(1, 500)])
        posted, refused = await Book(engine).post(
            [_withdrawal(1, 500, link="g"), _withdrawal(2, 600, link="g")]
        )
        assert (posted.result, posted.replayed) == (TransferResult.POSTED, True)
        assert refused.code is Code.INSUFFICIENT_FUNDS

    async def test_money_in_pays_dues_before_its_group_may_spend_it(
        self, engine: AsyncEngine
    ) -> None:
        """P-45, P-46: top-up and withdrawal linked, with dues between them."""
        await open_account(engine, "M1", fund=100)
        await OrderBook(engine).apply([hold("M1", "O1", 400)])
        spend = _withdrawal(1, 800, link="g")
        group = [r.model_copy(update={"link": "g"}) for r in topup_requests("M1", 1_000, 2)]
        outcomes = await Book(engine).post([*group, spend, _withdrawal(2, 50)])
        assert [o.code for o in outcomes] == [
            Code.LINKED_REFUSED, Code.LINKED_REFUSED, Code.INSUFFICIENT_FUNDS, None,
        ]  # fmt: skip
        assert await _balances(engine) == (50, 0, 400)
        await top_up(engine, "M1", 1_000, number=3)
        assert await _balances(engine) == (650, 400, 0)

    async def test_same_key_without_a_common_lock_is_answered_not_broken(
        self, engine: AsyncEngine
    ) -> None:
        """Eight callers at once, refused for want of an account: nobody holds a lock."""
        for number in range(10):
            outcomes = await asyncio.gather(
                *(Book(engine).post([_withdrawal(number, 1)]) for _ in range(8))
            )
            assert {o.code for [o] in outcomes} == {Code.ACCOUNT_NOT_OPENED}

    async def test_merchant_where_none_belongs_is_refused(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1")
        receipt, topup = topup_requests("M1", 100)
        outcomes = await Book(engine).post(
            [
                receipt.model_copy(update={"merchant": "M1", "link": None}),
                topup.model_copy(update={"merchant": None, "link": None}),
            ]
        )
        assert [o.code for o in outcomes] == [Code.FIELD_INVALID] * 2

    async def test_more_than_an_account_can_hold_is_refused(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1", fund=AMOUNT_MINOR_MAX)
        owner = (
            "UPDATE accounts SET balance = 1::bigint << 62 WHERE bucket IN ('bank', 'available')"
        )
        await in_transaction(engine, lambda c: execute(c, owner, ()))
        request = topup_requests("M1", 1, 2)[0].model_copy(update={"link": None})
        [outcome] = await Book(engine).post([request])
        assert outcome.code is Code.AMOUNT_TOO_LARGE

    async def test_hundred_spends_on_an_account_worth_fewer_stop_at_the_floor(
        self, engine: AsyncEngine
    ) -> None:
        """C-04, L1: 200 concurrent spends of 1 on an account worth 100: exactly 100 succeed."""
        await open_account(engine, "M1", fund=100)
        outcomes = await asyncio.gather(
            *(Book(engine).post([_withdrawal(n, 1)]) for n in range(200))
        )
        posted = [o for [o] in outcomes if o.result is TransferResult.POSTED]
        assert len(posted) == 100
        assert await _balances(engine) == (0, 0, 0)

    async def test_two_way_batches_never_deadlock(self, engine: AsyncEngine) -> None:
        """L3: batches name the same merchants in opposite orders; no caller sees a deadlock."""
        for merchant in ("M1", "M2", "M3"):
            await open_account(engine, merchant, fund=10_000)

        def batch(number: int) -> list[TransferRequest]:
            names = ["M1", "M2", "M3"] if number % 2 else ["M3", "M2", "M1"]
            return [
                request.model_copy(update={"link": None})
                for name in names
                for request in topup_requests(name, 5, 100 + number)
            ]

        await asyncio.gather(*(Book(engine).post(batch(n)) for n in range(40)))
        assert await _balances(engine, "M3") == (10_200, 0, 0)

    async def test_order_kinds_and_too_many_are_refused(self, engine: AsyncEngine) -> None:
        hold = _withdrawal(1, 1).model_copy(update={"kind": TransferKind.HOLD})
        with pytest.raises(Rejected) as refusal:
            await Book(engine).post([hold])
        assert refusal.value.codes == (Code.FIELD_INVALID,)
        with pytest.raises(Rejected) as refusal:
            await Book(engine).post([_withdrawal(n, 1) for n in range(501)])
        assert refusal.value.codes == (Code.TOO_MANY,)


class TestBalances:
    async def test_unknown_merchant_is_refused(self, engine: AsyncEngine) -> None:
        with pytest.raises(Rejected) as refusal:
            await Book(engine).balances("M404", "CNY")
        assert refusal.value.codes == (Code.ACCOUNT_NOT_OPENED,)

    async def test_balance_at_any_past_moment(self, engine: AsyncEngine) -> None:
        """The balance right before and right after each recorded transfer."""
        await open_account(engine, "M1", fund=1_000)
        book = Book(engine)
        for number in range(1, 6):
            await book.post([_withdrawal(number, 100)])
        rows = await in_transaction(
            engine,
            lambda c: fetch(
                c,
                "SELECT recorded_at, debit_after FROM transfers"
                " WHERE kind = 'withdrawal' ORDER BY id",
                (),
            ),
        )
        for recorded_at, after in rows:
            tick = timedelta(microseconds=1)
            assert (await book.balances_at("M1", "CNY", recorded_at)).available == after
            before = await book.balances_at("M1", "CNY", recorded_at - tick)
            assert before.available == after + 100
        long_ago = await book.balances_at("M1", "CNY", datetime(2000, 1, 1, tzinfo=UTC))
        assert figures(long_ago) == (0, 0, 0)


class TestImmutability:
    @pytest.mark.parametrize(
        "statement",
        ["UPDATE transfers SET amount = 1", "DELETE FROM transfers", "TRUNCATE transfers",
         "UPDATE audit SET actor = ''", "DELETE FROM refusals"],
    )  # fmt: skip
    async def test_nobody_changes_what_is_written(
        self, database: Database, engine: AsyncEngine, statement: str
    ) -> None:
        """C-03, L6: the application has no right to; the owner is stopped by the trigger."""
        await open_account(engine, "M1", fund=1_000)
        with pytest.raises(BookBroken, match="42501"):
            await in_transaction(engine, lambda c: execute(c, statement, ()))
        owner = create_async_engine(database.owner_url)
        connection = await owner.connect()
        for insert in _ROWS:
            await connection.execute(text(insert))
        with pytest.raises(DBAPIError, match="append-only"):
            await connection.execute(text(statement))
        await connection.close()
        await owner.dispose()

    async def test_a_floor_holds_against_the_application_too(self, engine: AsyncEngine) -> None:
        """C-04: the database refuses what no rule should ever have asked."""
        await open_account(engine, "M1", fund=1_000)
        with pytest.raises(BookBroken, match="23514"):
            await in_transaction(
                engine,
                lambda c: execute(c, "UPDATE accounts SET balance = -1 WHERE floored", ()),
            )


class TestFailures:
    @pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57P01", "08006", "53300"])
    async def test_passing_faults_are_tried_again_then_unavailable(
        self, engine: AsyncEngine, state: str
    ) -> None:
        """L4, B18: never an insufficiency, never a silent loss."""
        tries = 0

        async def work(connection: AsyncConnection) -> None:
            nonlocal tries
            tries += 1
            raise_ = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
            await execute(connection, raise_, ())

        with pytest.raises(Unavailable):
            await in_transaction(engine, work)
        assert tries == 5

    @pytest.mark.parametrize("state", ["23505", "23514", "22003"])
    async def test_contradictions_stop_at_once(self, engine: AsyncEngine, state: str) -> None:
        tries = 0

        async def work(connection: AsyncConnection) -> None:
            nonlocal tries
            tries += 1
            raise_ = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
            await execute(connection, raise_, ())

        with pytest.raises(BookBroken, match=state):
            await in_transaction(engine, work)
        assert tries == 1

    async def test_killed_connection_is_replaced_and_nothing_doubles(
        self, database: Database, engine: AsyncEngine
    ) -> None:
        """F03: every backend terminated between two posts."""
        await open_account(engine, "M1", fund=1_000)
        owner = create_async_engine(database.owner_url)
        for number in range(3):
            async with owner.begin() as connection:
                await connection.execute(text(END_OTHERS))
            await Book(engine).post([_withdrawal(number, 100)])
        await owner.dispose()
        assert await _balances(engine) == (700, 0, 0)

    async def test_database_that_is_not_there_is_unavailable(self) -> None:
        engine = make_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
        with pytest.raises(Unavailable):
            await Book(engine).balances("M1", "CNY")
        await engine.dispose()
