"""Awaiting what a request to cancel must not break off: a run that is to be started or told.

Promises that the work itself never hears of the request, and that the request is noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uncancelled(work: Coroutine[Any, Any, T], note: Callable[[], None]) -> T:
    """The result of ``work``, whatever is cancelled meanwhile; called in a workflow's run."""
    task = asyncio.create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Of the work itself only when the worker lets go of the whole run.
            if task.cancelled():
                raise
            note()
