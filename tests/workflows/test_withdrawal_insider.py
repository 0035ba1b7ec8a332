"""What an insider with a plain Temporal client cannot make the bank pay (C-02, C-12, S3).

He starts payouts' runs under any name, and claims to know whatever he likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from tests.workflows.support import Platform, eventually
from tests.workflows.withdrawal_bank import Teller, serving, tellers
from tests.workflows.withdrawal_support import people_on
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    WATCH_SIGNAL,
    WORKFLOW,
    PaymentState,
    PayoutStart,
    PayoutView,
    Rail,
    payout_workflow_id,
)
from tillkeeper.contracts.withdrawal import CHANGED_SIGNAL, WithdrawalState
from tillkeeper.failures import refusal_in


@pytest_asyncio.fixture(loop_scope="session")
async def teller(idle: Platform, tmp_path: Path) -> AsyncIterator[Teller]:
    """A merchant with 5,000.00, a bank that is a process of its own, and a worker."""
    with tellers(idle, tmp_path) as made:
        async with serving(made):
            yield made


async def forged(platform: Platform, start: PayoutStart) -> WorkflowHandle[Any, PayoutView]:
    """A payout's run as a plain client starts it, whatever has run under its name before."""
    return await platform.client.start_workflow(
        WORKFLOW, start, id=payout_workflow_id(start.end_to_end_id), result_type=PayoutView,
        task_queue=platform.task_queue,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    )  # fmt: skip


async def codes(run: WorkflowHandle[Any, PayoutView]) -> tuple[Code, ...]:
    """Why a run was refused."""
    with pytest.raises(WorkflowFailureError) as caught:
        await asyncio.wait_for(run.result(), 20)
    refusal = refusal_in(caught.value)
    assert refusal is not None
    return refusal.codes


def claimed(view: PayoutView, rail: Rail) -> PayoutView:
    """The payment as if nothing of it had left yet, by another way."""
    changes = {"state": PaymentState.RECORDED, "sent_at": None, "rail": rail, "decided_at": None}
    return view.model_copy(update=changes)


class TestForgedStart:
    async def test_what_the_door_paid_does_not_leave_by_a_file(self, teller: Teller) -> None:
        """Its rail and its state stand in the row: paid once, whatever a starter claims."""
        await teller.people.approve(await teller.people.ask())
        paid = (await teller.paid()).payment
        assert paid is not None
        known = claimed(paid, Rail.FILE)
        platform = teller.people.platform
        name = paid.end_to_end_id
        again = await forged(platform, PayoutStart(end_to_end_id=name, known=known))
        assert (await asyncio.wait_for(again.result(), 20)).state is PaymentState.PAID
        other = PayoutStart(end_to_end_id="P404", current=name, known=known)
        assert await codes(await forged(platform, other)) == (Code.PAYMENT_UNKNOWN,)
        exchange = platform.house.exchange
        assert exchange is not None
        assert list(exchange.root.rglob("*.xml*")) == []
        assert len(teller.debits()) == 1

    async def test_what_a_file_carries_does_not_leave_by_the_door(
        self, idle: Platform, tmp_path: Path
    ) -> None:
        """The other way round: refused, looked at, and seen through by its own way, once."""
        people = people_on(idle, tmp_path)
        exchange = people.platform.house.exchange
        assert exchange is not None

        async def there() -> bool:
            return len(list(exchange.outbox.glob("*.xml"))) == 1

        async with people.platform.worker():
            await people.active()
            shown = (await people.approve(await people.ask())).payment
            assert shown is not None
            await eventually(there, within_s=20)
            [file] = exchange.outbox.glob("*.xml")
            file.unlink()  # the bank has fetched it
            name = payout_workflow_id(shown.end_to_end_id)
            await idle.client.get_workflow_handle(name).terminate()
        with tellers(idle, tmp_path) as teller:
            async with teller.people.platform.worker():
                known = claimed(shown, Rail.HTTP)
                start = PayoutStart(end_to_end_id=shown.end_to_end_id, known=known)
                run = await forged(idle, start)

                async def seen() -> bool:
                    view = await run.query("view", result_type=PayoutView)
                    return view.state is PaymentState.SENT

                await eventually(seen, within_s=20)
                assert list(exchange.outbox.iterdir()) == []
                assert teller.debits() == []

    async def test_a_run_does_not_end_by_another_runs_payment(self, teller: Teller) -> None:
        """Else the run of a payment that was never sent would end as paid, and be forgotten."""
        await teller.people.approve(await teller.people.ask())
        paid = (await teller.paid()).payment
        assert paid is not None
        start = PayoutStart(end_to_end_id="P404", current=paid.end_to_end_id)
        assert await codes(await forged(teller.people.platform, start)) == (Code.PAYMENT_UNKNOWN,)


class TestFlood:
    async def test_nudges_and_rubbish_by_the_hundred_change_nothing(self, teller: Teller) -> None:
        """Six hundred signals with every kind of payload: paid once, nothing lost."""
        platform = teller.people.platform
        view = await teller.people.ask()
        run = teller.people.handle()
        rubbish: list[Any] = [None, 7, "x" * 200, {"state": "PAID"}, ["a"], {"token": "t"}]
        for body in rubbish * 8:
            await asyncio.gather(
                run.signal(CHANGED_SIGNAL, body), run.signal("decide", body),
                run.signal("cancel", body), run.signal("paid", body),
            )  # fmt: skip
        assert (await teller.people.seen()).state is WithdrawalState.WAITING_APPROVAL
        approved = await teller.people.approve(view)
        payout = teller.payout(approved)
        for body in rubbish * 25:
            await asyncio.gather(
                payout.signal(OUTCOME_SIGNAL, body), payout.signal(WATCH_SIGNAL, body),
                return_exceptions=True,
            )  # fmt: skip
        assert (await teller.paid()).state is WithdrawalState.PAID
        assert len(teller.debits()) == 1
        counted = await platform.rows("SELECT count(*) AS n FROM payments")
        assert counted[0].n == 1
