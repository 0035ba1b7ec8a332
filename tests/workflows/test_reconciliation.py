"""C-14: the lifecycle of a reconciled day on real servers: it looks, waits, and ends clean."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.ledger.bank.reconciling_support import MONDAY, Bank, noon
from tests.workflows.nudger import Nudger
from tests.workflows.support import Platform, eventually, refused
from tillkeeper.contracts.errors import Code, Unavailable
from tillkeeper.contracts.reconciliation import (
    LOOK,
    WORKFLOW,
    ReconciliationStart,
    ReconciliationState,
    ReconciliationView,
    reconciliation_workflow_id,
)
from worker import registry
from worker.run import workflow_runner
from workflows.reconciliation import LOOKS_APART, ReconciliationWorkflow

IN_FLIGHT_MAX = 10
"""More updates at once than this the server refuses for one run."""
TUESDAY = MONDAY + timedelta(days=1)
RUNNING = WorkflowExecutionStatus.RUNNING
COMPLETED = WorkflowExecutionStatus.COMPLETED
CLEAN = ReconciliationState.CLEAN
DIFFERENT = ReconciliationState.DIFFERENT
_NEEDS_PERSON = SearchAttributeKey.for_bool("NeedsPerson")
_STAGE = SearchAttributeKey.for_keyword("Stage")
_AMOUNT = SearchAttributeKey.for_int("AmountMinor")

Handle = WorkflowHandle[Any, ReconciliationView]


@pytest_asyncio.fixture(loop_scope="session")
async def bank(platform: Platform, owner_url: str) -> Bank:
    """An account of a bank whose numbers no other test uses: workflow ids hold them."""
    return await _bank(platform, owner_url)


async def _bank(platform: Platform, owner_url: str) -> Bank:
    return await Bank(platform.engine, owner_url).open(int(platform.merchant[1:9], 16) + 1)


def handle_of(platform: Platform, bank: Bank, day: date = MONDAY) -> Handle:
    """The day's run."""
    return platform.client.get_workflow_handle(
        reconciliation_workflow_id(bank.account, day), result_type=ReconciliationView
    )


async def start(platform: Platform, bank: Bank, **fields: Any) -> Handle:
    """Start the day's run as Temporal's own command line would."""
    return await platform.client.start_workflow(
        WORKFLOW,
        ReconciliationStart(account=bank.account, day=MONDAY, **fields),
        id=reconciliation_workflow_id(bank.account, MONDAY),
        task_queue=platform.task_queue,
        result_type=ReconciliationView,
    )


async def state_is(handle: Handle, state: ReconciliationState) -> None:
    """Wait until the day is found so."""

    async def found() -> bool:
        return (await handle.query(ReconciliationWorkflow.view)).state is state

    await eventually(found)


async def looks(handle: Handle) -> int:
    """How often the run has compared its day."""
    events = (await handle.fetch_history()).events
    return sum(event.HasField("activity_task_scheduled_event_attributes") for event in events)


class TestLook:
    async def test_a_clean_day_ends_and_is_looked_at_again_when_asked(
        self, platform: Platform, bank: Bank
    ) -> None:
        """C-14: the same day again is compared anew, by a run of its own."""
        await bank.states(MONDAY, 300_00)
        first = await platform.till.reconcile(bank.account, MONDAY)
        assert (first.state, first.matched) == (CLEAN, 1)
        assert (await handle_of(platform, bank).result()).state is CLEAN
        await bank.by_hand(1, noon(MONDAY))
        second = await platform.till.reconcile(bank.account, MONDAY)
        assert (second.state, second.largest_minor) == (DIFFERENT, 1)

    async def test_a_different_day_waits_for_the_nudge_and_ends_clean(
        self, platform: Platform, bank: Bank
    ) -> None:
        """C-05, C-14: visible while it waits; the item is settled when it comes right."""
        await bank.states(MONDAY, 300_00)
        made = await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank)
        await state_is(handle, DIFFERENT)

        async def shown() -> bool:
            said = (await handle.describe()).typed_search_attributes
            return (said.get(_STAGE), said.get(_NEEDS_PERSON), said.get(_AMOUNT)) == (
                "DIFFERENT", True, 1,
            )  # fmt: skip

        await eventually(shown)
        await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
        await handle.signal(LOOK)
        assert (await handle.result()).state is CLEAN
        assert [row[1:3] for row in await bank.items()] == [("CLOSED", "RESOLVED")]

    async def test_every_caller_is_answered_by_a_look_of_its_own_time(
        self, platform: Platform, bank: Bank
    ) -> None:
        """C-02: ten at once, none left without an answer, though the day is clean."""
        await bank.states(MONDAY, 300_00)
        calls = (platform.till.reconcile(bank.account, MONDAY) for _ in range(10))
        assert {view.state for view in await asyncio.gather(*calls)} == {CLEAN}

    async def test_an_account_that_is_not_there_is_refused(
        self, platform: Platform, bank: Bank
    ) -> None:
        """Refused to whoever asks, and the run fails."""
        bank.account += 1
        with refused(Code.BANK_ACCOUNT_UNKNOWN):
            await platform.till.reconcile(bank.account, MONDAY)
        with pytest.raises(WorkflowFailureError):
            await handle_of(platform, bank).result()

    async def test_a_day_out_of_range_is_refused(self, platform: Platform) -> None:
        """Before anything is started."""
        with refused(Code.FIELD_INVALID):
            await platform.till.reconcile(1, date(1, 1, 1))


