"""Nudges from inside an activity: a run that has ended reads the database no more, and need not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from temporalio import activity
from temporalio.service import RPCError, RPCStatusCode

from tillkeeper.contracts.errors import Unavailable


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
        raise Unavailable(f"Temporal refused for now: {error.status.name}") from None
    return True
