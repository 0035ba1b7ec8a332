"""Withdrawals, approvals and the policy on the command line: P-65 … P-74, C-07, C-08."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from console.approvals import decide_with, token_with
from gateways.identity.issuer import ISSUER_FILE
from tests.console.support import Answer, Till
from tests.tokens import ISSUER
from tests.workflows.support import make_platform
from tests.workflows.withdrawal_support import People, people_on
from tillkeeper.client import TASK_QUEUE, Tillkeeper
from tillkeeper.contracts.approval import LevelView
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView
from tillkeeper.sealing import KeyRing


@pytest_asyncio.fixture(loop_scope="session")
async def people(
    client: Client, engine: AsyncEngine, ring: KeyRing, tmp_path: Path
) -> AsyncIterator[People]:
    """A merchant with 5,000.00 on the command line's queue."""
    platform = make_platform(client, engine, ring)
    platform.till, platform.task_queue = Tillkeeper(client, TASK_QUEUE), TASK_QUEUE
    made = people_on(platform, tmp_path)
    async with made.platform.worker():
        await made.active(number=secrets.randbelow(10**9) + 1)
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def command(people: People, tmp_path: Path, database_url: str, ring: KeyRing) -> Till:
    """The command line with the tests' issuer in its home."""
    home = tmp_path / "home"
    home.mkdir()
    for name, text in ((ISSUER_FILE, ISSUER.to_json()), ("keyring.json", ring.to_json())):
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    client = people.platform.client
    variables = {
        "TILLKEEPER_DATABASE_URL": database_url,
        "TILLKEEPER_TEMPORAL_ADDRESS": client.service_client.config.target_host,
        "TILLKEEPER_TEMPORAL_NAMESPACE": client.namespace,
    }
    return Till(tmp_path, variables)


def codes(answer: Answer) -> list[str]:
    assert answer.code == 2, answer
    return answer.codes


async def token(command: Till, who: str, role: str, *what: str) -> str:
    """A fresh token for just that; given on standard input by ``--token-file -``."""
    issue = ("token", "issue", "--subject", who, "--role", role, "--for")
    issued = await command.run(*issue, *what)
    assert issued.code == 0, issued
    return issued.out


BY_TOKEN = ("--token-file", "-")


class TestWithdrawal:
    async def test_asked_listed_shown_and_cancelled(self, people: People, command: Till) -> None:
        """P-27, P-65: masked everywhere; refused with every code."""
        merchant = people.platform.merchant
        request = ("withdrawal", "request", merchant)
        refused = await command.run(*request, "W0", "5000.01", "--json")
        assert codes(refused) == ["INSUFFICIENT_AVAILABLE"]
        assert codes(await command.run(*request, "W0", "-1.00", "--json"))
        await command.said(*request, "W1", "2000.00", "--by", "user-1")
        listed = await command.said("withdrawal", "list", "--merchant", merchant)
        assert [(w["request"], w["amount"]) for w in listed["withdrawals"]] == [("W1", "2000.00")]
        table = await command.run("withdrawal", "list")
        assert "operations 0/1" in table.out
        assert "6225880212341234" not in table.out
        shown = await command.run("withdrawal", "show", merchant, "W1")
        assert "✓ submitted" in shown.out
        assert "● approved" in shown.out
        assert "****1234" in shown.out
        cancel = ("withdrawal", "cancel", merchant, "W1", "--reason", "不再需要")
        assert (await command.said(*cancel))["state"] == "CANCELLED_BY_MERCHANT"
        unknown = await command.run("withdrawal", "show", merchant, "W404", "--json")
        assert codes(unknown) == ["REQUEST_UNKNOWN"]
        refused_ones = await command.said("withdrawal", "list", "--state", "refused")
        assert [w["request"] for w in refused_ones["withdrawals"]] == ["W0"]


