"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from tests.console.support import CommandLine, Till
from tests.tokens import VERIFIER
from tests.workflows.support import receiving
from tillkeeper.client import TASK_QUEUE
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing
from worker.run import build_worker


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> CommandLine:
    """The command line on the test's own database, without Temporal."""
    return CommandLine(tmp_path, {"TILLKEEPER_DATABASE_URL": database_url})


@pytest_asyncio.fixture(loop_scope="session")
async def till(
    tmp_path: Path,
    database_url: str,
    engine: AsyncEngine,
    temporal: WorkflowEnvironment,
    ring: KeyRing,
) -> AsyncIterator[Till]:
    """The command line with database, Temporal, key ring, and a worker."""
    keys = tmp_path / "keyring.json"
    keys.write_text(ring.to_json())
    keys.chmod(0o600)
    client = temporal.client
    variables = {
        "TILLKEEPER_DATABASE_URL": database_url,
        "TILLKEEPER_TEMPORAL_ADDRESS": client.service_client.config.target_host,
        "TILLKEEPER_TEMPORAL_NAMESPACE": client.namespace,
        "TILLKEEPER_KEY_RING_FILE": str(keys),
    }
    lanes = Lanes(OrderBook(engine))
    house = House(engine, ring, JD_PREPAID_2023_11, receiving, lanes, verifier=VERIFIER)
    async with build_worker(client, house, task_queue=TASK_QUEUE):
        yield Till(tmp_path, variables)
