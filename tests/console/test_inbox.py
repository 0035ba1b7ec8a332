"""The inbox and the unmatched desk on the command line: P-29, P-31, C-05, C-07, C-11."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from ledger.engine import execute, in_transaction
from ledger.workitems import NewItem, open_items
from tests.console.support import Answer, Till
from tests.stack import engine_on
from tests.tokens import token_for
from tests.workflows.support import (
    BOOKED_AT,
    OTHER_NAME,
    Platform,
    eventually,
    make_platform,
)
from tillkeeper.client import TASK_QUEUE, Tillkeeper
from tillkeeper.contracts.actor import Decision
from tillkeeper.contracts.binding import item_proposal
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.topup import TopUpState, topup_workflow_id
from tillkeeper.contracts.watch import WATCH_WORKFLOW_ID
from tillkeeper.contracts.workitem import ItemAction, ItemKind, Propose
from tillkeeper.rules.proving import DESK
from tillkeeper.sealing import KeyRing


@pytest.fixture
def platform(client: Client, engine: AsyncEngine, ring: KeyRing) -> Platform:
    """What the command line's worker serves, for what is not the command line's to show."""
    made = make_platform(client, engine, ring)
    made.till, made.task_queue = Tillkeeper(client, TASK_QUEUE), TASK_QUEUE
    return made


async def unmatched(platform: Platform) -> str:
    """A waiting request of 5,000.00, and 5,000.00 from somebody else; the item's number."""
    await platform.configured()
    await platform.till.request_topup(platform.topup(5_000_00))
    reference = f"{platform.merchant}/B1"
    report = platform.receipt(5_000_00, reference, payer_name=OTHER_NAME)
    receipt = await platform.till.report_receipt(report)
    assert receipt.reason is Code.PAYER_NAME_MISMATCH
    return str((await platform.rows("SELECT id FROM work_items"))[0][0])


def by(actor: str) -> tuple[str, ...]:
    """Who acts, his token on standard input."""
    return ("--actor", actor, "--token-file", "-")


def refused(answer: Answer) -> list[str]:
    assert answer.code == 2, answer
    return answer.codes


class TestUnmatched:
    async def test_the_desk_sees_what_it_may_be_for_and_why(
        self, till: Till, platform: Platform
    ) -> None:
        """P-29, C-11: masked in the list; the name, and every suggestion's words, in `show`."""
        item = await unmatched(platform)
        (line,) = (await till.said("bank", "unmatched"))["receipts"]
        assert (line["amount"], line["payer"], line["payer_account"], line["item"]) == (
            "5000.00", "丙***", "****9999", int(item),
        )  # fmt: skip
        request = f"{platform.merchant}/T1"
        assert line["suggestions"][0]["request"] == request
        listed = await till.run("bank", "unmatched", "list")
        assert request in listed.out
        assert OTHER_NAME not in listed.out
        shown = await till.said("bank", "unmatched", "show", line["digest"])
        assert shown["payer"] == OTHER_NAME
        hints = {why["hint"] for why in shown["suggestions"][0]["why"]}
        assert hints == {"EXACT_AMOUNT", "OPEN", "IN_TIME"}
        words = await till.run("bank", "unmatched", "show", line["digest"])
        assert "exactly the amount asked for" in words.out
        unknown = await till.run("bank", "unmatched", "show", "0" * 32, "--json")
        assert refused(unknown) == ["RECEIPT_UNKNOWN"]

    async def test_requests_that_ran_out_are_listed_and_are_no_items(
        self, till: Till, platform: Platform
    ) -> None:
        """P-29, P-31: most were given up; the inbox is for what has to be done."""
        item = await unmatched(platform)
        late = "UPDATE topup_requests SET state = 'EXPIRED', decided_at = now() RETURNING 1"
        await platform.rows(late)
        (line,) = (await till.said("bank", "unmatched", "requests"))["requests"]
        assert (line["request"], line["amount"]) == (f"{platform.merchant}/T1", "5000.00")
        assert line["receipts"] == [int(item)]
        table = await till.run("bank", "unmatched", "requests", "--days", "1")
        assert line["request"] in table.out
        work = (await till.said("inbox", "list"))["work"]
        assert "TOPUP" not in "".join(one["kind"] for one in work)


