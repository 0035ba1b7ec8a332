"""`migrate` makes the search attributes on a cluster of one's own, and `run` looks for them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from tests.stack import Database
from tillkeeper.sealing import KeyRing
from worker.refusal import CannotStart
from worker.search_attributes import (
    SEARCH_ATTRIBUTES,
    make_search_attributes,
    require_search_attributes,
)
from workflows import lifecycle

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(loop_scope="session")
async def bare(client: Client) -> Client:
    """A client of a namespace that nobody has prepared."""
    name = f"bare-{uuid.uuid4().hex[:8]}"
    retention = Duration(seconds=3 * 86_400)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    return await Client.connect(client.service_client.config.target_host, namespace=name)


async def known(client: Client) -> dict[str, str]:
    """The namespace's own search attributes and their types."""
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return {
        name: IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").capitalize()
        for name, kind in answer.custom_attributes.items()
    }


class TestMake:
    async def test_missing_ones_are_made_once(self, bare: Client) -> None:
        """Design 3: the attributes of the design, on a cluster of one's own."""
        with pytest.raises(CannotStart, match=r"Merchant \(Keyword\), .* run `python -m worker mi"):
            await require_search_attributes(bare, within_s=0)
        await make_search_attributes(bare)
        assert await known(bare) == SEARCH_ATTRIBUTES
        await make_search_attributes(bare)
        await require_search_attributes(bare)

    async def test_one_of_another_type_is_refused(self, bare: Client) -> None:
        await bare.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=bare.namespace,
                search_attributes={"Stage": IndexedValueType.INDEXED_VALUE_TYPE_TEXT},
            )
        )
        for act in (make_search_attributes, require_search_attributes):
            with pytest.raises(CannotStart, match=r"another type .* Stage \(Keyword\)"):
                await act(bare)

    def test_they_are_those_that_the_workflows_write(self) -> None:
        keys = (
            *(lifecycle.MERCHANT, lifecycle.LIFECYCLE, lifecycle.STAGE),
            *(lifecycle.NEEDS_PERSON, lifecycle.AMOUNT_MINOR, lifecycle.DUE_AT),
        )
        written = {key.name: key.indexed_value_type.name.capitalize() for key in keys}
        assert written == SEARCH_ATTRIBUTES


class TestCommands:
    async def test_run_refuses_until_migrate_was_run(
        self, bare: Client, database: Database, ring: KeyRing
    ) -> None:
        """One sentence; then `migrate` brings both the schema and the attributes."""
        clean = {k: v for k, v in os.environ.items() if "TILLKEEPER" not in k}
        variables = clean | {
            "TILLKEEPER_DATABASE_URL": database.owner_url,
            "TILLKEEPER_TEMPORAL_ADDRESS": bare.service_client.config.target_host,
            "TILLKEEPER_TEMPORAL_NAMESPACE": bare.namespace,
            "TILLKEEPER_KEY_RING": ring.to_json(),
            "TILLKEEPER_CODEC_PORT": "0",
            "TILLKEEPER_HEALTH_PORT": "0",
        }

        def command(name: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-m", "worker", name]
            return subprocess.run(
                line, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
            )

        refused = await asyncio.to_thread(command, "run")
        assert refused.returncode == 1
        last = refused.stderr.splitlines()[-1]
        assert last.startswith("The search attributes Merchant (Keyword), Lifecycle (Keyword)")
        assert (await asyncio.to_thread(command, "migrate")).returncode == 0
        assert await known(bare) == SEARCH_ATTRIBUTES
