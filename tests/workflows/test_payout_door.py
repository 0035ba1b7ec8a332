"""Payouts by the bank's door, with every fault of it: paid once, or proven unpaid (C-12, F05)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.payout import PayoutActivities, payment_instruction
from gateways.bank.http import Answer, BankDoor, Hearing
from ledger import attempts
from ledger.payment_rows import read_payment
from tests.gateways.bank.simulator.support import OTHER
from tests.ledger.payment_support import said
from tests.workflows.support import Platform, eventually
from tests.workflows.teller_support import AMOUNT, Teller
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    FailureClass,
    PaymentInstruction,
    PaymentState,
    PayoutCommand,
    PayoutView,
)
from tillkeeper.rules.days import day_bounds, day_of
from worker.run import build_worker
from workflows import payout

DAY = timedelta(days=1)
Work = Callable[[], Awaitable[None]]

_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND datname = current_database()"""


class Troubled(BankDoor):
    """The bank's door with trouble of ours before or after a call: what a kill does there."""

    def __init__(
        self, door: BankDoor | None, *, before: Work | None = None, after: Work | None = None
    ) -> None:
        assert door is not None
        self._door, self._before, self._after = door, before, after

    async def submit(self, payment: PaymentInstruction) -> Answer:
        if self._before is not None:
            await self._before()
        answer = await self._door.submit(payment)
        if self._after is not None:
            await self._after()
        return answer

    async def ask(self, payment: PaymentInstruction) -> Answer:
        return await self._door.ask(payment)


async def killed() -> None:
    """Nothing after this line happens."""
    raise RuntimeError("killed")


class TestPaid:
    async def test_accepted_by_the_door_and_paid_by_the_debit(self, resting: Teller) -> None:
        """C-12: the answer accepts, the camt.054 alone pays; marked before, answered after."""
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.ACCEPTED)
            assert await resting.stands() == ("REMITTING", None)
            view = await resting.ends(handle)
        assert (view.state, view.rail, view.run) == (PaymentState.PAID, "http", name)
        assert await resting.stands() == ("PAID", None)
        sql = "SELECT file, status FROM payment_statuses"
        [word] = await resting.counter.rows(sql)
        assert word.file.startswith("http:")
        assert len(list(resting.exchange.outbox.glob("*.xml"))) == 0
        await resting.agree()

    @pytest.mark.parametrize("fault", ["cut", "error", "silence", "duplicate-status"])
    async def test_accepted_without_a_word_is_asked_for_and_never_sent_again(
        self, resting: Teller, fault: str
    ) -> None:
        """F06, C-12: time-out after send, then late success: no second payment."""
        resting.bank.plan({"fault": fault, "seconds": 30})
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            view = await resting.ends(handle)
        assert view.state is PaymentState.PAID
        assert await resting.payments() == [("PAID", "http", 1)]
        await resting.agree()

    async def test_what_the_bank_knows_already_is_the_same_payment(self, resting: Teller) -> None:
        """C-02: given to the bank by whoever had it before us, it is one payment."""
        name = await resting.remitting()
        answer = await _instructed(resting, name)
        assert answer.said
        async with resting.platform.worker():
            view = await resting.ends(await resting.start(name))
        assert view.state is PaymentState.PAID
        await resting.agree()

    async def test_a_debit_told_before_the_answer(self, resting: Teller) -> None:
        """C-09: the file comes while the door is silent; the late word changes nothing."""
        resting.bank.plan({"fault": "silence", "seconds": 30})
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)

            async def told() -> bool:
                return bool(await resting.hear())

            await eventually(told)
            assert await resting.stands() == ("PAID", None)
            view = await handle.result()
        assert view.state is PaymentState.PAID
        await resting.agree()

    async def test_returned_days_later(self, resting: Teller) -> None:
        """C-13: paid on day 1, back on day 3: available again, state RETURNED."""
        resting.bank.plan({"fault": "return", "code": "AC04", "days": 2})
        name = await resting.remitting()
        async with resting.platform.worker():
            assert (await resting.ends(await resting.start(name))).state is PaymentState.PAID
            for _ in range(2):
                resting.bank.post("/days/close")
            await resting.hear()
        assert await resting.stands() == ("RETURNED", "AC04")
        assert await resting.counter.figures() == (9_000_00, 0, 0, 0)
        await resting.agree()

    async def test_every_task_replayed_it_ends_alike(self, resting: Teller) -> None:
        """Design §3: workers come and go between all steps."""
        resting.bank.plan({"fault": "cut"})
        name = await resting.remitting()
        async with resting.platform.worker(cached=0):
            assert (await resting.ends(await resting.start(name))).state is PaymentState.PAID
        await resting.agree()


