"""Records the paths of the watch: ``python -m tests.replay.record_watch``; it only adds."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities import watch
from tests.replay.record import Recorder
from tests.stack import engine_on, running_postgres, running_temporal
from tests.workflows.support import eventually, make_platform
from tillkeeper.contracts.topup import topup_workflow_id
from tillkeeper.contracts.watch import WATCH_WORKFLOW_ID
from tillkeeper.sealing import KeyRing


class WatchRecorder(Recorder):
    """Plays the paths of the watch."""

    async def revived(self) -> None:
        """A request whose run is terminated twice; looks that are asked for and that are due."""
        merchant = self.merchant("V1")
        await self.platform.configured()
        await self.till.request_topup(self.platform.topup())
        lost = self.client.get_workflow_handle(topup_workflow_id(merchant, "T1"))
        handle = self.client.get_workflow_handle(WATCH_WORKFLOW_ID)
        await self.till.watch_runs()
        for _ in range(2):
            await lost.terminate()

            async def back() -> bool:
                await self.till.look_at_runs()
                return (await lost.describe()).status is WorkflowExecutionStatus.RUNNING

            await eventually(back)
        await self.temporal.fast_forward(handle, timedelta(minutes=30))
        await handle.signal("nothing")
        await self.till.runs_watch()
        await self.keep("run-watch-revived", WATCH_WORKFLOW_ID)

    async def continued(self) -> None:
        """Cancelled, looked at by several at once, and gone on as new meanwhile."""
        handle = self.client.get_workflow_handle(WATCH_WORKFLOW_ID)
        first = (await handle.describe()).run_id
        await handle.cancel()
        await asyncio.gather(*(self.till.look_at_runs() for _ in range(4)))
        for _ in range(5):
            await asyncio.gather(*(handle.signal("nothing") for _ in range(100)))

        async def another() -> bool:
            return (await handle.describe()).run_id != first

        await eventually(another, within_s=20)
        await self.keep("run-watch-continued", WATCH_WORKFLOW_ID, run_id=first)
        await handle.terminate()

    async def unreadable(self) -> None:
        await self.client.start_workflow(
            "RunWatch", 7, id="watch/7", task_queue=self.platform.task_queue
        )
        handle = self.client.get_workflow_handle("watch/7")

        async def ended() -> bool:
            return (await handle.describe()).close_time is not None

        await eventually(ended)
        await self.keep("run-watch-unreadable", "watch/7")


async def main() -> None:
    """Play every path against servers of its own, with payloads in clear."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "OPEN_FOR", timedelta(0))
        async with running_postgres() as databases, running_temporal(None) as temporal:
            await databases.make_template()
            ring = KeyRing.generate("replay")
            async with (
                databases.fresh() as database,
                engine_on(database.app_url, ring=ring) as engine,
            ):
                platform = make_platform(temporal.client, engine, ring)
                async with platform.worker():
                    recorder = WatchRecorder(platform, temporal)
                    await recorder.revived()
                    await recorder.continued()
                    await recorder.unreadable()


if __name__ == "__main__":
    asyncio.run(main())
