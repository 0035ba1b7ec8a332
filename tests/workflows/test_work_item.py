"""The desk through the client, on real servers: P-29, C-05, C-06, C-07, with the rules' figures."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from activities.work_item import WorkItemActivities
from gateways.bank.exchange import FolderExchange
from ledger.engine import in_transaction
from ledger.workitems import NewItem, open_items, settle_items
from tests.tokens import signed
from tests.workflows.support import BOOKED_AT, OTHER_NAME, Platform, eventually, refused
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.payment import payout_workflow_id
from tillkeeper.contracts.receipt import ReceiptState, ReceiptView
from tillkeeper.contracts.topup import CancelTopUp, TopUpState
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemAction,
    ItemCommand,
    ItemKind,
    ItemState,
    ItemView,
    Outcome,
    Propose,
    RejectProposal,
    ReleaseItem,
    ReturnTo,
    item_workflow_id,
)

DAY = timedelta(days=1)
WHY = "公司更名,附证明"


class People:
    """What the desk does to one item."""

    def __init__(self, platform: Platform, item: int) -> None:
        self.platform = platform
        self.item = item
        self.till = platform.till

    def matching(
        self,
        request: str = "T1",
        actor: str = "O1",
        reason: str = WHY,
        at: datetime | None = None,
    ) -> Propose:
        target = f"{self.platform.merchant}/{request}"
        body = Propose(action=ItemAction.MATCH, target=target, reason=reason, actor=actor)
        return signed(self.item, body, at)

    async def propose(self, request: str = "T1", actor: str = "O1") -> ItemView:
        return await self.till.propose(self.item, self.matching(request, actor))

    async def approve(self, view: ItemView, actor: str = "O2", **changes: Any) -> ItemView:
        return await self.till.approve(self.item, yes(view, actor, **changes))

    async def reject(self, view: ItemView, actor: str = "O2") -> ItemView:
        return await self.till.reject(self.item, no(view, actor))

    async def row(self) -> Any:
        sql = "SELECT * FROM work_items WHERE id = $1"
        return (await self.platform.rows(sql, self.item))[0]


def yes(view: ItemView, actor: str = "O2", at: datetime | None = None, **changes: Any) -> Approve:
    """A yes to exactly what the view shows, with a fresh token."""
    assert view.proposal is not None
    shown = {"action", "target", "amount_minor", "payee_digest"}
    fields = view.proposal.model_dump(include=shown) | {"proposal": view.proposal.number}
    return signed(view, Approve(**{**fields, "actor": actor, **changes}), at)


def no(view: ItemView, actor: str = "O2", at: datetime | None = None) -> RejectProposal:
    """A no to what the view shows, with a fresh token."""
    body = RejectProposal(proposal=view.proposals, reason="证明不足", actor=actor)
    return signed(view, body, at)


async def item_of(platform: Platform, receipt: ReceiptView) -> int:
    """The open item of an unmatched receipt."""
    sql = "SELECT id FROM work_items WHERE subject = $1 AND state <> 'CLOSED'"
    return int((await platform.rows(sql, f"receipt/{receipt.digest}"))[0][0])


async def unmatched(
    platform: Platform, amount_minor: int = 5_000_00, reference: str = "B1"
) -> tuple[People, ReceiptView]:
    """Money from 「丙丁商贸有限公司」 that no request explains, and its item."""
    report = platform.receipt(amount_minor, reference, payer_name=OTHER_NAME)
    receipt = await platform.till.report_receipt(report)
    assert receipt.state is ReceiptState.UNMATCHED
    return People(platform, await item_of(platform, receipt)), receipt


async def waiting(platform: Platform, amount_minor: int = 5_000_00, request: str = "T1") -> None:
    """A configured account with one waiting request."""
    await platform.configured()
    await platform.till.request_topup(platform.topup(amount_minor, request))


async def bucket(platform: Platform, name: str) -> int:
    sql = "SELECT coalesce(sum(balance), 0) FROM accounts WHERE bucket = $1"
    return int((await platform.rows(sql, name))[0][0])


async def audited(platform: Platform, subject: str) -> list[tuple[str, str, dict[str, Any]]]:
    sql = "SELECT action, actor, after::text AS after FROM audit WHERE subject = $1 ORDER BY id"
    rows = await platform.rows(sql, subject)
    return [(row.action, row.actor, json.loads(row.after)) for row in rows]


class TestMatch:
    async def test_o1_proposes_o2_approves_and_both_are_in_the_audit(
        self, platform: Platform
    ) -> None:
        """P-29, C-07: credited, both names and the reason; dues, activation and run follow."""
        await waiting(platform)
        people, receipt = await unmatched(platform)
        assert receipt.reason is Code.PAYER_NAME_MISMATCH
        proposed = await people.propose()
        assert proposed.state is ItemState.PROPOSED
        assert (await platform.balances()).available == 0
        done = await people.approve(proposed)
        assert (done.state, done.outcome, done.decided_by) == (
            ItemState.CLOSED, Outcome.MATCHED, "O2",
        )  # fmt: skip
        assert (await platform.balances()).available == 5_000_00
        assert await bucket(platform, "unmatched_receipts") == 0

        async def credited() -> bool:
            view = await platform.till.topup(platform.merchant, "T1")
            return view.state is TopUpState.CREDITED

        await eventually(credited)

        async def active() -> bool:
            view = await platform.till.account(platform.merchant)
            return view.state is AccountState.ACTIVE

        await eventually(active)
        topup = await audited(platform, f"topup/{platform.merchant}/T1")
        assert topup[-1][:2] == ("approve_match", "O2")
        assert topup[-1][2]["proposed_by"] == "O1"
        item = await audited(platform, f"item/{people.item}")
        assert [(action, actor) for action, actor, _ in item] == [
            ("propose_match", "O1"), ("approve_match", "O2"),
        ]  # fmt: skip
        assert item[-1][2]["proposed_by"] == "O1"
        sealed = await platform.rows("SELECT reason_sealed FROM audit WHERE action LIKE '%_match'")
        opened = {platform.house.ring.open_text(row[0], purpose="audit/reason") for row in sealed}
        assert opened == {WHY}

    async def test_nobody_approves_his_own_proposal(self, platform: Platform) -> None:
        """P-29, C-07: O1 cannot, however he writes himself; nothing changes."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        proposed = await people.propose()
        for actor in ("O1", "o1"):
            with refused(Code.OWN_PROPOSAL):
                await people.approve(proposed, actor)
            with refused(Code.OWN_PROPOSAL):
                await people.reject(proposed, actor)
        assert (await people.row()).state == "PROPOSED"
        assert (await platform.balances()).available == 0

    @pytest.mark.parametrize(
        "changes",
        [{"proposal": 2}, {"amount_minor": 5_000_01}, {"target": "M/T2"}, {"amount_minor": None}],
    )
    async def test_an_approval_is_bound_to_what_was_shown(
        self, platform: Platform, changes: dict[str, Any]
    ) -> None:
        """Design §5: number, target and amount; anything else is stale."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        proposed = await people.propose()
        with refused(Code.PROPOSAL_STALE):
            await people.approve(proposed, **changes)
        with refused(Code.PROPOSAL_STALE, Code.OWN_PROPOSAL):
            await people.approve(proposed, "O1", **changes)
        assert (await platform.balances()).available == 0

    async def test_a_button_pressed_twice_acts_once(self, platform: Platform) -> None:
        """C-02: in parallel, again, after the end, and from another hand."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        body = people.matching()
        views = await asyncio.gather(*(people.till.propose(people.item, body) for _ in range(3)))
        assert {view.proposals for view in views} == {1}
        done = await asyncio.gather(*(people.approve(views[0]) for _ in range(3)))
        assert len({view.closed_at for view in done}) == 1
        handle = platform.client.get_workflow_handle(item_workflow_id(people.item))
        await handle.result()
        again = await people.approve(views[0])
        assert again.closed_at == done[0].closed_at
        assert (await people.approve(views[0], "O3")).decided_by == "O2"
        assert (await people.propose()).outcome is Outcome.MATCHED
        with refused(Code.ITEM_CLOSED):
            await people.till.claim_item(people.item, ClaimItem(actor="O3"))
        with refused(Code.ITEM_CLOSED):
            await people.reject(views[0])
        with refused(Code.ITEM_CLOSED):
            await people.approve(views[0], "O1")
        assert (await platform.balances()).available == 5_000_00

    async def test_eight_callers_get_one_outcome(self, platform: Platform) -> None:
        """C-07, C-10: four approve and four reject at once; all are told the same."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        proposed = await people.propose()
        acts = [
            (people.approve if n % 2 else people.reject)(proposed, f"O{n + 2}") for n in range(8)
        ]
        answers = await asyncio.gather(*acts, return_exceptions=True)
        approvals, rejections = answers[1::2], answers[::2]
        matched = (await people.row()).outcome == "MATCHED"
        losers = rejections if matched else approvals
        winners = approvals if matched else rejections
        assert len({str(view) for view in winners}) == 1
        assert all(isinstance(view, ItemView) for view in winners)
        code = Code.ITEM_CLOSED if matched else Code.PROPOSAL_STALE
        assert [e.codes for e in losers if isinstance(e, Rejected)] == [(code,)] * 4
        assert (await platform.balances()).available == (5_000_00 if matched else 0)
        acts_done = [a for a, *_ in await audited(platform, f"item/{people.item}")]
        assert acts_done.count("refuse_decision") in range(1, 5)
        assert len([a for a in acts_done if a != "refuse_decision"]) == 2

    async def test_two_receipts_and_one_request_make_one_match(self, platform: Platform) -> None:
        """P-23: two parallel approvals for one request; the other stays unmatched and open."""
        await waiting(platform)
        first, _ = await unmatched(platform, reference="B1")
        second, _ = await unmatched(platform, reference="B2")
        shown = [await people.propose() for people in (first, second)]
        answers = await asyncio.gather(
            first.approve(shown[0]), second.approve(shown[1]), return_exceptions=True
        )
        failed = [e for e in answers if isinstance(e, Rejected)]
        assert [e.codes for e in failed] == [(Code.REQUEST_DECIDED,)]
        assert (await platform.balances()).available == 5_000_00
        assert await bucket(platform, "unmatched_receipts") == 5_000_00
        states = {(await people.row()).state for people in (first, second)}
        assert states == {"CLOSED", "PROPOSED"}

    async def test_a_request_that_was_cancelled_meanwhile_is_matched_and_stays_cancelled(
        self, platform: Platform
    ) -> None:
        """P-29, P-31: people may credit late money; once."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        other, _ = await unmatched(platform, reference="B2")
        shown, second = await people.propose(), await other.propose()
        cancel = CancelTopUp(reason="x", actor="u1")
        await platform.till.cancel_topup(platform.merchant, "T1", cancel)
        done = await people.approve(shown)
        assert done.credited == f"{platform.merchant}/T1"
        assert (await platform.balances()).available == 5_000_00
        rows = await platform.rows("SELECT state FROM topup_requests")
        assert [row.state for row in rows] == ["CANCELLED"]
        with refused(Code.REQUEST_DECIDED):
            await other.approve(second)

    async def test_a_request_that_was_credited_meanwhile_is_not_credited_again(
        self, platform: Platform
    ) -> None:
        """P-26: its own money came; the proposal can only be withdrawn."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        shown = await people.propose()
        own = await platform.till.report_receipt(platform.receipt(5_000_00, "B9"))
        assert own.state is ReceiptState.CREDITED
        with refused(Code.REQUEST_DECIDED):
            await people.approve(shown)
        assert (await platform.balances()).available == 5_000_00
        freed = await people.till.release_item(people.item, ReleaseItem(reason="x", actor="O1"))
        assert (freed.state, freed.proposal, freed.owner) == (ItemState.OPEN, None, None)

    async def test_a_sum_that_differs_is_credited_as_it_came(self, platform: Platform) -> None:
        """P-23, P-29: 4,999.99 for 5,000.00: the receipt's amount, never the request's."""
        await waiting(platform)
        people, _ = await unmatched(platform, 4_999_99)
        await people.approve(await people.propose())
        assert (await platform.balances()).available == 4_999_99
        assert await bucket(platform, "unmatched_receipts") == 0

    async def test_what_cannot_be_matched_is_refused_when_it_is_proposed(
        self, platform: Platform
    ) -> None:
        """C-05: no target, no such request, another currency, another kind of action."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        propose = people.till.propose
        for target in (None, "M1", "/", "a/b/c"):
            body = people.matching().model_copy(update={"target": target})
            with refused(Code.TARGET_MISSING):
                await propose(people.item, body)
        with refused(Code.REQUEST_UNKNOWN):
            await people.propose("T9")
        note = Propose(action=ItemAction.ACKNOWLEDGE, reason="x", actor="O1")
        with refused(Code.ACTION_NOT_ALLOWED):
            await propose(people.item, note)
        with refused(Code.ITEM_UNKNOWN):
            await propose(2**60, note)
        back = signed(people.item, Propose(action=ItemAction.RETURN, reason="x", actor="O1"))
        with refused(Code.BANK_EXCHANGE_MISSING):
            await propose(people.item, back)
        assert (await people.row()).state == "OPEN"


