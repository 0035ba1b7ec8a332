"""What a workflow sees of the outside: passed through where dear, absent where not its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.run import PASSED_THROUGH

WORKFLOW_MODULES = ("workflows.account", "workflows.topup", "workflows.receipt")
FORBIDDEN = ("sqlalchemy", "asyncpg", "ledger", "activities", "worker", "cryptography")


class TestSandbox:
    @pytest.mark.parametrize("module", ["tillkeeper", "pydantic", "sqlalchemy"])
    def test_what_is_dear_to_import_passes_through(self, module: str) -> None:
        """Design §1: SQLAlchemy re-imported costs 550 ms per replayed run, passed through 14."""
        assert module in PASSED_THROUGH

    @pytest.mark.parametrize("module", WORKFLOW_MODULES)
    def test_a_workflow_imports_no_database(self, module: str) -> None:
        """Design §1: workflows know contracts, rules and Temporal only."""
        code = f"import sys, {module}; print([m for m in {FORBIDDEN!r} if m in sys.modules])"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == "[]"
