"""One bank for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateways.bank.simulator.support import Simulator, running


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Simulator]:
    """A running simulator with 10,000.00 CNY of ours."""
    with running(tmp_path) as made:
        yield made
