"""Bad input changes nothing: whatever is refused, not one row of any table differs (4.5)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.book import Book
from ledger.engine import fetch, in_transaction
from ledger.orders import OrderBook
from ledger.verify import verify
from tests.ledger.support import hold, open_account, release, topup_requests
from tillkeeper.contracts.base import json_at_the_door
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.order import OrderMessage

GOOD = {
    "event": "hold", "merchant": "M1", "currency": "CNY", "order": "O2",
    "at": "2024-05-06T10:00:00Z", "amount_minor": 100,
}  # fmt: skip


_ALL = "SELECT t::text FROM {} t ORDER BY id"


async def _rows(engine: AsyncEngine) -> str:
    """Every row of every table that keeps money, as one text."""
    tables = ("accounts", "transfers", "holds", "hold_returns", "outbox", "prepaid_accounts")
    found = []
    for table in tables:
        found += await in_transaction(engine, partial(fetch, sql=_ALL.format(table), parameters=()))
    return "\n".join(row[0] for row in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_minor": 100.0}, {"amount_minor": "100"}, {"amount_minor": 0},
        {"amount_minor": -1}, {"amount_minor": 2**63}, {"amount_minor": None},
        {"currency": "XXX"}, {"currency": "cny"}, {"merchant": ""}, {"order": "O/2"},
        {"order": "x" * 10_240}, {"order": "O\x00"}, {"at": "1969-12-31T23:59:59Z"},
        {"at": "2024-05-06T10:00:00"}, {"fee_version": 0}, {"event": "steal"}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
async def test_message_that_is_none_never_reaches_the_book(
    engine: AsyncEngine, changes: dict[str, object]
) -> None:
    await open_account(engine, "M1", fund=1_000)
    assert json_at_the_door(OrderMessage, json.dumps(GOOD)).order == "O2"
    before = await _rows(engine)
    with pytest.raises(Rejected):
        json_at_the_door(OrderMessage, json.dumps({**GOOD, **changes}))
    assert await _rows(engine) == before


REFUSED: list[Callable[[AsyncEngine], Awaitable[object]]] = [
    lambda e: OrderBook(e).apply([hold("M404", "O1", 100)]),
    lambda e: OrderBook(e).apply([hold("M1", "O1", 101)]),
    lambda e: OrderBook(e).apply([hold("M1", "O1", 100, version=2)]),
    lambda e: OrderBook(e).apply([release("M1", "O1", 99, "kept")]),
    lambda e: OrderBook(e).apply([hold("M1", "O1", 100).model_copy(update={"currency": "USD"})]),
    lambda e: Book(e).post(topup_requests("M1", 999)),
]


@pytest.mark.parametrize("act", REFUSED, ids=range(len(REFUSED)))
async def test_contradiction_is_answered_and_changes_no_row(
    engine: AsyncEngine, act: Callable[[AsyncEngine], Awaitable[object]]
) -> None:
    """C-02: wrong account, wrong currency, and the same keys with other bodies."""
    await open_account(engine, "M1", fund=1_000)
    await OrderBook(engine).apply([hold("M1", "O1", 100), release("M1", "O1", 10, "kept")])
    before = await _rows(engine)
    outcomes = await act(engine)
    assert isinstance(outcomes, list)
    assert all(outcome.code is not None for outcome in outcomes)
    assert await _rows(engine) == before
    assert (await verify(engine)).broken is None
