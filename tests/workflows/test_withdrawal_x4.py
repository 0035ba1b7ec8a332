"""X-4: a withdrawal that fails, by client, command line and bank, with three restarts between."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateways.identity.issuer import ISSUER_FILE, DevelopmentIssuer
from tests.console.support import Answer, Till
from tests.workflows.support import Platform
from tests.workflows.withdrawal_bank import Teller, tellers
from tillkeeper.client import TASK_QUEUE, Tillkeeper
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.rules.proving import DESK
from tillkeeper.sealing import KeyRing


@pytest.fixture
def teller(idle: Platform, tmp_path: Path) -> Iterator[Teller]:
    """A bank, and a platform on the command line's queue; no worker runs yet."""
    house = dataclasses.replace(idle.house, visibility=timedelta(seconds=1))
    platform = dataclasses.replace(
        idle, till=Tillkeeper(idle.client, TASK_QUEUE), task_queue=TASK_QUEUE, house=house
    )
    with tellers(platform, tmp_path) as made:
        yield made


@pytest.fixture
def command(teller: Teller, tmp_path: Path, database_url: str, ring: KeyRing) -> Till:
    """The command line on the same servers, with the issuer that the worker believes."""
    home = tmp_path / "home"
    home.mkdir()
    issuer = DevelopmentIssuer.generate("x4")
    platform = teller.people.platform
    platform.house = dataclasses.replace(platform.house, verifier=issuer.verifier())
    for name, text in ((ISSUER_FILE, issuer.to_json()), ("keyring.json", ring.to_json())):
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    config = platform.client.service_client.config
    variables = {
        "TILLKEEPER_HOME": str(home),
        "TILLKEEPER_DATABASE_URL": database_url,
        "TILLKEEPER_TEMPORAL_ADDRESS": config.target_host,
        "TILLKEEPER_TEMPORAL_NAMESPACE": platform.client.namespace,
    }
    return Till(tmp_path, variables)


class TestWithdrawalWithFailure:
    async def test_x_4_unknown_rejected_and_given_back_once(
        self, teller: Teller, command: Till, tmp_path: Path
    ) -> None:
        """5,000.00 → 3,000.00 → bank unknown → query → account closed → item → 5,000.00."""
        people, platform = teller.people, teller.people.platform
        merchant = platform.merchant
        teller.bank.plan(
            {"fault": "reject", "code": "AC04", "times": 1}, {"fault": "cut", "times": 1}
        )
        async with platform.worker():
            await people.active(number=4004)
            asked = await command.said("withdrawal", "request", merchant, "W1", "2000.00")
            assert (asked["state"], asked["account"]) == ("WAITING_APPROVAL", "****1234")
            assert (await platform.balances()).available == 3_000_00
        async with platform.worker():
            shown = await command.said("approvals", "show", merchant, "W1")
            assert shown["payee"] == "甲***"
            decide = shown["decide_with"].split()
            line = shown["token_with"].replace("YOU", "O2").split()
            token = await kept(tmp_path, await command.run(*line))
            approve = ("approvals", "approve", merchant, "W1", *decide, "--token-file", token)
            assert (await command.said(*approve))["state"] == "REMITTING"
            view = await people.seen()
            await teller.shows(view, lambda payment: payment.state is PaymentState.UNCLEAR)
        async with platform.worker():
            failed = await teller.becomes(WithdrawalState.FAILED_MANUAL)
            assert failed.reason == "AC04"
            assert (await platform.balances()).available == 3_000_00
        async with platform.worker():
            (item,) = (await command.said("inbox", "list", "--kind", "WITHDRAWAL_FAILED"))["work"]
            returns = ("inbox", "propose", item["id"], "RETURN_TO_AVAILABLE")
            back = ("--verdict", "propose", "--action", "RETURN_TO_AVAILABLE")
            issue = ("token", "issue", "--subject", "O2", "--role", DESK)
            issued = await command.run(*issue, "--for", f"item/{item['id']}", *back)
            token = await kept(tmp_path, issued)
            why = ("--reason", "客户要求退回", "--actor", "O2", "--token-file", token)
            for _ in range(2):
                assert (await command.said(*returns, *why))["outcome"] == "RETURNED"
            assert (await teller.result()).state is WithdrawalState.RETURNED
        said = await command.said("withdrawal", "show", merchant, "W1")
        steps = [step["name"] for step in said["steps"] if step["at"]]
        assert (said["state"], steps) == (
            "RETURNED", ["submitted", "approved", "remitting", "returned"],
        )  # fmt: skip
        balances = await platform.balances()
        assert (balances.available, balances.withdrawing) == (5_000_00, 0)
        assert teller.debits() == []
        await booked_once(platform)


async def kept(folder: Path, issued: Answer) -> str:
    """O2's token in a file, as a person gets it."""
    path = folder / "token"
    await asyncio.to_thread(path.write_text, issued.out)
    return str(path)


async def booked_once(platform: Platform) -> None:
    """The reserve and its reversal entry stand in the book once each."""
    rows = await platform.rows(
        "SELECT kind, amount FROM transfers WHERE kind LIKE 'withdrawal%' ORDER BY id"
    )
    assert [(row.kind, row.amount) for row in rows] == [
        ("withdrawal", 2_000_00), ("withdrawal_returned", 2_000_00),
    ]  # fmt: skip
