"""Top-up requests and receipts through the client, on real servers (P-20 … P-32)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.workflows.support import (
    BOOKED_AT,
    LEGAL_NAME,
    OTHER_NAME,
    OUR_NUMBER,
    Platform,
    eventually,
    refused,
)
from tillkeeper.contracts.account import PaymentMethod, SetStanding
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.receipt import PayerKind, ReceiptState, receipt_workflow_id
from tillkeeper.contracts.topup import CancelTopUp, TopUpState, topup_workflow_id
from tillkeeper.rules.codes import reference_code

CANCEL = CancelTopUp(reason="金额有误", actor="u1")
DAY = timedelta(days=1)


async def unmatched(platform: Platform) -> int:
    """The platform's unmatched money, in minor units."""
    sql = "SELECT coalesce(sum(balance), 0) FROM accounts WHERE bucket = 'unmatched_receipts'"
    return int((await platform.rows(sql))[0][0])


async def state_is(platform: Platform, state: TopUpState, request: str = "T1") -> None:
    async def reached() -> bool:
        return (await platform.till.topup(platform.merchant, request)).state is state

    await eventually(reached)


class TestRequest:
    async def test_the_answer_says_where_to_pay(self, platform: Platform) -> None:
        """P-25, P-27: id, where to pay, code, exact amount, WAITING_REMITTANCE, dated steps."""
        await platform.configured()
        view = await platform.till.request_topup(platform.topup(5_000_00))
        assert (view.request, view.amount_minor) == ("T1", 5_000_00)
        assert view.state is TopUpState.WAITING_REMITTANCE
        assert view.receiving_account is not None
        assert view.receiving_account.number == OUR_NUMBER
        assert view.reference_code == reference_code(view.merchant, view.request)
        steps = [(s.name, s.at is not None, s.current) for s in view.steps]
        assert steps == [
            ("submitted", True, False),
            ("waiting_remittance", False, True),
            ("credited", False, False),
        ]

    async def test_the_minimum_is_3000(self, platform: Platform) -> None:
        """P-24: 2,999.99 refused, 3,000.00 accepted."""
        await platform.configured()
        with refused(Code.BELOW_MIN_TOPUP):
            await platform.till.request_topup(platform.topup(2_999_99))
        view = await platform.till.request_topup(platform.topup(3_000_00, "T2"))
        assert view.state is TopUpState.WAITING_REMITTANCE

    async def test_every_reason_is_told_at_once_and_for_ever(self, platform: Platform) -> None:
        """P-20, P-24, 1.9: the refusal is stored under its request id."""
        await platform.open()
        request = platform.topup(1, method=PaymentMethod.CARD)
        codes = (Code.ALERT_NOT_CONFIGURED, Code.METHOD_NOT_SUPPORTED, Code.BELOW_MIN_TOPUP)
        with refused(*codes):
            await platform.till.request_topup(request)
        with refused(*codes):
            await platform.till.request_topup(request)
        rows = await platform.rows("SELECT state FROM topup_requests")
        assert [r.state for r in rows] == ["REFUSED"]

    async def test_five_times_the_same_is_one_request(self, platform: Platform) -> None:
        """C-02, in parallel and afterwards."""
        await platform.configured()
        asked = [platform.till.request_topup(platform.topup()) for _ in range(5)]
        views = await asyncio.gather(*asked)
        assert len({view.requested_at for view in views}) == 1
        assert (await platform.rows("SELECT count(*) FROM topup_requests"))[0][0] == 1

    async def test_the_same_id_with_another_body_is_refused(self, platform: Platform) -> None:
        """C-02, while it runs and after it ended."""
        await platform.configured()
        await platform.fund()
        with refused(Code.KEY_REUSED):
            await platform.till.request_topup(platform.topup(3_000_01))
        await state_is(platform, TopUpState.CREDITED)
        view = await platform.till.request_topup(platform.topup())
        assert view.state is TopUpState.CREDITED
        await platform.till.request_topup(platform.topup(4_000_00, "T2"))
        with refused(Code.KEY_REUSED):
            await platform.till.request_topup(platform.topup(4_000_01, "T2"))

    async def test_equal_open_requests_are_refused(self, platform: Platform) -> None:
        """P-32: 5,000.00 twice is refused, 5,000.01 accepted, also in parallel."""
        await platform.configured()
        answers = await asyncio.gather(
            *(platform.till.request_topup(platform.topup(5_000_00, f"T{n}")) for n in range(4)),
            return_exceptions=True,
        )
        refusals = [a for a in answers if isinstance(a, Rejected)]
        assert [r.codes for r in refusals] == [(Code.DUPLICATE_OPEN_REQUEST,)] * 3
        view = await platform.till.request_topup(platform.topup(5_000_01, "T9"))
        assert view.state is TopUpState.WAITING_REMITTANCE

    async def test_entry_points_differ_in_nothing_else(self, platform: Platform) -> None:
        """P-30."""
        await platform.configured()
        home = await platform.till.request_topup(platform.topup(3_000_00, entry_point="home"))
        centre = await platform.till.request_topup(
            platform.topup(3_000_01, "T2", entry_point="account-centre")
        )
        assert (home.entry_point, centre.entry_point) == ("home", "account-centre")
        assert home.state is centre.state