class TestRefused:
    @pytest.mark.parametrize(
        ("code", "failure"),
        [
            ("AC04", FailureClass.NEEDS_PAYEE),
            ("AC02", FailureClass.NEEDS_PAYER),
            ("AG01", FailureClass.NEVER),
        ],
    )
    async def test_a_no_that_is_not_tried_again_ends_the_run(
        self, resting: Teller, code: str, failure: FailureClass
    ) -> None:
        """P-71: work for a person, the money still in progress."""
        resting.bank.plan({"fault": "reject", "code": code})
        name = await resting.remitting()
        async with resting.platform.worker():
            view = await (await resting.start(name)).result()
        assert (view.state, view.reason, view.failure) == (PaymentState.REJECTED, code, failure)
        assert await resting.stands() == ("FAILED_MANUAL", code)
        assert (await resting.counter.figures())[2] == AMOUNT
        await resting.agree()

    @pytest.mark.parametrize(
        ("other", "code"),
        [({"name": "甲乙贸易有限公司", "closed": True}, "AC04"), ({"name": "别人"}, "BE01")],
    )
    async def test_a_closed_account_and_another_name(
        self, resting: Teller, other: dict[str, object], code: str
    ) -> None:
        """P-71, E-10: what the bank itself finds out."""
        resting.bank.post("/counterparties", account=OTHER, **other)
        name = await resting.remitting()
        async with resting.platform.worker():
            view = await (await resting.start(name)).result()
        assert (view.reason, view.failure) == (code, FailureClass.NEEDS_PAYEE)
        await resting.agree()

    async def test_an_early_status_is_taken_back(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """E-12: accepted today, refused tomorrow for want of money: asked once a day, found out."""
        resting.bank.plan({"fault": "early-status"})
        name = await resting.remitting(8_000_00)
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.ACCEPTED)
            resting.bank.post(
                "/charges", key="C1", account="110060149012", currency="CNY",
                amount_minor=9_000_00,
            )  # fmt: skip
            resting.bank.post("/days/close")
            await temporal.fast_forward(handle, timedelta(hours=25))
            view = await handle.result()
        assert (view.state, view.reason) == (PaymentState.REJECTED, "AM04")
        assert await resting.stands() == ("FAILED_MANUAL", "AM04")


