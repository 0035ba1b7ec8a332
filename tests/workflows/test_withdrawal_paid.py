"""Withdrawals through to the bank and back (C-11 … C-13, P-71); the bank is another process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests.workflows.support import Platform, eventually
from tests.workflows.withdrawal_bank import Teller, serving, tellers
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.contracts.workitem import ItemAction, ItemKind, Outcome

NUMBER = "6225880212341234"


@pytest.fixture
def closed(idle: Platform, tmp_path: Path) -> Iterator[Teller]:
    """No worker yet; answers of the bank that do not come are known as such at once."""
    house = dataclasses.replace(idle.house, visibility=timedelta(seconds=1))
    with tellers(dataclasses.replace(idle, house=house), tmp_path) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def teller(closed: Teller) -> AsyncIterator[Teller]:
    async with serving(closed) as made:
        yield made


class TestPaid:
    async def test_approved_is_paid_once_by_the_banks_door(self, teller: Teller) -> None:
        """P-68, C-12: the debit alone makes it PAID; the run and its row say the same."""
        view = await teller.people.approve(await teller.people.ask())
        assert view.state is WithdrawalState.REMITTING
        done = await teller.paid()
        assert done.state is WithdrawalState.PAID
        assert [step.name for step in done.steps if step.at is None] == []
        assert done.payment is not None
        assert done.payment.state is PaymentState.PAID
        row = await teller.people.platform.rows("SELECT state, ended_at FROM withdrawals")
        assert (row[0].state, row[0].ended_at) == ("PAID", done.ended_at)
        assert await teller.people.seen() == done
        assert teller.debits() == [(2_000_00, NUMBER)]
        assert (await teller.people.platform.balances()).withdrawing == 0

    async def test_workers_come_and_go_until_it_is_paid(self, closed: Teller) -> None:
        """C-06: every task replays from the start, and between any two a worker dies."""
        people = closed.people
        async with people.platform.worker(cached=0):
            await people.active()
            shown = await people.ask()
        async with people.platform.worker(cached=0):
            await people.approve(shown)
        async with people.platform.worker(cached=0):
            await asyncio.to_thread(closed.bank.wait_for, "camt.054", 1)
        async with people.platform.worker(cached=0):
            assert (await closed.paid()).state is WithdrawalState.PAID
        assert closed.debits() == [(2_000_00, NUMBER)]

    async def test_no_answer_is_asked_for_and_never_sent_again(
        self, teller: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """C-12: accepted, and the connection cut: unclear, asked, paid once."""
        teller.bank.plan({"fault": "cut", "times": 1})
        view = await teller.people.approve(await teller.people.ask())
        payout = teller.payout(view)
        await teller.shows(view, lambda payment: payment.state is PaymentState.UNCLEAR)
        assert (await payout.describe()).search_attributes["Stage"] == ["UNCLEAR"]
        await temporal.fast_forward(payout, timedelta(minutes=2))
        assert (await teller.paid()).state is WithdrawalState.PAID
        assert teller.debits() == [(2_000_00, NUMBER)]

    async def test_a_payout_that_somebody_stopped_begins_again_when_resumed(
        self, teller: Teller
    ) -> None:
        """Design §3: terminated from outside, it is visible as NeedsPerson and pays once."""
        view = await teller.people.approve(await teller.people.ask())
        await teller.shows(view, lambda payment: payment.state is PaymentState.ACCEPTED)
        await teller.payout(view).terminate("somebody")

        async def stuck() -> bool:
            return bool((await teller.people.seen()).needs_person)

        await eventually(stuck)
        assert await teller.people.handle().execute_update("resume") == "Payout: TerminatedError"
        assert (await teller.paid()).state is WithdrawalState.PAID
        assert teller.debits() == [(2_000_00, NUMBER)]

    async def test_a_withdrawal_that_continued_as_new_hears_of_its_payouts_end(
        self, teller: Teller
    ) -> None:
        """Design §3: the payout belongs to an earlier run of it; nothing is lost by that."""
        view = await teller.people.approve(await teller.people.ask())
        before = (await teller.people.handle().describe()).run_id
        for _ in range(5):
            signals = (teller.people.handle().signal("nothing") for _ in range(100))
            await asyncio.gather(*signals)

        async def another_run() -> bool:
            return (await teller.people.handle().describe()).run_id != before

        await eventually(another_run, within_s=20)
        await teller.hear()
        done = await teller.becomes(WithdrawalState.PAID)
        assert done.payment is not None
        assert view.payment is not None
        assert done.payment.end_to_end_id == view.payment.end_to_end_id


class TestFailed:
    async def test_a_closed_account_needs_a_person_who_gives_it_back_once(
        self, teller: Teller
    ) -> None:
        """P-71: work item, available unchanged; returned once though pressed twice."""
        await teller.failed()
        item = await teller.item(ItemKind.WITHDRAWAL_FAILED)
        assert (await teller.people.platform.balances()).available == 3_000_00
        done = await teller.choose(item, ItemAction.RETURN_TO_AVAILABLE)
        assert done.outcome is Outcome.RETURNED
        assert (await teller.result()).state is WithdrawalState.RETURNED
        again = await teller.choose(item, ItemAction.RETURN_TO_AVAILABLE)
        assert again.outcome is Outcome.RETURNED
        balances = await teller.people.platform.balances()
        assert (balances.available, balances.withdrawing) == (5_000_00, 0)

    async def test_the_same_payment_is_tried_again_by_a_new_attempt(self, teller: Teller) -> None:
        """P-71: retry same payment: a new end-to-end id, recorded first, paid once."""
        view = await teller.failed()
        teller.bank.plan()
        item = await teller.item(ItemKind.WITHDRAWAL_FAILED)
        await teller.choose(item, ItemAction.RETRY)
        again = await teller.becomes(WithdrawalState.REMITTING)
        assert again.attempts == 2
        assert view.payment is not None
        assert again.payment is not None
        assert again.payment.end_to_end_id != view.payment.end_to_end_id
        assert (await teller.paid()).state is WithdrawalState.PAID
        assert teller.debits() == [(2_000_00, NUMBER)]

    async def test_the_banks_own_trouble_is_tried_again_without_anybody(
        self, teller: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """E-10: retry now, in the same run, with an id of its own and by the other way."""
        teller.bank.plan({"fault": "reject", "code": "AB06", "times": 1})
        view = await teller.people.approve(await teller.people.ask())
        await teller.shows(view, lambda payment: payment.retry_at is not None)
        await temporal.fast_forward(teller.payout(view), timedelta(minutes=1))
        await teller.carry()
        done = await teller.paid()
        assert (done.state, done.attempts) == (WithdrawalState.PAID, 2)
