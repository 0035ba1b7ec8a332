"""Says that a long activity lives, from beside it: also while a thread or a query is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from temporalio import activity

EVERY_S: Final = 3.0


@asynccontextmanager
async def heartbeating() -> AsyncIterator[None]:
    """Beat for as long as the block runs; what is over before the first beat costs no call."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            activity.heartbeat()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