class TestRetry:
    async def test_the_banks_own_trouble_is_tried_again_by_the_other_rail(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """F09, S-44: 503 and never found: a proven no, then a new attempt with a new id."""
        resting.bank.plan({"fault": "unavailable", "times": 1})
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.REJECTED)
            waiting = await resting.view(handle)
            assert waiting.retry_at is not None
            assert waiting.decided_at is not None
            wait = waiting.retry_at - waiting.decided_at
            assert timedelta(seconds=15) <= wait <= timedelta(seconds=30)
            await temporal.fast_forward(handle, timedelta(seconds=31))
            view = await resting.ends(handle)
        assert (view.state, view.run, view.attempt) == (PaymentState.PAID, name, 2)
        assert await resting.payments() == [("REJECTED", "http", 1), ("PAID", "file", 2)]
        assert await resting.stands() == ("PAID", None)
        await resting.agree()

    async def test_a_limit_is_tried_again_on_the_next_morning(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """E-11: deferred to 08:00 … 08:30 of the next local day, by the same rail."""
        resting.bank.plan({"fault": "reject", "code": "AM14", "times": 1})
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.REJECTED)
            waiting = await resting.view(handle)
            assert waiting.failure is FailureClass.RETRY_LATER
            assert waiting.retry_at is not None
            local = waiting.retry_at + timedelta(hours=8)
            assert (local.hour, local.minute <= 30) == (8, True)
            await temporal.fast_forward(handle, timedelta(hours=33))
            view = await resting.ends(handle)
        assert await resting.payments() == [("REJECTED", "http", 1), ("PAID", "http", 2)]
        assert view.state is PaymentState.PAID
        await resting.agree()

    async def test_after_five_it_is_a_persons(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """P-71: 30, 60, 120, 240 seconds at most, then work."""
        house = dataclasses.replace(resting.platform.house, exchange=None)
        platform = dataclasses.replace(resting.platform, house=house)
        resting = dataclasses.replace(resting, platform=platform)
        resting.bank.plan({"fault": "reject", "code": "AB07"})
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            await temporal.fast_forward(handle, timedelta(minutes=10))
            view = await handle.result()
        assert (view.attempt, view.retry_at) == (5, None)
        assert await resting.payments() == [("REJECTED", "http", n) for n in range(1, 6)]
        assert await resting.stands() == ("FAILED_MANUAL", "AB07")
        await resting.agree()


class TestSilence:
    async def test_the_banks_delay_runs_from_the_end_of_a_slow_call(self, resting: Teller) -> None:
        """E-09: what arrives with the call's last moment is visible that much later."""

        async def slow() -> None:
            await asyncio.sleep(2)

        resting.bank.plan({"fault": "cut", "times": 1})
        door = Troubled(resting.platform.house.door, before=slow)
        teller = resting.with_door(door)
        name = await teller.remitting()
        async with teller.platform.worker():
            handle = await teller.start(name)
            assert (await teller.ends(handle)).state is PaymentState.PAID
        [row] = await teller.counter.rows(
            "SELECT p.sending_at, a.at FROM payments p, audit a WHERE a.action = 'send_payment'"
        )
        assert row.sending_at - row.at >= timedelta(seconds=2)
        await teller.agree()


class Saying(BankDoor):
    """A door that says one thing of whatever it is given."""

    def __init__(self, status: str, *reasons: str) -> None:
        self._status, self._reasons = status, reasons

    async def submit(self, payment: PaymentInstruction) -> Answer:
        word = said(self._status, payment.end_to_end_id, *self._reasons)
        return Answer(Hearing.SAID, (word,), "http:said")

    async def ask(self, payment: PaymentInstruction) -> Answer:
        return await self.submit(payment)


class TestLateCall:
    async def test_a_limit_of_the_day_is_tried_again_on_the_day_after_it_was_said(
        self, resting: Teller
    ) -> None:
        """E-11: asked for at 23:55, called at 00:05: the next day is the day after that."""
        name = await resting.remitting()
        midnight = day_bounds(day_of(datetime.now(UTC)))[1]
        asked, began = midnight - timedelta(minutes=5), midnight + timedelta(minutes=5)
        house = dataclasses.replace(resting.platform.house, door=Saying("RJCT", "AM14"))
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, started_time=began)
        command = PayoutCommand(end_to_end_id=name, at=asked)
        await environment.run(PayoutActivities(house).submit_payment, command)
        [row] = await resting.counter.rows("SELECT retry_at, sent_at FROM payments")
        assert day_of(row.retry_at) - day_of(began) == timedelta(days=1)
        assert row.sent_at >= began

    async def test_a_call_that_nobody_lived_to_tell_of_counts_as_ended_at_its_limit(
        self, resting: Teller
    ) -> None:
        """E-09: ten seconds after its mark it may still leave, and twenty later arrive."""
        name = await resting.remitting()
        house = dataclasses.replace(
            resting.platform.house, door=Troubled(Saying("ACSP"), after=killed)
        )
        command = PayoutCommand(end_to_end_id=name, at=datetime.now(UTC))
        with pytest.raises(ApplicationError):
            await ActivityEnvironment().run(PayoutActivities(house).submit_payment, command)
        [row] = await resting.counter.rows("SELECT state, sending_at FROM payments")
        assert row.state == "UNCLEAR"
        assert row.sending_at == command.at + timedelta(seconds=30)