class TestReturn:
    async def test_a_return_leaves_as_a_payment_file(self, idle: Platform, tmp_path: Path) -> None:
        """P-29, C-12: approved by two, recorded once, its own run writes it to the outbox."""
        exchange = FolderExchange(tmp_path)
        bank = dataclasses.replace(idle, house=dataclasses.replace(idle.house, exchange=exchange))
        async with bank.worker():
            people, receipt = await unmatched(bank)
            body = Propose(
                action=ItemAction.RETURN, reason="付款人要求退回", actor="O1",
                return_to=ReturnTo(bank_name="招商银行北京分行"),
            )  # fmt: skip
            shown = await bank.till.propose(people.item, signed(people.item, body))
            assert shown.proposal is not None
            assert (shown.proposal.payee, shown.proposal.payee_account) == ("丙***", "****9999")
            done = await people.approve(shown)
            assert done.outcome is Outcome.RETURNED
            handle = bank.client.get_workflow_handle(payout_workflow_id(done.payment or ""))

            async def sent() -> bool:
                rows = await bank.rows("SELECT state FROM payments")
                return [row.state for row in rows] == ["SENT"]

            await eventually(sent)
            assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
            (file,) = exchange.outbox.iterdir()
            assert OTHER_NAME in file.read_text(encoding="utf-8")
            assert (await people.approve(shown)).payment == done.payment
            assert await bucket(bank, "returning_receipts") == 5_000_00
            again = await bank.rows("SELECT state FROM receipts WHERE digest = $1", receipt.digest)
            assert again[0].state == "RETURNING"
            await handle.terminate("the test is over")