class TestWait:
    async def test_the_daily_timer_looks_again_without_a_nudge(
        self, platform: Platform, bank: Bank, temporal: WorkflowEnvironment
    ) -> None:
        """C-06: nobody nudges; a day later it is compared again."""
        await bank.states(MONDAY, 300_00)
        made = await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank)
        await state_is(handle, DIFFERENT)
        await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
        await temporal.fast_forward(handle, timedelta(hours=25))
        assert (await handle.result()).state is CLEAN

    async def test_after_90_days_it_stops_looking_and_the_item_stays(
        self, platform: Platform, bank: Bank, temporal: WorkflowEnvironment
    ) -> None:
        """C-05: a difference is never closed because nobody looks any longer."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank, since=datetime.now(UTC) - timedelta(days=88, hours=12))
        await state_is(handle, DIFFERENT)
        await temporal.fast_forward(handle, timedelta(hours=25))
        assert not (await handle.query(ReconciliationWorkflow.view)).given_up
        await temporal.fast_forward(handle, timedelta(hours=25))
        view = await handle.result()
        assert (view.state, view.given_up) == (DIFFERENT, True)
        assert [row[1] for row in await bank.items()] == ["OPEN"]

    async def test_a_worker_that_was_away_changes_nothing(
        self, idle: Platform, owner_url: str
    ) -> None:
        """C-06: started while no worker ran, and carried on by another one."""
        bank = await _bank(idle, owner_url)
        await bank.states(MONDAY, 300_00)
        made = await bank.by_hand(1, noon(MONDAY))
        handle = await start(idle, bank)
        async with idle.worker(cached=0):
            await state_is(handle, DIFFERENT)
        await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
        await handle.signal(LOOK)
        async with idle.worker(cached=0):
            assert (await handle.result()).state is CLEAN

    async def test_a_cancel_stops_nothing_and_shows(self, platform: Platform, bank: Bank) -> None:
        """Only the day itself decides."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank)
        await state_is(handle, DIFFERENT)
        await handle.cancel()

        async def noted() -> bool:
            return bool((await handle.query(ReconciliationWorkflow.view)).not_understood)

        await eventually(noted)
        assert (await handle.describe()).status is RUNNING

    async def test_many_nudges_continue_as_new_and_keep_the_day_to_give_up(
        self, platform: Platform, bank: Bank
    ) -> None:
        """A run stays below 500 events, and 90 days are 90 days."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank)
        first = handle.first_execution_run_id

        async def asked() -> None:
            # Who asks while one run goes over into the next may have to ask again.
            with suppress(Unavailable):
                await platform.till.reconcile(bank.account, MONDAY)

        async def renewed() -> bool:
            await asyncio.gather(*(asked() for _ in range(IN_FLIGHT_MAX)))
            return (await handle_of(platform, bank).describe()).run_id != first

        await eventually(renewed, within_s=60)
        latest = handle_of(platform, bank)
        await state_is(latest, DIFFERENT)
        assert (await latest.describe()).status is RUNNING


class TestPace:
    async def test_nudges_close_upon_a_look_share_the_next_one(
        self, platform: Platform, bank: Bank, temporal: WorkflowEnvironment
    ) -> None:
        """C-14: 10 s apart, and none is lost."""
        await bank.states(MONDAY, 300_00)
        made = await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank, paced=True)
        await state_is(handle, DIFFERENT)
        await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
        for _ in range(5):
            await handle.signal(LOOK)
        await asyncio.sleep(1)
        assert (await handle.describe()).status is RUNNING
        await temporal.fast_forward(handle, LOOKS_APART)
        assert (await handle.result()).state is CLEAN
        assert await looks(handle) == 2

    async def test_whoever_asks_is_answered_at_once(self, platform: Platform, bank: Bank) -> None:
        """C-14: by a look of its own time, which the nudges before it share."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank, paced=True)
        await state_is(handle, DIFFERENT)
        await handle.signal(LOOK)
        before = datetime.now(UTC)
        view = await platform.till.reconcile(bank.account, MONDAY)
        assert view.checked_at is not None
        assert timedelta() <= view.checked_at - before < timedelta(seconds=9)
        assert await looks(handle) == 2

    async def test_a_cancel_between_two_looks_stops_nothing(
        self, platform: Platform, bank: Bank, temporal: WorkflowEnvironment
    ) -> None:
        """Only the day itself decides."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        handle = await start(platform, bank, paced=True)
        await state_is(handle, DIFFERENT)
        await handle.signal(LOOK)
        await handle.cancel()
        await temporal.fast_forward(handle, LOOKS_APART)

        async def looked_twice() -> bool:
            return await looks(handle) == 2

        await eventually(looked_twice)
        noted = (await handle.query(ReconciliationWorkflow.view)).not_understood
        assert [one.name for one in noted] == ["cancel"]


class TestNudge:
    async def test_look_at_day_starts_nudges_and_starts_anew(
        self, platform: Platform, bank: Bank, temporal: WorkflowEnvironment
    ) -> None:
        """C-14: whether the day's run is not there, runs, or has ended."""
        await bank.states(MONDAY, 300_00)
        await bank.states(TUESDAY, 300_00)
        made = await bank.by_hand(1, noon(TUESDAY))
        queue = f"{platform.task_queue}-nudger"
        monday, tuesday = (handle_of(platform, bank, day) for day in (MONDAY, TUESDAY))

        async def nudge() -> None:
            days = [day.isoformat() for day in (MONDAY, TUESDAY)]
            await platform.client.execute_workflow(
                "Nudger", args=[bank.account, days], id=queue, task_queue=queue
            )

        async with Worker(
            platform.client,
            task_queue=queue,
            workflows=[Nudger, ReconciliationWorkflow],
            activities=registry.activities(platform.house),
            workflow_runner=workflow_runner(),
        ):
            await nudge()
            first = (await monday.result()).checked_at
            await state_is(tuesday, DIFFERENT)
            await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
            await nudge()
            await temporal.fast_forward(tuesday, LOOKS_APART)
            assert (await tuesday.result()).state is CLEAN
            again = (await handle_of(platform, bank, MONDAY).result()).checked_at
            assert first is not None
            assert again is not None
            assert again > first

    async def test_a_day_named_by_a_later_one_is_looked_at_and_explains_it(
        self, platform: Platform, bank: Bank
    ) -> None:
        """C-14: put into a clean day, found by the next day's check, named where it is."""
        for day in (MONDAY, TUESDAY):
            await bank.states(day, 300_00)
            await platform.till.reconcile(bank.account, day)
        await bank.by_hand(1, noon(MONDAY))
        view = await platform.till.reconcile(bank.account, TUESDAY)
        assert (view.state, view.look_at) == (DIFFERENT, (MONDAY,))
        await state_is(handle_of(platform, bank, MONDAY), DIFFERENT)
        tuesday = handle_of(platform, bank, TUESDAY)

        async def looks_soon() -> bool:
            history = await tuesday.fetch_history()
            timers = [event.timer_started_event_attributes for event in history.events]
            return any(timer.start_to_fire_timeout.seconds == 60 for timer in timers)

        await eventually(looks_soon)
        # No time is skipped while a child runs, hence a question instead of the minute.
        await platform.till.reconcile(bank.account, TUESDAY)
        assert (await tuesday.result()).state is CLEAN


class TestAccountNumber:
    async def test_number_that_no_row_can_have_is_not_understood(self, platform: Platform) -> None:
        """C-05: it fails at once; a run that cannot be asked of the database waits for nobody."""
        huge = 2**63
        handle = await platform.client.start_workflow(
            WORKFLOW, {"account": huge, "day": "2024-01-01"},
            id=f"reconcile/{huge}/2024-01-01", task_queue=platform.task_queue,
        )  # fmt: skip
        with pytest.raises(WorkflowFailureError) as error:
            await handle.result()
        assert Code.INPUT_NOT_UNDERSTOOD.value in repr(error.value.__cause__)
