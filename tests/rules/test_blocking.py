"""The matrix of rules.md 1.9, the alerts' figures, and closing: every reason at once."""

from __future__ import annotations

from typing import Any

import pytest

from tillkeeper.contracts.account import AccountState, ConfigureAlerts, Contact, PaymentMethod
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.topup import TopUpRequest
from tillkeeper.rules.alerts import alert_refusals, contact_refusals, replaced, with_contact
from tillkeeper.rules.blocking import (
    Holdings,
    closing_refusals,
    configuring_refusals,
    standing_refusals,
    topup_refusals,
)
from tillkeeper.rules.profiles import JD_PREPAID_2023_11, PrepaidProfile

PROFILE = JD_PREPAID_2023_11
OVERRIDE = PROFILE.model_copy(update={"guard_merchant_override": True})
WANG = Contact(name="王一", email="wang@example.com")
S = AccountState


def topup_codes(
    state: AccountState = S.ACTIVE,
    amount_minor: int = 5_000_00,
    method: PaymentMethod = PaymentMethod.WIRE,
    profile: PrepaidProfile = PROFILE,
    **facts: bool,
) -> list[Code]:
    request = TopUpRequest(merchant="M2", request="T1", amount_minor=amount_minor, method=method)
    known = {"equal_request_open": False, "can_receive": True, **facts}
    return [r.code for r in topup_refusals(request, state, profile, **known)]


def alert_codes(profile: PrepaidProfile = PROFILE, **fields: Any) -> list[Code]:
    wanted = {"warning_minor": 3_000_00, "contacts": (WANG,), "actor": "u1", **fields}
    return [r.code for r in alert_refusals(ConfigureAlerts(**wanted), None, profile)]


class TestTopUpRefusals:
    @pytest.mark.parametrize(
        ("state", "codes"),
        [
            (S.NOT_OPENED, [Code.ACCOUNT_NOT_OPENED]),
            (S.OPENING, [Code.ACCOUNT_NOT_OPENED]),
            (S.WAITING_BANK_INFO, [Code.ACCOUNT_NOT_OPENED]),
            (S.OPENED, [Code.ALERT_NOT_CONFIGURED]),
            (S.CONFIGURED, []),
            (S.ACTIVE, []),
            (S.ABNORMAL, [Code.ACCOUNT_ABNORMAL]),
            (S.CLOSED, [Code.ACCOUNT_CLOSED]),
        ],
    )
    def test_the_matrix_row_of_the_top_up_request(
        self, state: AccountState, codes: list[Code]
    ) -> None:
        """1.9, P-06."""
        assert topup_codes(state) == codes

    def test_an_abnormal_account_may_top_up_where_the_key_says_so(self) -> None:
        """1.9: ✗ (key)."""
        lenient = PROFILE.model_copy(update={"topup_while_abnormal": True})
        assert topup_codes(S.ABNORMAL, profile=lenient) == []

    @pytest.mark.parametrize(
        ("amount_minor", "codes"),
        [(2_999_99, [Code.BELOW_MIN_TOPUP]), (3_000_00, []), (3_000_01, [])],
    )
    def test_the_minimum_is_3000(self, amount_minor: int, codes: list[Code]) -> None:
        """P-24: equality is accepted."""
        assert topup_codes(amount_minor=amount_minor) == codes

    @pytest.mark.parametrize("method", [PaymentMethod.CARD, PaymentMethod.CASH])
    def test_only_wires_are_supported(self, method: PaymentMethod) -> None:
        """P-20."""
        assert topup_codes(method=method) == [Code.METHOD_NOT_SUPPORTED]

    def test_a_currency_without_receiving_account_is_not_supported(self) -> None:
        """P-25: there must be somewhere to pay to."""
        assert topup_codes(can_receive=False) == [Code.METHOD_NOT_SUPPORTED]

    def test_an_equal_open_request_blocks(self) -> None:
        """P-32."""
        assert topup_codes(equal_request_open=True) == [Code.DUPLICATE_OPEN_REQUEST]

    def test_every_failing_reason_is_told_at_once(self) -> None:
        """1.9."""
        codes = topup_codes(S.ABNORMAL, 1, PaymentMethod.CARD, equal_request_open=True)
        assert codes == [
            Code.ACCOUNT_ABNORMAL,
            Code.METHOD_NOT_SUPPORTED,
            Code.BELOW_MIN_TOPUP,
            Code.DUPLICATE_OPEN_REQUEST,
        ]


