"""Payments out through real servers and a real folder: one file, one end, no silence (C-12)."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from lxml import etree
from sqlalchemy import text
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from activities.payout import PayoutActivities
from gateways.bank.exchange import FolderExchange
from gateways.bank.iso20022.pain001 import check_payments
from tests.ledger.payment_support import ACCOUNT, AMOUNT, AT, NAME, Payments, said
from tests.workflows.support import OUR_NUMBER, Platform, eventually
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    WORKFLOW,
    PaymentFormat,
    PaymentState,
    PayoutCommand,
    PayoutStart,
    PayoutView,
    SentCommand,
    payout_workflow_id,
)
from tillkeeper.failures import refusal_in
from workflows.lifecycle import EVENTS_PER_RUN_MAX

DAY = timedelta(days=1)
Handle = WorkflowHandle[object, PayoutView]


@dataclasses.dataclass
class Outbox:
    """A platform that sends through a folder, and what a test asks of its payments."""

    platform: Platform
    payments: Payments
    exchange: FolderExchange

    async def start(self, name: str) -> Handle:
        """Start the payment's run."""
        return await self.platform.client.start_workflow(
            WORKFLOW, PayoutStart(end_to_end_id=name), id=payout_workflow_id(name),
            task_queue=self.platform.task_queue, result_type=PayoutView,
        )  # fmt: skip

    async def view(self, handle: Handle) -> PayoutView:
        """What the run shows."""
        view: PayoutView = await handle.query("view", result_type=PayoutView)
        return view

    async def reaches(self, handle: Handle, state: PaymentState) -> None:
        """Wait until the run shows ``state``."""

        async def there() -> bool:
            return (await self.view(handle)).state is state

        await eventually(there)

    async def waits_for_person(self, handle: Handle) -> str:
        """Wait until the run needs a person; for what."""

        async def there() -> bool:
            return bool((await self.view(handle)).needs_person)

        await eventually(there)
        return (await self.view(handle)).needs_person

    def files(self) -> list[Path]:
        """What the bank finds."""
        return sorted(path for path in self.exchange.outbox.iterdir() if path.name[0] != ".")


@pytest.fixture
def resting(idle: Platform, tmp_path: Path) -> Outbox:
    """An outbox whose worker the test starts itself."""
    exchange = FolderExchange(tmp_path / "exchange")
    house = dataclasses.replace(idle.house, exchange=exchange)
    platform = dataclasses.replace(idle, house=house)
    return Outbox(
        platform, Payments(idle.engine, house.ring, f"r{uuid.uuid4().hex[:10]}"), exchange
    )


@pytest_asyncio.fixture(loop_scope="session")
async def outbox(resting: Outbox) -> AsyncIterator[Outbox]:
    """An outbox with a running worker."""
    async with resting.platform.worker():
        yield resting