class TestApprovals:
    async def test_a_decision_repeats_what_was_shown_and_brings_a_token(
        self, people: People, command: Till
    ) -> None:
        """C-07: another amount, another payee, no token: refused; then rejected with a reason."""
        merchant = people.platform.merchant
        await people.ask()
        waiting = await command.said("approvals", "list")
        assert [w["request"] for w in waiting["withdrawals"]] == ["W1"]
        shown = (await command.said("approvals", "show", merchant, "W1"))["payee_digest"]
        reject = ("approvals", "reject", merchant, "W1", "--reason", "资料不符", "--json")

        async def say(amount: str, digest: str, given: str, *more: str) -> Answer:
            options = ("--amount", amount, "--shown", digest, *more)
            return await command.run(*reject, *options, given=given)

        no = (f"withdrawal/{merchant}/W1", "--verdict", "reject")
        issue = (
            "token",
            "issue",
            "--subject",
            "O2",
            "--role",
            "operations",
            "--for",
            *no,
            "--json",
        )
        for digest in ("0" * 12, shown[:11]):
            assert codes(await command.run(*issue, "--shown", digest)) == ["DECISION_STALE"]
        mine = await token(command, "O2", "operations", *no)
        assert codes(await say("2000.00", shown[:12], "")) == ["TOKEN_MISSING"]
        assert codes(await say("1999.99", shown[:12], mine, *BY_TOKEN)) == ["TOKEN_INVALID"]
        less = await token(command, "O2", "operations", *no, "--amount", "1999.99")
        assert codes(await say("1999.99", shown[:12], less, *BY_TOKEN)) == ["DECISION_STALE"]
        for digest in ("0" * 12, shown[:11]):
            assert codes(await say("2000.00", digest, mine, *BY_TOKEN)) == ["DECISION_STALE"]
        done = await say("2000.00", shown[:12], mine, *BY_TOKEN)
        assert done.json["state"] == "REJECTED"
        assert mine.strip() not in done.out
        again = await say("2000.00", shown, mine, *BY_TOKEN)
        assert again.json["decisions"] == done.json["decisions"]

    async def test_a_delegate_approves_for_another(self, people: People, command: Till) -> None:
        """P-68: lent by O2 until a moment, used by O3, whose token comes by the variable."""
        merchant = people.platform.merchant
        await people.ask()
        day = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
        what = ("--to", "O3", "--until", day, "--reason", "休假")
        named = (f"delegation/D-{merchant}", "--verdict", "delegate")
        mine = await token(command, "O2", "operations", *named, *what)
        delegate = ("approvals", "delegate", f"D-{merchant}", "--role", "operations")
        wider = await command.run(*delegate, "--role", "finance", *what, *BY_TOKEN, "--json",
                                  given=mine)  # fmt: skip
        assert codes(wider) == ["TOKEN_INVALID"]
        lent = await command.said(*delegate, *what, *BY_TOKEN, given=mine)
        assert lent["until"] == f"{day}T00:00:00+00:00"
        shown = (await command.said("approvals", "show", merchant, "W1"))["decide_with"].split()
        yes = (f"withdrawal/{merchant}/W1", "--verdict", "approve")
        theirs = await token(command, "O3", "nothing", *yes, *shown)
        approve = ("approvals", "approve", merchant, "W1", *shown)
        done = await command.said(*approve, *BY_TOKEN, given=theirs)
        assert (done["state"], done["decisions"][0]["on_behalf_of"]) == ("REMITTING", "O2")

    def test_what_decides_is_told_for_every_currency(self) -> None:
        """C-07: yen have no decimals, and are not what the commands take by default."""
        level = LevelView(name="finance", roles=("finance", "cfo"), quorum=1, current=True)
        view = WithdrawalView(
            merchant="M1", request="W1", currency="JPY", amount_minor=2_000,
            state=WithdrawalState.WAITING_APPROVAL, payee_digest="ab" * 32, levels=(level,),
        )  # fmt: skip
        told = "--amount 2000 --currency JPY --shown abababababab"
        assert decide_with(view) == told
        assert token_with(view) == (
            "token issue --subject YOU --role finance --for withdrawal/M1/W1 --verdict approve"
            f" {told}"
        )
        none = view.model_copy(update={"currency": "CNY", "payee_digest": ""})
        assert decide_with(none) == "--amount 20.00 --shown no-payee-bound"


class TestPolicy:
    async def test_proposed_adopted_shown_and_tried_on_the_past(
        self, people: People, command: Till, tmp_path: Path
    ) -> None:
        """C-08: two people; the simulation names what would have needed others."""
        await people.ask(1_000_00, "W1")
        await people.ask(3_000_00, "W2")
        bands: list[dict[str, Any]] = [
            {"upto_minor": 1_500_00, "auto_reason": "小额"},
            {"levels": [{"name": "operations", "roles": ["operations"]}]},
        ]
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({"bands": bands}))
        simulate = ("policy", "simulate", "--since", "2020-01-01", "--policy", str(file))
        tried = await command.said(*simulate)
        lines = [(w["request"], w["needed"], w["would_need"]) for w in tried["withdrawals"]]
        assert lines == [("W1", "operations", "nobody"), ("W2", "operations", "operations")]
        assert tried["differing"] == 1
        assert "1 of them would have needed others" in (await command.run(*simulate)).out
        assert (await command.said("policy", "simulate", "--since", "2020-01-01"))["differing"] == 0
        change = f"P-{people.platform.merchant}"
        propose = ("policy", "propose", change, "--policy", str(file), "--from", "2100-01-01")
        asked = ("--verdict", "propose", "--policy", str(file), "--effective-from", "2100-01-01")
        first = await token(command, "A1", "policy-admin", f"policy/{change}", *asked)
        shown = await command.said(*propose, "--reason", "新限额", *BY_TOKEN, given=first)
        digest = shown["policy_digest"]
        assert (await command.said("policy", "show", change))["policy_digest"] == digest
        approve = ("policy", "approve", change, "--shown", digest[:12])
        own = await command.run(*approve, "--json", *BY_TOKEN, given=first)
        assert codes(own) == ["TOKEN_INVALID"]
        other = ("policy", "approve", change, "--shown", "0" * 12, "--json", *BY_TOKEN)
        assert codes(await command.run(*other, given=first)) == ["DECISION_STALE"]
        yes = (f"policy/{change}", "--verdict", "approve")
        second = await token(command, "A2", "policy-admin", *yes, "--shown", digest[:12])
        adopted = await command.said(*approve, *BY_TOKEN, given=second)
        assert adopted["state"] == "ADOPTED"
        late = await token(command, "A3", "policy-admin", f"policy/{change}", "--verdict", "reject")
        reject = ("policy", "reject", change, "--shown", digest, "--reason", "过宽", "--json")
        assert codes(await command.run(*reject, *BY_TOKEN, given=late)) == ["REQUEST_DECIDED"]
        assert "up to 50,000.00: operations" in (await command.run("policy", "show")).out
