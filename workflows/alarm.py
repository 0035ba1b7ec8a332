"""One durable timer of a run, for waits that something else usually ends.

Promises that a timer which is no longer waited for is left to itself: to cancel it would be one
more event in every history, and most runs end before it rings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from temporalio import workflow

from workflows.lifecycle import seconds_until


class Alarm:
    """Rings at the moment that was set last."""

    def __init__(self) -> None:
        self._set: tuple[datetime, asyncio.Task[None]] | None = None

    def at(self, due: datetime) -> Callable[[], bool]:
        """Set it to ``due``; whether it has rung, to be asked in a wait condition."""
        if self._set is not None:
            when, ringing = self._set
            early = ringing.done() and workflow.now() < due
            if when == due and not early:
                return ringing.done
            ringing.cancel()
        ringing = asyncio.create_task(asyncio.sleep(seconds_until(due)))
        self._set = (due, ringing)
        return ringing.done
