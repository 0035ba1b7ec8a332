"""Order messages in the book: P-40 … P-50.1, T2 … T12, C-04, C-09, with the rules' figures."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.book import Book
from ledger.engine import fetch, in_transaction
from ledger.orders import OrderBook
from tests.ledger.support import (
    DAY,
    figures,
    hold,
    open_account,
    refund,
    release,
    settle,
    top_up,
)
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import AMOUNT_MINOR_MAX
from tillkeeper.contracts.order import OrderMessage, OrderOutcome, OrderResult


class Till:
    """One merchant's account and the messages about its orders."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.orders = OrderBook(engine)
        self.book = Book(engine)

    async def send(self, *messages: OrderMessage) -> list[OrderOutcome]:
        """Each message in a transaction of its own."""
        return [(await self.orders.apply([message]))[0] for message in messages]

    async def figures(self, merchant: str = "M1") -> tuple[int, int, int]:
        """(available, frozen, dues) in minor units."""
        return figures(await self.book.balances(merchant, "CNY"))

    async def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Rows of a query, as tuples."""
        return [
            tuple(row)
            for row in await in_transaction(self.engine, lambda c: fetch(c, statement, ()))
        ]


@pytest.fixture
def till(engine: AsyncEngine) -> Till:
    return Till(engine)


class TestHold:
    async def test_order_placed_holds_its_fee(self, till: Till) -> None:
        """P-40, P-41: the fee of 36.00 is held, not the price of 1,200.00."""
        await open_account(till.engine, "M1", fund=500_000)
        await till.send(hold("M1", "O1", 3_600))
        assert await till.figures() == (496_400, 3_600, 0)
        assert await till.rows("SELECT kind, amount FROM transfers WHERE kind = 'hold'") == [
            ("hold", 3_600)
        ]

    async def test_hold_delivered_three_times_falls_once(self, till: Till) -> None:
        """P-42, C-02."""
        await open_account(till.engine, "M1", fund=500_000)
        outcomes = await till.send(*[hold("M1", "O1", 3_600)] * 3)
        assert [o.replayed for o in outcomes] == [False, True, True]
        assert {o.result for o in outcomes} == {OrderResult.APPLIED}
        assert await till.figures() == (496_400, 3_600, 0)

    async def test_same_hold_under_another_time_falls_once(self, till: Till) -> None:
        """P-42: the business row guards where the key's time differs."""
        await open_account(till.engine, "M1", fund=500_000)
        later = hold("M1", "O1", 3_600, at=DAY + timedelta(hours=1))
        outcomes = await till.send(hold("M1", "O1", 3_600), later)
        assert outcomes[1].replayed
        assert await till.figures() == (496_400, 3_600, 0)

    async def test_same_hold_with_another_fee_is_refused(self, till: Till) -> None:
        """C-02, P-42: same version, other fee: the key is used. Another version: already held."""
        await open_account(till.engine, "M1", fund=500_000)
        outcomes = await till.send(
            hold("M1", "O1", 3_600), hold("M1", "O1", 3_601), hold("M1", "O1", 3_601, version=2)
        )
        assert [o.code for o in outcomes] == [None, Code.KEY_REUSED, Code.ORDER_ALREADY_HELD]
        assert await till.figures() == (496_400, 3_600, 0)

    async def test_hold_above_available_makes_all_of_it_dues(self, till: Till) -> None:
        """P-44, T3: available 20.00, hold 36.00."""
        await open_account(till.engine, "M1", fund=2_000)
        [outcome] = await till.send(hold("M1", "O1", 3_600))
        assert outcome.result is OrderResult.DUES
        assert await till.figures() == (2_000, 0, 3_600)

    async def test_hold_equal_to_available_succeeds(self, till: Till) -> None:
        """P-44: available 36.00, hold 36.00."""
        await open_account(till.engine, "M1", fund=3_600)
        await till.send(hold("M1", "O1", 3_600))
        assert await till.figures() == (0, 3_600, 0)

    async def test_burst_on_little_money_makes_eight_holds_two_dues(self, till: Till) -> None:
        """X-3: 250.00 and ten holds of 30.00; then 3,000.00 pay the dues."""
        await open_account(till.engine, "M1", fund=25_000)
        await till.orders.apply([hold("M1", f"O{n}", 3_000) for n in range(10)])
        assert await till.figures() == (1_000, 24_000, 6_000)
        floors = await till.rows(
            "SELECT threshold, available FROM outbox WHERE threshold = 'hard_floor'"
        )
        assert floors == [("hard_floor", 19_000)]
        await top_up(till.engine, "M1", 300_000, number=2)
        assert await till.figures() == (295_000, 30_000, 0)

    async def test_hundred_parallel_holds_give_27_held_and_73_dues(self, till: Till) -> None:
        """C-04: 100 parallel holds of 36.00 on 1,000.00."""
        await open_account(till.engine, "M1", fund=100_000)
        outcomes = await asyncio.gather(
            *(till.orders.apply([hold("M1", f"O{n}", 3_600)]) for n in range(100))
        )
        results = [outcome.result for [outcome] in outcomes]
        assert results.count(OrderResult.APPLIED) == 27
        assert results.count(OrderResult.DUES) == 73
        assert await till.figures() == (2_800, 97_200, 262_800)

    @pytest.mark.parametrize(
        ("state", "code"),
        [
            (AccountState.OPENED, Code.ACCOUNT_NOT_ACTIVE),
            (AccountState.CONFIGURED, Code.ACCOUNT_NOT_ACTIVE),
            (AccountState.CLOSED, Code.ACCOUNT_CLOSED),
            (AccountState.ACTIVE, None),
            (AccountState.ABNORMAL, None),
        ],
    )
    async def test_account_state_decides(
        self, till: Till, state: AccountState, code: Code | None
    ) -> None:
        """Matrix 1.9: a hold needs an active account; an abnormal one still owes its orders."""
        await open_account(till.engine, "M1", fund=10_000, state=state)
        [outcome] = await till.send(hold("M1", "O1", 3_600))
        assert outcome.code is code

    async def test_order_before_activation_keeps_the_former_mode(self, till: Till) -> None:
        """P-10: activation 10:00:00, order A 09:59:59, order B 10:00:00."""
        activated = datetime(2024, 5, 6, 10, 0, 0, tzinfo=UTC)
        await open_account(till.engine, "M1", fund=10_000, billing_from=activated)
        a, b, later = await till.send(
            hold("M1", "A", 3_600, at=activated - timedelta(seconds=1)),
            hold("M1", "B", 3_600, at=activated),
            settle("M1", "A"),
        )
        assert a.code is Code.FORMER_BILLING_MODE
        assert b.result is OrderResult.APPLIED
        assert later.code is Code.FORMER_BILLING_MODE
        assert await till.figures() == (6_400, 3_600, 0)

    async def test_no_account_is_refused_and_others_go_on(self, till: Till) -> None:
        await open_account(till.engine, "M1", fund=10_000)
        refused, applied = await till.orders.apply([hold("M9", "O1", 100), hold("M1", "O1", 100)])
        assert refused.code is Code.ACCOUNT_NOT_OPENED
        assert applied.result is OrderResult.APPLIED

    async def test_same_order_id_in_two_currencies_is_two_orders(self, till: Till) -> None:
        """One account per merchant and currency: same merchant, order and moment."""
        await open_account(till.engine, "M1", fund=10_000)
        await open_account(till.engine, "M1", "USD", fund=10_000)
        dollars = hold("M1", "O1", 500).model_copy(update={"currency": "USD"})
        outcomes = await till.orders.apply([hold("M1", "O1", 3_600), dollars])
        assert {o.result for o in outcomes} == {OrderResult.APPLIED}
        assert await till.figures() == (6_400, 3_600, 0)
        assert figures(await till.book.balances("M1", "USD")) == (9_500, 500, 0)

    async def test_dues_are_capped_before_they_overflow(self, till: Till) -> None:
        await open_account(till.engine, "M1")
        outcomes = await till.send(
            hold("M1", "O1", AMOUNT_MINOR_MAX), hold("M1", "O2", 1), settle("M1", "O2")
        )
        assert [o.code for o in outcomes] == [None] + [Code.AMOUNT_TOO_LARGE] * 2
        assert await till.figures() == (0, 0, AMOUNT_MINOR_MAX)

    async def test_more_than_500_messages_are_refused(self, till: Till) -> None:
        with pytest.raises(Rejected) as refusal:
            await till.orders.apply([hold("M1", f"O{n}", 1) for n in range(501)])
        assert refusal.value.codes == (Code.TOO_MANY,)


