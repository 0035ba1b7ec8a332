"""Fixtures for lifecycles: a platform with a running worker, and one without; a bank beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from tests.gateways.bank.simulator.support import Simulator, running
from tests.workflows.support import Platform, make_platform
from tests.workflows.teller_support import Teller, teller_on
from tests.workflows.withdrawal_support import People, people_on
from tillkeeper.sealing import KeyRing


@pytest.fixture
def idle(client: Client, engine: AsyncEngine, ring: KeyRing) -> Platform:
    """A platform whose workers the test starts and stops itself."""
    return make_platform(client, engine, ring)


@pytest_asyncio.fixture(loop_scope="session")
async def platform(idle: Platform) -> AsyncIterator[Platform]:
    """A platform with a running worker."""
    async with idle.worker():
        yield idle


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Simulator]:
    """A bank whose folders are the other ends of our exchange."""
    with running(tmp_path, tmp_path / "exchange") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def resting(idle: Platform, bank: Simulator, tmp_path: Path) -> Teller:
    """A merchant with 9,000.00 and a bank; the test starts the workers itself."""
    made = teller_on(idle, bank, tmp_path / "exchange")
    await made.counter.account(fund=9_000_00)
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def people(idle: Platform, tmp_path: Path) -> AsyncIterator[People]:
    """A merchant with 5,000.00, and people who decide."""
    made = people_on(idle, tmp_path)
    async with made.platform.worker():
        await made.active()
        yield made
