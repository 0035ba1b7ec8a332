"""Fixtures for every test: real PostgreSQL, real Temporal, a key ring; started once, if needed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from tests.stack import Database, Databases, engine_on, running_postgres, running_temporal
from tillkeeper.sealing import KeyRing

# How long one example takes says how busy the machine is, not whether the code is right.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    """The key ring of this session."""
    return KeyRing.generate("test")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[Databases]:
    """The session's server with its migrated template; `async with postgres.fresh()` for more."""
    async with running_postgres() as databases:
        await databases.make_template()
        yield databases


@pytest_asyncio.fixture(loop_scope="session")
async def database(postgres: Databases) -> AsyncIterator[Database]:
    """A fresh database for one test."""
    async with postgres.fresh() as fresh:
        yield fresh


@pytest.fixture
def database_url(database: Database) -> str:
    """The fresh database, logged in as the worker does."""
    return database.app_url


@pytest.fixture
def owner_url(database: Database) -> str:
    """The fresh database, logged in as its owner."""
    return database.owner_url


@pytest_asyncio.fixture(loop_scope="session")
async def engine(database_url: str, ring: KeyRing) -> AsyncIterator[AsyncEngine]:
    """An engine on the fresh database, as the worker's role."""
    async with engine_on(database_url, ring=ring) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal(ring: KeyRing) -> AsyncIterator[WorkflowEnvironment]:
    """The session's Temporal server, payloads sealed with the session's ring."""
    async with running_temporal(ring) as environment:
        yield environment


@pytest.fixture
def client(temporal: WorkflowEnvironment) -> Client:
    """A client of the session's Temporal server."""
    return temporal.client


@pytest.fixture
def task_queue() -> str:
    """A task queue for one test, so that no test's worker serves another test's workflows."""
    return f"tillkeeper-{uuid.uuid4().hex[:12]}"
