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
    amount_minor: int = 5_000_00, *, kind: PayerKind = PayerKind.CORPORATE, at: datetime = NOW
) -> Arrived:
    return Arrived(amount_minor, kind, at)


def request(
    number: int = 1,
    amount_minor: int = 5_000_00,
    state: TopUpState = W,
    *,
    expires_at: datetime = LATER,
    same_name: bool = True,
) -> Candidate:
    return Candidate(number, amount_minor, state, expires_at, same_name)


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
