"""Payments out on the command line: a bad row hides no other one, and the exit code tells it."""

from __future__ import annotations

from pathlib import Path

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute, in_transaction
from ledger.payment_rows import opened_terms
from tests.console.support import Till
from tests.ledger.payout_support import Cashier
from tests.stack import engine_on
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
