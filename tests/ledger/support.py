"""Accounts and messages for tests of the book that need no workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.book import Book
from ledger.chart import make_merchant_accounts
from ledger.engine import execute, in_transaction, make_engine
from ledger.orders import OrderBook
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import Balances, Bucket, TransferKind, TransferRequest
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderOutcome

T = TypeVar("T")

DAY = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)

_INSERT = """
INSERT INTO prepaid_accounts
    (merchant, currency, state, profile, fingerprint, opening_user, legal_name_sealed,
     legal_name_digest, warning, suspend_below, hard_floor, resume_above, billing_from, opening_at,
     available, frozen, withdrawing, dues, fee_income, dues_unearned)
VALUES ($1, $2, $3, 'jd-prepaid@2023-11', '', 'user', '', '', $4::bigint, 100000, 20000,
        greatest($4::bigint, 100000), $5, $6, $7, $8, $9, $10, $11, $12)"""

_BUCKETS = (
    Bucket.AVAILABLE,
    Bucket.FROZEN,
    Bucket.WITHDRAWING,
    Bucket.DUES,
    Bucket.FEE_INCOME,
    Bucket.DUES_UNEARNED,
)


async def open_account(
    engine: AsyncEngine,
    merchant: str,
    currency: str = "CNY",
    *,
    fund: int = 0,
    state: AccountState = AccountState.ACTIVE,
    billing_from: datetime = datetime(1970, 1, 1, tzinfo=UTC),
    warning: int = 100_000,
) -> None:
    """An account row with its buckets, funded by ``fund`` minor units through the book."""

    async def work(connection: AsyncConnection) -> None:
        ids = await make_merchant_accounts(connection, merchant, currency)
        row = (merchant, currency, state.value, warning, billing_from, DAY)
        await execute(connection, _INSERT, (*row, *(ids[bucket] for bucket in _BUCKETS)))

    await in_transaction(engine, work)
    if fund:
        await top_up(engine, merchant, fund, currency=currency)


async def top_up(
    engine: AsyncEngine, merchant: str, amount: int, *, number: int = 1, currency: str = "CNY"
) -> None:
    """A receipt and its credit, linked."""
    outcomes = await Book(engine).post(topup_requests(merchant, amount, number, currency))
    assert all(outcome.code is None for outcome in outcomes)


def topup_requests(
    merchant: str, amount: int, number: int = 1, currency: str = "CNY"
) -> list[TransferRequest]:
    """The two linked requests of a top-up."""
    return [
        TransferRequest(
            name=f"test/{merchant}/{currency}/{kind}/{number}",
            kind=kind,
            currency=currency,
            amount_minor=amount,
            effective_at=DAY - timedelta(days=1),
            merchant=merchant if kind is TransferKind.TOPUP else None,
            subject=f"test/{number}",
            link=f"topup/{merchant}/{number}",
        )
        for kind in (TransferKind.RECEIPT, TransferKind.TOPUP)
    ]


def hold(
    merchant: str, order: str, fee: int, *, version: int = 1, at: datetime = DAY
) -> OrderMessage:
    """A hold of ``fee`` minor units."""
    return OrderMessage(
        event=OrderEvent.HOLD, merchant=merchant, currency="CNY", order=order, at=at,
        amount_minor=fee, fee_version=version,
    )  # fmt: skip


def settle(merchant: str, order: str, *, at: datetime = DAY) -> OrderMessage:
    """The order's completion."""
    return OrderMessage(
        event=OrderEvent.SETTLE, merchant=merchant, currency="CNY", order=order, at=at
    )


def release(merchant: str, order: str, amount: int, message_id: str = "r1") -> OrderMessage:
    """A return before receipt of the goods."""
    return _give_back(OrderEvent.RELEASE, merchant, order, amount, message_id)


def refund(merchant: str, order: str, amount: int, message_id: str = "x1") -> OrderMessage:
    """A return after receipt of the goods."""
    return _give_back(OrderEvent.REFUND, merchant, order, amount, message_id)


def _give_back(
    event: OrderEvent, merchant: str, order: str, amount: int, message_id: str
) -> OrderMessage:
    return OrderMessage(
        event=event, merchant=merchant, currency="CNY", order=order, at=DAY,
        amount_minor=amount, message_id=message_id,
    )  # fmt: skip


def figures(balances: Balances) -> tuple[int, int, int]:
    """(available, frozen, dues) in minor units."""
    return balances.available, balances.frozen, balances.dues


class Desk:
    """The book for tests that hypothesis drives: its own event loop, its own engine."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.engine = make_engine(url)
        self.orders = OrderBook(self.engine)
        self.book = Book(self.engine)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` to its end."""
        return self._runner.run(work)

    def apply(self, *messages: OrderMessage) -> list[OrderOutcome]:
        """Apply messages in one transaction."""
        return self.run(self.orders.apply(messages))

    def figures(self, merchant: str) -> tuple[int, int, int]:
        """(available, frozen, dues) in minor units."""
        return figures(self.run(self.book.balances(merchant, "CNY")))

    def close(self) -> None:
        """Close the engine and the loop."""
        self.run(self.engine.dispose())
        self._runner.close()
