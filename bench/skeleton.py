"""A withdrawal with nothing in it: the same messages, child and number of activities, all empty.

Inputs and answers are those of a real withdrawal, so that the engine carries and seals as much; the
call to the bank has a queue of its own, as one whose rate is limited must have. What it costs is
the engine's price for such a lifecycle; what ours costs more is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from temporalio import activity, workflow

from tillkeeper.contracts.approval import Decide
from tillkeeper.contracts.payment import PayoutCommand, PayoutStart, PayoutView
from tillkeeper.contracts.withdrawal import (
    WithdrawalCommand,
    WithdrawalRequest,
    WithdrawalStart,
    WithdrawalView,
)
from workflows.calls import QUICK, Pace, bank_queue
from workflows.payout import GIVEN

WITHDRAWAL: Final = "SkeletonWithdrawal"
PAYOUT: Final = "SkeletonPayout"

Answer = TypeVar("Answer", WithdrawalView, PayoutView)


@dataclass(frozen=True)
class Answers:
    """What a real withdrawal answered, step by step."""

    submitted: WithdrawalView
    decided: WithdrawalView
    sent: PayoutView
    paid: PayoutView


async def _empty(name: str, command: object, answer: type[Answer], pace: Pace = QUICK) -> Answer:
    queue = bank_queue(workflow.info().task_queue) if pace.bank else None
    done: Answer = await workflow.execute_activity(
        name, command, result_type=answer, start_to_close_timeout=pace.within,
        heartbeat_timeout=pace.heartbeat, schedule_to_start_timeout=pace.queued, task_queue=queue,
    )  # fmt: skip
    return done


@workflow.defn(name=WITHDRAWAL)
class SkeletonWithdrawal:
    """Submitted and decided by updates, then a child."""

    @workflow.init
    def __init__(self, start: WithdrawalStart) -> None:
        self._start = start
        self._view: WithdrawalView | None = None
        self._approved = False

    @workflow.run
    async def run(self, start: WithdrawalStart) -> WithdrawalView:
        """One activity, an approval, a child."""
        self._view = await _empty("skeleton_submit", self._command(start), WithdrawalView)
        await workflow.wait_condition(lambda: self._approved)
        await workflow.wait_condition(workflow.all_handlers_finished)
        known, name = self._view.payment, start.request
        paid: PayoutView = await workflow.execute_child_workflow(
            PAYOUT, PayoutStart(end_to_end_id=name, known=known), id=f"skeleton-payout/{name}",
            result_type=PayoutView,
        )  # fmt: skip
        return self._view.model_copy(update={"payment": paid})

    @workflow.update
    async def submitted(self, _body: WithdrawalRequest) -> WithdrawalView:
        """Wait for the first activity."""
        await workflow.wait_condition(lambda: self._view is not None)
        return self._seen()

    @workflow.update
    async def decide(self, body: Decide) -> WithdrawalView:
        """One activity."""
        self._view = await _empty("skeleton_decide", self._command(body), WithdrawalView)
        self._approved = True
        return self._seen()

    def _seen(self) -> WithdrawalView:
        assert self._view is not None
        return self._view

    def _command(self, body: WithdrawalRequest | Decide) -> WithdrawalCommand[Any]:
        start = self._start
        return WithdrawalCommand(
            merchant=start.merchant, request=start.request, at=workflow.now(), body=body
        )


@workflow.defn(name=PAYOUT)
class SkeletonPayout:
    """One activity, a signal, one activity."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, start: PayoutStart) -> PayoutView:
        """Sent, told, read."""
        name = start.end_to_end_id
        sent = PayoutCommand(end_to_end_id=name, at=workflow.now())
        await _empty("skeleton_send", sent, PayoutView, GIVEN)
        await workflow.wait_condition(lambda: self._told)
        told = PayoutCommand(end_to_end_id=name, at=workflow.now())
        return await _empty("skeleton_read", told, PayoutView)

    @workflow.signal
    async def bank_outcome(self) -> None:
        """The bank's nudge."""
        self._told = True


def skeleton_activities(answers: Answers) -> list[Callable[..., Any]]:
    """The empty activities of the lifecycle's own queue."""

    @activity.defn(name="skeleton_submit")
    async def submit(_command: WithdrawalCommand[WithdrawalRequest]) -> WithdrawalView:
        return answers.submitted

    @activity.defn(name="skeleton_decide")
    async def decide(_command: WithdrawalCommand[Decide]) -> WithdrawalView:
        return answers.decided

    @activity.defn(name="skeleton_read")
    async def read(_command: PayoutCommand) -> PayoutView:
        return answers.paid

    return [submit, decide, read]


def skeleton_call(answers: Answers, sent: Callable[[str], None]) -> Callable[..., Any]:
    """The empty call to the bank; ``sent`` hears of each payment that is waited for."""

    @activity.defn(name="skeleton_send")
    async def send(command: PayoutCommand) -> PayoutView:
        sent(command.end_to_end_id)
        return answers.sent

    return send
