"""Calls of the Temporal client from inside an activity, above all nudges.

A run that has ended reads the database no more, and need not be told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from temporalio import activity
from temporalio.service import RPCError, RPCStatusCode

from tillkeeper.contracts.errors import Unavailable

Answer = TypeVar("Answer")


async def nudge_all(nudges: Iterable[tuple[str, str]]) -> int:
    """Signal runs side by side, (workflow id, signal); answers how many there were to signal.

    Raises Unavailable.
    """
    return sum(await asyncio.gather(*(_nudge(*one) for one in nudges)))


async def _nudge(workflow_id: str, signal: str) -> bool:
    try:
        await activity.client().get_workflow_handle(workflow_id).signal(signal)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise refused(error) from None
    return True


async def asked(call: Awaitable[Answer]) -> Answer:
    """Await a call of the Temporal client. Raises Unavailable."""
    try:
        return await call
    except RPCError as error:
        raise refused(error) from None


def refused(error: RPCError) -> Unavailable:
    """What the Temporal server does not do now, it may do later."""
    return Unavailable(f"Temporal refused for now: {error.status.name}")