class TestHands:
    async def test_claimed_items_are_left_alone_until_released(self, platform: Platform) -> None:
        """C-05: one owner; whoever goes on leave blocks nobody."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        till, item = people.till, people.item
        mine = await till.claim_item(item, ClaimItem(actor="O1"))
        assert (mine.owner, mine.state) == ("O1", ItemState.CLAIMED)
        assert await till.claim_item(item, ClaimItem(actor="O1")) == mine
        with refused(Code.ITEM_OWNED):
            await till.claim_item(item, ClaimItem(actor="O2"))
        with refused(Code.ITEM_OWNED):
            await people.propose(actor="O2")
        with refused(Code.ITEM_NOT_PROPOSED):
            await till.reject(item, RejectProposal(proposal=1, reason="x", actor="O2"))
        free = await till.release_item(item, ReleaseItem(reason="休假", actor="O2"))
        assert free.state is ItemState.OPEN
        proposed = await people.propose(actor="O2")
        with refused(Code.ITEM_PROPOSED):
            await till.claim_item(item, ClaimItem(actor="O1"))
        with refused(Code.ITEM_PROPOSED):
            await till.release_item(item, ReleaseItem(reason="x", actor="O1"))
        with refused(Code.ITEM_PROPOSED):
            await till.propose(item, people.matching(actor="O2", reason="another"))
        assert (await people.reject(proposed, "O1")).owner == "O2"
        with refused(Code.PROPOSAL_STALE):
            await people.approve(proposed, "O1")
        again = await people.propose(actor="O2")
        assert again.proposals == 2
        assert (await people.approve(again, "O1")).outcome is Outcome.MATCHED

    async def test_a_note_closes_what_needs_no_second_person(self, platform: Platform) -> None:
        """C-05: with an outcome, an owner and a reason; never without."""
        new = NewItem(ItemKind.STATEMENT_GAP, "bank-account/1/gap/2024-05-06")
        await in_transaction(platform.engine, lambda c: open_items(c, [new], at=BOOKED_AT))
        item = int((await platform.rows("SELECT id FROM work_items"))[0][0])
        note = Propose(action=ItemAction.ACKNOWLEDGE, reason="银行未开户日", actor="O1")
        done = await platform.till.propose(item, note)
        assert (done.outcome, done.decided_by) == (Outcome.ACKNOWLEDGED, "O1")
        assert (await platform.till.propose(item, note)).closed_at == done.closed_at
        with refused(Code.ITEM_CLOSED):
            await platform.till.propose(item, note.model_copy(update={"actor": "O2"}))

    async def test_an_item_that_came_right_by_itself_ends_its_run(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """C-05: RESOLVED by an event; the run finds it at its next look."""
        new = NewItem(ItemKind.STATEMENT_GAP, "gap/1")
        await in_transaction(platform.engine, lambda c: open_items(c, [new], at=BOOKED_AT))
        item = int((await platform.rows("SELECT id FROM work_items"))[0][0])
        await platform.till.claim_item(item, ClaimItem(actor="O1"))
        await in_transaction(
            platform.engine,
            lambda c: settle_items(
                c, ItemKind.STATEMENT_GAP, ["gap/1"], outcome=Outcome.RESOLVED, at=BOOKED_AT
            ),
        )
        handle = platform.client.get_workflow_handle(item_workflow_id(item), result_type=ItemView)
        await handle.signal("refresh")
        assert (await handle.result()).outcome is Outcome.RESOLVED

    async def test_an_item_that_ended_before_anybody_acted_refuses_every_act(
        self, platform: Platform
    ) -> None:
        """C-05: told why, and no run is left behind."""
        new = NewItem(ItemKind.STATEMENT_GAP, "gap/2")
        await in_transaction(platform.engine, lambda c: open_items(c, [new], at=BOOKED_AT))
        await in_transaction(
            platform.engine,
            lambda c: settle_items(c, new.kind, ["gap/2"], outcome=Outcome.RESOLVED, at=BOOKED_AT),
        )
        item = int((await platform.rows("SELECT id FROM work_items"))[0][0])
        for _ in range(2):
            with refused(Code.ITEM_CLOSED):
                await platform.till.claim_item(item, ClaimItem(actor="O1"))
        handle = platform.client.get_workflow_handle(item_workflow_id(item), result_type=ItemView)
        assert (await handle.result()).outcome is Outcome.RESOLVED

    async def test_what_lies_in_hand_reminds_once_a_day(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """C-06: a durable timer; shown in the view, never a limit."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        await people.propose()
        handle = platform.client.get_workflow_handle(item_workflow_id(people.item))

        for times in (1, 2):
            await temporal.fast_forward(handle, DAY + timedelta(minutes=1))

            async def reminded(times: int = times) -> bool:
                view: ItemView = await handle.query("view", result_type=ItemView)
                return view.reminders == times

            await eventually(reminded)
        view = await handle.query("view", result_type=ItemView)
        assert view.state is ItemState.PROPOSED


