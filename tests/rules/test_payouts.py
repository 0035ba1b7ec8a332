"""Failure classes, retries and questions: the figures of the plan, their edges included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tillkeeper.contracts.payment import FailureClass, PaymentState, PayoutView, Rail
from tillkeeper.rules.payouts import (
    ATTEMPTS_MAX,
    NOT_FOUND,
    NOT_PAID,
    RETRY_CEILING,
    failure_class,
    is_proven_absent,
    next_ask,
    next_rail,
    retry_at,
)

AT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
"""10:00 in Shanghai."""
NOW, LATER = FailureClass.RETRY_NOW, FailureClass.RETRY_LATER
MINUTE = timedelta(minutes=1)


def seconds(tries: int, jitter: int) -> float:
    """How long after the no the next attempt is due."""
    due = retry_at(NOW, tries, AT, jitter)
    assert due is not None
    return (due - AT).total_seconds()


class TestFailureClass:
    @pytest.mark.parametrize(
        ("code", "failure"),
        [
            (NOT_FOUND, NOW),
            ("AB07", NOW),
            ("AM14", LATER),
            ("TM01", LATER),
            ("AC04", FailureClass.NEEDS_PAYEE),
            ("BE01", FailureClass.NEEDS_PAYEE),
            ("AM04", FailureClass.NEEDS_PAYER),
            ("AC02", FailureClass.NEEDS_PAYER),
            ("AG01", FailureClass.NEVER),
            ("RR04", FailureClass.NEVER),
            (NOT_PAID, FailureClass.NEVER),
            ("OTHER", FailureClass.NEVER),
            ("XX99", FailureClass.NEVER),
            (None, FailureClass.NEVER),
        ],
    )
    def test_a_code_has_one_class_and_an_unknown_one_is_never_tried_again(
        self, code: str | None, failure: FailureClass
    ) -> None:
        """S-44, E-10, P-71."""
        assert failure_class(code) is failure


class TestRetryAt:
    def test_now_is_half_a_minute_and_doubles(self) -> None:
        """E-10: the whole of 30, 60, 120, 240 s with the largest jitter, half with the smallest."""
        assert [seconds(n, 1000) for n in range(1, ATTEMPTS_MAX)] == [30, 60, 120, 240]
        assert [seconds(n, 0) for n in range(1, ATTEMPTS_MAX)] == [15, 30, 60, 120]

    def test_the_stated_ceiling_is_what_the_last_wait_comes_to(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """S-44: it is reached, and more attempts would not go beyond it."""
        assert timedelta(seconds=seconds(ATTEMPTS_MAX - 1, 1000)) == RETRY_CEILING
        monkeypatch.setattr("tillkeeper.rules.payouts.ATTEMPTS_MAX", 20)
        assert timedelta(seconds=seconds(ATTEMPTS_MAX, 1000)) == RETRY_CEILING
        assert timedelta(seconds=seconds(19, 1000)) == RETRY_CEILING

    def test_later_is_the_next_local_morning(self) -> None:
        """E-11: 08:00 to 08:30 in Shanghai, from the last second of a day and the first."""
        morning = datetime(2026, 3, 3, 0, 0, tzinfo=UTC)
        assert retry_at(LATER, 1, AT, 0) == morning
        assert retry_at(LATER, 1, AT, 1000) == morning + 30 * MINUTE
        last = datetime(2026, 3, 2, 15, 59, 59, tzinfo=UTC)
        assert retry_at(LATER, 1, last, 0) == morning
        midnight = last + timedelta(seconds=1)
        assert retry_at(LATER, 1, midnight, 0) == morning + timedelta(days=1)

    @pytest.mark.parametrize("failure", [NOW, LATER])
    def test_the_fifth_no_is_the_last(self, failure: FailureClass) -> None:
        """P-71: then a person decides."""
        assert retry_at(failure, ATTEMPTS_MAX - 1, AT, 0) is not None
        assert retry_at(failure, ATTEMPTS_MAX, AT, 0) is None

    @pytest.mark.parametrize(
        "failure", [FailureClass.NEEDS_PAYEE, FailureClass.NEEDS_PAYER, FailureClass.NEVER]
    )
    def test_other_classes_are_never_tried_again(self, failure: FailureClass) -> None:
        """P-71: what a person must mend waits for one."""
        assert retry_at(failure, 1, AT, 0) is None


class TestNextRail:
    def test_trouble_of_a_way_takes_the_next_one(self) -> None:
        """Design §4: a second rail, after proof that the first did not pay."""
        both = (Rail.HTTP, Rail.FILE)
        assert next_rail(both, Rail.HTTP, NOW) is Rail.FILE
        assert next_rail(both, Rail.FILE, NOW) is Rail.HTTP
        assert next_rail(both, Rail.HTTP, LATER) is Rail.HTTP
        assert next_rail((Rail.FILE,), Rail.FILE, NOW) is Rail.FILE

    def test_a_way_that_is_gone_is_replaced_by_the_first(self) -> None:
        """Settings may have changed since."""
        assert next_rail((Rail.FILE,), Rail.HTTP, LATER) is Rail.FILE


def ask(
    state: PaymentState,
    asked: tuple[datetime | None, int] = (None, 0),
    visibility: timedelta = 5 * MINUTE,
    rail: Rail = Rail.HTTP,
) -> float | None:
    """Seconds from the sending to the next question."""
    view = PayoutView(end_to_end_id="P1", state=state, rail=rail, sent_at=None)
    due = next_ask(view, AT, asked, visibility)
    return None if due is None else (due - AT).total_seconds()


class TestNextAsk:
    def test_what_is_unclear_is_asked_for_at_doubling_distances(self) -> None:
        """E-09, C-12: after 1 minute, 3, when the delay of 5 is over, and so on."""
        moments: list[float] = []
        last: datetime | None = None
        for times in range(12):
            due = ask(PaymentState.UNCLEAR, (last, times))
            assert due is not None
            moments.append(due / 60)
            last = AT + timedelta(seconds=due)
        assert moments[:5] == [1, 3, 5, 13, 29]
        assert moments[-1] - moments[-2] == 60

    def test_a_shorter_stated_delay_is_asked_at_once(self) -> None:
        """A test's bank, or a fast one."""
        assert ask(PaymentState.UNCLEAR, visibility=timedelta(seconds=2)) == 2

    def test_what_is_accepted_is_asked_for_once_a_day(self) -> None:
        """E-12: an early status may be taken back."""
        assert ask(PaymentState.ACCEPTED) == 86_400
        assert ask(PaymentState.ACCEPTED, (AT + MINUTE, 1)) == 86_460

    @pytest.mark.parametrize(
        "state", [PaymentState.RECORDED, PaymentState.REJECTED, PaymentState.PAID]
    )
    def test_nothing_is_asked_before_it_leaves_or_after_its_end(self, state: PaymentState) -> None:
        """C-12."""
        assert ask(state) is None

    def test_a_file_is_not_asked_for(self) -> None:
        """Its bank answers by files."""
        assert ask(PaymentState.ACCEPTED, rail=Rail.FILE) is None

    def test_not_found_proves_nothing_before_the_stated_delay(self) -> None:
        """E-09: not a second sooner, and at the second itself."""
        assert not is_proven_absent(AT, AT + timedelta(seconds=299), 5 * MINUTE)
        assert is_proven_absent(AT, AT + timedelta(seconds=300), 5 * MINUTE)
