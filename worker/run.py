"""The Temporal workers' settings, each measured or reasoned; they register what `registry` lists
and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.house import House
from activities.server_time import ServerTime
from worker import registry
from workflows.calls import bank_queue

# Re-imported in every sandbox, SQLAlchemy alone costs 550 ms per replayed run; passed through, 14
# ms.
PASSED_THROUGH = (
    *("tillkeeper", "pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
    *("sqlalchemy", "asyncpg", "alembic", "cryptography", "greenlet"),
    *("ledger", "gateways", "activities", "structlog", "prometheus_client"),
)
# Re-imported, they cost every run 15 to 20 ms, a third of what a withdrawal costs the worker.
WORKFLOW_CODE = ("workflows",)
# The default of 10 s is what every fail-over to another worker would wait.
_STICKY = timedelta(seconds=2)
_GRACE = timedelta(seconds=30)
_CACHED = 1000
# Each call holds a thread while the bank is silent.
_BANK_CALLS = 16
BANK_RATE_PER_S = 20.0


def build_worker(
    client: Client,
    house: House,
    *,
    task_queue: str = registry.TASK_QUEUE,
    cached_workflows: int = _CACHED,
) -> Worker:
    """The worker of every lifecycle in the registry; tests give each test a queue of its own.

    With ``cached_workflows`` 0 every task replays its history from the start.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=registry.WORKFLOWS,
        activities=registry.activities(house),
        workflow_runner=workflow_runner(),
        interceptors=[ServerTime()],
        max_cached_workflows=cached_workflows,
        sticky_queue_schedule_to_start_timeout=_STICKY,
        graceful_shutdown_timeout=_GRACE,
    )


def build_bank_worker(
    client: Client,
    house: House,
    *,
    task_queue: str = registry.TASK_QUEUE,
    per_second: float = BANK_RATE_PER_S,
) -> Worker:
    """The worker of the calls to the bank that belong to ``task_queue``.

    All workers of that queue together start at most ``per_second`` calls a second.
    """
    return Worker(
        client,
        task_queue=bank_queue(task_queue),
        activities=registry.bank_activities(house),
        interceptors=[ServerTime()],
        max_task_queue_activities_per_second=per_second,
        max_concurrent_activities=_BANK_CALLS,
        graceful_shutdown_timeout=_GRACE,
    )


def workflow_runner(*, trusted: Sequence[str] = WORKFLOW_CODE) -> SandboxedWorkflowRunner:
    """The sandbox that workflows run in; it does not look into ``trusted`` modules.

    Our own workflows are trusted where they run, because their tests replay every recorded path
    with nothing trusted: a forbidden call fails there.
    """
    passed = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH, *trusted)
    return SandboxedWorkflowRunner(restrictions=passed)
