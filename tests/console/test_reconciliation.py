"""``tillkeeper bank reconcile`` and ``reconciliations`` as a person runs them (C-14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from tests.console.support import CommandLine
from tests.ledger.bank.reconciling_support import MONDAY, OUR_NUMBER, Bank, noon
from tests.stack import Database
from tests.workflows.support import make_platform
from tillkeeper.client import TASK_QUEUE
from tillkeeper.sealing import KeyRing
from worker.run import build_worker

DAY = MONDAY.isoformat()


@pytest_asyncio.fixture(loop_scope="session")
async def till(
    tmp_path: Path, database: Database, engine: AsyncEngine, temporal: WorkflowEnvironment,
    ring: KeyRing,
) -> AsyncIterator[CommandLine]:  # fmt: skip
    """The command line with database, Temporal, key ring, and a worker."""
    keys = tmp_path / "keyring.json"
    keys.write_text(ring.to_json())
    keys.chmod(0o600)
    client = temporal.client
    house = make_platform(client, engine, ring).house
    async with build_worker(client, house, task_queue=TASK_QUEUE):
        yield CommandLine(
            tmp_path,
            {
                "TILLKEEPER_DATABASE_URL": database.app_url,
                "TILLKEEPER_TEMPORAL_ADDRESS": client.service_client.config.target_host,
                "TILLKEEPER_TEMPORAL_NAMESPACE": client.namespace,
                "TILLKEEPER_KEY_RING_FILE": str(keys),
            },
        )


class TestReconcile:
    async def test_a_fen_put_in_by_hand_is_shown_with_its_subject(
        self, till: CommandLine, engine: AsyncEngine, owner_url: str
    ) -> None:
        """C-14: exit code 0 while all agrees, 1 and the difference named when it does not."""
        bank = await Bank(engine, owner_url).open(52_001)
        await bank.states(MONDAY, 300_00)
        asked = ("bank", "reconcile", "--day", DAY)
        clean = await asyncio.to_thread(till, *asked, "--json")
        assert (clean.code, clean.json["reconciliations"][0]["state"]) == (0, "CLEAN"), clean
        made = await bank.by_hand(1, noon(MONDAY))
        found = await asyncio.to_thread(
            till, *asked, "--account", OUR_NUMBER, "--currency", "CNY", "--json"
        )
        said = found.json["reconciliations"][0]
        assert (found.code, said["state"], said["book_total"]) == (1, "DIFFERENT", "300.01")
        assert {k: said["differences"][0][k] for k in ("kind", "subject", "book", "transfer")} == {
            "kind": "NOT_ON_STATEMENT", "subject": "by hand", "book": "0.01", "transfer": made,
        }  # fmt: skip
        people = await asyncio.to_thread(till, *asked)
        assert (people.code, people.err) == (1, "")
        assert all(word in people.out for word in ("NOT_ON_STATEMENT", "by hand", "0.01"))
        listed = await asyncio.to_thread(till, "bank", "reconciliations", "--json")
        line = listed.json["reconciliations"][0]
        assert (line["day"], line["state"], line["age_days"]) == (DAY, "DIFFERENT", 0)
        table = await asyncio.to_thread(till, "bank", "reconciliations")
        assert all(word in table.out for word in (DAY, "DIFFERENT", "****9012", "0 d"))
        assert OUR_NUMBER not in table.out

    def test_what_cannot_be_asked_is_refused(self, command: CommandLine) -> None:
        """No account told of, no day, no currency: each with its code."""
        for arguments, code in (
            (("--day", DAY), "BANK_ACCOUNT_UNKNOWN"),
            (("--day", "6 May"), "FIELD_INVALID"),
            (("--day", DAY, "--currency", "XXX"), "CURRENCY_UNKNOWN"),
        ):
            answer = command("bank", "reconcile", *arguments, "--json")
            assert (answer.code, answer.codes) == (2, [code])
