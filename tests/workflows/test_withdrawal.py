"""The withdrawal's lifecycle until it is on its way: P-65 … P-74, C-02, C-06, C-07."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from activities import account
from ledger.withdrawals import Withdrawals
from tests.workflows.support import Platform, bank_details, eventually, refused
from tests.workflows.withdrawal_support import CANCEL, People, no, people_on, starting, yes
from tillkeeper.contracts.account import ProvideBankDetails, SetStanding
from tillkeeper.contracts.approval import Verdict
from tillkeeper.contracts.errors import Code, Unavailable
from tillkeeper.contracts.withdrawal import (
    WORKFLOW,
    WithdrawalState,
    WithdrawalView,
    withdrawal_workflow_id,
)
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.rules.profiles import JD_PREPAID_2023_11

DAY: Final = timedelta(days=1)
LATE: Final = timedelta(minutes=1)
"""What a busy machine may take to run a timer that is due."""
GRACE: Final = JD_PREPAID_2023_11.model_copy(update={"withdrawal_grace": timedelta(hours=2)})


@pytest.fixture
def idle_people(idle: Platform, tmp_path: Path) -> People:
    return people_on(idle, tmp_path)


@pytest_asyncio.fixture(loop_scope="session")
async def people(idle_people: People) -> AsyncIterator[People]:
    """A merchant with 5,000.00, and people who decide."""
    async with idle_people.platform.worker():
        await idle_people.active()
        yield idle_people


@pytest_asyncio.fixture(loop_scope="session")
async def graceful(idle: Platform, tmp_path: Path) -> AsyncIterator[People]:
    """The same with two hours to undo an approval in."""
    made = people_on(idle, tmp_path, profile=GRACE)
    async with made.platform.worker():
        await made.active()
        yield made


class TestRequest:
    async def test_the_money_leaves_available_at_once(self, people: People) -> None:
        """P-66: available 5,000.00, withdrawal 2,000.00 → 3,000.00 and 2,000.00 in progress."""
        view = await people.ask()
        assert view.state is WithdrawalState.WAITING_APPROVAL
        assert [level.name for level in view.levels] == ["operations"]
        balances = await people.platform.balances()
        assert (balances.available, balances.withdrawing) == (3_000_00, 2_000_00)
        assert (view.account, view.payee) == ("****1234", "甲***")

    async def test_the_same_request_is_answered_alike_and_another_body_refused(
        self, people: People
    ) -> None:
        """C-02: five times is one request; another amount under its id is KEY_REUSED."""
        first = await people.ask()
        again = await asyncio.gather(*(people.ask() for _ in range(4)))
        assert {view.model_dump_json() for view in again} == {first.model_dump_json()}
        with refused(Code.KEY_REUSED):
            await people.ask(1_000_00)
        assert (await people.platform.balances()).withdrawing == 2_000_00

    async def test_every_reason_against_it_comes_at_once(self, people: People) -> None:
        """P-67: 5,000.01 of 5,000.00 is refused, and the id answers so for ever."""
        for _ in range(2):
            with refused(Code.INSUFFICIENT_AVAILABLE):
                await people.ask(5_000_01)
        assert (await people.platform.balances()).available == 5_000_00

    async def test_what_would_suspend_needs_the_flag(self, people: People) -> None:
        """P-74: 5,000.00 less 4,500.00 is below 1,000.00: refused without the flag."""
        with refused(Code.WOULD_SUSPEND_CAMPAIGNS):
            await people.ask(4_500_00)
        view = await people.ask(4_500_00, "W2", accept_suspension=True)
        assert view.state is WithdrawalState.WAITING_APPROVAL

    async def test_both_entry_points_are_one_command(self, people: People) -> None:
        """P-65: the origin is recorded."""
        home = await people.ask(1_000_00, "W1", entry_point="home")
        centre = await people.ask(1_000_00, "W2", entry_point="account-centre")
        assert (home.entry_point, centre.entry_point) == ("home", "account-centre")

    async def test_a_forgotten_run_starts_again_and_finds_its_row(self, people: People) -> None:
        """C-02: retention forgets runs; the first request sent again answers as recorded."""
        view = await people.reject(await people.ask())
        await people.handle().result()
        operation = starting(people, people.request())
        again = await people.platform.client.execute_update_with_start_workflow(
            "submitted", people.request(), start_workflow_operation=operation,
            result_type=WithdrawalView,
        )  # fmt: skip
        assert again == view
        assert (await people.platform.balances()).available == 5_000_00


class TestDecide:
    async def test_one_approval_sends_it_on_its_way_with_the_payee_frozen(
        self, people: People
    ) -> None:
        """P-68, P-69: approved by O2, the account of that moment is paid."""
        view = await people.approve(await people.ask())
        assert view.state is WithdrawalState.REMITTING
        assert [(d.actor, d.verdict, d.level) for d in view.decisions] == [
            ("O2", Verdict.APPROVE, "operations")
        ]
        assert view.payment is not None
        other = bank_details(account_number="6225880299998888")
        await people.platform.till.provide_bank_details(
            view.merchant, "CNY", ProvideBankDetails(details=other, actor="user-1")
        )
        assert (await people.seen()).account == "****1234"

    async def test_an_account_changed_before_approval_makes_what_was_shown_stale(
        self, people: People
    ) -> None:
        """P-69: the approver sees the new one with a warning; the old decision is refused."""
        shown = await people.ask()
        other = bank_details(account_number="6225880299998888")
        await people.platform.till.provide_bank_details(
            shown.merchant, "CNY", ProvideBankDetails(details=other, actor="user-1")
        )
        await eventually(lambda: _shows(people, "****8888"))
        with refused(Code.DECISION_STALE):
            await people.approve(shown)
        fresh = await people.seen()
        assert fresh.warnings == (Code.BANK_DETAILS_FRESH,)
        assert (await people.approve(fresh)).account == "****8888"

    async def test_a_stale_decision_has_the_run_look(
        self, people: People, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-69: whatever nobody told the run of is seen after the first decision at the latest."""

        async def nobody(*_: object) -> list[str]:
            return []

        monkeypatch.setattr(account, "waiting_runs", nobody)
        shown = await people.ask()
        other = bank_details(account_number="6225880299998888")
        await people.platform.till.provide_bank_details(
            shown.merchant, "CNY", ProvideBankDetails(details=other, actor="user-1")
        )
        assert (await people.seen()).account == "****1234"
        with refused(Code.DECISION_STALE):
            await people.approve(shown)
        await eventually(lambda: _shows(people, "****8888"))
        assert (await people.approve(await people.seen())).account == "****8888"

    async def test_a_rejection_gives_the_money_back_and_says_why(self, people: People) -> None:
        """P-70: available +2,000.00, once, with its reason and a notice."""
        view = await people.reject(await people.ask())
        assert (view.state, view.reason) == (WithdrawalState.REJECTED, "资料不符")
        balances = await people.platform.balances()
        assert (balances.available, balances.withdrawing) == (5_000_00, 0)
        notices = await people.platform.rows("SELECT event FROM notices")
        assert [row.event for row in notices] == ["rejected"]

    async def test_a_decision_after_the_end_is_answered_from_what_was_recorded(
        self, people: People
    ) -> None:
        """Design §3: the same again is answered alike, the opposite is refused."""
        shown = await people.ask()
        body = no(shown)
        view = await people.decide(shown, body)
        await people.handle().result()
        assert await people.decide(shown, body) == view
        with refused(Code.REQUEST_DECIDED):
            await people.approve(shown)
        with refused(Code.REQUEST_DECIDED):
            await people.platform.till.cancel_withdrawal(view.merchant, view.request, CANCEL)

    async def test_a_cancelled_request_answers_alike_and_cannot_be_approved(
        self, people: People
    ) -> None:
        """P-73: allowed before approval, the money is back."""
        shown = await people.ask()
        cancel = people.platform.till.cancel_withdrawal
        view = await cancel(shown.merchant, shown.request, CANCEL)
        assert view.state is WithdrawalState.CANCELLED_BY_MERCHANT
        assert await cancel(shown.merchant, shown.request, CANCEL) == view
        with refused(Code.REQUEST_DECIDED):
            await people.approve(shown)
        assert (await people.platform.balances()).available == 5_000_00

    async def test_an_approved_one_cannot_be_cancelled(self, people: People) -> None:
        """P-73: only before approval."""
        view = await people.approve(await people.ask())
        with refused(Code.REQUEST_DECIDED):
            await people.platform.till.cancel_withdrawal(view.merchant, view.request, CANCEL)

    async def test_two_levels_need_two_people_in_their_order(self, people: People) -> None:
        """P-68, C-07: operations first, then finance; nobody counts twice."""
        await people.platform.fund(60_000_00, 2)
        view = await people.ask(60_000_00)
        assert [level.name for level in view.levels] == ["operations", "finance"]
        with refused(Code.ROLE_MISSING):
            await people.approve(view, "F1", "finance")
        half = await people.approve(view)
        assert (half.state, half.levels[1].current) == (WithdrawalState.WAITING_APPROVAL, True)
        with refused(Code.ALREADY_DECIDED):
            await people.approve(view, "O2", "finance")
        assert (await people.approve(view, "F1", "finance")).state is WithdrawalState.REMITTING

    async def test_unknown_requests_are_refused(self, people: People) -> None:
        """Every call has its code."""
        view = await people.ask()
        unknown = view.model_copy(update={"request": "W404"})
        with refused(Code.REQUEST_UNKNOWN):
            await people.approve(unknown)
        with refused(Code.REQUEST_UNKNOWN):
            await people.platform.till.withdrawal(view.merchant, "W404")
        with refused(Code.REQUEST_UNKNOWN):
            await people.platform.till.cancel_withdrawal(view.merchant, "W404", CANCEL)


