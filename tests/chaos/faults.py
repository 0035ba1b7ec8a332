"""What fails, and when: drawn from the seed alone, so that a run can be told and asked for again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Final

from tests.chaos.cluster import Cluster

KINDS: Final = ("worker", "bank", "postgres", "temporal")

BANK_CHANCES: Final = {
    "cut": 60,
    "error": 60,
    "silence": 20,
    "duplicate-status": 60,
    "unavailable": 60,
    "early-status": 40,
    "partial": 20,
    "reject": 60,
    "return": 40,
    "forget": 100,
}
"""In a thousand payments; every fault that the simulator knows is on."""


def fault_order(seed: int) -> Iterator[str]:
    """Which part is killed next, without end; each of them as often as the others."""
    drawn = random.Random(seed)  # noqa: S311 - a schedule, no secret
    while True:
        round_of_all = list(KINDS)
        drawn.shuffle(round_of_all)
        yield from round_of_all


async def keep_killing(cluster: Cluster, *, seed: int, every_s: float) -> None:
    """Kill one part every ``every_s`` seconds until cancelled; what was killed is mended first."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for kind in fault_order(seed):
        due = max(due + every_s, loop.time())
        await asyncio.sleep(due - loop.time())
        await cluster.kill(kind)