class TestCancelAndExpire:
    async def test_a_cancelled_request_answers_alike_and_frees_the_amount(
        self, platform: Platform
    ) -> None:
        """P-32: the amount may be asked for again."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        view = await platform.till.cancel_topup(platform.merchant, "T1", CANCEL)
        assert view.state is TopUpState.CANCELLED
        assert await platform.till.cancel_topup(platform.merchant, "T1", CANCEL) == view
        again = await platform.till.request_topup(platform.topup(request="T2"))
        assert again.state is TopUpState.WAITING_REMITTANCE

    async def test_a_credited_request_cannot_be_cancelled(self, platform: Platform) -> None:
        """Design §3: decided once."""
        await platform.configured()
        await platform.fund()
        with refused(Code.REQUEST_DECIDED):
            await platform.till.cancel_topup(platform.merchant, "T1", CANCEL)

    async def test_cancel_and_credit_at_once_end_in_one_of_both(self, platform: Platform) -> None:
        """P-26: never credited and cancelled."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        cancelled, receipt = await asyncio.gather(
            platform.till.cancel_topup(platform.merchant, "T1", CANCEL),
            platform.till.report_receipt(platform.receipt()),
            return_exceptions=True,
        )
        assert not isinstance(receipt, BaseException)
        credited = receipt.state is ReceiptState.CREDITED
        assert credited is isinstance(cancelled, Rejected)
        assert (await platform.balances()).available == (3_000_00 if credited else 0)

    async def test_fifteen_days_wait_and_the_sixteenth_is_late(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """P-31, P-27: open on day 15, EXPIRED after; the late receipt suggests the request."""
        await platform.configured()
        view = await platform.till.request_topup(platform.topup())
        assert view.requested_at is not None
        assert view.expires_at == view.requested_at + 15 * DAY
        handle = platform.client.get_workflow_handle(topup_workflow_id(platform.merchant, "T1"))
        await temporal.fast_forward(handle, 15 * DAY - timedelta(hours=1))
        waiting = await platform.till.topup(platform.merchant, "T1")
        assert waiting.state is TopUpState.WAITING_REMITTANCE
        await temporal.fast_forward(handle, timedelta(hours=2))
        await state_is(platform, TopUpState.EXPIRED)
        receipt = await platform.till.report_receipt(platform.receipt())
        assert (receipt.state, receipt.reason) == (ReceiptState.UNMATCHED, Code.REQUEST_EXPIRED)
        assert receipt.suggests == f"{platform.merchant}/T1"
        assert (await platform.balances()).available == 0
        assert await unmatched(platform) == 3_000_00

    async def test_a_receipt_on_day_fifteen_is_in_time(
        self, platform: Platform, temporal: WorkflowEnvironment
    ) -> None:
        """P-31."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        handle = platform.client.get_workflow_handle(topup_workflow_id(platform.merchant, "T1"))
        await temporal.fast_forward(handle, 15 * DAY - timedelta(minutes=1))
        receipt = await platform.till.report_receipt(platform.receipt())
        assert receipt.state is ReceiptState.CREDITED


class TestReceipt:
    async def test_a_matching_receipt_credits_without_a_person(self, platform: Platform) -> None:
        """P-26, P-27, P-28: credited, dated, in the book."""
        await platform.configured()
        _, receipt = await platform.fund(5_000_00)
        assert (receipt.state, receipt.merchant, receipt.request) == (
            ReceiptState.CREDITED,
            platform.merchant,
            "T1",
        )
        await state_is(platform, TopUpState.CREDITED)
        view = await platform.till.topup(platform.merchant, "T1")
        assert [s.name for s in view.steps if s.at] == [
            "submitted",
            "waiting_remittance",
            "credited",
        ]
        assert (await platform.balances()).available == 5_000_00
        assert await unmatched(platform) == 0

    async def test_the_same_receipt_never_credits_twice(self, platform: Platform) -> None:
        """P-26: twice and in parallel, available rises by 5,000.00 once."""
        await platform.configured()
        await platform.till.request_topup(platform.topup(5_000_00))
        report = platform.receipt(5_000_00)
        answers = await asyncio.gather(*(platform.till.report_receipt(report) for _ in range(5)))
        answers.append(await platform.till.report_receipt(report))
        assert len(set(map(str, answers))) == 1
        assert (await platform.balances()).available == 5_000_00
        with refused(Code.KEY_REUSED):
            await platform.till.report_receipt(platform.receipt(5_000_01))

    async def test_a_receipt_whose_run_is_forgotten_credits_nothing_again(
        self, platform: Platform
    ) -> None:
        """P-26 when Temporal has forgotten the first run: the row answers."""
        await platform.configured()
        _, first = await platform.fund()
        again = await platform.client.execute_workflow(
            "Receipt", platform.receipt(), id=receipt_workflow_id(platform.receipt()),
            task_queue=platform.task_queue, result_type=type(first),
        )  # fmt: skip
        assert again == first
        assert (await platform.balances()).available == 3_000_00

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"payer_name": OTHER_NAME}, Code.PAYER_NAME_MISMATCH),
            ({"payer_kind": PayerKind.PERSONAL}, Code.NOT_CORPORATE),
            ({"amount_minor": 4_999_99}, Code.AMOUNT_MISMATCH),
            ({"amount_minor": 5_000_01}, Code.AMOUNT_MISMATCH),
        ],
    )
    async def test_what_does_not_match_stays_unmatched(
        self, platform: Platform, changes: dict[str, Any], reason: Code
    ) -> None:
        """P-21, P-22, P-23: nothing credited, the request stays open, the right one still pays."""
        await platform.configured()
        await platform.till.request_topup(platform.topup(5_000_00))
        wrong = (
            platform.receipt(5_000_00, "B1", **{**changes})
            if ("amount_minor" not in changes)
            else platform.receipt(changes["amount_minor"], "B1")
        )
        receipt = await platform.till.report_receipt(wrong)
        assert (receipt.state, receipt.reason) == (ReceiptState.UNMATCHED, reason)
        assert receipt.suggests == f"{platform.merchant}/T1"
        assert (await platform.balances()).available == 0
        assert await unmatched(platform) == wrong.amount_minor
        right = await platform.till.report_receipt(platform.receipt(5_000_00, "B2"))
        assert right.state is ReceiptState.CREDITED

    async def test_two_halves_credit_nothing(self, platform: Platform) -> None:
        """P-23: 2 × 2,500.00 for 5,000.00."""
        await platform.configured()
        await platform.till.request_topup(platform.topup(5_000_00))
        for reference in ("B1", "B2"):
            half = await platform.till.report_receipt(platform.receipt(2_500_00, reference))
            assert half.reason is Code.AMOUNT_MISMATCH
        assert (await platform.balances()).available == 0

    async def test_another_account_of_the_same_company_is_credited(
        self, platform: Platform
    ) -> None:
        """P-22, Q-07: bound …1234, paid from …9999; the name in other width and spaces."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        report = platform.receipt(
            payer_account="9999", payer_name=f" {LEGAL_NAME[:2]} 贸易有限公司"
        )
        assert (await platform.till.report_receipt(report)).state is ReceiptState.CREDITED

    async def test_two_merchants_of_one_name_are_ambiguous(self, platform: Platform) -> None:
        """P-32: never guess whose money it is."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        second = f"{platform.merchant}b"
        await platform.configured(merchant=second)
        await platform.till.request_topup(platform.topup(merchant=second))
        receipt = await platform.till.report_receipt(platform.receipt())
        assert (receipt.reason, receipt.suggests) == (Code.AMBIGUOUS, None)

    async def test_money_without_request_is_kept_unmatched(self, platform: Platform) -> None:
        """P-25: request first; the money is in the book all the same."""
        receipt = await platform.till.report_receipt(platform.receipt())
        assert receipt.reason is Code.NO_OPEN_REQUEST
        assert await unmatched(platform) == 3_000_00

    async def test_a_foreign_account_is_refused_and_may_be_reported_again(
        self, platform: Platform
    ) -> None:
        """P-25: not our account, not our money."""
        for _ in range(2):
            with refused(Code.WRONG_ACCOUNT):
                await platform.till.report_receipt(platform.receipt(receiving_account="999"))
        with refused(Code.WRONG_ACCOUNT):
            await platform.till.report_receipt(platform.receipt(currency="USD"))
        assert await platform.rows("SELECT 1 FROM receipts") == []

    async def test_a_booking_far_ahead_is_refused(self, platform: Platform) -> None:
        """A bank's typing error must not stand in next year's book."""
        with refused(Code.TIME_OUT_OF_RANGE):
            await platform.till.report_receipt(platform.receipt(booked_at=BOOKED_AT + 10_000 * DAY))

    async def test_an_abnormal_account_still_gets_its_money(self, platform: Platform) -> None:
        """1.9: a request made before stays an obligation."""
        await platform.configured()
        await platform.fund()
        await platform.till.request_topup(platform.topup(4_000_00, "T2"))
        standing = SetStanding(abnormal=True, reason="核查", actor="ops-1")
        await platform.till.set_standing(platform.merchant, "CNY", standing)
        receipt = await platform.till.report_receipt(platform.receipt(4_000_00, "B2"))
        assert receipt.state is ReceiptState.CREDITED
        assert not receipt.activated

    async def test_workflow_ids_hold_no_personal_data(self, platform: Platform) -> None:
        """C-11: ids are never sealed."""
        workflow_id = receipt_workflow_id(platform.receipt())
        assert workflow_id.startswith("receipt/")
        assert OUR_NUMBER not in workflow_id