class TestRelease:
    async def test_half_returned_then_a_cent_too_much(self, till: Till) -> None:
        """P-48: held 36.00, 18.00 back; then 18.01 is refused; then 18.00 is fine."""
        await open_account(till.engine, "M1", fund=10_000)
        outcomes = await till.send(
            hold("M1", "O1", 3_600),
            release("M1", "O1", 1_800, "r1"),
            release("M1", "O1", 1_801, "r2"),
            release("M1", "O1", 1_800, "r3"),
        )
        assert [o.code for o in outcomes] == [None, None, Code.EXCEEDS_HELD, None]
        assert await till.figures() == (10_000, 0, 0)

    async def test_release_before_hold_is_parked_and_applied(self, till: Till) -> None:
        """P-49: release(36.00) arrives before hold(36.00); both records exist."""
        await open_account(till.engine, "M1", fund=10_000)
        first, second = await till.send(release("M1", "O1", 3_600), hold("M1", "O1", 3_600))
        assert first.result is OrderResult.PARKED
        assert second.result is OrderResult.APPLIED
        assert await till.figures() == (10_000, 0, 0)
        kinds = await till.rows("SELECT kind FROM transfers WHERE subject = 'order/O1' ORDER BY id")
        assert kinds == [("hold",), ("release",)]

    async def test_release_after_settlement_is_a_settled_refund(self, till: Till) -> None:
        """P-49, T6."""
        await open_account(till.engine, "M1", fund=10_000)
        await till.send(hold("M1", "O1", 3_600), settle("M1", "O1"), release("M1", "O1", 1_800))
        assert await till.figures() == (8_200, 0, 0)

    async def test_repeated_release_has_one_effect(self, till: Till) -> None:
        """P-49, C-02: duplicate → no effect; other amount under the same id → refused."""
        await open_account(till.engine, "M1", fund=10_000)
        outcomes = await till.send(
            hold("M1", "O1", 3_600),
            *[release("M1", "O1", 1_800)] * 2,
            release("M1", "O1", 1_700),
        )
        assert outcomes[2].replayed
        assert outcomes[3].code is Code.KEY_REUSED
        assert await till.figures() == (8_200, 1_800, 0)

    async def test_refused_release_is_answered_alike_for_ever(self, till: Till) -> None:
        """C-02, design §2: refusals are stored, though the same amount would fit later."""
        await open_account(till.engine, "M1", fund=10_000)
        await till.send(hold("M1", "O1", 100), settle("M1", "O1"))
        first, again = await till.send(*[refund("M1", "O1", 101)] * 2)
        assert first.code is again.code is Code.EXCEEDS_SETTLED
        assert again.replayed

    async def test_refund_before_receipt_cancels_unpaid_dues(self, till: Till) -> None:
        """P-47, T12: dues 36.00 for O1, refunded in full."""
        await open_account(till.engine, "M1", fund=2_000)
        await till.send(hold("M1", "O1", 3_600), release("M1", "O1", 3_600))
        assert await till.figures() == (2_000, 0, 0)


