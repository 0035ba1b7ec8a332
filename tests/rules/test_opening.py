"""Who may open, with which bank details, and what comes next (P-01 … P-10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tillkeeper.contracts.account import (
    AccountState,
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    MerchantFacts,
    MerchantType,
    NextAction,
    OpenAccount,
    PaymentMethod,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.rules.opening import (
    account_steps,
    activates,
    billing_start,
    bills_prepaid,
    next_action,
    not_usable,
    opening_refusals,
    should_prompt_open,
    state_after_opening,
)

SUPPLIER = MerchantType.SELF_OPERATED_SUPPLIER


def details(**changes: Any) -> BankDetails:
    fields = {
        "bank": "招商银行",
        "branch": "北京分行",
        "account_number": "6225880212341234",
        "company_name": "甲乙贸易有限公司",
        "source": BankDetailsSource.SELF_SERVICE,
        "state": BankDetailsState.EFFECTIVE,
    }
    return BankDetails(**{**fields, **changes})


def opening(**changes: Any) -> OpenAccount:
    fields = {
        "merchant": "M2",
        "merchant_type": SUPPLIER,
        "prepaid_eligible": True,
        "legal_name": "甲乙贸易有限公司",
        "opening_user": "u1",
    }
    return OpenAccount(**{**fields, **changes})


class TestOpeningRefusals:
    @pytest.mark.parametrize(
        ("merchant_type", "eligible", "codes"),
        [
            (MerchantType.POP, True, [Code.NOT_ELIGIBLE]),
            (MerchantType.POP, False, [Code.NOT_ELIGIBLE]),
            (SUPPLIER, False, [Code.NOT_ELIGIBLE]),
            (SUPPLIER, True, []),
        ],
    )
    def test_only_eligible_suppliers_may_open(
        self, merchant_type: MerchantType, eligible: bool, codes: list[Code]
    ) -> None:
        """P-01."""
        request = opening(merchant_type=merchant_type, prepaid_eligible=eligible)
        assert [r.code for r in opening_refusals(request)] == codes

    def test_another_company_name_is_refused(self) -> None:
        """P-05, with the rule's own names."""
        request = opening(bank_details=details(company_name="甲乙贸易公司"))
        assert [r.code for r in opening_refusals(request)] == [Code.NAME_MISMATCH]

    def test_every_reason_is_told_at_once(self) -> None:
        """P-01 and P-05 together."""
        request = opening(prepaid_eligible=False, bank_details=details(company_name="丙丁"))
        codes = [r.code for r in opening_refusals(request)]
        assert codes == [Code.NOT_ELIGIBLE, Code.NAME_MISMATCH]


class TestStateAfterOpening:
    @pytest.mark.parametrize(
        ("given", "state", "action"),
        [
            (None, AccountState.WAITING_BANK_INFO, NextAction.PROVIDE_BANK_DETAILS),
            (
                details(state=BankDetailsState.PENDING),
                AccountState.WAITING_BANK_INFO,
                NextAction.WAIT_FOR_BANK_DETAILS,
            ),
            (
                details(method=PaymentMethod.CARD),
                AccountState.WAITING_BANK_INFO,
                NextAction.PROVIDE_BANK_DETAILS,
            ),
            (details(), AccountState.OPENED, NextAction.CONFIGURE_ALERTS),
        ],
    )
    def test_opening_waits_for_effective_wire_details(
        self, given: BankDetails | None, state: AccountState, action: NextAction
    ) -> None:
        """P-04."""
        assert state_after_opening(given) is state
        assert next_action(state, given) is action

    def test_both_reasons_of_unusable_details_are_told(self) -> None:
        """P-04."""
        given = details(method=PaymentMethod.CASH, state=BankDetailsState.PENDING)
        codes = [r.code for r in not_usable(given)]
        assert codes == [Code.BANK_DETAILS_NOT_WIRE, Code.BANK_DETAILS_NOT_EFFECTIVE]


class TestShouldPromptOpen:
    @pytest.mark.parametrize(
        ("merchant_type", "eligible", "state", "prompt"),
        [
            (SUPPLIER, True, AccountState.NOT_OPENED, True),
            (SUPPLIER, False, AccountState.NOT_OPENED, False),
            (MerchantType.POP, True, AccountState.NOT_OPENED, False),
            (SUPPLIER, True, AccountState.WAITING_BANK_INFO, False),
            (SUPPLIER, True, AccountState.OPENED, False),
            (SUPPLIER, True, AccountState.CLOSED, False),
        ],
    )
    def test_only_eligible_merchants_without_account_are_prompted(
        self, merchant_type: MerchantType, eligible: bool, state: AccountState, prompt: bool
    ) -> None:
        """P-02."""
        facts = MerchantFacts(merchant="M2", merchant_type=merchant_type, prepaid_eligible=eligible)
        assert should_prompt_open(facts, state) is prompt


class TestActivation:
    def test_only_a_configured_account_activates(self) -> None:
        """P-09: exactly once, since the state leaves CONFIGURED."""
        assert [s for s in AccountState if activates(s)] == [AccountState.CONFIGURED]

    def test_billing_changes_at_activation_to_the_second(self) -> None:
        """P-10: order A at 09:59:59 in the former mode, order B at 10:00:00 prepaid."""
        activated = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
        start = billing_start(None, activated)
        assert not bills_prepaid(datetime(2024, 5, 6, 9, 59, 59, tzinfo=UTC), start)
        assert bills_prepaid(activated, start)

    def test_an_agreed_start_stays(self) -> None:
        """P-10, for a merchant taken over with running orders."""
        agreed = datetime(2024, 5, 1, tzinfo=UTC)
        assert billing_start(agreed, datetime(2024, 5, 6, tzinfo=UTC)) == agreed

    def test_nothing_is_prepaid_before_activation(self) -> None:
        """P-10."""
        assert not bills_prepaid(datetime(2024, 5, 6, tzinfo=UTC), None)


class TestAccountSteps:
    def test_the_step_waited_for_is_current(self) -> None:
        """P-09: opened, then configured, then activated."""
        at = datetime(2024, 5, 6, tzinfo=UTC)
        steps = account_steps(
            AccountState.OPENED,
            opened_at=at,
            configured_at=None,
            activated_at=None,
            closed_at=None,
        )
        assert [s.name for s in steps if s.current] == ["configured"]
        assert [s.name for s in steps if s.at] == ["opened"]