class TestSend:
    async def test_a_payment_leaves_as_one_valid_file(self, outbox: Outbox) -> None:
        """Issue 3.5, C-12: recorded, written, marked; the file says exactly what was decided."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        [file] = outbox.files()
        body = file.read_bytes()
        check_payments(body, PaymentFormat.PAIN_001_09)
        told = {etree.QName(e).localname: e.text for e in etree.fromstring(body).iter("{*}*")}
        assert (told["EndToEndId"], told["InstdAmt"]) == (name, "5000.00")
        assert (told["MsgId"], told["PmtInfId"]) == (name, name)
        assert (told["Nm"], told["Ustrd"], told["Dt"]) == (NAME, "退回", "2026-01-05")
        assert f"<Id>{OUR_NUMBER}</Id>" in body.decode()
        view = await outbox.view(handle)
        assert (view.payee, view.account, view.message_id) == ("甲***", "****1234", name)
        assert [step.name for step in view.steps if step.at] == ["recorded", "sent"]

    async def test_names_stay_out_of_ids_and_names_of_files(self, outbox: Outbox) -> None:
        """C-11."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        [file] = outbox.files()
        assert file.name == f"{name}.pain.001.xml"
        assert ACCOUNT not in file.name + handle.id
        shown = (await handle.describe()).typed_search_attributes
        found = {pair.key.name: pair.value for pair in shown}
        assert (found["Stage"], found["AmountMinor"]) == ("SENT", AMOUNT)
        assert found["NeedsPerson"] is False

    async def test_killed_between_write_and_mark_it_is_one_file(self, resting: Outbox) -> None:
        """C-12: the bank has fetched the file; the next worker must not send it again."""
        name = await resting.payments.returning()
        handle = await resting.start(name)
        async with resting.platform.engine.connect() as connection:
            await connection.execute(text("SELECT id FROM payments FOR UPDATE"))
            async with resting.platform.worker():

                async def written() -> bool:
                    return bool(resting.files())

                await eventually(written)
                [file] = resting.files()
                fetched = file.read_bytes()
                file.unlink()
            assert (await resting.payments.state(name))[0] == "RECORDED"
            await connection.rollback()
        async with resting.platform.worker():
            await resting.reaches(handle, PaymentState.SENT)
        assert resting.files() == []
        assert name.encode() in fetched

    async def test_every_door_may_be_walked_through_twice(self, resting: Outbox) -> None:
        """C-02: the same answer, the same bytes, one file."""
        name = await resting.payments.returning()
        doors = PayoutActivities(resting.platform.house)
        command = PayoutCommand(end_to_end_id=name, at=AT)
        assert await doors.read_payment(command) == await doors.read_payment(command)
        assert await doors.write_payment_file(command) == name
        [file] = resting.files()
        body = file.read_bytes()
        later = PayoutCommand(end_to_end_id=name, at=AT + DAY)
        assert await doors.write_payment_file(later) == name
        assert [path.read_bytes() for path in resting.files()] == [body]
        sent = SentCommand(end_to_end_id=name, at=AT, message_id=name)
        assert await doors.mark_payment_sent(sent) == await doors.mark_payment_sent(sent)
        late = PayoutCommand(end_to_end_id=name, at=AT + 4 * DAY)
        assert await doors.note_overdue_payment(late) == await doors.note_overdue_payment(late)
        assert len(await resting.payments.items()) == 1

    async def test_without_an_exchange_it_waits_for_a_person(
        self, resting: Outbox, idle: Platform
    ) -> None:
        """Design §3: visible, never silent; after the mending it goes on by itself."""
        name = await resting.payments.returning()
        async with idle.worker():
            handle = await resting.start(name)
            why = await resting.waits_for_person(handle)
            assert why == "write_payment_file: BANK_EXCHANGE_MISSING"
            found = (await handle.describe()).typed_search_attributes
            assert {p.key.name: p.value for p in found}["NeedsPerson"] is True
        async with resting.platform.worker():
            assert await handle.execute_update("resume", result_type=str) == why
            await resting.reaches(handle, PaymentState.SENT)
            assert (await resting.view(handle)).needs_person == ""
        assert len(resting.files()) == 1

    async def test_an_account_of_ours_that_no_file_can_carry(self, resting: Outbox) -> None:
        """PAYMENT_DATA_MISSING and its like are mended by people, not retried in silence."""
        house = dataclasses.replace(resting.platform.house, receiving=lambda _: None)
        platform = dataclasses.replace(resting.platform, house=house)
        name = await resting.payments.returning()
        async with platform.worker():
            handle = await resting.start(name)
            why = await resting.waits_for_person(handle)
        assert why == "write_payment_file: BANK_ACCOUNT_UNKNOWN"
        assert resting.files() == []

    async def test_settings_that_changed_since_the_file_left(self, resting: Outbox) -> None:
        """C-12: the file under the payment's name is its own: sent, and never a second one."""
        name = await resting.payments.returning()
        command = PayoutCommand(end_to_end_id=name, at=AT)
        await PayoutActivities(resting.platform.house).write_payment_file(command)
        [file] = resting.files()
        staged = resting.exchange.outbox / f".{file.name}.staged"
        old = dataclasses.replace(resting.platform.house, payment_format=PaymentFormat.PAIN_001_03)
        body = file.read_bytes()
        # Killed between the mark and the rename that gives it out.
        file.rename(staged)
        assert await PayoutActivities(old).write_payment_file(command) == name
        assert [path.read_bytes() for path in resting.files()] == [body]
        # The bank has fetched it.
        resting.files()[0].unlink()
        assert await PayoutActivities(old).write_payment_file(command) == name
        assert resting.files() == []

    async def test_a_run_that_was_stopped_is_started_again(self, outbox: Outbox) -> None:
        """C-12: one file all the same; a run that is there is left alone."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        await handle.terminate()
        till = outbox.platform.till
        await asyncio.gather(*(till.start_payout(name) for _ in range(4)))
        again: Handle = outbox.platform.client.get_workflow_handle(
            payout_workflow_id(name), result_type=PayoutView
        )
        assert await outbox.payments.debit(name)
        await again.signal(OUTCOME_SIGNAL)
        assert (await again.result()).state is PaymentState.PAID
        assert len(outbox.files()) == 1

    async def test_what_nobody_recorded_is_not_sent(self, outbox: Outbox) -> None:
        """C-12: recorded before the first byte leaves."""
        with pytest.raises(WorkflowFailureError) as failed:
            await (await outbox.start("PX")).result()
        refusal = refusal_in(failed.value.__cause__)
        assert refusal is not None
        assert refusal.codes == (Code.PAYMENT_UNKNOWN,)
        assert outbox.files() == []

    async def test_the_other_version_of_the_file(self, resting: Outbox) -> None:
        """Issue 3.5: the bank's own version."""
        old = PaymentFormat.PAIN_001_03
        house = dataclasses.replace(resting.platform.house, payment_format=old)
        name = await resting.payments.returning()
        command = PayoutCommand(end_to_end_id=name, at=AT)
        await PayoutActivities(house).write_payment_file(command)
        check_payments(resting.files()[0].read_bytes(), old)


