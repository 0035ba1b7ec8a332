"""Payments out on the command line: a bad row hides no other one, and the exit code tells it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from ledger.engine import execute, in_transaction
from ledger.payment_rows import opened_terms
from tests.console.support import Till
from tests.ledger.payout_support import Cashier
from tests.stack import engine_on
from tests.workflows.support import eventually
from tillkeeper.contracts.payment import PayoutView, payout_workflow_id
from tillkeeper.sealing import KeyRing


@pytest_asyncio.fixture(loop_scope="session")
async def cashier(engine: AsyncEngine, ring: KeyRing) -> Cashier:
    """A merchant with 5,000.00."""
    made = Cashier(engine, ring)
    await made.counter.account()
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def command(tmp_path: Path, database_url: str, ring: KeyRing) -> Till:
    """The command line with the database and the keys, without Temporal."""
    keys = tmp_path / "keyring.json"
    keys.write_text(ring.to_json())
    keys.chmod(0o600)
    variables = {
        "TILLKEEPER_DATABASE_URL": database_url,
        "TILLKEEPER_KEY_RING_FILE": str(keys),
    }
    return Till(tmp_path, variables)


async def spoil(cashier: Cashier, owner_url: str, name: str) -> None:
    """What the row has sealed no longer passes the rules of a payment."""
    terms = opened_terms(cashier.ring, await cashier.payment(name))
    bad = terms.model_copy(update={"remittance": "x" * 141}).model_dump_json()
    sealed = cashier.ring.seal_text(bad, purpose=f"payment/{name}/terms")
    sql = "UPDATE payments SET creditor_sealed = $2 WHERE end_to_end_id = $1"
    async with engine_on(owner_url) as owner:
        await in_transaction(owner, lambda c: execute(c, sql, (name, sealed)))


async def refused(cashier: Cashier, code: str, ago: timedelta = timedelta()) -> str:
    """A first attempt that the bank has just refused, or so long ago."""
    at = datetime.now(UTC) - ago
    # The servers are shared by all tests, and a payment's id is its request's for ever.
    name = await cashier.remitting(request=f"W{secrets.randbelow(10**9)}")
    await cashier.sending(name, at)
    await cashier.says(name, "RJCT", code, at=at)
    return name


class TestOnItsWay:
    async def test_what_is_to_be_tried_again_is_listed_until_the_next_attempt_is(
        self, cashier: Cashier, command: Till
    ) -> None:
        """S-44: a refused payment with a date for the next one is on its way, each money once."""
        first = await refused(cashier, "AB07")
        listed = (await command.said("bank", "payments"))["payments"]
        assert [(one["end_to_end_id"], one["state"]) for one in listed] == [(first, "REJECTED")]
        second = await cashier.following(first)
        listed = (await command.said("bank", "payments"))["payments"]
        assert [(one["end_to_end_id"], one["state"]) for one in listed] == [(second, "RECORDED")]

    async def test_what_a_person_decides_on_is_not_on_its_way(
        self, cashier: Cashier, command: Till
    ) -> None:
        """P-71: it is in the inbox."""
        await refused(cashier, "AC04")
        assert (await command.said("bank", "payments"))["payments"] == []


class TestRestart:
    async def test_by_the_id_of_a_later_attempt_the_run_of_all_begins(
        self, cashier: Cashier, till: Till, client: Client
    ) -> None:
        """S-44: it comes to that attempt by itself, and nothing runs under the attempt's own id."""
        first = await refused(cashier, "AB07", timedelta(hours=1))
        second = await cashier.following(first)
        said = await till.said("bank", "payments", "--restart", second)
        assert (said["workflow_id"], said["started"]) == (payout_workflow_id(first), True)
        handle = client.get_workflow_handle(payout_workflow_id(first))

        async def comes_to_it() -> bool:
            view = await handle.query("view", result_type=PayoutView)
            return bool(view.end_to_end_id == second and view.needs_person)

        await eventually(comes_to_it)
        with pytest.raises(RPCError):
            await client.get_workflow_handle(payout_workflow_id(second)).describe()
        await handle.terminate()

    async def test_what_is_to_be_tried_again_is_begun(
        self, cashier: Cashier, till: Till, client: Client
    ) -> None:
        """S-44: refused for now, and its run is gone."""
        first = await refused(cashier, "AM14")
        said = await till.said("bank", "payments", "--restart", first)
        assert (said["state"], said["started"]) == ("REJECTED", True)
        handle = client.get_workflow_handle(payout_workflow_id(first))
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()

    async def test_what_is_decided_is_not_begun(
        self, cashier: Cashier, till: Till, client: Client
    ) -> None:
        """P-71: a person decides what follows."""
        first = await refused(cashier, "AC04")
        said = await till.said("bank", "payments", "--restart", first)
        assert (said["state"], said["started"]) == ("REJECTED", False)
        with pytest.raises(RPCError):
            await client.get_workflow_handle(payout_workflow_id(first)).describe()


class TestUnreadable:
    async def test_one_bad_row_is_named_and_hides_no_other(
        self, cashier: Cashier, command: Till, owner_url: str
    ) -> None:
        """Lists are for everybody's money: 1 tells that something of it cannot be read."""
        bad, good = await cashier.remitting(), await cashier.remitting(1_000_00, "W2")
        assert (await command.run("bank", "payments", "--json")).code == 0
        await spoil(cashier, owner_url, bad)
        for options in ((), ("--all",)):
            said = await command.run("bank", "payments", *options, "--json")
            assert said.code == 1
            assert [one["end_to_end_id"] for one in said.json["payments"]] == [good]
            assert said.json["unreadable"] == [{"id": bad, "code": "FIELD_INVALID"}]
        told = await command.run("bank", "payments")
        assert told.code == 1
        assert good in told.out
        assert f"UNREADABLE: {bad}" in told.err

    async def test_a_withdrawal_whose_payment_is_unreadable_hides_no_other(
        self, cashier: Cashier, command: Till, owner_url: str
    ) -> None:
        """The same of `withdrawal list`."""
        bad = await cashier.remitting()
        await cashier.remitting(1_000_00, "W2")
        await spoil(cashier, owner_url, bad)
        said = await command.run("withdrawal", "list", "--json")
        assert said.code == 1
        assert [one["request"] for one in said.json["withdrawals"]] == ["W2"]
        assert said.json["unreadable"] == [{"id": "withdrawal/M1/W1", "code": "FIELD_INVALID"}]
        assert "UNREADABLE: withdrawal/M1/W1" in (await command.run("withdrawal", "list")).err