class TestKill:
    @pytest.mark.parametrize("place", ["before", "after"])
    async def test_killed_around_the_call_it_is_asked_for(
        self, resting: Teller, temporal: WorkflowEnvironment, place: str
    ) -> None:
        """F05, B7: before the call the bank has nothing, after it the payment; never two."""
        trouble = {place: killed}
        teller = resting.with_door(Troubled(resting.platform.house.door, **trouble))
        name = await teller.remitting()
        async with teller.platform.worker():
            handle = await teller.start(name)
            if place == "before":
                await teller.reaches(handle, PaymentState.REJECTED, within_s=60)
                await temporal.fast_forward(handle, timedelta(seconds=31))
            view = await teller.ends(handle)
        assert (view.state, view.attempt) == (PaymentState.PAID, 1 if place == "after" else 2)
        await teller.agree()

    async def test_the_database_is_gone_when_the_answer_is_to_be_recorded(
        self, resting: Teller
    ) -> None:
        """C-12: the answer is lost with its connection; the question brings it again."""
        engine, name = resting.platform.engine, await resting.remitting()
        async with engine.connect() as holder:

            async def hold() -> None:
                await holder.execute(
                    text("SELECT 1 FROM payments WHERE end_to_end_id = :name FOR UPDATE"),
                    {"name": name},
                )

            async def cut() -> bool:
                return bool((await resting.counter.rows(_CUT))[0].count)

            teller = resting.with_door(Troubled(resting.platform.house.door, after=hold))
            async with teller.platform.worker():
                handle = await teller.start(name)
                await eventually(cut)
                await holder.rollback()
                view = await teller.ends(handle)
        assert view.state is PaymentState.PAID
        assert await teller.payments() == [("PAID", "http", 1)]
        await teller.agree()

    async def test_a_run_that_was_stopped_sends_nothing_again(self, resting: Teller) -> None:
        """F08: the bank forgets ids after 24 h; at 25 h nothing is doubled."""
        resting.bank.plan({"fault": "forget"})
        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.ACCEPTED)
            await handle.terminate()
            resting.bank.post("/clock", seconds=25 * 3600)
            handle = await resting.start(name)
            assert (await resting.ends(handle)).state is PaymentState.PAID
        assert len(resting.bank.movements()) == 1
        await resting.agree()

    async def test_a_mark_without_a_call_is_asked_for(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """F05: the process died between the two, long before this run."""
        name = await resting.remitting()
        at = (await resting.counter.rows("SELECT now() AS at"))[0].at
        row = await resting.counter.run(lambda c: read_payment(c, name))
        await resting.counter.run(lambda c: attempts.mark_sending(c, row, at, at))
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.REJECTED)
            assert (await resting.view(handle)).reason == "NOTFOUND"
            assert resting.bank.movements() == []
            await temporal.fast_forward(handle, timedelta(seconds=31))
            assert (await resting.ends(handle)).state is PaymentState.PAID
        await resting.agree()


