"""Calls through a door by its typed method: ``await call(TopUpDoor.submit_topup, command)``.

A door is a Protocol of the contracts, so no workflow imports what an activity imports. Promises
that a call is tried until it is answered or a person must look; none is ever a local activity.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeVar, get_type_hints

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

Command = TypeVar("Command")
Answer = TypeVar("Answer")

START_TO_CLOSE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one try may take, and how long it may be silent where it takes long.

    ``bank`` calls run on the bank's own queue, ``<queue>-bank``, at the rate that the bank takes.
    """

    within: timedelta = START_TO_CLOSE
    heartbeat: timedelta | None = None
    bank: bool = False
    queued: timedelta | None = None
    """How long it may lie in the queue; None: until a worker comes."""


QUICK: Final = Pace()
"""One small transaction."""

BANK_QUEUE: Final = "-bank"
"""What the bank's queue is called after its worker's own."""

RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=0,
)
"""Without end: what must not be tried again says so itself (tillkeeper.failures)."""

ONCE: Final = RetryPolicy(maximum_attempts=1)
"""One try, whatever comes of it: the caller must find out by other means (decision 0014)."""


async def call(
    door: Callable[[Any, Command], Awaitable[Answer]],
    command: Command,
    *,
    pace: Pace = QUICK,
    retry: RetryPolicy = RETRY,
) -> Answer:
    """Run the activity that is named like ``door`` and read its answer by the door's types."""
    answer: Answer = await workflow.execute_activity(
        door.__name__,
        command,
        result_type=_answer_type(door),
        start_to_close_timeout=pace.within,
        heartbeat_timeout=pace.heartbeat,
        schedule_to_start_timeout=pace.queued,
        retry_policy=retry,
        task_queue=bank_queue(workflow.info().task_queue) if pace.bank else None,
    )
    return answer


def bank_queue(task_queue: str) -> str:
    """The queue of the calls to the bank that belong to a worker's queue."""
    return f"{task_queue}{BANK_QUEUE}"


async def nudge(workflow_id: str, signal: str) -> None:
    """Signal a workflow that may have ended: the database has told the truth already."""
    try:
        await workflow.get_external_workflow_handle(workflow_id).signal(signal)
    except FailureError:
        workflow.logger.info("no run to nudge")


@cache
def _answer_type(door: Callable[..., Any]) -> type:
    answer: type = get_type_hints(door)["return"]
    return answer
