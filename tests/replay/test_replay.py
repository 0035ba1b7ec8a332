"""Every recorded history replays on today's workflow code: running workflows survive a release."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.replay.record import HISTORIES
from tillkeeper import contracts
from tillkeeper.codec import data_converter
from worker import registry
from worker.run import workflow_runner

DOOR_CALLS = {
    name
    for module in pkgutil.iter_modules(contracts.__path__, f"{contracts.__name__}.")
    for door in vars(importlib.import_module(module.name)).values()
    if inspect.isclass(door) and door.__name__.endswith("Door")
    for name in vars(door)
    if not name.startswith("_")
}
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

    @pytest.mark.parametrize("call", sorted(DOOR_CALLS))
    def test_every_call_of_a_door_stands_in_a_history(self, call: str) -> None:
        """A path whose call nobody recorded would change its order unseen."""
        assert any(f'"name": "{call}"' in text for text in RECORDED.values())

    @pytest.mark.parametrize(
        "lifecycle",
        [
            *("account", "topup", "receipt", "order", "bank-file", "item", "payout"),
            *("withdrawal", "policy", "run-watch", "reconciliation", "late"),
        ],
    )
    def test_every_lifecycle_has_recorded_paths(self, lifecycle: str) -> None:
        """An empty folder must not look like success."""
        assert len([name for name in RECORDED if name.startswith(f"{lifecycle}-")]) >= 3
