"""Stands for an insider who brings a worker of his own, to schedule our activities as he likes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy


@workflow.defn(name="Forger")
class Forger:
    """Calls one activity of a queue, with a time of its own making."""

    @workflow.run
    async def run(self, queue: str, name: str, command: dict[str, Any], late_s: float) -> Any:
        """Answer what the activity answers."""
        at: datetime = workflow.now() + timedelta(seconds=late_s)
        return await workflow.execute_activity(
            name, command | {"at": at.isoformat()}, task_queue=queue,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )  # fmt: skip
