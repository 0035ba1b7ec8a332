"""Whether posting stays fast on a large book: batches on a grown book and an empty one, in turn."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Final

from bench.loading import load_settled_orders
from bench.posting import FUND, HOT, SPREAD, batches, holds
from bench.stage import running_server, stage_on
from ledger.orders import OrderBook

BATCHED: Final = 20_000
ROUNDS: Final = 5


async def measure_growth(
    transfers: int, say: Callable[[str], None], *, batched: int = BATCHED
) -> dict[str, float]:
    """Rate on a book of ``transfers`` transfers over the rate on an empty one."""
    merchants = (HOT, *SPREAD)
    orders = transfers // 2
    async with (
        running_server() as server,
        stage_on(server, "empty") as empty,
        stage_on(server, "grown") as grown,
    ):
        for stage in (empty, grown):
            await stage.open_accounts(merchants, fund=FUND)
        await load_settled_orders(
            grown, merchants, orders, told=lambda done: say(f"{2 * done:,} transfers loaded")
        )
        await grown.owner.execute("CHECKPOINT")
        found = float(await grown.owner.fetchval("SELECT count(*) FROM transfers"))
        rates: dict[str, list[float]] = {"empty": [], "grown": []}
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            messages = holds((HOT,), f"round{number}", batched)
            for name, stage in (("empty", empty), ("grown", grown)):
                rates[name].append(await batches(OrderBook(stage.engine), messages))
    ratios = [grown / empty for empty, grown in zip(*rates.values(), strict=True)]
    return {
        "grown_over_empty": median(ratios),
        "grown_per_s": median(rates["grown"]),
        "empty_per_s": median(rates["empty"]),
        "grown_transfers": found,
        "rounds": float(ROUNDS),
    }
