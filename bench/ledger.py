"""The book's measures, interleaved in rounds: a busy neighbour slows all of them alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.posting import (
    FUND,
    HOT,
    SPREAD,
    bare_inserts,
    batches,
    coalesced,
    endings,
    holds,
    make_bare_tables,
    singles,
)
from bench.stage import Stage, running_server, stage_on
from bench.statement import measure_statement
from ledger.orders import OrderBook

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How many messages each measure plays per round, and how many lines the statement has."""

    rounds: int = 3
    single: int = 400
    batched: int = 15_000
    coalesced: int = 6_400
    lines: int = 100_000


async def measure_ledger(sizes: Sizes, say: Say) -> dict[str, float]:
    """All figures by name; rates per second, ratios without unit, memory in MiB."""
    async with running_server() as server, stage_on(server, "ledger") as stage:
        say("opening 1,001 accounts")
        await stage.open_accounts((HOT, *SPREAD), fund=FUND)
        await make_bare_tables(stage)
        await _round(stage, "warm", Sizes(single=50, batched=2_000, coalesced=640))
        seen: defaultdict[str, list[float]] = defaultdict(list)
        for number in range(sizes.rounds):
            say(f"round {number + 1} of {sizes.rounds}")
            for name, value in (await _round(stage, f"round{number}", sizes)).items():
                seen[name].append(value)
    figures = {name: median(values) for name, values in seen.items()}
    async with running_server() as server:
        statement = await measure_statement(server, sizes.lines, rounds=sizes.rounds, say=say)
    return figures | statement | {"rounds": float(sizes.rounds)}


async def _round(stage: Stage, tag: str, sizes: Sizes) -> dict[str, float]:
    book = OrderBook(stage.engine)
    single = await singles(book, holds((HOT,), f"{tag}-a", sizes.single))
    placed = holds((HOT,), f"{tag}-b", sizes.batched)
    hot = await batches(book, placed)
    bare = await bare_inserts(stage, placed)
    spread = await batches(book, holds(SPREAD, f"{tag}-c", sizes.batched))
    lanes = await coalesced(book, holds(SPREAD, f"{tag}-d", sizes.coalesced))
    hot_lane = await coalesced(book, holds((HOT,), f"{tag}-h", sizes.coalesced))
    replays = await batches(book, placed, replayed=True)
    ended = await batches(book, endings(placed))
    return {
        "hot_over_single": hot / single,
        "hot_over_bare": hot / bare,
        "spread_over_single": spread / single,
        "coalesced_over_single": lanes.rate / single,
        "coalesced_p99_ms": lanes.p99_ms,
        "coalesced_p50_ms": lanes.p50_ms,
        "single_per_s": single,
        "hot_per_s": hot,
        "spread_per_s": spread,
        "coalesced_per_s": lanes.rate,
        "coalesced_hot_per_s": hot_lane.rate,
        "coalesced_hot_p99_ms": hot_lane.p99_ms,
        "bare_per_s": bare,
        "replays_per_s": replays,
        "endings_per_s": ended,
    }
