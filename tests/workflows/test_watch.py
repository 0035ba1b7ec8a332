"""Nobody is forgotten (C-06): a run that somebody ended comes back, and all ends as it would have.

Every test looks as the watch does; ages are set to nothing, unless a test is about them.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities import watch as activities
from activities.watch import RunWatchActivities
from ledger.verify import verify
from tests.stack import Database, engine_on
from tests.workflows.support import Platform, eventually
from tests.workflows.withdrawal_bank import Teller, serving, tellers
from tests.workflows.withdrawal_support import people_on
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.topup import TopUpState, topup_workflow_id
from tillkeeper.contracts.watch import (
    WATCH_WORKFLOW_ID,
    Look,
    LookCommand,
    RunWatchView,
)
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.contracts.workitem import ItemAction, ItemKind
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from worker import service
from worker.run import build_worker

Handle = WorkflowHandle[Any, Any]
NUMBER = "6225880212341234"
GRACE = JD_PREPAID_2023_11.model_copy(update={"withdrawal_grace": timedelta(hours=2)})


@pytest.fixture
def ageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is open counts."""
    monkeypatch.setattr(activities, "OPEN_FOR", timedelta(0))


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _no_watch_is_left(idle: Platform) -> AsyncIterator[None]:
    """All tests share one Temporal, and the watch has one id."""
    watch = idle.client.get_workflow_handle(WATCH_WORKFLOW_ID)
    with suppress(RPCError):
        await watch.terminate()
    yield
    with suppress(RPCError):
        await watch.terminate()


@pytest.fixture
def closed(idle: Platform, tmp_path: Path) -> Iterator[Teller]:
    """No worker yet."""
    house = dataclasses.replace(idle.house, visibility=timedelta(seconds=1))
    with tellers(dataclasses.replace(idle, house=house), tmp_path) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def teller(closed: Teller) -> AsyncIterator[Teller]:
    async with serving(closed) as made:
        yield made


def topup(platform: Platform, request: str = "T1") -> Handle:
    """The run of a top-up request."""
    return platform.client.get_workflow_handle(topup_workflow_id(platform.merchant, request))


async def revived(platform: Platform, *handles: Handle) -> RunWatchView:
    """Terminate these runs; look until all are back. Temporal lists what ended a moment later."""
    before = {one.id: (await one.describe()).run_id for one in handles}
    for one in handles:
        await one.terminate("somebody")
    seen = [RunWatchView()]

    async def back() -> bool:
        seen.append(await platform.till.look_at_runs())
        now = {one.id: await one.describe() for one in handles}
        return all(
            found.run_id != before[name] and found.status is WorkflowExecutionStatus.RUNNING
            for name, found in now.items()
        )

    await eventually(back, within_s=20)
    return seen[-1]


async def end_alike(teller: Teller) -> None:
    """Paid once, by our book and by the bank's."""
    done = await teller.paid()
    assert done.state is WithdrawalState.PAID
    assert done.needs_person == ""
    assert teller.debits() == [(2_000_00, NUMBER)]
    platform = teller.people.platform
    assert (await platform.balances()).withdrawing == 0
    assert (await verify(platform.engine)).ok


@pytest.mark.usefixtures("ageless")
class TestWithdrawal:
    async def test_waiting_for_approval(self, teller: Teller) -> None:
        """P-68: still approvable, reminded by the row's own time, and the same request (C-02)."""
        people = teller.people
        asked: dict[str, Any] = {"accept_suspension": True, "entry_point": "app"}
        shown = await people.ask(**asked)
        found = await revived(people.platform, people.handle())
        assert people.handle().id in [one.workflow_id for one in found.last]
        assert await people.ask(**asked) == shown
        await people.approve(shown)
        await end_alike(teller)

    async def test_on_its_way(self, teller: Teller) -> None:
        """C-11: its payout goes on without it, and tells it the end."""
        view = await teller.people.approve(await teller.people.ask())
        await teller.shows(view, lambda payment: payment.state is PaymentState.ACCEPTED)
        await revived(teller.people.platform, teller.people.handle())
        await end_alike(teller)

    async def test_failed_and_waiting_for_a_choice(self, teller: Teller) -> None:
        """P-71."""
        await teller.failed()
        await revived(teller.people.platform, teller.people.handle())
        await teller.becomes(WithdrawalState.FAILED_MANUAL)
        item = await teller.item(ItemKind.WITHDRAWAL_FAILED)
        teller.bank.plan()
        await teller.choose(item, ItemAction.RETRY)
        await end_alike(teller)

    async def test_approved_and_within_its_grace(
        self, idle: Platform, temporal: WorkflowEnvironment, tmp_path: Path
    ) -> None:
        """P-70: the time of grace ends when it would have, not two hours after the revival."""
        people = people_on(idle, tmp_path, profile=GRACE)
        async with people.platform.worker():
            await people.active()
            shown = await people.approve(await people.ask())
            assert shown.state is WithdrawalState.APPROVED
            await revived(people.platform, people.handle())
            await people.becomes(WithdrawalState.APPROVED)
            assert (await people.seen()).remit_at == shown.remit_at
            await temporal.fast_forward(people.handle(), timedelta(hours=2))
            await people.becomes(WithdrawalState.REMITTING)


