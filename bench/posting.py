"""The measures of posting: messages exist before the clock starts, the answer is a rate.

A rate counts only messages with the expected outcome: a measure that is refused anything fails.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from statistics import quantiles
from time import perf_counter
from typing import Any, Final

from bench.stage import CURRENCY, Stage
from ledger.lanes import Lanes
from ledger.orders import BATCH_MAX, OrderBook
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderOutcome, OrderResult

FEE: Final = 36_00
SINCE: Final = datetime(2024, 5, 1, tzinfo=UTC)
CALLERS: Final = 64
MERCHANTS: Final = 1_000
HOT: Final = "hot"
SPREAD: Final = tuple(f"spread-{number}" for number in range(MERCHANTS))
FUND: Final = 10**12
"""Minor units per merchant: more than any measure holds."""

_TRANSFERS: Final = """
    key, fingerprint, kind, amount, currency, debit_account, debit_seq, debit_after, credit_account,
    credit_seq, credit_after, subject, effective_at"""
_TRANSFER_TYPES: Final = (
    "uuid uuid text bigint text bigint bigint bigint bigint bigint bigint text timestamptz"
)
_HOLDS: Final = """
    account, order_id, fee, fee_version, held, dues, released, cancelled, settled, refunded,
    refused, placed_at, completed_at, due_seq"""
_HOLD_TYPES: Final = (
    "bigint text bigint smallint bigint bigint bigint bigint bigint bigint text "
    "timestamptz timestamptz bigint"
)

Columns = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Coalesced:
    """What concurrent callers got: messages per second, and how long each waited."""

    rate: float
    p50_ms: float
    p99_ms: float


def holds(merchants: Sequence[str], tag: str, count: int) -> list[OrderMessage]:
    """``count`` holds of new orders, a millisecond apart, over ``merchants`` in turn."""
    return [
        OrderMessage(
            event=OrderEvent.HOLD, merchant=merchant, currency=CURRENCY, order=f"{tag}-{number}",
            at=SINCE + timedelta(milliseconds=number), amount_minor=FEE,
        )
        for number, merchant in enumerate(islice(cycle(merchants), count))
    ]  # fmt: skip


def endings(placed: Sequence[OrderMessage]) -> list[OrderMessage]:
    """What ends these orders: all are settled, one in five after a release in part."""
    ended: list[OrderMessage] = []
    for number, hold in enumerate(placed):
        later = {"at": hold.at + timedelta(days=1)}
        settle = hold.model_copy(update=later | {"event": OrderEvent.SETTLE, "amount_minor": None})
        if number % 5 == 0:
            release = {"event": OrderEvent.RELEASE, "message_id": "1", "amount_minor": FEE // 3}
            ended.append(hold.model_copy(update=later | release))
        ended.append(settle)
    return ended


async def singles(book: OrderBook, messages: Sequence[OrderMessage]) -> float:
    """Messages per second, one transaction for each, one after another."""
    gc.collect()
    started = perf_counter()
    outcomes = [(await book.apply([message]))[0] for message in messages]
    return _rate(outcomes, started)


async def batches(
    book: OrderBook, messages: Sequence[OrderMessage], *, replayed: bool = False
) -> float:
    """Messages per second, one transaction for each 500, one after another."""
    gc.collect()
    outcomes: list[OrderOutcome] = []
    started = perf_counter()
    for start in range(0, len(messages), BATCH_MAX):
        outcomes += await book.apply(messages[start : start + BATCH_MAX])
    return _rate(outcomes, started, replayed=replayed)


async def coalesced(book: OrderBook, messages: Sequence[OrderMessage]) -> Coalesced:
    """64 callers who each submit one message, wait for its answer, and submit the next."""
    gc.collect()
    outcomes: list[OrderOutcome] = []
    waited_ms: list[float] = []
    source = iter(messages)

    async def caller(lanes: Lanes) -> None:
        for message in source:
            asked = perf_counter()
            outcomes.append(await lanes.submit(message))
            waited_ms.append((perf_counter() - asked) * 1000)

    async with Lanes(book) as lanes:
        started = perf_counter()
        await asyncio.gather(*(caller(lanes) for _ in range(CALLERS)))
        rate = _rate(outcomes, started)
    percentiles = quantiles(waited_ms, n=100)
    return Coalesced(rate, percentiles[49], percentiles[98])


def _rate(outcomes: Sequence[OrderOutcome], started: float, *, replayed: bool = False) -> float:
    took = perf_counter() - started
    wrong = [
        o for o in outcomes if o.result is not OrderResult.APPLIED or o.replayed is not replayed
    ]
    if wrong:
        raise RuntimeError(f"{len(wrong)} messages were answered unexpectedly, first {wrong[0]}")
    return len(outcomes) / took


async def make_bare_tables(stage: Stage) -> None:
    """Tables of the same layout, indexes and constraints, without anything that decides."""
    for table in ("transfers", "holds"):
        await stage.owner.execute(f"CREATE TABLE bare_{table} (LIKE {table} INCLUDING ALL)")


async def bare_inserts(stage: Stage, placed: Sequence[OrderMessage]) -> float:
    """Rows per second of the rows that ``placed`` made, committed per 500, and nothing else done.

    One hold counts once, as in the rate it is compared with: a transfer and an order's row.
    """
    subjects = [f"order/{message.order}" for message in placed]
    orders = [message.order for message in placed]
    transfers = await stage.owner.fetch(
        f"SELECT {_TRANSFERS} FROM transfers WHERE kind = 'hold' AND subject = ANY($1) ORDER BY id",
        subjects,
    )
    rows = await stage.owner.fetch(
        f"SELECT {_HOLDS} FROM holds WHERE order_id = ANY($1) ORDER BY id", orders
    )
    if not len(transfers) == len(rows) == len(placed):
        raise RuntimeError("the bare insert would not write the same rows")
    pairs = [
        (_columns(transfers[start : start + BATCH_MAX]), _columns(rows[start : start + BATCH_MAX]))
        for start in range(0, len(placed), BATCH_MAX)
    ]
    insert_transfers = _insert("bare_transfers", _TRANSFERS, _TRANSFER_TYPES)
    insert_holds = _insert("bare_holds", _HOLDS, _HOLD_TYPES)
    gc.collect()
    started = perf_counter()
    for transfer_columns, hold_columns in pairs:
        async with stage.owner.transaction():
            await stage.owner.execute(insert_holds, *hold_columns)
            await stage.owner.execute(insert_transfers, *transfer_columns)
    return len(placed) / (perf_counter() - started)


def _columns(rows: Sequence[Any]) -> Columns:
    return list(zip(*rows, strict=True))


def _insert(table: str, columns: str, types: str) -> str:
    arrays = ", ".join(f"${place}::{name}[]" for place, name in enumerate(types.split(), start=1))
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays})"
