"""S3, P-73: no activity believes a time that is not the Temporal server's."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError
from temporalio.worker import Worker

from activities.server_time import EARLIER_MAX, LATER_MAX
from tests.workflows.forger import Forger
from tests.workflows.support import Platform
from tests.workflows.withdrawal_support import People, people_on
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.failures import kind_of
from tillkeeper.rules.profiles import JD_PREPAID_2023_11

GRACE = JD_PREPAID_2023_11.model_copy(update={"withdrawal_grace": timedelta(hours=2)})


@pytest_asyncio.fixture(loop_scope="session")
async def people(idle: Platform, tmp_path: Path) -> AsyncIterator[People]:
    """A merchant with 5,000.00, and two hours to undo an approval in."""
    made = people_on(idle, tmp_path, profile=GRACE)
    async with made.platform.worker():
        await made.active()
        yield made


async def forged(people: People, name: str, command: dict[str, Any], late: timedelta) -> Any:
    """What an activity of ours answers to an insider's worker."""
    client, queue = people.platform.client, f"forger-{uuid.uuid4().hex}"
    async with Worker(client, task_queue=queue, workflows=[Forger]):
        return await client.execute_workflow(
            "Forger",
            args=[people.platform.task_queue, name, command, late.total_seconds()],
            id=queue, task_queue=queue,
        )  # fmt: skip


@pytest.mark.parametrize(
    "late", [timedelta(hours=2), LATER_MAX + timedelta(seconds=1), -EARLIER_MAX * 2]
)
async def test_a_forged_time_is_refused_and_nothing_changes(
    people: People, late: timedelta
) -> None:
    """P-73: the grace period cannot be cut short, nor an expired token be spent."""
    view = await people.approve(await people.ask())
    assert view.state is WithdrawalState.APPROVED
    command = {"merchant": view.merchant, "request": view.request, "body": None}
    with pytest.raises(WorkflowFailureError) as failed:
        await forged(people, "remit_withdrawal", command, late)
    assert kind_of(failed.value) == Code.COMMAND_TIME
    assert (await people.seen()).state is WithdrawalState.APPROVED
    assert await people.platform.rows("SELECT 1 FROM payments") == []


async def test_the_servers_time_is_taken(people: People) -> None:
    """It remits nothing before the grace period is over."""
    view = await people.approve(await people.ask())
    command = {"merchant": view.merchant, "request": view.request, "body": None}
    answer = await forged(people, "remit_withdrawal", command, timedelta())
    assert answer["state"] == "APPROVED"