class TestDecide:
    async def test_o1_proposes_and_o2_approves(self, till: Till, platform: Platform) -> None:
        """P-29, C-07: by hand, every refusal with its code."""
        item = await unmatched(platform)
        claimed = await till.said("inbox", "claim", item, "--actor", "O1")
        assert (claimed["state"], claimed["owner"]) == ("CLAIMED", "O1")
        target = f"{platform.merchant}/T1"
        propose = ("inbox", "propose", item, "match", target, "--reason", "更名")
        match = Propose(action=ItemAction.MATCH, target=target, reason="更名", actor="O1")
        asked = item_proposal(int(item), match)
        unproven = await till.run(*propose, "--actor", "O1", "--json")
        assert refused(unproven) == ["TOKEN_MISSING"]
        owned = await till.run(*propose, *by("O2"), "--json", given=token_for("O2", DESK).to(asked))
        assert refused(owned) == ["ITEM_OWNED"]
        stolen = await till.run(
            *propose, *by("O1"), "--json", given=token_for("O2", DESK).to(asked)
        )
        assert refused(stolen) == ["TOKEN_INVALID"]
        proposed = await till.said(*propose, *by("O1"), given=token_for("O1", DESK).to(asked))
        assert (proposed["proposal"]["number"], proposed["proposal"]["amount"]) == (1, "5000.00")
        approve = ("inbox", "approve", item, "--proposal")

        def said(number: int, verdict: str) -> Decision:
            return Decision(
                subject=f"item/{item}/{number}", verdict=verdict, amount_minor=5_000_00,
                shown=f"MATCH {target}",
            )  # fmt: skip

        mine = token_for("O1", DESK).to(said(1, "APPROVE"))
        own = await till.run(*approve, "1", *by("O1"), "--json", given=mine)
        assert refused(own) == ["OWN_PROPOSAL"]
        ahead = token_for("O2", DESK).to(said(2, "APPROVE"))
        stale = await till.run(*approve, "2", *by("O2"), given=ahead)
        assert (stale.code, stale.err.split(":")[0]) == (2, "PROPOSAL_STALE")
        reject = ("inbox", "reject", item, "--proposal", "1", "--reason", "x", *by("O2"))
        again = await till.said(*reject, given=token_for("O2", DESK).to(said(1, "REJECT")))
        assert again["state"] == "CLAIMED"
        second = await till.said(*propose, *by("O1"), given=token_for("O1", DESK).to(asked))
        assert second["proposals"] == 2
        yes = token_for("O2", DESK).to(said(2, "APPROVE"))
        done = await till.said(*approve, "2", *by("O2"), given=yes)
        assert (done["outcome"], done["decided_by"]) == ("MATCHED", "O2")
        assert (await platform.balances()).available == 5_000_00
        closed = await till.run("inbox", "release", item, "--reason", "x", "--json")
        assert refused(closed) == ["ITEM_CLOSED"]
        shown = await till.run("inbox", "show", item)
        assert "MATCHED" in shown.out
        assert OTHER_NAME not in shown.out

    async def test_a_return_takes_its_payee_from_a_file(
        self, till: Till, platform: Platform
    ) -> None:
        """P-29, C-11: not from the shell's history; without an exchange nothing can leave."""
        item = await unmatched(platform)
        payee = till.folder / "payee.json"
        payee.write_text(json.dumps({"bank_name": "工商银行", "bik": "1"}))
        back = ("inbox", "propose", item, "return", "--reason", "x", "--to", str(payee), *by("O1"))
        token = token_for("O1", DESK)
        assert refused(await till.run(*back, "--json", given=token)) == ["FIELD_UNKNOWN"]
        payee.write_text(json.dumps({"bank_name": "工商银行"}))
        assert refused(await till.run(*back, "--json", given=token)) == ["BANK_EXCHANGE_MISSING"]


