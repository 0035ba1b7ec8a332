"""What a workflow imports passes the sandbox: SQLAlchemy imported again costs 550 ms a run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from temporalio.worker.workflow_sandbox import SandboxRestrictions

from worker.registry import WORKFLOWS
from worker.run import PASSED_THROUGH

WORKFLOW_FILES = sorted((Path(__file__).parents[2] / "workflows").glob("*.py"))


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


class TestSandbox:
    def test_nothing_but_the_workflows_is_imported_again(self) -> None:
        passed = {*PASSED_THROUGH, *SandboxRestrictions.default.passthrough_modules}
        passed |= {*sys.stdlib_module_names, "workflows"}
        for file in WORKFLOW_FILES:
            assert imported(file.read_text()) <= passed, file.name

    def test_every_workflow_is_registered_once(self) -> None:
        names = [workflow.__name__ for workflow in WORKFLOWS]
        defined = [
            node.name
            for file in WORKFLOW_FILES
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ClassDef)
            and any("workflow.defn" in ast.unparse(mark) for mark in node.decorator_list)
        ]
        assert sorted(names) == sorted(defined)
