"""Look-ups of merchants and operators: P-11, P-27, P-50.2, P-76, with the rules' own figures."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.book import Book
from ledger.engine import execute, in_transaction
from ledger.orders import OrderBook
from ledger.reads import FlowFilter, FlowLine, Reads, Tab
from tests.ledger.support import DAY, hold, open_account, refund, release, settle, top_up
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import TransferKind, TransferRequest
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.order import HoldState
from tillkeeper.contracts.topup import TopUpState

_REQUEST = """
INSERT INTO topup_requests (merchant, request, account, currency, amount, state, fingerprint,
                            method, entry_point, profile, requested_at, decided_at)
SELECT $1, $2, p.id, 'CNY', $3, $4, '', 'wire', 'api', 'jd-prepaid@2023-11', $5, $5
  FROM prepaid_accounts p WHERE p.merchant = $1"""


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def _every_line(reads: Reads, tab: Tab, size: int = 500) -> list[FlowLine]:
    lines: list[FlowLine] = []
    after: str | None = None
    while True:
        page = await reads.flow("M1", "CNY", tab, page=(size, after))
        lines += page.lines
        after = page.after
        if after is None:
            return lines


async def _ask(engine: AsyncEngine, row: tuple[object, ...]) -> None:
    await in_transaction(engine, lambda c: execute(c, _REQUEST, row))


async def _withdraw(engine: AsyncEngine, kind: TransferKind, amount: int) -> None:
    request = TransferRequest(
        name=f"withdrawal/1/{kind}", kind=kind, currency="CNY", amount_minor=amount,
        effective_at=DAY, merchant="M1", subject="withdrawal/1",
    )  # fmt: skip
    assert (await Book(engine).post([request]))[0].code is None


class TestHome:
    async def test_account_with_one_hold_shows_the_figures(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-11: available 4,964.00 + frozen 36.00 = 5,000.00."""
        await open_account(engine, "M1", fund=500_000)
        await OrderBook(engine).apply([hold("M1", "O1", 3_600)])
        home = await reads.home("M1", "CNY")
        assert (home.available_minor, home.frozen_minor, home.dues_minor) == (496_400, 3_600, 0)
        assert home.state is AccountState.ACTIVE
        assert (home.suspended, home.warning_minor) == (False, 100_000)
        assert home.pending_withdrawals_minor == 0

    @pytest.mark.parametrize(("fund", "suspended"), [(99_999, True), (100_000, False)])
    async def test_available_below_the_line_counts_as_suspended(
        self, engine: AsyncEngine, reads: Reads, fund: int, suspended: bool
    ) -> None:
        """P-11, Q-03: below 1,000.00 suspended; at 1,000.00 not."""
        await open_account(engine, "M1", fund=fund)
        assert (await reads.home("M1", "CNY")).suspended is suspended

    async def test_last_topup_and_pending_withdrawal_are_shown(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-11: the last credited top-up, not a later one that still waits."""
        await open_account(engine, "M1", fund=500_000)
        await _withdraw(engine, TransferKind.WITHDRAWAL, 200_000)
        rows = [
            ("M1", "R1", 300_000, "CREDITED", DAY - timedelta(days=2)),
            ("M1", "R2", 500_000, "CREDITED", DAY - timedelta(days=1)),
            ("M1", "R3", 600_000, "WAITING_REMITTANCE", DAY),
        ]
        for row in rows:
            await _ask(engine, row)
        home = await reads.home("M1", "CNY")
        assert (home.last_topup_minor, home.last_topup_at) == (500_000, DAY - timedelta(days=1))
        assert home.pending_withdrawals_minor == 200_000

    async def test_account_unknown_or_not_opened_is_refused(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-11: only for opened accounts."""
        await open_account(engine, "M1", state=AccountState.WAITING_BANK_INFO)
        for merchant in ("M1", "M2"):
            with pytest.raises(Rejected) as refusal:
                await reads.home(merchant, "CNY")
            assert refusal.value.codes == (Code.ACCOUNT_NOT_OPENED,)


class TestFlow:
    async def test_hold_release_and_settlement_stand_in_their_tabs(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-50.2: after P-40, P-48 and P-50 one record each in 冻结, 退款 and 已结算."""
        await open_account(engine, "M1", fund=500_000)
        await OrderBook(engine).apply(
            [hold("M1", "O1", 3_600), release("M1", "O1", 1_800), settle("M1", "O1")]
        )
        found = {tab: await _every_line(reads, tab) for tab in Tab}
        amounts = {tab: [line.amount_minor for line in lines] for tab, lines in found.items()}
        assert amounts == {
            Tab.HELD: [3_600],
            Tab.RELEASED: [1_800],
            Tab.SETTLED: [1_800],
            Tab.SETTLED_REFUND: [],
            Tab.DUES: [],
            Tab.FUNDS: [500_000],
        }
        assert {line.state for tab in (Tab.HELD, Tab.SETTLED) for line in found[tab]} == {
            HoldState.SETTLED
        }

    async def test_dues_paid_later_stand_in_dues_and_in_settled(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-46, T3, T11, T12: raised, paid and cancelled dues; the paid one is settled."""
        await open_account(engine, "M1", fund=2_000)
        await OrderBook(engine).apply(
            [
                hold("M1", "O1", 3_600),
                settle("M1", "O1"),
                hold("M1", "O2", 5_000),
                release("M1", "O2", 5_000),
            ]
        )
        await top_up(engine, "M1", 300_000, number=2)
        await OrderBook(engine).apply([refund("M1", "O1", 100)])
        dues = [(line.kind, line.order) for line in await _every_line(reads, Tab.DUES)]
        assert dues == [
            (TransferKind.DUES_CLEARED, "O1"),
            (TransferKind.DUES_CANCELLED, "O2"),
            (TransferKind.DUES_RAISED, "O2"),
            (TransferKind.DUES_RAISED, "O1"),
        ]
        settled = await _every_line(reads, Tab.SETTLED)
        assert [(line.kind, line.amount_minor) for line in settled] == [
            (TransferKind.DUES_SETTLED, 3_600)
        ]
        assert len(await _every_line(reads, Tab.SETTLED_REFUND)) == 1

    async def test_funds_never_hold_an_order_and_tabs_never_hold_funds(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-76: a hold never appears in the top-up/withdrawal group and vice versa."""
        await open_account(engine, "M1", fund=500_000)
        await OrderBook(engine).apply([hold("M1", f"O{n}", 100) for n in range(20)])
        await _withdraw(engine, TransferKind.WITHDRAWAL, 200_000)
        await _withdraw(engine, TransferKind.WITHDRAWAL_RETURNED, 200_000)
        funds = await _every_line(reads, Tab.FUNDS)
        assert [line.kind for line in funds] == [
            TransferKind.WITHDRAWAL_RETURNED, TransferKind.WITHDRAWAL, TransferKind.TOPUP,
        ]  # fmt: skip
        assert all(line.order is None and line.state is None for line in funds)
        for tab in set(Tab) - {Tab.FUNDS}:
            assert all(line.order is not None for line in await _every_line(reads, tab))

    async def test_pages_hold_every_line_once_while_money_moves(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-50.2: pages of 3 over two chains, and lines added meanwhile do not shift them."""
        await open_account(engine, "M1", fund=2_000)
        book = OrderBook(engine)
        await book.apply([hold("M1", f"D{n}", 3_000) for n in range(4)])
        await book.apply([settle("M1", f"D{n}") for n in range(4)])
        await top_up(engine, "M1", 900_000, number=2)
        for n in range(7):
            await book.apply([hold("M1", f"O{n}", 100), settle("M1", f"O{n}")])
        whole = await _every_line(reads, Tab.SETTLED)
        assert len(whole) == 11
        first = await reads.flow("M1", "CNY", Tab.SETTLED, page=(3, None))
        await book.apply([hold("M1", "late", 100), settle("M1", "late")])
        seen, after = list(first.lines), first.after
        while after is not None:
            page = await reads.flow("M1", "CNY", Tab.SETTLED, page=(3, after))
            seen, after = seen + list(page.lines), page.after
        assert seen == whole

    async def test_filters_by_time_order_and_state(self, engine: AsyncEngine, reads: Reads) -> None:
        """P-50.2: filters by time (from included, to excluded), order and state."""
        await open_account(engine, "M1", fund=500_000)
        days = [DAY + timedelta(days=n) for n in range(3)]
        await OrderBook(engine).apply(
            [*(hold("M1", f"O{n}", 100, at=at) for n, at in enumerate(days)), settle("M1", "O0")]
        )

        async def orders(wanted: FlowFilter) -> list[str | None]:
            page = await reads.flow("M1", "CNY", Tab.HELD, wanted)
            return [line.order for line in page.lines]

        assert await orders(FlowFilter(since=days[1])) == ["O2", "O1"]
        assert await orders(FlowFilter(since=days[1], until=days[2])) == ["O1"]
        assert await orders(FlowFilter(order="O2")) == ["O2"]
        assert await orders(FlowFilter(state=HoldState.SETTLED)) == ["O0"]
        assert await orders(FlowFilter(state=HoldState.HELD, until=days[1])) == []

    @pytest.mark.parametrize("cursor", ["x", "1.2.3.4", "-1", "²", "1' OR true --"])
    async def test_foreign_cursor_is_refused(
        self, engine: AsyncEngine, reads: Reads, cursor: str
    ) -> None:
        """C-02: what is not a cursor of this list never reaches the statement."""
        await open_account(engine, "M1")
        with pytest.raises(Rejected) as refusal:
            await reads.flow("M1", "CNY", Tab.HELD, page=(10, cursor))
        assert refusal.value.codes == (Code.FIELD_INVALID,)

    async def test_page_too_large_or_account_unknown_is_refused(self, reads: Reads) -> None:
        """P-50.2: at most 500 lines a page; no account, no flow."""
        with pytest.raises(Rejected, match="FIELD_INVALID"):
            await reads.flow("M1", "CNY", Tab.HELD, page=(501, None))
        with pytest.raises(Rejected, match="ACCOUNT_NOT_OPENED"):
            await reads.flow("M1", "CNY", Tab.HELD)


class TestOrders:
    async def test_fee_is_told_part_by_part(self, engine: AsyncEngine, reads: Reads) -> None:
        """P-48, P-50, P-50.1: fee = held + dues + released + cancelled + settled."""
        await open_account(engine, "M1", fund=500_000)
        await OrderBook(engine).apply(
            [
                hold("M1", "O1", 3_600),
                release("M1", "O1", 600),
                settle("M1", "O1"),
                refund("M1", "O1", 1_000),
                refund("M1", "O2", 1, "early"),
            ]
        )
        found = await reads.orders("M1", "CNY", ["O1", "O2", "O3"])
        assert set(found) == {"O1", "O2"}
        one = found["O1"]
        assert (one.fee_minor, one.released_minor, one.settled_minor, one.refunded_minor) == (
            3_600, 600, 3_000, 1_000,
        )  # fmt: skip
        assert (one.state, one.held_minor, one.placed_at) == (HoldState.SETTLED, 0, DAY)
        assert (found["O2"].state, found["O2"].fee_minor) == (HoldState.PARKED, None)


class TestTopups:
    async def test_requests_are_listed_in_every_state(
        self, engine: AsyncEngine, reads: Reads
    ) -> None:
        """P-27, P-76: requests, newest first, filtered by state, page by page."""
        await open_account(engine, "M1")
        states = ["CREDITED", "REFUSED", "WAITING_REMITTANCE", "CREDITED", "EXPIRED"]
        for n, state in enumerate(states):
            row = ("M1", f"R{n}", 300_000, state, DAY + timedelta(hours=n))
            await _ask(engine, row)
        first = await reads.topups("M1", "CNY", page=(3, None))
        second = await reads.topups("M1", "CNY", page=(3, first.after))
        names = [line.request for line in (*first.lines, *second.lines)]
        assert (names, second.after) == (["R4", "R3", "R2", "R1", "R0"], None)
        credited = await reads.topups("M1", "CNY", state=TopUpState.CREDITED)
        assert [line.request for line in credited.lines] == ["R3", "R0"]