class TestList:
    async def test_the_oldest_stands_first(
        self, till: Till, platform: Platform, engine: AsyncEngine
    ) -> None:
        """C-05: kind, owner, age, amount, subject and allowed actions of each."""
        await unmatched(platform)
        gap = NewItem(ItemKind.STATEMENT_GAP, "bank-account/1/gap/2024-05-06")
        await in_transaction(engine, lambda c: open_items(c, [gap], at=BOOKED_AT))
        work = (await till.said("inbox", "list"))["work"]
        mine = [line for line in work if line["actions"] != ["resume"]]
        assert [line["kind"] for line in mine] == ["STATEMENT_GAP", "UNMATCHED_RECEIPT"]
        assert mine[0]["age_s"] > mine[1]["age_s"] >= 0
        assert mine[0]["actions"] == ["ACKNOWLEDGE"]
        assert mine[1]["amount"] == "5000.00"
        assert mine[1]["actions"] == ["MATCH", "RETURN"]
        note = ("inbox", "propose", mine[0]["id"], "acknowledge", "--reason", "节假日")
        assert (await till.said(*note, "--actor", "O1"))["outcome"] == "ACKNOWLEDGED"
        every = await till.said("inbox", "list", "--all", "--kind", "STATEMENT_GAP")
        assert [line["outcome"] for line in every["work"]] == ["ACKNOWLEDGED"]
        table = await till.run("inbox", "list", "--limit", "1")
        assert "STATEMENT_GAP" not in table.out
        unknown = await till.run("inbox", "show", "1", "--json")
        assert refused(unknown) == ["ITEM_UNKNOWN"]

    async def test_a_run_that_stopped_is_listed_and_resumed(
        self, till: Till, platform: Platform, client: Client, owner_url: str
    ) -> None:
        """C-05: what a defect stopped is work too; `resume` makes it go on after the repair."""
        await platform.configured()
        right = "INSERT ON topup_requests {} tillkeeper_writer"
        async with engine_on(owner_url) as owner:
            await in_transaction(owner, lambda c: execute(c, f"REVOKE {right.format('FROM')}", ()))
            run = topup_workflow_id(platform.merchant, "T1")
            await client.start_workflow("TopUp", platform.topup(), id=run, task_queue=TASK_QUEUE)

            async def stands() -> bool:
                return run in [one.workflow_id for one in await platform.till.waiting_runs()]

            await eventually(stands)
            work = (await till.said("inbox", "list"))["work"]
            assert [line["actions"] for line in work if line["id"] == run] == [["resume"]]
            await in_transaction(owner, lambda c: execute(c, f"GRANT {right.format('TO')}", ()))
        resumed = await till.said("inbox", "resume", run)
        assert resumed["waited_for"] == "submit_topup: BOOK_BROKEN"

        async def goes_on() -> bool:
            view = await platform.till.topup(platform.merchant, "T1")
            return view.state is TopUpState.WAITING_REMITTANCE

        await eventually(goes_on)
        missing = await till.run("inbox", "resume", "topup/nobody/none", "--json")
        assert refused(missing) == ["REQUEST_UNKNOWN"]


class TestRuns:
    async def test_what_came_back_is_listed(self, till: Till, platform: Platform) -> None:
        """C-06: when, which, and how many."""
        watch = platform.client.get_workflow_handle(WATCH_WORKFLOW_ID)
        with suppress(RPCError):
            await watch.terminate()
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        run = topup_workflow_id(platform.merchant, "T1")
        await platform.client.get_workflow_handle(run).terminate()
        old = (
            "UPDATE topup_requests SET requested_at = requested_at - interval '1 hour' RETURNING 1"
        )
        try:
            assert (await till.said("inbox", "runs", "--now"))["watched"]
            await platform.rows(old)

            async def listed() -> bool:
                said = await till.said("inbox", "runs", "--now")
                return [one["workflow_id"] for one in said["last"]] == [run]

            await eventually(listed, within_s=30)
            table = await till.run("inbox", "runs")
            assert run in table.out
            assert "1 started again in all" in table.out
        finally:
            await watch.terminate()
