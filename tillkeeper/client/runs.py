"""Calls about the watch over runs: have it run, look now, see what it found."""

from __future__ import annotations

from typing import Any

from temporalio.client import WorkflowHandle

from tillkeeper.client.calls import ANEW, Calls, answered
from tillkeeper.contracts.watch import (
    WATCH_WORKFLOW_ID,
    WORKFLOW,
    RunWatchRequest,
    RunWatchView,
)


class RunCalls(Calls):
    """Nobody is forgotten: what is open in the database runs."""

    async def watch_runs(self) -> None:
        """Have runs watched, for ever; where they are watched already, nothing changes."""
        await self._started(WORKFLOW, WATCH_WORKFLOW_ID, RunWatchRequest(), reuse=ANEW)

    async def look_at_runs(self) -> RunWatchView:
        """Look now, and answer what is known after it; the watch is started where it is not."""
        await self.watch_runs()
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(WATCH_WORKFLOW_ID)
        return await answered(
            handle.execute_update("look", result_type=RunWatchView, rpc_timeout=self._within)
        )

    async def runs_watch(self) -> RunWatchView | None:
        """What the watch has found so far; None where none runs or is remembered."""
        return await self._view(WATCH_WORKFLOW_ID, RunWatchView)