class TestHold:
    async def test_without_a_door_it_waits_for_a_person(
        self, resting: Teller, idle: Platform
    ) -> None:
        """Design §3: visible, nothing sent; after the mending it goes on by itself."""
        name = await resting.remitting()
        house = dataclasses.replace(resting.platform.house, receiving=lambda _: None)
        blind = dataclasses.replace(resting.platform, house=house)
        async with blind.worker():
            handle = await resting.start(name)

            async def waits() -> bool:
                return bool((await resting.view(handle)).needs_person)

            await eventually(waits)
            assert (await resting.view(handle)).needs_person == (
                "submit_payment: BANK_ACCOUNT_UNKNOWN"
            )
        assert resting.bank.movements() == []
        async with resting.platform.worker():
            await handle.execute_update("resume", result_type=str)
            assert (await resting.ends(handle)).state is PaymentState.PAID
        await resting.agree()

    async def test_while_no_worker_serves_the_bank_a_person_is_told(
        self, resting: Teller, temporal: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-71: after its patience in the queue; nothing has left, and it goes on by itself."""
        assert payout.GIVEN.queued == timedelta(minutes=15)
        # No time is skipped while a call lies in its queue.
        soon = dataclasses.replace(payout.GIVEN, queued=timedelta(seconds=1))
        monkeypatch.setattr(payout, "GIVEN", soon)
        name = await resting.remitting()
        platform = resting.platform
        async with build_worker(platform.client, platform.house, task_queue=platform.task_queue):
            handle = await resting.start(name)

            async def waits() -> bool:
                return (await resting.view(handle)).needs_person == "submit_payment: UNAVAILABLE"

            await eventually(waits)
        assert resting.bank.movements() == []
        assert await resting.payments() == [("RECORDED", "http", 1)]
        async with platform.worker():
            await temporal.fast_forward(handle, payout.TRY_AGAIN_AFTER)
            done = await resting.ends(handle)
        assert (done.state, done.needs_person) == (PaymentState.PAID, "")
        await resting.agree()

    async def test_a_nudge_is_one_more_try_and_no_endless_ones(
        self, resting: Teller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between two tries that did not even leave there is a pause, whoever nudged before."""
        monkeypatch.setattr(
            payout, "GIVEN", dataclasses.replace(payout.GIVEN, queued=timedelta(seconds=1))
        )
        name = await resting.remitting()
        platform = resting.platform
        async with build_worker(platform.client, platform.house, task_queue=platform.task_queue):
            handle = await resting.start(name)

            async def pauses(count: int) -> None:
                async def there() -> bool:
                    history = await handle.fetch_history()
                    started = [
                        e
                        for e in history.events
                        if e.event_type == EventType.EVENT_TYPE_TIMER_STARTED
                    ]
                    return len(started) == count

                await eventually(there)

            await pauses(1)
            await handle.signal(OUTCOME_SIGNAL)
            await pauses(2)
        async with platform.worker():
            await handle.signal(OUTCOME_SIGNAL)
            assert (await resting.ends(handle)).state is PaymentState.PAID
        await resting.agree()


class TestContinued:
    async def test_a_new_run_shows_what_the_one_before_saw_until_it_has_looked(
        self, resting: Teller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-73: a payment that the bank accepted is not shown as merely recorded."""

        async def away(*_: object) -> PayoutView:
            raise Unavailable("away")

        name = await resting.remitting()
        async with resting.platform.worker():
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.ACCEPTED)
            first = (await handle.describe()).run_id
            with monkeypatch.context() as patch:
                patch.setattr(PayoutActivities, "_view", away)
                for _ in range(4):
                    await asyncio.gather(*(handle.signal("nothing") for _ in range(100)))

                async def another() -> bool:
                    return (await handle.describe()).run_id != first

                await eventually(another, within_s=20)
                shown = await resting.view(handle)
                assert (shown.state, shown.amount_minor) == (PaymentState.ACCEPTED, AMOUNT)
            assert (await resting.ends(handle)).state is PaymentState.PAID

    async def test_a_starter_is_not_believed_before_the_first_look(
        self, resting: Teller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Design §3: whoever starts a run cannot have it show a payment that was not made."""
        name = await resting.remitting()
        looked = asyncio.Event()

        async def away(*_: object) -> PayoutView:
            looked.set()
            raise Unavailable("away")

        monkeypatch.setattr(PayoutActivities, "_view", away)
        async with resting.platform.worker():
            known = PayoutView(end_to_end_id=name, state=PaymentState.PAID)
            handle = await resting.start(name, known=known)
            await looked.wait()
            assert (await resting.view(handle)).state is PaymentState.RECORDED
            await handle.terminate()


class TestTogether:
    @pytest.mark.timeout(600)
    async def test_many_with_every_fault_by_chance(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """C-12: the bank's book equals ours one to one, none lost, none twice."""
        chances = {
            **dict.fromkeys(("cut", "error", "duplicate-status", "unavailable"), 200),
            **dict.fromkeys(("reject", "return", "forget"), 100),
        }
        resting.bank.plan(chances=chances, seed=7)
        names = [await resting.remitting(100_00, f"W{number}") for number in range(20)]
        async with resting.platform.worker():
            handles = [await resting.start(name) for name in names]
            results = [asyncio.create_task(handle.result()) for handle in handles]

            async def ended() -> bool:
                await resting.hear()
                for handle, result in zip(handles, results, strict=True):
                    if not result.done():
                        # It may end just now.
                        with suppress(RPCError):
                            await temporal.fast_forward(handle, timedelta(seconds=30))
                return all(result.done() for result in results)

            async def ended_or_left() -> bool:
                return await ended() or await _left_by_the_bank(resting)

            await eventually(ended_or_left, within_s=300)
            resting.bank.plan()
            await eventually(ended, within_s=200)
            views = [await result for result in results]
            for _ in range(3):
                resting.bank.post("/days/close")
            await resting.hear()
        ends = {view.state for view in views}
        assert ends <= {PaymentState.PAID, PaymentState.REJECTED}
        await resting.agree()


async def _left_by_the_bank(teller: Teller) -> bool:
    """Whether all that is on its way are files which the bank, by its fault, does not take."""
    ended = ("PAID", "RETURNED", "REJECTED")
    open_ones = [one[:2] for one in await teller.payments() if one[0] not in ended]
    files = len(list(teller.exchange.outbox.glob("*.xml")))
    return set(open_ones) <= {("SENT", "file")} and len(open_ones) == files


async def _instructed(teller: Teller, name: str) -> Answer:
    """Give the bank exactly our payment, past our own mark."""
    row = await teller.counter.run(lambda c: read_payment(c, name))
    door = teller.platform.house.door
    assert door is not None
    return await door.submit(payment_instruction(teller.platform.house, row))
