"""Concurrent callers of single messages: answered as one by one; nobody pays for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.book import Book
from ledger.engine import make_engine
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from tests.ledger.support import figures, hold, open_account
from tillkeeper.contracts.errors import BookBroken, Code, Unavailable
from tillkeeper.contracts.order import OrderMessage, OrderOutcome, OrderResult


class TestSubmit:
    async def test_hundred_concurrent_holds_give_27_held_and_73_dues(
        self, engine: AsyncEngine, database_url: str
    ) -> None:
        """C-04, coalesced."""
        await open_account(engine, "M1", fund=100_000)
        sizes: list[int] = []
        observed = make_engine(database_url, observe=lambda size, _: sizes.append(size))
        async with Lanes(OrderBook(observed)) as lanes:
            outcomes = await asyncio.gather(
                *(lanes.submit(hold("M1", f"O{n}", 3_600)) for n in range(100))
            )
        results = [outcome.result for outcome in outcomes]
        assert (results.count(OrderResult.APPLIED), results.count(OrderResult.DUES)) == (27, 73)
        assert figures(await Book(engine).balances("M1", "CNY")) == (2_800, 97_200, 262_800)
        await observed.dispose()
        assert sum(sizes) == 100
        assert len(sizes) < 20

    async def test_same_message_from_many_callers_has_one_effect(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1", fund=100_000)
        async with Lanes(OrderBook(engine)) as lanes:
            outcomes = await asyncio.gather(
                *(lanes.submit(hold("M1", "O1", 3_600)) for _ in range(64))
            )
        assert sorted(o.replayed for o in outcomes) == [False] + [True] * 63
        assert figures(await Book(engine).balances("M1", "CNY")) == (96_400, 3_600, 0)

    async def test_stopping_finishes_what_waits_and_then_refuses(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1", fund=100_000)
        lanes = Lanes(OrderBook(engine), lanes=1)
        async with lanes:
            waiting = [
                asyncio.create_task(lanes.submit(hold("M1", f"O{n}", 100))) for n in range(50)
            ]
            await asyncio.sleep(0)
            assert lanes.depth > 0
        assert {(await task).result for task in waiting} == {OrderResult.APPLIED}
        with pytest.raises(Unavailable):
            await lanes.submit(hold("M1", "late", 100))

    async def test_refused_neighbour_costs_nobody_anything(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1", fund=100_000)
        async with Lanes(OrderBook(engine), lanes=1) as lanes:
            refused, applied = await asyncio.gather(
                lanes.submit(hold("M404", "O1", 100)), lanes.submit(hold("M1", "O1", 100))
            )
        assert refused.code is Code.ACCOUNT_NOT_OPENED
        assert applied.result is OrderResult.APPLIED

    async def test_giving_up_on_the_end_leaves_the_answers(self, engine: AsyncEngine) -> None:
        await open_account(engine, "M1", fund=100_000)
        lanes = Lanes(OrderBook(engine), lanes=1)
        waiting = [asyncio.create_task(lanes.submit(hold("M1", f"O{n}", 100))) for n in range(9)]
        await asyncio.sleep(0)
        ending = asyncio.create_task(lanes.__aexit__(None, None, None))
        await asyncio.sleep(0)
        ending.cancel()
        assert {(await task).result for task in waiting} == {OrderResult.APPLIED}

    async def test_an_observer_that_fails_stops_nobody_later(self, database_url: str) -> None:
        calls = 0

        def observe(_size: int, _seconds: float) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise ZeroDivisionError

        engine = make_engine(database_url, observe=observe)
        await open_account(engine, "M1", fund=100_000)
        async with Lanes(OrderBook(engine), lanes=1) as lanes:
            with pytest.raises(ZeroDivisionError):
                await lanes.submit(hold("M1", "O1", 100))
            assert (await lanes.submit(hold("M1", "O9", 100))).result is OrderResult.APPLIED
        await engine.dispose()

    async def test_a_lane_that_is_stopped_while_it_sorts_out_a_batch_leaves_nobody_waiting(
        self, engine: AsyncEngine
    ) -> None:
        class Stubborn(OrderBook):
            async def apply(self, messages: Sequence[OrderMessage]) -> list[OrderOutcome]:
                if len(messages) > 1:
                    raise BookBroken("one of them")
                await asyncio.sleep(60)
                return []

        lanes = Lanes(Stubborn(engine), lanes=1)
        waiting = [asyncio.create_task(lanes.submit(hold("M1", f"O{n}", 1))) for n in range(5)]
        await asyncio.sleep(0.1)
        [lane] = [t for t in asyncio.all_tasks() if "_run" in repr(t.get_coro())]
        lane.cancel()
        answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert {type(answer) for answer in answers} == {Unavailable}