class TestSettle:
    async def test_completion_settles_the_rest_of_the_hold(self, till: Till) -> None:
        """P-50, T5: one red entry of 36.00, its time stored."""
        await open_account(till.engine, "M1", fund=10_000)
        await till.send(hold("M1", "O1", 3_600), *[settle("M1", "O1")] * 2)
        assert await till.figures() == (6_400, 0, 0)
        settled = await till.rows(
            "SELECT amount, effective_at FROM transfers WHERE kind = 'settlement'"
        )
        assert settled == [(3_600, DAY)]

    async def test_settled_refund_gives_back_at_most_what_was_settled(self, till: Till) -> None:
        """P-50.1, T6: 36.00 back, a further 0.01 is refused."""
        await open_account(till.engine, "M1", fund=10_000)
        outcomes = await till.send(
            hold("M1", "O1", 3_600),
            settle("M1", "O1"),
            refund("M1", "O1", 3_600, "x1"),
            refund("M1", "O1", 1, "x2"),
        )
        assert [o.code for o in outcomes[2:]] == [None, Code.EXCEEDS_SETTLED]
        assert await till.figures() == (10_000, 0, 0)

    async def test_refund_before_settlement_waits_for_it(self, till: Till) -> None:
        """C-09."""
        await open_account(till.engine, "M1", fund=10_000)
        parked, *_ = await till.send(
            refund("M1", "O1", 600), hold("M1", "O1", 3_600), settle("M1", "O1")
        )
        assert parked.result is OrderResult.PARKED
        assert await till.figures() == (7_000, 0, 0)


