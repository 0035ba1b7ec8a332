"""Fixtures for lifecycles: a platform with a running worker, and one without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from tests.workflows.support import Platform, make_platform
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
