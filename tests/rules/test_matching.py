"""Which request a receipt pays, or why none (P-21 … P-23, P-31, P-32)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.receipt import PayerKind
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.rules.matching import Arrived, Candidate, match

NOW = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=15)
W = TopUpState.WAITING_REMITTANCE


def arrived(
    amount_minor: int = 5_000_00,
    *,
    kind: PayerKind = PayerKind.CORPORATE,
    at: datetime = NOW,
    codes: tuple[str, ...] = (),
) -> Arrived:
    return Arrived(amount_minor, kind, at, codes)


def request(
    number: int = 1,
    amount_minor: int = 5_000_00,
    state: TopUpState = W,
    *,
    expires_at: datetime = LATER,
    same_name: bool = True,
    code: str | None = None,
) -> Candidate:
    return Candidate(number, amount_minor, state, expires_at, same_name, code)


class TestMatch:
    def test_name_amount_and_an_open_request_credit(self) -> None:
        """P-21, P-23."""
        assert match(arrived(), [request()]).credits == request()

    @pytest.mark.parametrize("amount_minor", [4_999_99, 5_000_01, 2_500_00])
    def test_another_amount_credits_nothing(self, amount_minor: int) -> None:
        """P-23: to the fen, no parts."""
        found = match(arrived(amount_minor), [request()])
        assert found.credits is None
        assert (found.reason, found.suggests) == (Code.AMOUNT_MISMATCH, request())

    def test_the_nearest_open_request_is_suggested(self) -> None:
        """P-23."""
        near = request(2, 4_000_00)
        found = match(arrived(4_000_01), [request(), near])
        assert (found.reason, found.suggests) == (Code.AMOUNT_MISMATCH, near)

    def test_another_company_credits_nothing(self) -> None:
        """P-21."""
        other = request(same_name=False)
        found = match(arrived(), [other])
        assert (found.credits, found.reason) == (None, Code.PAYER_NAME_MISMATCH)
        assert found.suggests == other

    def test_a_personal_account_credits_nothing(self) -> None:
        """P-22."""
        found = match(arrived(kind=PayerKind.PERSONAL), [request()])
        assert (found.credits, found.reason) == (None, Code.NOT_CORPORATE)
        assert found.suggests == request()

    @pytest.mark.parametrize(
        ("late", "reason"),
        [
            (timedelta(microseconds=-1), None),
            (timedelta(0), None),
            (timedelta(microseconds=1), Code.REQUEST_EXPIRED),
            (timedelta(days=1), Code.REQUEST_EXPIRED),
        ],
    )
    def test_the_last_moment_is_still_in_time(self, late: timedelta, reason: Code | None) -> None:
        """P-31, also where the expiry is not recorded yet."""
        found = match(arrived(at=LATER + late), [request()])
        assert found.reason is reason
        assert found.suggests == (request() if reason else None)

    def test_an_expired_request_is_suggested(self) -> None:
        """P-31."""
        expired = request(state=TopUpState.EXPIRED, expires_at=NOW - timedelta(days=1))
        found = match(arrived(), [expired])
        assert (found.reason, found.suggests) == (Code.REQUEST_EXPIRED, expired)

    def test_an_open_request_wins_over_an_expired_one(self) -> None:
        """P-31, P-32."""
        expired = request(1, state=TopUpState.EXPIRED, expires_at=NOW - timedelta(days=1))
        assert match(arrived(), [expired, request(2)]).credits == request(2)

    def test_two_companies_of_one_name_are_ambiguous(self) -> None:
        """P-32 holds per account: two merchants may share a legal name; never guess."""
        found = match(arrived(), [request(1), request(2)])
        assert (found.credits, found.reason, found.suggests) == (None, Code.AMBIGUOUS, None)

    @pytest.mark.parametrize("state", [TopUpState.CREDITED, TopUpState.REFUSED])
    def test_a_decided_request_takes_no_money(self, state: TopUpState) -> None:
        """P-26."""
        found = match(arrived(), [request(state=state)])
        assert (found.reason, found.suggests) == (Code.NO_OPEN_REQUEST, None)

    def test_a_cancelled_request_is_only_suggested(self) -> None:
        """P-29: people decide."""
        cancelled = request(state=TopUpState.CANCELLED)
        found = match(arrived(), [cancelled])
        assert (found.reason, found.suggests) == (Code.NO_OPEN_REQUEST, cancelled)

    def test_money_without_any_request_stays_unmatched(self) -> None:
        """P-25: request first, then transfer."""
        assert match(arrived(), []).reason is Code.NO_OPEN_REQUEST


class TestCodes:
    """P-25, P-32: a code tells equal requests apart; name and exact amount remain conditions."""

    first = request(1, code="TKA")
    second = request(2, code="TKB")

    def test_equal_requests_of_one_company_are_ambiguous_without_a_code(self) -> None:
        """P-23, P-32: two merchants of one company ask for 5,000.00 each."""
        found = match(arrived(), [self.first, self.second])
        assert (found.credits, found.reason, found.suggests) == (None, Code.AMBIGUOUS, None)

    def test_the_code_tells_them_apart(self) -> None:
        """P-32."""
        found = match(arrived(codes=("TKB",)), [self.first, self.second])
        assert found.credits == self.second

    @pytest.mark.parametrize("codes", [("TKA", "TKB"), ("TKC",), ()])
    def test_both_codes_or_another_stay_ambiguous(self, codes: tuple[str, ...]) -> None:
        """P-32: never on a guess."""
        found = match(arrived(codes=codes), [self.first, self.second])
        assert found.reason is Code.AMBIGUOUS

    def test_a_code_does_not_replace_the_name(self) -> None:
        """P-21."""
        stranger = request(code="TKA", same_name=False)
        found = match(arrived(codes=("TKA",)), [stranger])
        assert (found.credits, found.reason) == (None, Code.PAYER_NAME_MISMATCH)
        assert found.suggests == stranger

    def test_a_code_does_not_replace_the_amount_but_is_suggested(self) -> None:
        """P-23: the nearest amount is not what the payer wrote."""
        near, coded = request(1, 4_999_99, code="TKA"), request(2, 9_000_00, code="TKB")
        found = match(arrived(codes=("TKB",)), [near, coded])
        assert (found.credits, found.reason) == (None, Code.AMOUNT_MISMATCH)
        assert found.suggests == coded

    def test_a_wrong_code_does_not_spoil_name_and_amount(self) -> None:
        """P-21, P-23, P-25: the code is optional."""
        assert match(arrived(codes=("TKZ",)), [self.first]).credits == self.first

    @pytest.mark.parametrize(
        ("named", "suggested"),
        [
            (request(2, state=TopUpState.CREDITED, code="TKB"), False),
            (request(2, state=TopUpState.EXPIRED, code="TKB"), True),
            (request(2, 6_000_00, code="TKB"), True),
            (request(2, code="TKB", same_name=False), True),
        ],
    )
    def test_a_code_of_another_request_is_ambiguous(
        self, named: Candidate, suggested: bool
    ) -> None:
        """P-25, P-32: paid, expired, of another amount or another company: never a guess."""
        found = match(arrived(codes=("TKB",)), [self.first, named])
        assert (found.credits, found.reason) == (None, Code.AMBIGUOUS)
        assert found.suggests == (named if suggested else None)

    def test_the_own_code_beside_another_credits(self) -> None:
        """P-32: name, amount and code agree on one."""
        paid = request(2, state=TopUpState.CREDITED, code="TKB")
        assert match(arrived(codes=("TKA", "TKB")), [self.first, paid]).credits == self.first


class TestPayer:
    def test_an_unknown_kind_of_account_is_judged_by_its_name(self) -> None:
        """P-22: a file rarely says whose account paid."""
        assert match(arrived(kind=PayerKind.UNKNOWN), [request()]).credits == request()
        other = match(arrived(kind=PayerKind.UNKNOWN), [request(same_name=False)])
        assert other.reason is Code.PAYER_NAME_MISMATCH

    def test_without_a_name_nothing_is_credited(self) -> None:
        """P-21: the file names no payer; the one request of that amount is suggested."""
        nameless = Arrived(5_000_00, PayerKind.UNKNOWN, NOW, (), named=False)
        found = match(nameless, [request(same_name=False)])
        assert (found.credits, found.reason) == (None, Code.PAYER_UNKNOWN)
        assert found.suggests == request(same_name=False)
        assert match(nameless, []).reason is Code.PAYER_UNKNOWN
