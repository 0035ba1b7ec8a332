"""The effects table of rules.md 1.4, row by row: T1 … T12 on balances, query tab and statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.book import Book
from ledger.orders import OrderBook
from ledger.reads import Reads, Tab
from ledger.statements import StatementTime, StatementWanted, statement_lines
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
from tillkeeper.contracts.book import TransferKind, TransferRequest
from tillkeeper.contracts.order import OrderMessage

Act = Callable[[AsyncEngine], Awaitable[object]]
RED, GREEN = "OUT", "IN"


def _send(*messages: OrderMessage) -> Act:
    return lambda engine: OrderBook(engine).apply(messages)


def _money(amount: int, number: int = 2) -> Act:
    return lambda engine: top_up(engine, "M1", amount, number=number)


def _withdrawal(kind: TransferKind) -> Act:
    request = TransferRequest(
        name=f"withdrawal/W1/{kind}", kind=kind, currency="CNY", amount_minor=2_000,
        effective_at=DAY, merchant="M1", subject="withdrawal/W1",
    )  # fmt: skip
    return lambda engine: Book(engine).post([request])


@dataclass(frozen=True)
class Row:
    """One row of the table: change of (available, frozen, dues), tabs gained, statement entries."""

    name: str
    fund: int
    before: Act | None
    act: Act
    change: tuple[int, int, int]
    tabs: dict[Tab, int]
    entries: tuple[tuple[str, int], ...]


HELD, DUE = hold("M1", "O1", 3_600), hold("M1", "O1", 3_600)
OUT = TransferKind.WITHDRAWAL
TABLE = [
    Row("T1 top-up", 0, None, _money(3_600), (3_600, 0, 0), {Tab.FUNDS: 1}, ((GREEN, 3_600),)),
    Row("T2 hold", 5_000, None, _send(HELD), (-3_600, 3_600, 0), {Tab.HELD: 1}, ()),
    Row("T3 hold impossible", 2_000, None, _send(DUE), (0, 0, 3_600), {Tab.DUES: 1}, ()),
    Row("T4 release", 5_000, _send(HELD), _send(release("M1", "O1", 1_800)),
        (1_800, -1_800, 0), {Tab.RELEASED: 1}, ()),
    Row("T5 settlement", 5_000, _send(HELD), _send(settle("M1", "O1")),
        (0, -3_600, 0), {Tab.SETTLED: 1}, ((RED, 3_600),)),
    Row("T6 settled refund", 5_000, _send(HELD, settle("M1", "O1")),
        _send(refund("M1", "O1", 3_600)), (3_600, 0, 0), {Tab.SETTLED_REFUND: 1},
        ((GREEN, 3_600),)),
    Row("T7 withdrawal submitted", 5_000, None, _withdrawal(OUT),
        (-2_000, 0, 0), {Tab.FUNDS: 1}, ((RED, 2_000),)),
    Row("T8 withdrawal paid", 5_000, _withdrawal(OUT), _withdrawal(TransferKind.WITHDRAWAL_PAID),
        (0, 0, 0), {Tab.FUNDS: 1}, ()),
    Row("T9 withdrawal returned", 5_000, _withdrawal(OUT),
        _withdrawal(TransferKind.WITHDRAWAL_RETURNED), (2_000, 0, 0), {Tab.FUNDS: 1},
        ((GREEN, 2_000),)),
    Row("T10 dues paid, order open", 2_000, _send(DUE), _money(3_600),
        (0, 3_600, -3_600), {Tab.FUNDS: 1, Tab.DUES: 1, Tab.HELD: 1}, ((GREEN, 3_600),)),
    Row("T11 dues paid, order completed", 2_000, _send(DUE, settle("M1", "O1")), _money(3_600),
        (0, 0, -3_600), {Tab.FUNDS: 1, Tab.DUES: 1, Tab.SETTLED: 1},
        ((GREEN, 3_600), (RED, 3_600))),
    Row("T12 dues cancelled", 2_000, _send(DUE), _send(release("M1", "O1", 3_600)),
        (0, 0, -3_600), {Tab.DUES: 1}, ()),
]  # fmt: skip


async def _tabs(engine: AsyncEngine) -> dict[Tab, int]:
    reads = Reads(engine)
    return {tab: len((await reads.flow("M1", "CNY", tab)).lines) for tab in Tab}


async def _entries(engine: AsyncEngine) -> list[tuple[str, int]]:
    wanted = StatementWanted(
        "M1", "CNY", date(2024, 1, 1), date(2100, 1, 1), by=StatementTime.BOOKED
    )
    return [
        (line.direction.value, abs(line.amount))
        async for line in statement_lines(engine, wanted)
        if line.direction is not None and line.amount is not None
    ]


class TestEffects:
    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    async def test_row_of_the_table(self, engine: AsyncEngine, row: Row) -> None:
        """Rules 1.4: available, frozen, dues, trade query tab, account statement (P-77, P-78)."""
        await open_account(engine, "M1", fund=row.fund)
        if row.before is not None:
            await row.before(engine)
        book = Book(engine)
        then, tabs, entries = (
            figures(await book.balances("M1", "CNY")), await _tabs(engine), await _entries(engine),
        )  # fmt: skip
        await row.act(engine)
        now = figures(await book.balances("M1", "CNY"))
        assert tuple(b - a for a, b in zip(then, now, strict=True)) == row.change
        gained = {tab: n - tabs[tab] for tab, n in (await _tabs(engine)).items() if n != tabs[tab]}
        assert gained == row.tabs
        assert tuple((await _entries(engine))[len(entries) :]) == row.entries

    def test_the_table_is_whole(self) -> None:
        assert [row.name.split()[0] for row in TABLE] == [f"T{n}" for n in range(1, 13)]
