"""Account statements: P-76 … P-79, X-1, with the rules' own figures."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute, in_transaction
from ledger.orders import OrderBook
from ledger.statements import (
    Direction,
    StatementTime,
    StatementWanted,
    statement_figures,
)
from ledger.verify import verify
from tests.ledger.statement_support import days_of, first_month, lines_of, withdraw
from tests.ledger.support import DAY, Desk, hold, open_account, settle, top_up
from tests.stack import Databases
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import BookBroken, Code, Rejected
from tillkeeper.contracts.order import OrderEvent, OrderMessage


class TestLines:
    async def test_topup_settlement_withdrawal_are_entries_and_holds_are_not(
        self, engine: AsyncEngine
    ) -> None:
        """P-77: +5,000.00, −36.00, −1,000.00; closing 3,964.00 = available + frozen."""
        await open_account(engine, "M1", fund=500_000)
        await OrderBook(engine).apply([hold("M1", "O1", 3_600), settle("M1", "O1")])
        await withdraw(engine, 100_000)
        lines = await lines_of(engine)
        assert [(line.kind, line.amount, line.total) for line in lines] == [
            ("opening", None, 0),
            ("topup", 500_000, 500_000),
            ("settlement", -3_600, 496_400),
            ("withdrawal", -100_000, 396_400),
            ("closing", None, 396_400),
        ]
        assert [line.direction for line in lines[1:4]] == [
            Direction.IN, Direction.OUT, Direction.OUT,
        ]  # fmt: skip

    async def test_first_month_reads_as_the_scenario_says(self, engine: AsyncEngine) -> None:
        """X-1: +3,000.00, −36.00, −90.00, +90.00; closing 2,964.00."""
        await first_month(engine)
        lines = await lines_of(engine)
        assert [line.amount for line in lines[1:-1]] == [300_000, -3_600, -9_000, 9_000]
        assert lines[-1].total == 296_400

    async def test_dues_settled_are_an_expense(self, engine: AsyncEngine) -> None:
        """P-46, T11: dues of a completed order, paid by a top-up, give one red entry of 36.00."""
        await open_account(engine, "M1", fund=2_000)
        await OrderBook(engine).apply([hold("M1", "O1", 3_600), settle("M1", "O1")])
        await top_up(engine, "M1", 300_000, number=2)
        lines = await lines_of(engine)
        assert [line.amount for line in lines[1:-1]] == [2_000, 300_000, -3_600]
        assert lines[-1].total == 298_400

    async def test_day_is_cut_in_the_business_zone(self, engine: AsyncEngine) -> None:
        """P-79: 15:59:59 UTC still belongs to 6 May in Shanghai, 16:00:00 to 7 May."""
        await open_account(engine, "M1", fund=500_000)
        for offset_s, order in ((-1, "O1"), (0, "O2")):
            at = datetime(2024, 5, 6, 16, 0, tzinfo=UTC) + timedelta(seconds=offset_s)
            await OrderBook(engine).apply([hold("M1", order, 100), settle("M1", order, at=at)])
        six, seven, eight = date(2024, 5, 6), date(2024, 5, 7), date(2024, 5, 8)
        first = [line.reference for line in await lines_of(engine, days_of(six, seven))]
        assert first == ["", "order/O1", ""]
        second = await lines_of(engine, days_of(seven, eight))
        assert [line.reference for line in second] == ["", "order/O2", ""]
        assert [second[0].total, second[-1].total] == [499_900, 499_800]

    async def test_booked_period_goes_by_the_time_of_booking(self, engine: AsyncEngine) -> None:
        """P-79: what happened in 2024 and was booked today stands in today's booked statement."""
        await first_month(engine)
        today = datetime.now(UTC).date()
        around = StatementWanted(
            "M1", "CNY", today - timedelta(days=2), today + timedelta(days=2),
            by=StatementTime.BOOKED,
        )  # fmt: skip
        assert (await statement_figures(engine, around)).lines == 4
        assert (await statement_figures(engine, days_of(around.first, around.until))).lines == 0

    async def test_filter_keeps_balances_and_sums_what_it_hides(self, engine: AsyncEngine) -> None:
        """P-79: opening + Σ entries + not shown = closing, under a filter too."""
        await first_month(engine)
        wanted = StatementWanted(
            "M1", "CNY", date(2024, 5, 6), date(2024, 6, 1),
            kinds=frozenset({TransferKind.SETTLEMENT}),
        )  # fmt: skip
        lines = await lines_of(engine, wanted)
        assert [(line.kind, line.amount, line.total) for line in lines] == [
            ("opening", None, 300_000),
            ("settlement", -3_600, 296_400),
            ("settlement", -9_000, 287_400),
            ("not_shown", 9_000, 296_400),
            ("closing", None, 296_400),
        ]

    @pytest.mark.parametrize(
        ("wanted", "code"),
        [
            (StatementWanted("M9", "CNY", DAY.date(), date(2024, 6, 1)), "ACCOUNT_NOT_OPENED"),
            (StatementWanted("M1", "XXX", DAY.date(), date(2024, 6, 1)), "CURRENCY_UNKNOWN"),
            (days_of(DAY.date(), DAY.date()), "FIELD_INVALID"),
            (days_of(date.min, date.max), "FIELD_INVALID"),
            (
                StatementWanted(
                    "M1", "CNY", DAY.date(), date(2024, 6, 1), kinds=frozenset({TransferKind.HOLD})
                ),
                "FIELD_INVALID",
            ),
            (
                StatementWanted("M1", "CNY", DAY.date(), date(2024, 6, 1), zone="x'; --"),
                "FIELD_INVALID",
            ),
        ],
    )
    async def test_statement_that_makes_no_sense_is_refused(
        self, engine: AsyncEngine, wanted: StatementWanted, code: str
    ) -> None:
        """P-79, P-77: unknown account or currency, empty or endless period, a hold, no zone."""
        with pytest.raises(Rejected) as refusal:
            await lines_of(engine, wanted)
        assert refusal.value.codes == (Code(code),)

    async def test_balance_that_contradicts_the_lines_stops_the_statement(
        self, engine: AsyncEngine
    ) -> None:
        """P-77: lines that do not add up to available + frozen are never handed out."""
        await open_account(engine, "M1", fund=500_000)
        edit = "UPDATE accounts SET balance = balance + 1 WHERE bucket = 'frozen'"
        await in_transaction(engine, lambda c: execute(c, edit, ()))
        with pytest.raises(BookBroken):
            await lines_of(engine)


