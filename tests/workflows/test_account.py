"""The account's lifecycle through the client, on real servers (P-01 … P-11)."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus

from ledger.reads import Reads
from tests.workflows.support import (
    LI,
    OTHER_NAME,
    SUN,
    WANG,
    ZHAO,
    Platform,
    bank_details,
    eventually,
    make_platform,
    refused,
)
from tillkeeper.contracts.account import (
    AccountState,
    AccountView,
    AddContact,
    BankDetailsSource,
    BankDetailsState,
    CloseAccount,
    MerchantFacts,
    MerchantType,
    NextAction,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
    account_workflow_id,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.topup import CancelTopUp
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

CLOSE = CloseAccount(reason="没有活动", actor="ops-1")
ABNORMAL = SetStanding(abnormal=True, reason="核查", actor="ops-1")


class TestOpen:
    async def test_effective_details_open_at_once(self, platform: Platform) -> None:
        """P-01, P-03: an eligible supplier; the source is recorded, everything else masked."""
        view = await platform.open()
        assert (view.state, view.next_action) == (AccountState.OPENED, NextAction.CONFIGURE_ALERTS)
        assert view.bank is not None
        assert view.bank.source is BankDetailsSource.PURCHASING_MAINTAINED
        assert (view.bank.account_number, view.legal_name) == ("****1234", "甲***")

    async def test_a_pop_merchant_is_refused_and_may_ask_again(self, platform: Platform) -> None:
        """P-01: refused, nothing kept; as a supplier the same merchant opens later."""
        with refused(Code.NOT_ELIGIBLE):
            await platform.open(merchant_type=MerchantType.POP)
        assert await platform.rows("SELECT 1 FROM prepaid_accounts") == []
        assert (await platform.open()).state is AccountState.OPENED

    async def test_another_company_name_is_refused(self, platform: Platform) -> None:
        """P-05."""
        with refused(Code.NAME_MISMATCH):
            await platform.open(bank_details=bank_details(company_name="甲乙贸易公司"))

    async def test_pending_details_wait_and_go_on_without_a_new_request(
        self, platform: Platform
    ) -> None:
        """P-04, P-05: a wrong name in between is refused and the account keeps waiting."""
        pending = bank_details(state=BankDetailsState.PENDING)
        view = await platform.open(bank_details=pending)
        assert view.state is AccountState.WAITING_BANK_INFO
        assert view.next_action is NextAction.WAIT_FOR_BANK_DETAILS
        wrong = ProvideBankDetails(details=bank_details(company_name=OTHER_NAME), actor="u1")
        with refused(Code.NAME_MISMATCH):
            await platform.till.provide_bank_details(platform.merchant, "CNY", wrong)
        now = await platform.till.account(platform.merchant)
        assert now.state is AccountState.WAITING_BANK_INFO
        details = bank_details(source=BankDetailsSource.SELF_SERVICE)
        view = await platform.till.provide_bank_details(
            platform.merchant, "CNY", ProvideBankDetails(details=details, actor="u1")
        )
        assert view.state is AccountState.OPENED
        assert view.bank is not None
        assert view.bank.source is BankDetailsSource.SELF_SERVICE

    async def test_missing_details_come_by_signal(self, platform: Platform) -> None:
        """P-04: for those who drive Temporal by hand."""
        assert (await platform.open(bank_details=None)).state is AccountState.WAITING_BANK_INFO
        handle = platform.client.get_workflow_handle(account_workflow_id(platform.merchant, "CNY"))
        await handle.signal(
            "provide_bank_details", ProvideBankDetails(details=bank_details(), actor="u1")
        )

        async def opened() -> bool:
            view = await platform.till.account(platform.merchant)
            return view.state is AccountState.OPENED

        await eventually(opened)

    async def test_the_same_request_in_parallel_opens_one_account(self, platform: Platform) -> None:
        """C-02: five at once, one row, one answer."""
        views = await asyncio.gather(*(platform.open() for _ in range(5)))
        assert len({view.fingerprint for view in views}) == 1
        assert [r[0] for r in await platform.rows("SELECT count(*) FROM prepaid_accounts")] == [1]

    async def test_the_same_merchant_with_another_body_is_refused(self, platform: Platform) -> None:
        """C-02, also in parallel."""
        answers = await asyncio.gather(
            platform.open(), platform.open(opening_user="user-2"), return_exceptions=True
        )
        refusals = [a for a in answers if isinstance(a, Rejected)]
        assert [r.codes for r in refusals] == [(Code.KEY_REUSED,)]

    async def test_each_currency_has_its_own_account(self, platform: Platform) -> None:
        """One account per merchant and currency."""
        await platform.open()
        view = await platform.open(currency="JPY")
        assert (view.currency, view.state) == ("JPY", AccountState.OPENED)

    async def test_a_name_in_other_width_and_brackets_is_the_same(self, platform: Platform) -> None:
        """P-05 after normalisation."""
        view = await platform.open(
            legal_name="甲乙贸易(北京)有限公司",
            bank_details=bank_details(company_name="甲乙贸易（北京）　有限公司"),
        )
        assert view.state is AccountState.OPENED


class TestHome:
    async def test_the_prompt_is_for_eligible_merchants_without_account(
        self, platform: Platform
    ) -> None:
        """P-02."""
        facts = MerchantFacts(
            merchant=platform.merchant,
            merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True,
        )
        assert (await platform.till.home(facts)).should_prompt_open
        await platform.open()
        home = await platform.till.home(facts)
        assert not home.should_prompt_open
        assert home.account is not None

    async def test_the_summary_is_for_opened_accounts(self, platform: Platform) -> None:
        """P-11: available + frozen are the credited 5,000.00."""

        reads = Reads(platform.engine)
        await platform.open(bank_details=None)
        with refused(Code.ACCOUNT_NOT_OPENED):
            await reads.home(platform.merchant, "CNY")
        details = ProvideBankDetails(details=bank_details(), actor="u1")
        await platform.till.provide_bank_details(platform.merchant, "CNY", details)
        await platform.till.configure_alerts(platform.merchant, "CNY", platform.alerts())
        await platform.fund(5_000_00)
        seen = await reads.home(platform.merchant, "CNY")
        assert (seen.available_minor, seen.frozen_minor, seen.dues_minor) == (5_000_00, 0, 0)
        assert (seen.warning_minor, seen.last_topup_minor) == (1_000_00, 5_000_00)


class TestConfigure:
    async def test_alerts_come_before_everything_else(self, platform: Platform) -> None:
        """P-06: refused before, accepted after; the refused request id stays refused for ever."""
        await platform.open()
        with refused(Code.ALERT_NOT_CONFIGURED):
            await platform.till.request_topup(platform.topup())
        await platform.till.configure_alerts(platform.merchant, "CNY", platform.alerts())
        with refused(Code.ALERT_NOT_CONFIGURED):
            await platform.till.request_topup(platform.topup())
        view = await platform.till.request_topup(platform.topup(request="T2"))
        assert view.state == "WAITING_REMITTANCE"

    async def test_the_suspension_amount_is_the_platforms(self, platform: Platform) -> None:
        """P-07: suspension 500.00 refused, warning 3,000.00 accepted."""
        await platform.open()
        with refused(Code.NOT_CONFIGURABLE):
            await platform.till.configure_alerts(
                platform.merchant, "CNY", platform.alerts(suspend_below_minor=500_00)
            )
        view = await platform.till.configure_alerts(
            platform.merchant, "CNY", platform.alerts(warning_minor=3_000_00)
        )
        assert (view.state, view.warning_minor) == (AccountState.CONFIGURED, 3_000_00)
        assert view.suspend_below_minor == 1_000_00

    async def test_a_profile_with_override_keeps_the_floor(
        self, client: Client, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-07, Q-01: 200.00 is accepted, 199.99 is not."""
        profile = JD_PREPAID_2023_11.model_copy(update={"guard_merchant_override": True})
        lenient = make_platform(client, engine, ring, profile=profile)
        async with lenient.worker():
            await lenient.open()
            with refused(Code.NOT_CONFIGURABLE):
                await lenient.till.configure_alerts(
                    lenient.merchant, "CNY", lenient.alerts(suspend_below_minor=199_99)
                )
            view = await lenient.till.configure_alerts(
                lenient.merchant, "CNY", lenient.alerts(suspend_below_minor=200_00)
            )
            assert view.suspend_below_minor == 200_00

    async def test_a_fourth_contact_is_refused_and_one_is_replaced(
        self, platform: Platform
    ) -> None:
        """P-08."""
        await platform.open()
        till, merchant = platform.till, platform.merchant
        await till.configure_alerts(merchant, "CNY", platform.alerts(contacts=(WANG, LI, ZHAO)))
        with refused(Code.CONTACT_LIMIT_3):
            await till.add_contact(merchant, "CNY", AddContact(contact=SUN, actor="u1"))
        body = ReplaceContact(position=2, contact=SUN, actor="u1")
        view = await till.replace_contact(merchant, "CNY", body)
        assert [c[:1] for c in view.contacts] == ["王", "李", "孙"]
        changes = await platform.rows("SELECT actor FROM audit WHERE action = 'change_contacts'")
        assert [r.actor for r in changes] == ["u1"]

    async def test_two_third_contacts_at_once_leave_three(self, platform: Platform) -> None:
        """C-10: one of two parallel calls succeeds."""
        await platform.configured()
        answers = await asyncio.gather(
            *(
                platform.till.add_contact(
                    platform.merchant, "CNY", AddContact(contact=contact, actor="u1")
                )
                for contact in (ZHAO, SUN)
            ),
            return_exceptions=True,
        )
        refusals = [a for a in answers if isinstance(a, Rejected)]
        assert [r.codes for r in refusals] == [(Code.CONTACT_LIMIT_3,)]
        assert len((await platform.till.account(platform.merchant)).contacts) == 3


