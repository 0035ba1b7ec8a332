"""Every recorded history replays on today's workflow code: running workflows survive a release."""

from __future__ import annotations

import json

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.replay.record import HISTORIES
from tillkeeper.codec import data_converter
from worker import registry
from worker.run import workflow_runner

RECORDED = {path.stem: path.read_text() for path in sorted(HISTORIES.glob("*.json"))}


class TestReplay:
    @pytest.mark.parametrize("name", RECORDED)
    async def test_a_recorded_history_replays(self, name: str) -> None:
        """Design §3: no non-determinism error on any path, and no call that the sandbox forbids."""
        started = json.loads(RECORDED[name])["events"][0]["workflowExecutionStartedEventAttributes"]
        history = WorkflowHistory.from_json(started["workflowId"], RECORDED[name])
        replayer = Replayer(
            workflows=registry.WORKFLOWS,
            workflow_runner=workflow_runner(trusted=()),
            data_converter=data_converter(None),
        )
        await replayer.replay_workflow(history)

    @pytest.mark.parametrize(
        "lifecycle",
        [
            *("account", "topup", "receipt", "order", "bank-file", "item", "payout"),
            *("withdrawal", "policy", "run-watch", "reconciliation"),
        ],
    )
    def test_every_lifecycle_has_recorded_paths(self, lifecycle: str) -> None:
        """An empty folder must not look like success."""
        assert len([name for name in RECORDED if name.startswith(f"{lifecycle}-")]) >= 3
