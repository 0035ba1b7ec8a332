"""What fails, and when: drawn from the seed alone, so that a run can be asked for again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Final

from tests.chaos.cluster import Cluster

ROUND: Final = (
    *("worker-1", "worker-2") * 3,
    *("bank",) * 6,
    *("backends",) * 4,
    *("postgres",) * 3,
    "temporal",
)
"""Twenty faults in a drawn order: workflows go on some eight seconds after Temporal was killed, so
it is killed once in a round; whatever is down already is not killed again."""

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
    """Which part is taken next, without end."""
    drawn = random.Random(seed)  # noqa: S311 - a schedule, no secret
    while True:
        order = list(ROUND)
        drawn.shuffle(order)
        yield from order


async def keep_killing(cluster: Cluster, *, seed: int, every_s: float) -> None:
    """Take one part every ``every_s`` seconds until cancelled; each is mended beside the others."""
    mending: dict[str, asyncio.Task[None]] = {}
    try:
        for kind in fault_order(seed):
            await asyncio.sleep(every_s)
            for name in [name for name, task in mending.items() if task.done()]:
                mending.pop(name).result()
            if kind not in mending:
                mending[kind] = asyncio.create_task(cluster.kill(kind))
    finally:
        # What was killed last comes back too.
        await asyncio.gather(*mending.values())
