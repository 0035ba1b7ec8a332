"""The servers the other tests stand on are real and fresh."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@workflow.defn
class Sleeper:
    """Sleeps 100 days."""

    @workflow.run
    async def run(self, text_given: str) -> str:
        """Return what was given, when they are over."""
        await workflow.sleep(timedelta(days=100))
        return text_given


class TestPostgres:
    async def test_server_is_postgresql_18(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            version = await connection.scalar(text("SHOW server_version_num"))
        assert str(version).startswith("18")

    async def test_application_login_cannot_rewrite_the_book(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(text("DELETE FROM transfers"))


class TestTemporal:
    async def test_hundred_days_pass_at_once_for_one_workflow(
        self, temporal: WorkflowEnvironment, task_queue: str
    ) -> None:
        async with Worker(
            temporal.client,
            task_queue=task_queue,
            workflows=[Sleeper],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            handle = await temporal.client.start_workflow(
                Sleeper.run, "canary", id=task_queue, task_queue=task_queue
            )
            assert await temporal.fast_forward(handle, timedelta(days=99))
            await temporal.fast_forward(handle, timedelta(days=2))
            assert await handle.result() == "canary"
        history = await handle.fetch_history()
        assert "canary" not in history.to_json()