class TestSignals:
    async def test_decisions_by_signal_count_like_updates(self, people: People) -> None:
        """Design §3: the same model, for the Temporal UI and the plain CLI."""
        shown = await people.ask()
        await people.handle().signal("decide", yes(shown))
        assert (await people.becomes(WithdrawalState.REMITTING)).decisions[0].actor == "O2"
        other = await people.ask(1_000_00, "W2")
        await people.handle("W2").signal("cancel", CANCEL)
        assert (await people.handle("W2").result()).request == other.request
        ended = await people.seen("W2")
        assert ended.state is WithdrawalState.CANCELLED_BY_MERCHANT

    async def test_what_is_misspelt_malformed_or_refused_shows_as_not_understood(
        self, people: People
    ) -> None:
        """Design §3: noted with its reason, never with the token; it goes on waiting."""
        shown = await people.ask()
        body = yes(shown)
        handle = people.handle()
        await handle.signal("decyde", body)
        await handle.signal("decide", {"verdict": "APPROVE"})
        await handle.signal("decide")
        await handle.signal("decide", yes(shown, amount_minor=1_00))

        async def noted() -> bool:
            return len((await people.seen()).not_understood) == 4

        await eventually(noted)
        view = await people.seen()
        assert [n.name for n in view.not_understood] == ["decyde", *["decide"] * 3]
        assert view.not_understood[3].why.startswith("DECISION_STALE")
        assert body.token not in view.model_dump_json()
        assert view.state is WithdrawalState.WAITING_APPROVAL

    async def test_what_is_said_before_the_run_waits_is_not_lost(self, idle_people: People) -> None:
        """Handlers work from the first task on: start, approve and signal before any worker."""
        people = idle_people
        async with people.platform.worker():
            await people.active()
            shown = await people.ask(1_00, "W0")
            await people.reject(shown)
        for number, early in enumerate(("update", "signal", "update-with-start"), 1):
            request = f"W{number}"
            early_on = {"request": request, "amount_minor": 1_000_00}
            body = yes(shown.model_copy(update=early_on))
            told = asyncio.create_task(_early(people, request, early, body))
            await asyncio.sleep(0.3)
            async with people.platform.worker():
                await told
                view = await people.becomes(WithdrawalState.REMITTING, request)
            assert [d.actor for d in view.decisions] == ["O2"]