class TestTwice:
    async def test_every_door_of_the_desk(self, idle: Platform) -> None:
        """C-02: an activity whose answer was lost runs again: same answer, nothing more written."""
        async with idle.worker():
            await waiting(idle)
            people, _ = await unmatched(idle)
        doors = WorkItemActivities(idle.house)

        async def written() -> list[Any]:
            sql = "SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM transfers)"
            return [tuple(row) for row in await idle.rows(sql)]

        async def twice(door: Any, body: Any) -> ItemView:
            command = ItemCommand(item=people.item, at=BOOKED_AT, body=body)
            before = await written()
            first: ItemView = await door(command)
            after = await written()
            assert await door(command) == first
            assert await written() == after != before
            return first

        await twice(doors.claim_item, ClaimItem(actor="O1"))
        await twice(doors.release_item, ReleaseItem(reason="x", actor="O1"))
        at = BOOKED_AT
        proposed = await twice(doors.propose_action, people.matching(at=at))
        await twice(doors.reject_proposal, no(proposed, at=at))
        again = people.matching(reason="新证明", at=at)
        proposed = await twice(doors.propose_action, again)
        done = await twice(doors.approve_proposal, yes(proposed, at=at))
        assert done.outcome is Outcome.MATCHED
        assert (await idle.balances()).available == 5_000_00


