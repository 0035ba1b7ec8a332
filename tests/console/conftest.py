"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.console.support import CommandLine


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> CommandLine:
    """The command line on the test's own database, without Temporal."""
    return CommandLine(tmp_path, {"TILLKEEPER_DATABASE_URL": database_url})
