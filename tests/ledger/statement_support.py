"""The figures that statements are tested with."""

from __future__ import annotations

from contextlib import aclosing
from datetime import date, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.book import Book
from ledger.orders import OrderBook
from ledger.statements import StatementLine, StatementWanted, statement_lines
from tests.ledger.support import DAY, hold, open_account, refund, release, settle
from tillkeeper.contracts.book import TransferKind, TransferRequest

ALWAYS = StatementWanted("M1", "CNY", date(1970, 1, 1), date(2200, 1, 1))


def days_of(first: date, until: date) -> StatementWanted:
    return StatementWanted("M1", "CNY", first, until)


async def lines_of(engine: AsyncEngine, wanted: StatementWanted = ALWAYS) -> list[StatementLine]:
    async with aclosing(statement_lines(engine, wanted)) as lines:
        return [line async for line in lines]


async def withdraw(engine: AsyncEngine, amount: int) -> None:
    request = TransferRequest(
        name="withdrawal/1/reserve", kind=TransferKind.WITHDRAWAL, currency="CNY",
        amount_minor=amount, effective_at=DAY + timedelta(hours=1), merchant="M1",
        subject="withdrawal/1",
    )  # fmt: skip
    assert (await Book(engine).post([request]))[0].code is None


async def first_month(engine: AsyncEngine) -> None:
    """X-1: 3,000.00; fees 36.00, 60.00, 90.00; the second released, the third refunded."""
    await open_account(engine, "M1", fund=300_000)
    fees = {"O1": 3_600, "O2": 6_000, "O3": 9_000}
    await OrderBook(engine).apply(
        [
            *(hold("M1", order, fee) for order, fee in fees.items()),
            release("M1", "O2", 6_000),
            settle("M1", "O1", at=DAY + timedelta(days=1)),
            settle("M1", "O3", at=DAY + timedelta(days=1)),
        ]
    )
    late = refund("M1", "O3", 9_000).model_copy(update={"at": DAY + timedelta(days=2)})
    await OrderBook(engine).apply([late])