class TestActivate:
    async def test_the_first_credit_activates(self, platform: Platform) -> None:
        """P-09, P-10: active at the moment of the credit, billing from then on."""
        await platform.configured()
        _, receipt = await platform.fund()
        assert receipt.activated

        async def active() -> bool:
            view = await platform.till.account(platform.merchant)
            return view.state is AccountState.ACTIVE

        await eventually(active)
        view = await platform.till.account(platform.merchant)
        assert view.activated_at is not None
        assert view.billing_from == view.activated_at

    async def test_parallel_first_credits_activate_once(self, platform: Platform) -> None:
        """P-09: exactly once, all money credited."""
        await platform.configured()
        amounts = [3_000_00 + n for n in range(5)]
        for n, amount in enumerate(amounts):
            await platform.till.request_topup(platform.topup(amount, f"T{n}"))
        receipts = await asyncio.gather(
            *(
                platform.till.report_receipt(platform.receipt(amount, f"B{n}"))
                for n, amount in enumerate(amounts)
            )
        )
        assert [r.activated for r in receipts].count(True) == 1
        assert (await platform.balances()).available == sum(amounts)
        found = await platform.rows("SELECT count(*) FROM audit WHERE action = 'activate'")
        assert found[0][0] == 1

    async def test_an_agreed_billing_start_stays(self, platform: Platform) -> None:
        """P-10 for a merchant taken over."""
        agreed = platform.receipt().booked_at
        await platform.configured(billing_from=agreed)
        await platform.fund()
        rows = await platform.rows("SELECT billing_from FROM prepaid_accounts")
        assert [r.billing_from for r in rows] == [agreed]


