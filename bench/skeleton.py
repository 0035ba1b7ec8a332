"""A withdrawal with nothing in it: the same messages, child and number of activities, all empty.

What it costs is the engine's price for such a lifecycle; what ours costs more is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from temporalio import activity, workflow

WITHDRAWAL: Final = "SkeletonWithdrawal"
PAYOUT: Final = "SkeletonPayout"
_WITHIN: Final = timedelta(seconds=10)


async def _empty(name: str, value: str) -> str:
    done: str = await workflow.execute_activity(name, value, start_to_close_timeout=_WITHIN)
    return done


@workflow.defn(name=WITHDRAWAL)
class SkeletonWithdrawal:
    """Submitted and decided by updates, then a child."""

    @workflow.init
    def __init__(self, name: str) -> None:
        self._name = name
        self._submitted = self._approved = False

    @workflow.run
    async def run(self, name: str) -> str:
        """One activity, an approval, a child."""
        await _empty("skeleton_submit", name)
        self._submitted = True
        await workflow.wait_condition(lambda: self._approved)
        await workflow.wait_condition(workflow.all_handlers_finished)
        paid: str = await workflow.execute_child_workflow(
            PAYOUT, name, id=f"skeleton-payout/{name}"
        )
        return paid

    @workflow.update
    async def submitted(self, _body: str) -> str:
        """Wait for the first activity."""
        await workflow.wait_condition(lambda: self._submitted)
        return self._name

    @workflow.update
    async def decide(self, body: str) -> str:
        """One activity."""
        await _empty("skeleton_decide", body)
        self._approved = True
        return self._name


@workflow.defn(name=PAYOUT)
class SkeletonPayout:
    """One activity, a signal, one activity."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, name: str) -> str:
        """Sent, told, read."""
        await _empty("skeleton_send", name)
        await workflow.wait_condition(lambda: self._told)
        return await _empty("skeleton_read", name)

    @workflow.signal
    async def bank_outcome(self) -> None:
        """The bank's nudge."""
        self._told = True


def skeleton_activities(sent: Callable[[str], None]) -> list[Callable[..., Any]]:
    """The four empty activities; ``sent`` hears of each payment that is waited for."""

    @activity.defn(name="skeleton_submit")
    async def submit(value: str) -> str:
        return value

    @activity.defn(name="skeleton_decide")
    async def decide(value: str) -> str:
        return value

    @activity.defn(name="skeleton_send")
    async def send(value: str) -> str:
        sent(value)
        return value

    @activity.defn(name="skeleton_read")
    async def read(value: str) -> str:
        return value

    return [submit, decide, send, read]
