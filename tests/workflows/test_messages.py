"""Nothing that arrives, and nothing that breaks, may wedge or lose a lifecycle (design §3)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError

from ledger.engine import execute, in_transaction, make_engine
from tests.workflows.support import (
    Platform,
    bank_details,
    eventually,
    receiving,
    refused,
)
from tillkeeper.client import Tillkeeper
from tillkeeper.codec import data_converter
from tillkeeper.contracts.account import (
    AccountState,
    AccountView,
    ProvideBankDetails,
    account_workflow_id,
)
from tillkeeper.contracts.errors import Code, Unavailable
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.topup import ReceivingAccount, TopUpState, TopUpView, topup_workflow_id
from tillkeeper.failures import refusal_in
from tillkeeper.sealing import KeyRing


def account_of(platform: Platform) -> WorkflowHandle[Any, Any]:
    return platform.client.get_workflow_handle(account_workflow_id(platform.merchant, "CNY"))


async def failure_type(handle: WorkflowHandle[Any, Any]) -> str | None:
    with pytest.raises(WorkflowFailureError) as caught:
        await asyncio.wait_for(handle.result(), 10)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return cause.type


class TestStartInput:
    @pytest.mark.parametrize("workflow", ["Account", "TopUp", "Receipt"])
    @pytest.mark.parametrize(
        "given", [[], ["text"], [{"merchant": "M 1"}], [None], [7], [b"\x00\xff"]]
    )
    async def test_what_cannot_be_read_fails_at_once(
        self, platform: Platform, workflow: str, given: list[Any]
    ) -> None:
        """Design §3: never RUNNING and stuck for ever."""
        handle = await platform.client.start_workflow(
            workflow,
            args=given,
            id=f"{workflow}-{platform.merchant}",
            task_queue=platform.task_queue,
        )
        assert await failure_type(handle) == "INPUT_NOT_UNDERSTOOD"

    async def test_an_unknown_field_is_ignored_at_the_start(self, platform: Platform) -> None:
        """Design §3: histories are read tolerantly."""
        given = {**platform.opening().model_dump(mode="json"), "later_field": 1}
        handle = await platform.client.start_workflow(
            "Account",
            given,
            id=account_workflow_id(platform.merchant, "CNY"),
            task_queue=platform.task_queue,
        )
        view = await handle.execute_update("opened", platform.opening(), result_type=AccountView)
        assert view.state is AccountState.OPENED
        await handle.terminate()

    async def test_float_money_is_refused(self, platform: Platform) -> None:
        """C-01 at the door of a plain Temporal client."""
        given = {**platform.topup().model_dump(mode="json"), "amount_minor": 300000.0}
        handle = await platform.client.start_workflow(
            "TopUp", given, id=f"float-{platform.merchant}", task_queue=platform.task_queue
        )
        assert await failure_type(handle) == "INPUT_NOT_UNDERSTOOD"


class TestSignals:
    async def test_misspelt_and_unreadable_signals_show_in_the_view(
        self, platform: Platform
    ) -> None:
        """Design §3: noted with the reason, the account goes on."""
        await platform.open()
        handle = account_of(platform)
        await handle.signal("configure_alert", platform.alerts())
        await handle.signal("configure_alerts", {"warning_minor": "much"})
        await handle.signal("configure_alerts")
        await handle.signal("configure_alerts", args=[1, 2])
        await handle.signal("configure_alerts", platform.alerts(warning_minor=1))

        async def noted() -> bool:
            view = await platform.till.account(platform.merchant)
            return len(view.not_understood) == 5

        await eventually(noted)
        view = await platform.till.account(platform.merchant)
        codes = [n.why.split(":")[0] for n in view.not_understood]
        assert codes[:1] == ["INPUT_NOT_UNDERSTOOD"]
        assert codes[2:] == ["INPUT_NOT_UNDERSTOOD"] * 2 + ["BELOW_SUSPENSION"]
        assert view.not_understood[0].name == "configure_alert"
        assert view.state is AccountState.OPENED

    async def test_only_the_last_twenty_are_kept(self, platform: Platform) -> None:
        """Bounded: a flood cannot fill the view."""
        await platform.open()
        handle = account_of(platform)
        for number in range(25):
            await handle.signal(f"nonsense-{number}")

        async def last_noted() -> bool:
            view = await platform.till.account(platform.merchant)
            return bool(view.not_understood) and view.not_understood[-1].name == "nonsense-24"

        await eventually(last_noted)
        view = await platform.till.account(platform.merchant)
        assert [n.name for n in view.not_understood] == [f"nonsense-{n}" for n in range(5, 25)]

    async def test_a_signal_before_the_first_task_counts(self, idle: Platform) -> None:
        """Handlers work from the first task on: the details come before anybody waits for them."""
        pending = idle.opening(bank_details=None)
        handle = await idle.client.start_workflow(
            "Account", pending, id=account_workflow_id(idle.merchant, "CNY"),
            task_queue=idle.task_queue,
        )  # fmt: skip
        details = ProvideBankDetails(details=bank_details(), actor="u1")
        await handle.signal("provide_bank_details", details)
        await handle.signal("configure_alerts", idle.alerts())
        async with idle.worker():

            async def configured() -> bool:
                view = await idle.till.account(idle.merchant)
                return view.state is AccountState.CONFIGURED

            await eventually(configured)


class TestUpdates:
    @pytest.mark.parametrize(
        ("name", "given", "code"),
        [
            ("configure_alerts", [{"warning_minor": 1.5}], "AMOUNT_NOT_INTEGER"),
            ("configure_alerts", ["text"], "FIELD_INVALID"),
            ("add_contact", [{"contact": {"phone": "1"}, "actor": "u1"}], "FIELD_UNKNOWN"),
        ],
    )
    async def test_what_cannot_be_read_is_refused_without_a_trace(
        self, platform: Platform, name: str, given: list[Any], code: str
    ) -> None:
        """Design §3: validated, refused at once with a stable code; no history is written."""
        await platform.open()
        handle = account_of(platform)
        before = (await handle.describe()).history_length
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(name, args=given)
        refusal = refusal_in(caught.value)
        assert refusal is not None
        assert code in refusal.codes
        assert (await handle.describe()).history_length == before

    @pytest.mark.parametrize(("name", "given"), [("configure_alerts", []), ("confgure", [1])])
    async def test_no_argument_and_no_such_update_are_refused(
        self, platform: Platform, name: str, given: list[Any]
    ) -> None:
        """The account goes on."""
        await platform.open()
        with pytest.raises(WorkflowUpdateFailedError):
            await account_of(platform).execute_update(name, args=given)
        assert (await platform.till.account(platform.merchant)).state is AccountState.OPENED

    async def test_without_a_worker_the_call_is_unavailable_and_may_be_sent_again(
        self, idle: Platform
    ) -> None:
        """Design §3: Unavailable, then the same answer as ever."""
        hasty = Tillkeeper(idle.client, idle.task_queue, answer_within=timedelta(seconds=1))
        with pytest.raises(Unavailable):
            await hasty.open_account(idle.opening())
        async with idle.worker():
            assert (await idle.open()).state is AccountState.OPENED


class TestRestart:
    @pytest.mark.parametrize("cached", [1000, 0])
    async def test_workers_come_and_go_between_all_steps(self, idle: Platform, cached: int) -> None:
        """C-06: nothing is lost, nothing happens twice; with and without a sticky cache."""
        async with idle.worker(cached=cached):
            await idle.open(bank_details=None)
        async with idle.worker(cached=cached):
            details = ProvideBankDetails(details=bank_details(), actor="u1")
            await idle.till.provide_bank_details(idle.merchant, "CNY", details)
            await idle.till.configure_alerts(idle.merchant, "CNY", idle.alerts())
        async with idle.worker(cached=cached):
            await idle.till.request_topup(idle.topup())
        async with idle.worker(cached=cached):
            receipt = await idle.till.report_receipt(idle.receipt())
        async with idle.worker(cached=cached):
            again = await idle.till.report_receipt(idle.receipt())

            async def credited() -> bool:
                view = await idle.till.topup(idle.merchant, "T1")
                return view.state is TopUpState.CREDITED

            await eventually(credited)
        assert receipt == again
        assert receipt.state is ReceiptState.CREDITED
        assert (await idle.balances()).available == 3_000_00


class Misconfigured:
    """A receiving-account lookup with a programming error in it, until somebody mends it."""

    def __init__(self) -> None:
        self.mended = False

    def __call__(self, currency: str) -> ReceivingAccount | None:
        if not self.mended:
            raise ZeroDivisionError("a programming error")
        return receiving(currency)


@asynccontextmanager
async def broken_audit(platform: Platform, owner_url: str) -> AsyncIterator[None]:
    """A database in which no change can be audited."""
    owner = make_engine(owner_url, pool_size=1)
    await in_transaction(owner, lambda c: execute(c, "ALTER TABLE audit RENAME TO moved", ()))
    try:
        yield
    finally:
        await in_transaction(owner, lambda c: execute(c, "ALTER TABLE moved RENAME TO audit", ()))
        await owner.dispose()


class TestNeedsPerson:
    async def test_a_programming_error_waits_for_a_person_and_goes_on(self, idle: Platform) -> None:
        """Design §3: visible as NeedsPerson, no retry in silence, resumable after the fix."""
        bug = Misconfigured()
        idle.house = dataclasses.replace(idle.house, receiving=bug)
        async with idle.worker():
            await idle.configured()
            asked = asyncio.create_task(idle.till.request_topup(idle.topup()))
            handle = idle.client.get_workflow_handle(topup_workflow_id(idle.merchant, "T1"))

            async def stuck() -> bool:
                try:
                    view = await handle.query("view", result_type=TopUpView)
                except Exception:
                    return False
                return bool(view.needs_person == "submit_topup: PROGRAMMING_ERROR")

            await eventually(stuck)
            assert (await handle.describe()).search_attributes["NeedsPerson"] == [True]
            bug.mended = True
            assert await handle.execute_update("resume") == "submit_topup: PROGRAMMING_ERROR"
            assert (await asked).state is TopUpState.WAITING_REMITTANCE
            assert (await idle.till.topup(idle.merchant, "T1")).needs_person == ""
            assert (await handle.describe()).search_attributes["NeedsPerson"] == [False]

    async def test_a_broken_book_holds_the_decision_until_resumed(
        self, platform: Platform, owner_url: str
    ) -> None:
        """Design §3: an accepted decision is neither lost nor half done."""
        await platform.open()
        async with broken_audit(platform, owner_url):
            decided = asyncio.create_task(
                platform.till.configure_alerts(platform.merchant, "CNY", platform.alerts())
            )

            async def stuck() -> bool:
                view = await platform.till.account(platform.merchant)
                return view.needs_person == "configure_alerts: BOOK_BROKEN"

            await eventually(stuck)
            rows = await platform.rows("SELECT state FROM prepaid_accounts")
            assert [r.state for r in rows] == ["OPENED"]
        await account_of(platform).signal("resume")
        assert (await decided).state is AccountState.CONFIGURED


class TestSealedPayloads:
    async def test_a_plain_client_cannot_open_what_was_sealed_elsewhere(
        self, platform: Platform
    ) -> None:
        """C-11: a payload of a foreign key is not understood, and nothing sticks."""
        foreign = Client(
            platform.client.service_client,
            namespace=platform.client.namespace,
            data_converter=data_converter(KeyRing.generate("foreign")),
        )
        handle = await foreign.start_workflow(
            "TopUp", platform.topup(), id=f"foreign-{platform.merchant}",
            task_queue=platform.task_queue,
        )  # fmt: skip
        ours = platform.client.get_workflow_handle(handle.id)
        assert await failure_type(ours) == "INPUT_NOT_UNDERSTOOD"

    async def test_payloads_typed_in_clear_are_understood(self, platform: Platform) -> None:
        """Design §5: operators type in the Temporal UI and command line."""
        clear = Client(
            platform.client.service_client,
            namespace=platform.client.namespace,
            data_converter=data_converter(None),
        )
        await platform.configured()
        await clear.start_workflow(
            "TopUp", platform.topup(), id=topup_workflow_id(platform.merchant, "T1"),
            task_queue=platform.task_queue,
        )  # fmt: skip
        view = await platform.till.request_topup(platform.topup())
        assert view.state is TopUpState.WAITING_REMITTANCE
        with refused(Code.KEY_REUSED):
            await platform.till.request_topup(platform.topup(4_000_00))
