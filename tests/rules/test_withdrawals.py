"""Who may withdraw how much, what holds an approval back, who is reminded: P-45, P-65 … P-74."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tillkeeper.contracts.account import (
    AccountState,
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    PaymentMethod,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.withdrawal import WithdrawalRequest
from tillkeeper.rules.profiles import JD_PREPAID_2023_11, PrepaidProfile
from tillkeeper.rules.withdrawals import (
    WithdrawalFigures,
    approval_blocks,
    is_bound,
    is_fresh,
    is_overdue,
    local_day,
    next_reminder,
    reminders_due,
    withdrawal_refusals,
)

AT = datetime(2026, 11, 6, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
PROFILE = JD_PREPAID_2023_11
LIMITED = PROFILE.model_copy(
    update={"withdrawal_min_minor": 100_00, "withdrawal_daily_max_minor": 3_000_00}
)
DETAILS = BankDetails(
    bank="中国银行", branch="北京分行", account_number="6217000010001234567",
    company_name="北京甲公司", source=BankDetailsSource.SELF_SERVICE,
    state=BankDetailsState.EFFECTIVE,
)  # fmt: skip
S = AccountState


def codes(
    amount: int = 2_000_00,
    state: AccountState = S.ACTIVE,
    profile: PrepaidProfile = PROFILE,
    *,
    flag: bool = False,
    **changes: Any,
) -> list[Code]:
    request = WithdrawalRequest(
        merchant="M1", request="W1", amount_minor=amount, requested_by="U1", accept_suspension=flag
    )
    fields = {"available": 5_000_00, "dues": 0, "suspend_below": 1_000_00, "taken_today": 0,
              "bound": True, "can_pay": True, **changes}  # fmt: skip
    return [
        r.code for r in withdrawal_refusals(request, state, WithdrawalFigures(**fields), profile)
    ]


class TestWithdrawalRefusals:
    def test_p_66_a_sound_request_has_nothing_against_it(self) -> None:
        assert codes(2_000_00, available=5_000_00) == []

    @pytest.mark.parametrize(
        ("amount", "expected"),
        [
            (1, []),
            (2_999_99, []),
            (3_000_00, []),
            (3_000_01, [Code.INSUFFICIENT_AVAILABLE]),
        ],
    )
    def test_p_67_at_most_what_is_available(self, amount: int, expected: list[Code]) -> None:
        assert codes(amount, available=3_000_00, flag=True) == expected

    def test_p_67_a_confirmation_cannot_help_against_too_little(self) -> None:
        assert codes(3_000_01, available=3_000_00) == [Code.INSUFFICIENT_AVAILABLE]

    @pytest.mark.parametrize(
        ("amount", "taken", "expected"),
        [
            (99_99, 0, [Code.BELOW_MIN_WITHDRAWAL]),
            (100_00, 0, []),
            (2_000_00, 1_000_00, []),
            (2_000_00, 1_000_01, [Code.ABOVE_DAILY_WITHDRAWAL]),
        ],
    )
    def test_p_67_the_profiles_minimum_and_daily_maximum(
        self, amount: int, taken: int, expected: list[Code]
    ) -> None:
        assert codes(amount, profile=LIMITED, taken_today=taken) == expected

    def test_p_67_neither_has_a_default(self) -> None:
        assert codes(1, taken_today=10**15) == []

    @pytest.mark.parametrize(("dues", "expected"), [(0, []), (1, [Code.DUES_OUTSTANDING])])
    def test_p_45_dues_of_a_cent_block_it(self, dues: int, expected: list[Code]) -> None:
        assert codes(2_000_00, available=10_000_00, dues=dues) == expected

    @pytest.mark.parametrize(
        ("amount", "flag", "expected"),
        [
            (2_500_00, False, [Code.WOULD_SUSPEND_CAMPAIGNS]),
            (2_500_00, True, []),
            (2_000_01, False, [Code.WOULD_SUSPEND_CAMPAIGNS]),
            (2_000_00, False, []),
        ],
    )
    def test_p_74_falling_below_the_suspension_needs_the_flag(
        self, amount: int, flag: bool, expected: list[Code]
    ) -> None:
        assert codes(amount, available=3_000_00, flag=flag) == expected

    @pytest.mark.parametrize(
        ("available", "expected"),
        [(1_000_00, [Code.WOULD_SUSPEND_CAMPAIGNS]), (999_99, [])],
    )
    def test_p_74_what_is_suspended_already_needs_no_flag(
        self, available: int, expected: list[Code]
    ) -> None:
        assert codes(500_00, available=available) == expected

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            (S.NOT_OPENED, [Code.ACCOUNT_NOT_OPENED]),
            (S.OPENING, [Code.ACCOUNT_NOT_OPENED]),
            (S.WAITING_BANK_INFO, [Code.ACCOUNT_NOT_OPENED]),
            (S.OPENED, [Code.ALERT_NOT_CONFIGURED]),
            (S.CONFIGURED, [Code.ACCOUNT_NOT_ACTIVE]),
            (S.ACTIVE, []),
            (S.ABNORMAL, [Code.ACCOUNT_ABNORMAL]),
            (S.CLOSED, [Code.ACCOUNT_CLOSED]),
        ],
    )
    def test_the_matrix_row_of_the_withdrawal(
        self, state: AccountState, expected: list[Code]
    ) -> None:
        assert codes(state=state) == expected

    def test_every_reason_at_once(self) -> None:
        refused = codes(
            50_00, S.ABNORMAL, LIMITED,
            available=10_00, dues=1, taken_today=3_000_00, bound=False, can_pay=False,
        )  # fmt: skip
        assert refused == [
            Code.ACCOUNT_ABNORMAL, Code.METHOD_NOT_SUPPORTED, Code.BANK_DETAILS_NOT_EFFECTIVE,
            Code.DUES_OUTSTANDING, Code.BELOW_MIN_WITHDRAWAL, Code.ABOVE_DAILY_WITHDRAWAL,
            Code.INSUFFICIENT_AVAILABLE,
        ]  # fmt: skip


class TestApprovalBlocks:
    @pytest.mark.parametrize(
        ("dues", "state", "expected"),
        [
            (0, S.ACTIVE, ()),
            (1, S.ACTIVE, (Code.DUES_OUTSTANDING,)),
            (0, S.ABNORMAL, (Code.ACCOUNT_ABNORMAL,)),
            (1, S.ABNORMAL, (Code.ACCOUNT_ABNORMAL, Code.DUES_OUTSTANDING)),
        ],
    )
    def test_p_45_and_the_matrix_row_of_the_approval(
        self, dues: int, state: AccountState, expected: tuple[Code, ...]
    ) -> None:
        assert approval_blocks(dues, state) == expected


class TestIsBound:
    def test_p_69_only_effective_wire_details(self) -> None:
        assert is_bound(DETAILS)
        assert not is_bound(None)
        assert not is_bound(DETAILS.model_copy(update={"state": BankDetailsState.PENDING}))
        assert not is_bound(DETAILS.model_copy(update={"method": PaymentMethod.CARD}))


class TestIsFresh:
    @pytest.mark.parametrize(
        ("age", "fresh"),
        [(timedelta(0), True), (24 * HOUR - TICK, True), (24 * HOUR, False), (25 * HOUR, False)],
    )
    def test_p_69_younger_than_the_cool_down_of_24_hours(self, age: timedelta, fresh: bool) -> None:
        assert is_fresh(AT - age, AT, PROFILE) is fresh

    def test_p_69_an_unknown_age_is_fresh(self) -> None:
        assert is_fresh(None, AT, PROFILE)


class TestLocalDay:
    def test_p_67_the_day_is_cut_in_the_profiles_zone(self) -> None:
        first = datetime(2026, 11, 5, 16, 0, tzinfo=UTC)
        after = first + 24 * HOUR
        assert local_day(first, PROFILE) == local_day(after - TICK, PROFILE) == (first, after)


class TestReminders:
    def test_p_68_at_24_and_48_hours_and_escalated_at_72(self) -> None:
        assert next_reminder(AT, 0, PROFILE) == AT + 24 * HOUR
        assert next_reminder(AT, 1, PROFILE) == AT + 48 * HOUR
        assert next_reminder(AT, 2, PROFILE) == AT + 72 * HOUR
        assert [is_overdue(AT, AT + age, PROFILE) for age in (72 * HOUR - TICK, 72 * HOUR)] == [
            False,
            True,
        ]

    def test_p_68_reminders_go_on_for_forty_days(self) -> None:
        at, reminders, moments = AT, 0, []
        while at < AT + timedelta(days=40):
            at = next_reminder(AT, reminders, PROFILE, escalated=is_overdue(AT, at, PROFILE))
            reminders = reminders_due(AT, at, PROFILE)
            moments.append((at - AT) // HOUR)
        assert moments == [24 * day for day in range(1, 41)]

    def test_c_06_what_was_missed_during_downtime_is_one_reminder(self) -> None:
        due = next_reminder(AT, 0, PROFILE)
        back = AT + 80 * HOUR
        assert due < back
        assert reminders_due(AT, back, PROFILE) == 3
        assert next_reminder(AT, 3, PROFILE, escalated=True) == AT + 96 * HOUR

    @pytest.mark.parametrize(
        ("age", "due"), [(24 * HOUR - TICK, 0), (24 * HOUR, 1), (48 * HOUR, 2), (-HOUR, 0)]
    )
    def test_p_68_due_at_the_very_hour(self, age: timedelta, due: int) -> None:
        assert reminders_due(AT, AT + age, PROFILE) == due

    def test_an_escalation_between_two_reminders_has_its_own_moment(self) -> None:
        profile = PROFILE.model_copy(update={"withdrawal_escalate_after": 36 * HOUR})
        assert next_reminder(AT, 1, profile) == AT + 36 * HOUR
        assert next_reminder(AT, 1, profile, escalated=True) == AT + 48 * HOUR