class TestDues:
    async def test_topup_pays_dues_of_an_open_order_into_its_hold(self, till: Till) -> None:
        """P-46, T10: available 20.00, dues 36.00, credit of 3,000.00."""
        await open_account(till.engine, "M1", fund=2_000)
        await till.send(hold("M1", "O1", 3_600))
        await top_up(till.engine, "M1", 300_000, number=2)
        assert await till.figures() == (298_400, 3_600, 0)

    async def test_topup_pays_dues_of_a_completed_order_as_expense(self, till: Till) -> None:
        """P-46, T11: frozen 0.00, available 2,984.00, one red entry of 36.00."""
        await open_account(till.engine, "M1", fund=2_000)
        await till.send(hold("M1", "O1", 3_600), settle("M1", "O1"))
        await top_up(till.engine, "M1", 300_000, number=2)
        assert await till.figures() == (298_400, 0, 0)
        assert await till.rows("SELECT amount FROM transfers WHERE kind = 'dues_settled'") == [
            (3_600,)
        ]

    async def test_release_pays_the_oldest_dues_first_and_partly(self, till: Till) -> None:
        """P-46, Q-09: every increase pays, oldest first, partial payment allowed."""
        await open_account(till.engine, "M1", fund=1_000)
        await till.send(
            hold("M1", "O1", 1_000),
            hold("M1", "O2", 700),
            hold("M1", "O3", 500),
            release("M1", "O1", 900),
        )
        assert await till.figures() == (0, 1_000, 300)
        held = await till.rows("SELECT order_id, held, dues FROM holds ORDER BY order_id")
        assert held == [("O1", 100, 0), ("O2", 700, 0), ("O3", 200, 300)]

    async def test_dues_raised_and_paid_in_one_batch(self, till: Till) -> None:
        await open_account(till.engine, "M1", fund=1_000)
        await till.orders.apply(
            [hold("M1", "O1", 1_000), hold("M1", "O2", 700), release("M1", "O1", 1_000)]
        )
        assert await till.figures() == (300, 700, 0)

    async def test_more_dues_than_a_page_are_paid_in_order(self, till: Till) -> None:
        await open_account(till.engine, "M1")
        await till.orders.apply([hold("M1", f"O{n}", 10) for n in range(450)])
        await top_up(till.engine, "M1", 4_405, number=2)
        assert await till.figures() == (0, 4_405, 95)
        unpaid = await till.rows("SELECT dues FROM holds WHERE dues > 0 ORDER BY due_seq")
        assert unpaid == [(5,)] + [(10,)] * 9


class TestGuardOutbox:
    async def test_crossing_writes_one_row_and_equality_writes_none(self, till: Till) -> None:
        """P-52, Q-03: 1,036.00 − 36.00 = 1,000.00 crosses nothing; 1,020.00 − 36.00 does."""
        await open_account(till.engine, "M1", fund=103_600)
        await open_account(till.engine, "M2", fund=102_000)
        await till.send(hold("M1", "O1", 3_600), hold("M2", "O1", 3_600))
        rows = await till.rows(
            "SELECT p.merchant, o.threshold, o.available FROM outbox o"
            " JOIN prepaid_accounts p ON p.id = o.account WHERE o.threshold <> 'resume_above'"
            " ORDER BY o.id"
        )
        assert rows == [("M2", "warning", 98_400), ("M2", "suspend_below", 98_400)]

    async def test_money_that_dues_take_crosses_nothing(self, till: Till) -> None:
        """P-46, P-55: 3,000.00 arrive on dues of 2,900.00: available goes from 0.00 to 100.00."""
        await open_account(till.engine, "M1")
        await till.send(hold("M1", "O1", 290_000))
        await top_up(till.engine, "M1", 300_000, number=2)
        assert await till.figures() == (10_000, 290_000, 0)
        assert await till.rows("SELECT threshold FROM outbox") == []

    async def test_rising_above_resume_writes_a_row(self, till: Till) -> None:
        """P-55: 1,000.00 → still suspended; 1,000.01 → resumed."""
        await open_account(till.engine, "M1", fund=100_000)
        assert await till.rows("SELECT threshold FROM outbox") == []
        await top_up(till.engine, "M1", 1, number=2)
        assert await till.rows("SELECT threshold, available FROM outbox") == [
            ("resume_above", 100_001)
        ]