async def _early(people: People, request: str, way: str, body: Any) -> None:
    """Start a run that no worker serves yet, and approve what it will reserve."""
    client, asked = people.platform.client, people.request(1_000_00, request)
    workflow_id = withdrawal_workflow_id(asked.merchant, request)
    if way == "update-with-start":
        operation = starting(people, asked)
        await client.execute_update_with_start_workflow(
            "decide", body, start_workflow_operation=operation
        )
        return
    handle = await client.start_workflow(
        WORKFLOW, asked, id=workflow_id, task_queue=people.platform.task_queue
    )
    if way == "signal":
        await handle.signal("decide", body)
    else:
        await handle.execute_update("decide", body)


async def _shows(people: People, account_number: str) -> bool:
    return (await people.seen()).account == account_number


class TestReminders:
    async def test_forty_days_without_a_decision(
        self, people: People, temporal: WorkflowEnvironment
    ) -> None:
        """P-68, C-06: reminded every 24 h, escalated at 72 h, approvable on the fortieth day."""
        view = await people.ask()
        assert view.requested_at is not None
        handle, clock = people.handle(), Clock(people, temporal)
        for day in range(1, 41):
            before = await people.seen()
            assert before.state is WithdrawalState.WAITING_APPROVAL
            due = view.requested_at + day * DAY
            assert before.remind_at == due
            assert before.escalated is (day > 3)
            await clock.forward_to(due - timedelta(milliseconds=200))
            await _reminded(people, day)
        rows = await people.platform.rows(
            "SELECT at FROM audit WHERE action = 'remind_of_withdrawal' ORDER BY id"
        )
        dues = [view.requested_at + day * DAY for day in range(1, 41)]
        late = [row.at - due for row, due in zip(rows, dues, strict=True)]
        assert min(late) >= timedelta(0)
        assert max(late) < LATE
        items = await people.platform.rows("SELECT kind, state, opened_at FROM work_items")
        assert [(i.kind, i.state) for i in items] == [(ItemKind.WITHDRAWAL_OVERDUE, "OPEN")]
        assert timedelta(0) <= items[0].opened_at - dues[2] < LATE
        described = await handle.describe()
        assert described.search_attributes["NeedsPerson"] == [True]
        shown = await people.seen()
        assert shown.reminders == 40
        at = await clock.now()
        assert (await people.approve(shown, at=at)).state is WithdrawalState.REMITTING
        closed = await people.platform.rows("SELECT outcome FROM work_items")
        assert [row.outcome for row in closed] == [Outcome.RESOLVED]
        assert max(await _lengths(people)) <= 500
        assert len(await _lengths(people)) == 2

    async def test_nothing_is_lost_when_the_run_continues_as_new(self, people: People) -> None:
        """Design §3: 600 messages that say nothing, two approvals, three runs, one payment."""
        await people.platform.fund(60_000_00, 2)
        shown = await people.ask(60_000_00)
        half = asyncio.create_task(people.approve(shown))
        for _ in range(6):
            await asyncio.gather(*(people.handle().signal("nothing") for _ in range(100)))
        await half
        view = await people.approve(await people.seen(), "F1", "finance")
        assert view.state is WithdrawalState.REMITTING
        assert [d.actor for d in view.decisions] == ["O2", "F1"]
        assert len(view.not_understood) == 20

    async def test_a_new_run_shows_what_the_one_before_saw_until_it_has_looked(
        self, people: People, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-73: its steps and dates are there while the database is away; nobody else's are."""

        async def away(*_: object) -> None:
            raise Unavailable("away")

        shown, handle = await people.ask(), people.handle()
        first = (await handle.describe()).run_id
        with monkeypatch.context() as patch:
            patch.setattr(Withdrawals, "submit", away)
            for _ in range(4):
                await asyncio.gather(*(handle.signal("nothing") for _ in range(100)))

            async def another() -> bool:
                return (await handle.describe()).run_id != first

            await eventually(another, within_s=20)
            seen = await people.seen()
            assert seen == shown.model_copy(update={"not_understood": seen.not_understood})
        assert (await people.approve(shown)).state is WithdrawalState.REMITTING


class Clock:
    """The clock of one request's run, which only goes forward."""

    def __init__(self, people: People, temporal: WorkflowEnvironment) -> None:
        self._people, self._temporal = people, temporal

    async def now(self) -> datetime:
        """What the run takes for now."""
        info = await self._temporal.get_time_skipping_info(self._people.handle())
        return datetime.now(UTC) if info is None else info.current_time.ToDatetime(tzinfo=UTC)

    async def forward_to(self, moment: datetime) -> None:
        """Let the time pass until ``moment``, for this run alone."""
        ahead = moment - await self.now()
        await self._temporal.fast_forward(self._people.handle(), ahead)


async def _reminded(people: People, times: int) -> None:
    async def there() -> bool:
        return (await people.seen()).reminders == times

    await eventually(there)


async def _lengths(people: People) -> list[int]:
    """Events of each run of the request."""
    query = f"WorkflowId = '{people.handle().id}'"
    return [run.history_length async for run in people.platform.client.list_workflows(query)]


class TestGrace:
    async def test_an_approval_can_be_undone_while_the_grace_period_runs(
        self, graceful: People
    ) -> None:
        """P-70 by the undo: whoever may refuse takes it back, the money is available."""
        view = await graceful.approve(await graceful.ask())
        assert view.state is WithdrawalState.APPROVED
        assert view.remit_at is not None
        assert view.approved_at is not None
        assert view.remit_at - view.approved_at == timedelta(hours=2)
        undone = await graceful.reject(view)
        assert undone.state is WithdrawalState.REJECTED
        assert undone.payment is None
        assert (await graceful.platform.balances()).available == 5_000_00

    async def test_it_leaves_when_the_grace_period_ends(
        self, graceful: People, temporal: WorkflowEnvironment
    ) -> None:
        """C-06: a durable timer; nothing leaves a minute before."""
        view, clock = await graceful.approve(await graceful.ask()), Clock(graceful, temporal)
        assert view.remit_at is not None
        await clock.forward_to(view.remit_at - timedelta(minutes=1))
        assert (await graceful.seen()).state is WithdrawalState.APPROVED
        await clock.forward_to(view.remit_at - timedelta(milliseconds=200))
        assert (await graceful.becomes(WithdrawalState.REMITTING)).attempts == 1


class TestDues:
    async def test_dues_block_the_approval(self, people: People) -> None:
        """P-45, P-66: a hold of 3,500.00 after the request makes dues; no yes counts meanwhile."""
        shown = await people.ask()
        await people.hold(3_500_00)
        with refused(Code.DUES_OUTSTANDING):
            await people.approve(shown)
        assert (await people.seen()).decisions == ()
        await people.platform.fund(5_000_00, 9)
        assert (await people.approve(shown)).state is WithdrawalState.REMITTING

    async def test_dues_hold_an_approved_one_back_until_a_nudge(
        self, graceful: People, temporal: WorkflowEnvironment
    ) -> None:
        """P-45: blocked at remittance, released by whoever says ``changed``."""
        await blocked(graceful, Clock(graceful, temporal))
        await graceful.platform.fund(5_000_00, 9)
        await graceful.handle().signal("changed")
        await graceful.becomes(WithdrawalState.REMITTING)

    async def test_dues_hold_an_approved_one_back_until_the_next_hour(
        self, graceful: People, temporal: WorkflowEnvironment
    ) -> None:
        """P-45: without a nudge it is looked at again every hour."""
        clock = Clock(graceful, temporal)
        looked = await blocked(graceful, clock)
        await graceful.platform.fund(5_000_00, 9)
        await clock.forward_to(looked + timedelta(minutes=58))
        assert (await graceful.seen()).state is WithdrawalState.APPROVED
        await clock.forward_to(looked + timedelta(minutes=60))
        await graceful.becomes(WithdrawalState.REMITTING)

    async def test_an_abnormal_account_is_not_approved(self, people: People) -> None:
        """1.9: nothing leaves an account that is under review."""
        shown = await people.ask()
        standing = SetStanding(abnormal=True, reason="核查", actor="ops-1")
        await people.platform.till.set_standing(shown.merchant, "CNY", standing)
        with refused(Code.ACCOUNT_ABNORMAL):
            await people.approve(shown)


async def blocked(people: People, clock: Clock) -> datetime:
    """Approved, its grace period over, held back by 500.00 of dues; the time of that look."""
    view = await people.approve(await people.ask())
    assert view.remit_at is not None
    await people.hold(3_500_00)
    await clock.forward_to(view.remit_at - timedelta(milliseconds=200))

    async def held_back() -> bool:
        return (await people.seen()).blocked == (Code.DUES_OUTSTANDING,)

    await eventually(held_back)
    return await clock.now()


class TestRestart:
    @pytest.mark.parametrize("cached", [1000, 0])
    async def test_workers_come_and_go_between_all_steps(
        self, idle_people: People, cached: int
    ) -> None:
        """C-06: nothing is lost, nothing happens twice; with and without a sticky cache."""
        people = idle_people
        async with people.platform.worker(cached=cached):
            await people.active()
            await people.platform.fund(60_000_00, 2)
        async with people.platform.worker(cached=cached):
            shown = await people.ask(60_000_00)
        async with people.platform.worker(cached=cached):
            assert await people.ask(60_000_00) == shown
            first = yes(shown)
            half = await people.decide(shown, first)
        async with people.platform.worker(cached=cached):
            assert await people.decide(shown, first) == half
        async with people.platform.worker(cached=cached):
            view = await people.approve(shown, "F1", "finance")
        assert view.state is WithdrawalState.REMITTING
        assert view.attempts == 1
        count = await people.platform.rows("SELECT count(*) AS n FROM payments")
        assert count[0].n == 1


class TestShown:
    async def test_the_temporal_ui_says_what_waits_without_names(self, people: People) -> None:
        """Summary, current details and search attributes for people; no personal data."""
        view = await people.ask()
        described = await people.handle().describe()
        found = described.search_attributes
        assert found["Stage"] == ["WAITING_APPROVAL"]
        assert (found["AmountMinor"], found["NeedsPerson"]) == ([2_000_00], [False])
        assert found["DueAt"] == [view.remind_at]
        assert await described.static_summary() == f"2,000.00 CNY to {view.merchant}"
        await people.approve(view)
        described = await people.handle().describe()
        assert described.search_attributes["Stage"] == ["REMITTING"]
        assert "DueAt" not in described.search_attributes