class TestTrouble:
    async def test_a_worker_that_dies_between_the_acts_loses_nothing(self, idle: Platform) -> None:
        """C-06: proposed by one worker, decided by the next, also by signals."""
        async with idle.worker():
            await waiting(idle)
            people, _ = await unmatched(idle)
            shown = await people.propose()
        handle = idle.client.get_workflow_handle(
            item_workflow_id(people.item), result_type=ItemView
        )
        await handle.signal("approve", yes(shown, "O1"))
        await handle.signal("approve", {"proposal": "one"})
        await handle.signal("aprove", yes(shown))
        await handle.signal("approve", yes(shown))
        async with idle.worker(cached=0):
            done = await asyncio.wait_for(handle.result(), 20)
        assert (done.outcome, done.decided_by) == (Outcome.MATCHED, "O2")
        noted = [n.why.split(":")[0] for n in done.not_understood]
        assert sorted(noted) == sorted(["OWN_PROPOSAL", "FIELD_INVALID", "INPUT_NOT_UNDERSTOOD"])
        assert (await idle.balances()).available == 5_000_00

    async def test_nobody_approves_by_a_raw_client_without_a_token(
        self, platform: Platform
    ) -> None:
        """S3, C-07: refused where it would take effect, shown in the view, and in the audit."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        shown = await people.propose()
        name = item_workflow_id(people.item)
        handle = platform.client.get_workflow_handle(name, result_type=ItemView)
        await handle.signal("approve", yes(shown).model_copy(update={"token": ""}))
        await handle.signal("approve", yes(shown).model_copy(update={"actor": "O3"}))

        async def told() -> bool:
            view: ItemView = await handle.query("view", result_type=ItemView)
            return len(view.not_understood) == 2

        await eventually(told)
        view = await handle.query("view", result_type=ItemView)
        codes = [note.why.split(":")[0] for note in view.not_understood]
        assert sorted(codes) == ["TOKEN_INVALID", "TOKEN_MISSING"]
        assert (await platform.balances()).available == 0
        refusals = [act for act in await audited(platform, name) if act[0] == "refuse_decision"]
        said = [(actor, after["refused"]) for _, actor, after in refusals]
        assert sorted(said) == [("O2", ["TOKEN_INVALID"]), ("unknown", ["TOKEN_MISSING"])]
        with refused(Code.TOKEN_MISSING):
            await platform.till.approve(people.item, yes(shown).model_copy(update={"token": ""}))
        assert (await people.approve(shown)).outcome is Outcome.MATCHED

    async def test_a_terminated_run_comes_back_with_the_next_act(self, platform: Platform) -> None:
        """Design §3: the row is the truth."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        shown = await people.propose()
        handle = platform.client.get_workflow_handle(item_workflow_id(people.item))
        await handle.terminate("by hand")
        assert (await people.approve(shown)).outcome is Outcome.MATCHED
        assert (await platform.balances()).available == 5_000_00

    async def test_a_worker_that_dies_after_the_approval_still_tells(self, idle: Platform) -> None:
        """C-06, C-02: the transaction stood, the answer was lost; the next worker goes on."""
        async with idle.worker():
            await waiting(idle)
            people, _ = await unmatched(idle)
            shown = await people.propose()
        command = ItemCommand(item=people.item, at=BOOKED_AT, body=yes(shown, at=BOOKED_AT))
        done = await WorkItemActivities(idle.house).approve_proposal(command)
        handle = idle.client.get_workflow_handle(
            item_workflow_id(people.item), result_type=ItemView
        )
        await handle.signal("approve", yes(shown))
        async with idle.worker():
            assert (await asyncio.wait_for(handle.result(), 20)).closed_at == done.closed_at

            async def credited() -> bool:
                view = await idle.till.topup(idle.merchant, "T1")
                return view.state is TopUpState.CREDITED

            await eventually(credited)
        assert (await idle.balances()).available == 5_000_00

    async def test_a_cancel_leaves_the_item_waiting(self, platform: Platform) -> None:
        """Design §3: cancel is noted, the item goes on."""
        await waiting(platform)
        people, _ = await unmatched(platform)
        shown = await people.propose()
        handle = platform.client.get_workflow_handle(item_workflow_id(people.item))
        await handle.cancel()

        async def noted() -> bool:
            view = await handle.query("view", result_type=ItemView)
            return bool(view.not_understood)

        await eventually(noted)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        assert (await people.approve(shown)).outcome is Outcome.MATCHED