_START = datetime(2024, 5, 1, tzinfo=UTC)
_MOMENTS = st.integers(0, 20 * 24).map(lambda hour: _START + timedelta(hours=hour))


@st.composite
def _messages(draw: st.DrawFn) -> list[OrderMessage]:
    """Messages about a few orders, in any order, some too early, some too much."""
    count = draw(st.integers(1, 25))
    return [_message(draw, number) for number in range(count)]


def _message(draw: st.DrawFn, number: int) -> OrderMessage:
    event = draw(st.sampled_from(OrderEvent))
    returns = event in (OrderEvent.RELEASE, OrderEvent.REFUND)
    return OrderMessage(
        event=event, merchant="M1", currency="CNY", order=f"O{draw(st.integers(1, 6))}",
        at=draw(_MOMENTS), message_id=f"m{number}" if returns else None,
        amount_minor=None if event is OrderEvent.SETTLE else draw(st.integers(1, 9_000)),
    )  # fmt: skip


class TestSums:
    async def test_opening_and_lines_make_the_closing_for_any_period(
        self, postgres: Databases
    ) -> None:
        """P-77, P-79: any stream, any period; at the end closing = available + frozen (C-03)."""
        async with postgres.fresh() as database:
            await asyncio.to_thread(_any_stream_adds_up, database.app_url)


def _any_stream_adds_up(url: str) -> None:
    desk = Desk(url)
    number = iter(range(1_000_000))

    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(
        fund=st.integers(1, 30_000), later=st.integers(1, 30_000), messages=_messages(),
        cut=st.tuples(st.integers(0, 24), st.integers(1, 24)),
    )  # fmt: skip
    def run(fund: int, later: int, messages: list[OrderMessage], cut: tuple[int, int]) -> None:
        merchant = f"M{next(number)}"
        desk.run(open_account(desk.engine, merchant, fund=fund))
        renamed = [m.model_copy(update={"merchant": merchant}) for m in messages]
        half = len(renamed) // 2
        for topup, part in enumerate((renamed[:half], renamed[half:]), start=2):
            if part:
                desk.apply(*part)
            desk.run(top_up(desk.engine, merchant, later, number=topup))
        _check_sums(desk, merchant, cut)

    try:
        run()
        found = desk.run(verify(desk.engine))
        assert found.ok, found.broken
    finally:
        desk.close()


def _check_sums(desk: Desk, merchant: str, cut: tuple[int, int]) -> None:
    first = date(2024, 4, 28) + timedelta(days=cut[0])
    wanted = StatementWanted(merchant, "CNY", first, first + timedelta(days=cut[1]))
    lines = desk.run(lines_of(desk.engine, wanted))
    assert lines[0].total + sum(line.amount or 0 for line in lines) == lines[-1].total
    for before, line in pairwise(lines):
        assert line.total == before.total + (line.amount or 0)
    whole = StatementWanted(merchant, "CNY", date(1970, 1, 1), date(2200, 1, 1))
    available, frozen, _ = desk.figures(merchant)
    figures = desk.run(statement_figures(desk.engine, whole))
    assert figures.closing == available + frozen
    before_it = StatementWanted(merchant, "CNY", date(1970, 1, 1), first)
    assert desk.run(statement_figures(desk.engine, before_it)).closing == lines[0].total