class TestAlertRefusals:
    def test_suspension_is_the_platforms_by_default(self) -> None:
        """P-07: suspension 500.00 is refused, warning 3,000.00 accepted."""
        assert alert_codes(suspend_below_minor=500_00) == [Code.NOT_CONFIGURABLE]
        assert alert_codes() == []

    @pytest.mark.parametrize(
        ("suspend", "codes"),
        [(199_99, [Code.NOT_CONFIGURABLE]), (200_00, []), (3_000_00, [])],
    )
    def test_an_override_goes_only_upwards_of_the_floor(
        self, suspend: int, codes: list[Code]
    ) -> None:
        """P-07, Q-01: floor 200.00 <= suspension <= warning 3,000.00, equality accepted."""
        assert alert_codes(OVERRIDE, suspend_below_minor=suspend) == codes

    @pytest.mark.parametrize(
        ("warning", "codes"), [(999_99, [Code.BELOW_SUSPENSION]), (1_000_00, []), (1_000_01, [])]
    )
    def test_the_warning_is_not_below_the_suspension(self, warning: int, codes: list[Code]) -> None:
        """Q-01."""
        assert alert_codes(warning_minor=warning) == codes

    def test_a_suspension_above_the_warning_is_refused(self) -> None:
        """Q-01 with an override."""
        assert alert_codes(OVERRIDE, suspend_below_minor=3_000_01) == [Code.BELOW_SUSPENSION]

    def test_every_reason_is_told_at_once(self) -> None:
        """P-07, P-08, Q-01."""
        codes = alert_codes(warning_minor=1, suspend_below_minor=500_00, contacts=())
        assert codes == [Code.NOT_CONFIGURABLE, Code.BELOW_SUSPENSION, Code.CONTACT_REQUIRED]


class TestContacts:
    @pytest.mark.parametrize(
        ("count", "codes"),
        [(0, [Code.CONTACT_REQUIRED]), (1, []), (3, []), (4, [Code.CONTACT_LIMIT_3])],
    )
    def test_one_to_three_contacts(self, count: int, codes: list[Code]) -> None:
        """P-08, Q-06."""
        contacts = [Contact(mobile=f"1380000{n:04}") for n in range(count)]
        assert [r.code for r in contact_refusals(contacts, PROFILE)] == codes

    def test_a_contact_needs_an_address(self) -> None:
        """P-08: an e-mail and/or a mobile number."""
        codes = [r.code for r in contact_refusals([Contact(name="王一")], PROFILE)]
        assert codes == [Code.CONTACT_UNREACHABLE]

    def test_the_same_contact_twice_is_one(self) -> None:
        """P-08: adding may be repeated."""
        assert with_contact((WANG,), WANG) == (WANG,)

    @pytest.mark.parametrize("position", [-1, 1, 99])
    def test_only_an_existing_contact_is_replaced(self, position: int) -> None:
        """P-08."""
        other = Contact(mobile="13800001111")
        assert replaced((WANG,), position, other) is None
        assert replaced((WANG,), 0, other) == (other,)


class TestOtherRows:
    def test_alerts_are_configured_from_opened_to_closed(self) -> None:
        """1.9."""
        allowed = {S.OPENED, S.CONFIGURED, S.ACTIVE, S.ABNORMAL}
        assert {s for s in S if not configuring_refusals(s)} == allowed

    def test_only_active_and_abnormal_change_standing(self) -> None:
        """1.9: ACTIVE ⇄ ABNORMAL."""
        assert {s for s in S if not standing_refusals(s)} == {S.ACTIVE, S.ABNORMAL}

    def test_closing_tells_every_obstacle(self) -> None:
        """1.9, issue 2 point 6."""
        assert closing_refusals(Holdings(0, 0, 0, 0, 0)) == []
        codes = [r.code for r in closing_refusals(Holdings(1, 1, 1, 1, 1))]
        assert codes == [
            Code.BALANCE_NOT_ZERO,
            Code.FUNDS_FROZEN,
            Code.WITHDRAWAL_IN_PROGRESS,
            Code.DUES_OUTSTANDING,
            Code.OPEN_TOPUP_REQUEST,
        ]