@pytest.mark.usefixtures("ageless")
class TestPayout:
    async def test_not_yet_given_to_the_bank(self, closed: Teller) -> None:
        """C-12: what nobody had taken leaves once, by the run that came back."""
        platform = closed.people.platform
        async with build_worker(platform.client, platform.house, task_queue=platform.task_queue):
            await closed.people.active()
            view = await closed.people.approve(await closed.people.ask())
            await closed.shows(view, lambda one: one.state is PaymentState.RECORDED)
            await closed.payout(view).terminate("somebody")
        async with platform.worker():
            await platform.till.look_at_runs()
            await end_alike(closed)

    async def test_taken_by_the_bank(self, teller: Teller) -> None:
        """C-12: it is not sent again, and the withdrawal, which lost it, needs nobody."""
        view = await teller.people.approve(await teller.people.ask())
        await teller.shows(view, lambda payment: payment.state is PaymentState.ACCEPTED)
        await revived(teller.people.platform, teller.payout(view))
        await end_alike(teller)

    async def test_without_an_answer(self, teller: Teller) -> None:
        """E-09: it is asked for."""
        teller.bank.plan({"fault": "cut", "times": 1})
        view = await teller.people.approve(await teller.people.ask())
        await teller.shows(view, lambda payment: payment.state is PaymentState.UNCLEAR)
        await revived(teller.people.platform, teller.payout(view))
        await end_alike(teller)

    async def test_refused_and_to_be_tried_again(
        self, teller: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """S-44: the next attempt keeps its time, also where both runs are gone."""
        teller.bank.plan({"fault": "reject", "code": "AM14", "times": 1})
        view = await teller.people.approve(await teller.people.ask())
        await teller.shows(view, lambda payment: payment.state is PaymentState.REJECTED)
        due = (await teller.payout(view).query("view"))["retry_at"]
        await revived(teller.people.platform, teller.people.handle(), teller.payout(view))
        await teller.shows(view, lambda payment: payment.retry_at is not None)
        assert (await teller.payout(view).query("view"))["retry_at"] == due
        await temporal.fast_forward(teller.payout(view), timedelta(days=2))
        await teller.shows(view, lambda payment: payment.attempt == 2)
        await end_alike(teller)


@pytest.mark.usefixtures("ageless")
class TestTopUp:
    async def test_money_arrives_after_the_revival(self, platform: Platform) -> None:
        """P-26, C-02."""
        await platform.configured()
        shown = await platform.till.request_topup(platform.topup(entry_point="home"))
        await revived(platform, topup(platform))
        again = await platform.till.request_topup(platform.topup(entry_point="home"))
        assert (again.expires_at, again.reference_code) == (shown.expires_at, shown.reference_code)
        await platform.till.report_receipt(platform.receipt())

        async def credited() -> bool:
            return (await platform.till.topup(platform.merchant, "T1")).state is TopUpState.CREDITED

        await eventually(credited)

    async def test_it_expires_when_it_would_have(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """P-31: by the time in the row."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        await revived(platform, topup(platform))
        await temporal.fast_forward(topup(platform), timedelta(days=15))

        async def expired() -> bool:
            return (await platform.till.topup(platform.merchant, "T1")).state is TopUpState.EXPIRED

        await eventually(expired)


class TestLook:
    async def look(self, platform: Platform, at: datetime) -> Look:
        environment = ActivityEnvironment(client=platform.client)
        environment.info = dataclasses.replace(environment.info, task_queue=platform.task_queue)
        return await environment.run(
            RunWatchActivities(platform.house).revive_runs, LookCommand(at=at)
        )

    async def test_young_rows_and_running_runs_are_left_alone(self, platform: Platform) -> None:
        """Visibility is late: five minutes are no sign of anything."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        await topup(platform).terminate()
        asked = (await platform.rows("SELECT requested_at FROM topup_requests"))[0][0]
        assert (await self.look(platform, asked + activities.OPEN_FOR)) == Look()

        async def back() -> bool:
            late = asked + activities.OPEN_FOR + timedelta(microseconds=1)
            return (await self.look(platform, late)).revived == 1

        await eventually(back)
        run = (await topup(platform).describe()).run_id
        for _ in range(3):
            assert (await self.look(platform, asked + timedelta(hours=1))).revived == 0
        assert (await topup(platform).describe()).run_id == run

    async def test_what_ended_well_is_never_started_again(
        self, platform: Platform, database: Database
    ) -> None:
        """A book that was set back must not have things done twice: people are told."""
        await platform.configured()
        await platform.fund()
        assert await topup(platform).result()
        async with engine_on(database.owner_url) as owner, owner.begin() as connection:
            back = "UPDATE topup_requests SET state = 'WAITING_REMITTANCE', receipt = NULL"
            await connection.exec_driver_sql(back)
        found = await self.look(platform, datetime.now(UTC) + timedelta(hours=1))
        assert found.revived == 0
        assert [one.workflow_id for one in found.ended] == [topup(platform).id]

    async def test_a_thousand_open_rows_cost_one_listing(
        self, idle: Platform, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where all is well: one page and a half, three statements, nothing started."""
        await _thousand(idle, database)
        calls: list[str] = []
        bare = idle.client.workflow_service.list_workflow_executions

        async def counted(request: Any, **more: Any) -> Any:
            calls.append(request.query)
            return await bare(request, **more)

        monkeypatch.setattr(idle.client.workflow_service, "list_workflow_executions", counted)
        found = [Look(revived=1)]

        async def nothing_lost() -> bool:
            calls.clear()
            found.append(await self.look(idle, datetime.now(UTC) + timedelta(hours=1)))
            return found[-1].revived == 0

        await eventually(nothing_lost, within_s=30)
        assert len({*calls}) == 3
        assert sum("'TopUp'" in query for query in calls) <= 2


async def _thousand(platform: Platform, database: Database) -> None:
    """1,000 waiting requests and their runs, which nobody works on."""
    async with engine_on(database.owner_url) as owner, owner.begin() as connection:
        await connection.exec_driver_sql(
            """INSERT INTO topup_requests (merchant, request, currency, amount, state, fingerprint,
                   method, entry_point, profile, requested_at, expires_at)
               SELECT $1::text, 'T' || n, 'CNY', n, 'WAITING_REMITTANCE', '', 'WIRE', 'api', '',
                      now(), now() + interval '15 days' FROM generate_series(1, 1000) n""",
            (platform.merchant,),
        )
    for start in range(1, 1001, 50):
        await asyncio.gather(
            *(
                platform.client.start_workflow(
                    "TopUp", platform.topup(n, f"T{n}"), task_queue=platform.task_queue,
                    id=topup_workflow_id(platform.merchant, f"T{n}"),
                )
                for n in range(start, start + 50)
            )
        )  # fmt: skip


class TestWatch:
    async def test_it_looks_every_ten_minutes(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """C-06: without anybody."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        await platform.till.watch_runs()
        await topup(platform).terminate()
        watch = platform.client.get_workflow_handle(WATCH_WORKFLOW_ID)

        async def back() -> bool:
            await temporal.fast_forward(watch, timedelta(minutes=10))
            found = await topup(platform).describe()
            return found.status is WorkflowExecutionStatus.RUNNING

        await eventually(back, within_s=20)
        seen = await platform.till.runs_watch()
        assert seen is not None
        assert seen.revived == 1
        assert [one.workflow_id for one in seen.last] == [topup(platform).id]

    @pytest.mark.usefixtures("ageless")
    async def test_it_goes_on_as_new_and_through_a_cancel(self, platform: Platform) -> None:
        """What it has found goes with it."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        await revived(platform, topup(platform))
        watch = platform.client.get_workflow_handle(WATCH_WORKFLOW_ID)
        before = await watch.describe()
        await watch.cancel()
        for _ in range(5):
            await asyncio.gather(*(watch.signal("nothing") for _ in range(100)))

        async def another() -> bool:
            return (await watch.describe()).run_id != before.run_id

        await eventually(another, within_s=20)
        seen = await platform.till.look_at_runs()
        assert seen.revived == 1
        assert (await watch.describe()).status is WorkflowExecutionStatus.RUNNING

    async def test_a_watch_that_was_terminated_is_there_again(
        self, idle: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The worker makes sure of it."""
        monkeypatch.setattr(service, "WATCHED_EVERY_S", 0.1)
        await idle.till.watch_runs()
        watch = idle.client.get_workflow_handle(WATCH_WORKFLOW_ID)
        await watch.terminate()
        async with service.watched_again([idle.till.watch_runs]):

            async def runs() -> bool:
                return (await watch.describe()).status is WorkflowExecutionStatus.RUNNING

            await eventually(runs)
