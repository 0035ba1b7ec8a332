"""One way to stop: the first SIGINT, SIGTERM or SIGHUP cancels the main task, which then cleans
up undisturbed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine

import uvloop

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_stopped(main: Coroutine[None, None, int]) -> int:
    """Run `main` to its end; returns its exit code, or 0 after it was stopped in order by a
    signal.
    """
    return uvloop.run(_guarded(main))


async def _guarded(main: Coroutine[None, None, int]) -> int:
    task = asyncio.create_task(main)
    loop = asyncio.get_running_loop()
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked:
            sys.stderr.write("Still stopping.\n")
            return
        asked = True
        task.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return 0
