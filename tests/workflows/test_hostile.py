"""What an operator, a stranger with a Temporal client, or bad luck does to a lifecycle."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.testing import WorkflowEnvironment
from temporalio.workflow import _Definition

from tests.workflows.support import Platform, eventually, make_platform, refused
from tillkeeper.client import Tillkeeper
from tillkeeper.codec import data_converter
from tillkeeper.contracts.account import AccountState, MerchantFacts, MerchantType
from tillkeeper.contracts.errors import Code, Unavailable
from tillkeeper.contracts.receipt import ReceiptState, receipt_digest
from tillkeeper.contracts.topup import CancelTopUp, TopUpState, topup_workflow_id
from tillkeeper.failures import refusal_in
from tillkeeper.sealing import KeyRing
from worker import registry

CANCEL = CancelTopUp(reason="不再需要", actor="u1")


async def _waiting(platform: Platform, request: str = "T1") -> str:
    await platform.till.request_topup(platform.topup(request=request))
    return topup_workflow_id(platform.merchant, request)


def _with_ring(client: Client, ring: KeyRing) -> Client:
    config = client.config()
    config["data_converter"] = data_converter(ring)
    return Client(**config)


class TestKeys:
    async def test_a_signal_that_no_key_opened_stays_not_understood_for_ever(
        self, client: Client, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """A key that comes later must not change what the history says."""
        newer = ring.added("later").activated("later")
        old = make_platform(client, engine, ring)
        async with old.worker(cached=0):
            await old.configured()
            workflow_id = await _waiting(old)
            stranger = _with_ring(client, newer).get_workflow_handle(workflow_id)
            await stranger.signal("cancel", CANCEL)

            async def noted() -> bool:
                return len((await old.till.topup(old.merchant, "T1")).not_understood) == 1

            await eventually(noted)
        new = make_platform(_with_ring(client, newer), engine, newer)
        new.task_queue, new.merchant = old.task_queue, old.merchant
        till = Tillkeeper(new.client, old.task_queue)
        async with new.worker(cached=0):
            view = await till.topup(old.merchant, "T1")
            assert view.state is TopUpState.WAITING_REMITTANCE
            assert len(view.not_understood) == 1
            ended = await till.cancel_topup(old.merchant, "T1", CANCEL)
        assert ended.state is TopUpState.CANCELLED


class TestStopped:
    async def test_a_request_to_cancel_leaves_money_keeping_runs_alone(
        self, platform: Platform
    ) -> None:
        """Design §3: cancel leaves no orphan: it is shown, and the lifecycle goes on."""
        await platform.configured()
        handle = platform.client.get_workflow_handle(await _waiting(platform))
        await handle.cancel()

        async def noted() -> bool:
            return bool((await platform.till.topup(platform.merchant, "T1")).not_understood)

        await eventually(noted)
        found = await handle.describe()
        assert found.status is WorkflowExecutionStatus.RUNNING
        await platform.till.report_receipt(platform.receipt())
        assert (await handle.result())["state"] == TopUpState.CREDITED

    async def test_a_terminated_request_is_unavailable_and_comes_back(
        self, platform: Platform
    ) -> None:
        """Its row stays the truth: the first request again revives it."""
        await platform.configured()
        await platform.client.get_workflow_handle(await _waiting(platform)).terminate("by hand")
        with pytest.raises(Unavailable):
            await platform.till.cancel_topup(platform.merchant, "T1", CANCEL)
        revived = await platform.till.request_topup(platform.topup())
        assert revived.state is TopUpState.WAITING_REMITTANCE
        ended = await platform.till.cancel_topup(platform.merchant, "T1", CANCEL)
        assert ended.state is TopUpState.CANCELLED

    async def test_an_overdue_request_whose_run_is_gone_blocks_nobody(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """P-31, P-32: the next request of the same amount expires it."""
        await platform.configured()
        await platform.client.get_workflow_handle(await _waiting(platform)).terminate("by hand")
        await platform.rows(
            "UPDATE topup_requests SET expires_at = now() - interval '1 day' RETURNING id"
        )
        again = await platform.till.request_topup(platform.topup(request="T2"))
        assert again.state is TopUpState.WAITING_REMITTANCE
        rows = await platform.rows("SELECT request, state FROM topup_requests ORDER BY request")
        assert [tuple(row) for row in rows] == [("T1", "EXPIRED"), ("T2", "WAITING_REMITTANCE")]


class TestIdentity:
    async def test_a_reference_with_other_spaces_is_the_same_receipt(
        self, platform: Platform
    ) -> None:
        """P-26: banks pad references; the same money must not pay a second request."""
        await platform.configured()
        await platform.fund()
        await platform.till.request_topup(platform.topup(request="T2"))
        report = platform.receipt()
        for reference in (f"{report.bank_reference} ", f" {report.bank_reference}"):
            padded = report.model_copy(update={"bank_reference": reference})
            assert receipt_digest(padded) == receipt_digest(report)
            with refused(Code.KEY_REUSED):
                await platform.till.report_receipt(padded)
        assert (await platform.balances()).available == 3_000_00

    async def test_a_run_under_another_id_than_its_input_says_is_refused(
        self, platform: Platform
    ) -> None:
        """Nobody decides about one account through the id of another."""
        with pytest.raises(WorkflowFailureError) as failure:
            await platform.client.execute_workflow(
                "Account",
                platform.opening(),
                id="account/Mevil/CNY",
                task_queue=platform.task_queue,
            )
        refusal = refusal_in(failure.value)
        assert refusal is not None
        assert refusal.codes == (Code.WORKFLOW_ID_MISMATCH,)

    async def test_a_refused_opening_still_prompts_for_one(self, platform: Platform) -> None:
        """P-02: NAME_MISMATCH opened nothing."""
        with refused(Code.NAME_MISMATCH):
            await platform.open(legal_name="丙丁商贸有限公司")
        facts = MerchantFacts(
            merchant=platform.merchant, merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True,
        )  # fmt: skip
        home = await platform.till.home(facts)
        assert home.should_prompt_open
        with refused(Code.ACCOUNT_NOT_OPENED):
            await platform.till.account(platform.merchant)
        assert (await platform.open()).state is AccountState.OPENED


class TestDowntime:
    async def test_a_receipt_reported_in_time_is_credited_after_downtime(
        self, idle: Platform
    ) -> None:
        """P-31, C-06: no worker between the report and the last moment of the request."""
        async with idle.worker():
            await idle.configured()
            await _waiting(idle)
        reported = asyncio.create_task(idle.till.report_receipt(idle.receipt()))
        await asyncio.sleep(1)
        # In time when it was reported, late when the worker is back.
        await idle.rows(
            "UPDATE topup_requests SET expires_at = now() - interval '10 ms' RETURNING id"
        )
        async with idle.worker():
            view = await asyncio.wait_for(reported, timedelta(seconds=20).total_seconds())
        assert (view.state, view.reason) == (ReceiptState.CREDITED, None)


class TestSeveralInputs:
    @pytest.mark.parametrize("lifecycle", registry.WORKFLOWS)
    async def test_a_start_with_two_inputs_is_refused_and_wedges_nothing(
        self, platform: Platform, lifecycle: type
    ) -> None:
        """Design §3: a start input that does not parse ends the run, whatever it consists of."""
        name = str(_Definition.must_from_class(lifecycle).name)
        odd: tuple[Any, ...] = ({}, RawValue(Payload(metadata={"encoding": b"odd"}, data=b"\xff")))
        for second in odd:
            handle = await platform.client.start_workflow(
                name, args=[{"merchant": "M1"}, second], id=f"two/{uuid.uuid4().hex}",
                task_queue=platform.task_queue,
            )  # fmt: skip
            with pytest.raises(WorkflowFailureError) as failed:
                await asyncio.wait_for(handle.result(), 15)
            refusal = refusal_in(failed.value)
            assert refusal is not None
            assert refusal.codes == (Code.INPUT_NOT_UNDERSTOOD,)

    async def test_the_business_id_is_still_good_for_an_honest_request(
        self, platform: Platform
    ) -> None:
        """C-02: whoever started it with two inputs has taken nothing away."""
        await platform.configured()
        topup = platform.topup()
        workflow_id = topup_workflow_id(topup.merchant, topup.request)
        handle = await platform.client.start_workflow(
            "TopUp", args=[topup, topup], id=workflow_id, task_queue=platform.task_queue
        )
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        view = await platform.till.request_topup(topup)
        assert view.state is TopUpState.WAITING_REMITTANCE
