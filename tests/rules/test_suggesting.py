"""What the desk is suggested for unmatched money: P-29, P-31; never a credit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.topup import TopUpState
from tillkeeper.contracts.workitem import Hint
from tillkeeper.rules.suggesting import (
    CERTAIN,
    SCORE_MIN,
    SUGGESTIONS_MAX,
    Asked,
    Payment,
    similarity,
    suggest,
)

AT = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NAME = "甲乙贸易有限公司"
OTHER = "丙丁商贸有限公司"
CODE = "TK2345678A"

PAYMENT = Payment(5_000_00, "CNY", NAME, AT)
ASKED = Asked(
    id=1, merchant="M1", request="T1", amount_minor=5_000_00,
    state=TopUpState.WAITING_REMITTANCE, requested_at=AT - DAY, expires_at=AT + 14 * DAY,
    legal_name=NAME, code=CODE,
)  # fmt: skip


def hints(payment: Payment, asked: Asked) -> list[Hint]:
    found = suggest(payment, [asked])
    return [why.hint for why in found[0].why] if found else []


class TestSuggest:
    def test_all_that_speaks_for_a_request_is_told(self) -> None:
        """P-29: each reason with its words, and no name in them."""
        (only,) = suggest(replace(PAYMENT, codes=(CODE,)), [ASKED])
        assert (only.request, only.score) == ("M1/T1", 100)
        assert {why.hint for why in only.why} == {
            Hint.SAME_NAME, Hint.EXACT_AMOUNT, Hint.REFERENCE_CODE, Hint.OPEN, Hint.IN_TIME,
        }  # fmt: skip
        assert not any(NAME[:2] in why.words for why in only.why)

    def test_a_receipt_of_day_16_suggests_the_expired_request(self) -> None:
        """P-31: also while its row still waits."""
        late = replace(PAYMENT, received_at=AT + 15 * DAY)
        for state in (TopUpState.EXPIRED, TopUpState.WAITING_REMITTANCE):
            told = hints(late, replace(ASKED, state=state))
            assert told == [Hint.SAME_NAME, Hint.EXACT_AMOUNT, Hint.EXPIRED]

    def test_one_fen_less_is_near_and_says_so(self) -> None:
        """P-23: 4,999.99 for 5,000.00 is no match, but a suggestion."""
        (only,) = suggest(replace(PAYMENT, amount_minor=4_999_99), [ASKED])
        assert Hint.NEAR_AMOUNT in {why.hint for why in only.why}
        assert "0.01 less" in " ".join(why.words for why in only.why)
        assert only.score < CERTAIN

    def test_the_code_lifts_a_request_of_another_name(self) -> None:
        """P-25: it names what was meant; the name still differs."""
        stranger = replace(PAYMENT, payer_name=OTHER, codes=(CODE,))
        assert Hint.REFERENCE_CODE in hints(stranger, ASKED)
        equal = replace(ASKED, id=2, request="T2", code=None)
        assert [s.request for s in suggest(stranger, [equal, ASKED])] == ["M1/T1", "M1/T2"]

    def test_nothing_in_common_is_not_suggested(self) -> None:
        """P-29: noise helps nobody."""
        stranger = Payment(77_00, "CNY", OTHER, AT)
        assert suggest(stranger, [ASKED]) == ()
        near = Payment(4_900_00, "CNY", OTHER, AT)
        assert suggest(near, [ASKED]) == ()
        assert suggest(replace(PAYMENT, payer_name=None), [ASKED])[0].score >= SCORE_MIN

    def test_similar_names_are_measured_in_whole_percent(self) -> None:
        """P-21: width, spaces and brackets do not count; letters do."""
        assert similarity(NAME, f" {NAME[:2]} 贸易有限公司") == 100
        assert similarity("甲乙(上海)贸易", "甲乙（上海）贸易") == 100
        assert 60 <= similarity(NAME, "甲乙贸易公司") < 100
        assert similarity(NAME, OTHER) < 60
        assert similarity("", NAME) == similarity("甲", "乙") == 0


SECONDS = st.integers(-40 * 86_400, 40 * 86_400)
REQUESTS = st.builds(
    Asked,
    id=st.integers(1, 1_000),
    merchant=st.just("M"),
    request=st.just("T"),
    amount_minor=st.sampled_from([5_000_00, 4_999_99, 5_010_00, 3_000_00, 1]),
    state=st.sampled_from(
        [TopUpState.WAITING_REMITTANCE, TopUpState.EXPIRED, TopUpState.CANCELLED]
    ),
    requested_at=SECONDS.map(lambda s: AT + timedelta(seconds=s)),
    expires_at=SECONDS.map(lambda s: AT + timedelta(seconds=s)),
    legal_name=st.sampled_from([NAME, f"{NAME} ", "甲乙贸易公司", OTHER, ""]),
    code=st.sampled_from([None, CODE, "TK99999999"]),
)
PAYMENTS = st.builds(
    Payment,
    amount_minor=st.sampled_from([5_000_00, 4_999_99, 5_000_01]),
    currency=st.just("CNY"),
    payer_name=st.sampled_from([NAME, OTHER, None]),
    received_at=SECONDS.map(lambda s: AT + timedelta(seconds=s)),
    codes=st.sampled_from([(), (CODE,)]),
)


def certain(payment: Payment, asked: Asked) -> bool:
    same = payment.payer_name is not None and asked.legal_name.strip() == payment.payer_name
    still = asked.state is TopUpState.WAITING_REMITTANCE and payment.received_at <= asked.expires_at
    return same and still and asked.amount_minor == payment.amount_minor


class TestProperties:
    @given(PAYMENTS, st.lists(REQUESTS, max_size=12))
    def test_same_name_exact_and_open_stands_first(
        self, payment: Payment, requests: list[Asked]
    ) -> None:
        """P-29: whatever else is asked for, whatever codes are written."""
        apart = [replace(asked, request=f"T{n}") for n, asked in enumerate(requests)]
        found = suggest(payment, apart)
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)
        assert all(type(score) is int and SCORE_MIN <= score <= 100 for score in scores)
        assert len(found) <= SUGGESTIONS_MAX
        sure = {f"M/{asked.request}" for asked in apart if certain(payment, asked)}
        assert all((one.score >= CERTAIN) is (one.request in sure) for one in found)
        first = {one.request for one in found[: len(sure)]}
        assert first <= sure if sure else True
        assert all(one.why for one in found)