class TestOutcome:
    async def test_a_nudge_after_the_debit_ends_paid(self, outbox: Outbox) -> None:
        """C-12: the nudge says only "look again"."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        await handle.signal(OUTCOME_SIGNAL)
        await asyncio.sleep(0.2)
        assert (await outbox.view(handle)).state is PaymentState.SENT
        assert await outbox.payments.debit(name)
        await handle.signal(OUTCOME_SIGNAL)
        view = await handle.result()
        assert (view.state, view.overdue) == (PaymentState.PAID, False)
        assert [step.name for step in view.steps if step.at] == ["recorded", "sent", "paid"]

    @pytest.mark.parametrize("order", [("ACTC", "ACSP", "RJCT"), ("RJCT", "ACSC", "ACTC")])
    async def test_statuses_out_of_order_end_alike(
        self, outbox: Outbox, order: tuple[str, ...]
    ) -> None:
        """C-09: REJECTED, with the bank's code, whatever came after or before."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        for number, word in enumerate(order):
            await outbox.payments.statuses(said(word, name, "AC04"), file=f"s{number}")
            if word != "RJCT" and "RJCT" not in order[:number]:
                await handle.signal(OUTCOME_SIGNAL)
                await outbox.reaches(handle, PaymentState.ACCEPTED)
        await handle.signal(OUTCOME_SIGNAL)
        view = await handle.result()
        assert (view.state, view.reason) == (PaymentState.REJECTED, "AC04")
        assert await outbox.payments.receipt() == "UNMATCHED"

    async def test_an_answer_before_the_run_is_not_missed(self, resting: Outbox) -> None:
        """C-09: the database is asked first; nothing is sent twice."""
        name = await resting.payments.sent()
        await resting.payments.debit(name)
        handle = await resting.start(name)
        await handle.signal(OUTCOME_SIGNAL)
        async with resting.platform.worker():
            assert (await handle.result()).state is PaymentState.PAID
        assert resting.files() == []

    async def test_three_days_of_silence_are_work(
        self, outbox: Outbox, temporal: WorkflowEnvironment
    ) -> None:
        """C-05, C-12: not an hour before; then every day, and it still ends when the bank speaks.

        Workers may be away meanwhile (C-06).
        """
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        await temporal.fast_forward(handle, 3 * DAY - timedelta(hours=1))
        assert await outbox.payments.items() == []
        await temporal.fast_forward(handle, timedelta(hours=2))

        async def overdue() -> bool:
            return (await outbox.view(handle)).overdue

        await eventually(overdue)
        assert await outbox.payments.items() == [("PAYMENT_OVERDUE", f"payment/{name}", "OPEN")]
        assert (await outbox.view(handle)).state is PaymentState.SENT
        await temporal.fast_forward(handle, 5 * DAY)
        assert len(await outbox.payments.items()) == 1
        # No nudge: it was lost. The daily look finds the debit.
        assert await outbox.payments.debit(name)
        await temporal.fast_forward(handle, 2 * DAY)
        assert (await handle.result()).state is PaymentState.PAID
        assert [state for _, _, state in await outbox.payments.items()] == ["CLOSED"]

    async def test_a_long_wait_goes_on_in_a_new_run(self, outbox: Outbox) -> None:
        """Design §3: no run grows without end; what was not understood is carried on."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        await handle.signal("bank_outcom")
        first = (await handle.describe()).run_id
        for _ in range(EVENTS_PER_RUN_MAX):
            await handle.signal(OUTCOME_SIGNAL)
            if (await handle.describe()).run_id != first:
                break
        assert (await handle.describe()).run_id != first
        await outbox.reaches(handle, PaymentState.SENT)
        view = await outbox.view(handle)
        assert [note.name for note in view.not_understood] == ["bank_outcom"]
        assert len(outbox.files()) == 1
        assert await outbox.payments.debit(name)
        await handle.signal(OUTCOME_SIGNAL)
        assert (await handle.result()).state is PaymentState.PAID

    async def test_a_request_to_cancel_ends_nothing(self, outbox: Outbox) -> None:
        """Design §3: a run that holds money is decided, not cancelled."""
        name = await outbox.payments.returning()
        handle = await outbox.start(name)
        await outbox.reaches(handle, PaymentState.SENT)
        await handle.cancel()

        async def noted() -> bool:
            return bool((await outbox.view(handle)).not_understood)

        await eventually(noted)
        await outbox.payments.debit(name)
        await handle.signal(OUTCOME_SIGNAL)
        assert (await handle.result()).state is PaymentState.PAID

    async def test_with_every_task_replayed_it_ends_alike(self, resting: Outbox) -> None:
        """Design §3: workers come and go between all steps."""
        name = await resting.payments.returning()
        async with resting.platform.worker(cached=0):
            handle = await resting.start(name)
            await resting.reaches(handle, PaymentState.SENT)
            await resting.payments.statuses(said("ACSP", name))
            await handle.signal(OUTCOME_SIGNAL)
            await resting.reaches(handle, PaymentState.ACCEPTED)
            await resting.payments.debit(name)
            await handle.signal(OUTCOME_SIGNAL)
            assert (await handle.result()).state is PaymentState.PAID
        assert len(resting.files()) == 1