class TestStanding:
    async def test_abnormal_blocks_top_ups_until_normal_again(self, platform: Platform) -> None:
        """1.9."""
        await platform.configured()
        await platform.fund()
        till, merchant = platform.till, platform.merchant
        assert (await till.set_standing(merchant, "CNY", ABNORMAL)).state is AccountState.ABNORMAL
        with refused(Code.ACCOUNT_ABNORMAL):
            await till.request_topup(platform.topup(request="T2"))
        normal = ABNORMAL.model_copy(update={"abnormal": False})
        assert (await till.set_standing(merchant, "CNY", normal)).state is AccountState.ACTIVE

    async def test_only_an_active_account_becomes_abnormal(self, platform: Platform) -> None:
        """1.9: ACTIVE ⇄ ABNORMAL."""
        await platform.configured()
        with refused(Code.ACCOUNT_NOT_ACTIVE):
            await platform.till.set_standing(platform.merchant, "CNY", ABNORMAL)


class TestClose:
    async def test_every_obstacle_is_told_at_once(self, platform: Platform) -> None:
        """1.9, issue 2 point 6: money and an open request."""
        await platform.configured()
        await platform.fund()
        await platform.till.request_topup(platform.topup(request="T2"))
        with refused(Code.BALANCE_NOT_ZERO, Code.OPEN_TOPUP_REQUEST):
            await platform.till.close_account(platform.merchant, "CNY", CLOSE)

    async def test_a_closed_account_answers_from_its_record(self, platform: Platform) -> None:
        """Design §3: what comes after the end is answered from what was decided."""
        await platform.configured()
        till, merchant = platform.till, platform.merchant
        view = await till.close_account(merchant, "CNY", CLOSE)
        assert (view.state, view.next_action) == (AccountState.CLOSED, NextAction.NONE)
        handle = platform.client.get_workflow_handle(account_workflow_id(merchant, "CNY"))
        assert (await handle.result())["state"] == "CLOSED"
        assert await till.close_account(merchant, "CNY", CLOSE) == view
        assert await till.open_account(platform.opening()) == view
        with refused(Code.ACCOUNT_CLOSED):
            await till.configure_alerts(merchant, "CNY", platform.alerts())
        with refused(Code.KEY_REUSED):
            await till.open_account(platform.opening(opening_user="user-2"))
        with refused(Code.ACCOUNT_CLOSED):
            await till.request_topup(platform.topup())

    async def test_a_forgotten_account_is_found_again(self, platform: Platform) -> None:
        """Design §3: the row remembers when retention has forgotten the workflow."""
        await platform.configured()
        till, merchant = platform.till, platform.merchant
        await till.close_account(merchant, "CNY", CLOSE)
        again = await platform.client.execute_workflow(
            "Account", platform.opening(), id=account_workflow_id(merchant, "CNY"),
            task_queue=platform.task_queue, result_type=AccountView,
        )  # fmt: skip
        assert again.state is AccountState.CLOSED

    async def test_an_account_that_never_was_is_told_apart(self, platform: Platform) -> None:
        """1.9, NOT_OPENED."""
        with refused(Code.ACCOUNT_NOT_OPENED):
            await platform.till.close_account(platform.merchant, "CNY", CLOSE)
        with refused(Code.ACCOUNT_NOT_OPENED):
            await platform.till.request_topup(platform.topup())
        with refused(Code.REQUEST_UNKNOWN):
            cancel = CancelTopUp(reason="x", actor="u1")
            await platform.till.cancel_topup(platform.merchant, "T9", cancel)


class TestLongLife:
    @pytest.mark.timeout(60)
    async def test_a_long_run_continues_as_new_and_keeps_its_state(
        self, platform: Platform
    ) -> None:
        """Design §3: under 500 events each, no decision lost."""
        await platform.configured()
        merchant = platform.merchant
        handle = platform.client.get_workflow_handle(account_workflow_id(merchant, "CNY"))
        await handle.signal("mispelt", "x")
        first = (await handle.describe()).run_id
        for number in range(60):
            warning = 1_000_00 + number
            view = await platform.till.configure_alerts(
                merchant, "CNY", platform.alerts(warning_minor=warning)
            )
            assert view.warning_minor == warning
        now = await handle.describe()
        assert now.run_id != first
        assert now.status is WorkflowExecutionStatus.RUNNING
        view = await platform.till.account(merchant)
        assert view.warning_minor == 1_000_59
        assert [n.name for n in view.not_understood] == ["mispelt"]
