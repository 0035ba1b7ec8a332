"""What a bank's words do to a payment, in any order, and when silence is too long (C-09, C-12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.payment import PaymentState, Rail
from tillkeeper.rules.payments import (
    ACCEPTED,
    DUPLICATE,
    FIRST_LOOK,
    LOOK_EVERY,
    REJECTED,
    after_status,
    is_overdue,
    next_look,
    said_about,
)
from tillkeeper.rules.profiles import JD_PREPAID_2023_11, PrepaidProfile

SENT_AT = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
WORDS = st.sampled_from([*sorted(ACCEPTED), REJECTED, "RCVD", "PART", "CANC", ""])


def word(
    status: str, *reasons: str, level: StatusLevel = StatusLevel.TRANSACTION, name: str = "P1"
) -> PaymentStatus:
    named = {
        StatusLevel.TRANSACTION: "end_to_end_id",
        StatusLevel.PAYMENT: "payment_id",
        StatusLevel.GROUP: "message_id",
    }
    said = PaymentStatus(level=level, stated_at=level, status=status, reasons=reasons)
    return said.model_copy(update={named[level]: name})


class TestAfterStatus:
    @given(st.lists(WORDS, max_size=8), st.randoms())
    def test_the_end_does_not_depend_on_order_or_repetition(
        self, words: list[str], dice: Random
    ) -> None:
        """C-09: any order, anything told twice."""
        shuffled = [*words, *words]
        dice.shuffle(shuffled)
        ends = [
            reduce(lambda state, one: after_status(state, word(one)), order, PaymentState.SENT)
            for order in (words, shuffled)
        ]
        assert ends[0] is ends[1]
        assert ends[0] is not PaymentState.PAID

    @pytest.mark.parametrize(
        "state", [PaymentState.PAID, PaymentState.REJECTED, PaymentState.RETURNED]
    )
    def test_what_is_decided_stays(self, state: PaymentState) -> None:
        """C-12."""
        for status in (*ACCEPTED, REJECTED, "RCVD"):
            assert after_status(state, word(status)) is state

    @pytest.mark.parametrize("code", sorted(DUPLICATE))
    def test_a_refused_duplicate_refuses_nothing(self, code: str) -> None:
        """C-12."""
        said = word(REJECTED, "NARR", code)
        assert after_status(PaymentState.SENT, said) is PaymentState.SENT
        assert after_status(PaymentState.ACCEPTED, said) is PaymentState.ACCEPTED


class TestSaidAbout:
    def test_the_lowest_level_present_is_heard_alone(self) -> None:
        """C-12: transaction, else payment, else group; of another payment nothing."""
        group = word("ACCP", level=StatusLevel.GROUP, name="M1")
        payment = word("ACSP", level=StatusLevel.PAYMENT, name="P1")
        own, other = word("RJCT"), word("RJCT", name="P2")
        assert said_about("P1", "M1", [group, payment, own, other]) == (own,)
        assert said_about("P1", "M1", [group, payment, other]) == (payment,)
        assert said_about("P1", "M1", [group, other]) == (group,)
        assert said_about("P1", None, [group, other]) == ()

    @pytest.mark.parametrize("told", [None, "", "NOTPROVIDED"])
    def test_a_bank_may_name_the_instruction_alone(self, told: str | None) -> None:
        """C-12: our file gives both ids one value; an end-to-end id that is told counts more."""
        said = word("RJCT").model_copy(update={"end_to_end_id": told, "instruction_id": "P1"})
        assert said_about("P1", None, [said]) == (said,)
        other = said.model_copy(update={"end_to_end_id": "P2"})
        assert said_about("P1", None, [other]) == ()

    def test_a_file_not_marked_yet_is_called_by_its_payment(self) -> None:
        group = word("RJCT", level=StatusLevel.GROUP, name="P1")
        assert said_about("P1", None, [group]) == (group,)

    def test_a_status_that_names_nothing_names_nobody(self) -> None:
        unnamed = PaymentStatus(level=StatusLevel.GROUP, stated_at=StatusLevel.GROUP, status="RJCT")
        assert said_about("P1", None, [unnamed]) == ()


TICK = timedelta(microseconds=1)
PROFILE = JD_PREPAID_2023_11.model_copy(
    update={"payout_deadline_http": timedelta(hours=8), "payout_deadline_file": timedelta(days=5)}
)


class TestSilence:
    @pytest.mark.parametrize("rail", list(Rail))
    def test_three_days_by_either_rail_unless_a_profile_says_otherwise(self, rail: Rail) -> None:
        """C-08, C-12."""
        assert JD_PREPAID_2023_11.payout_deadline(rail) == timedelta(days=3)

    @pytest.mark.parametrize(
        ("rail", "deadline"), [(Rail.HTTP, timedelta(hours=8)), (Rail.FILE, timedelta(days=5))]
    )
    def test_the_rails_own_deadline_and_not_a_tick_less(
        self, rail: Rail, deadline: timedelta
    ) -> None:
        """C-12: equality counts; what is decided is never overdue."""
        kept, due = PROFILE.payout_deadline(rail), SENT_AT + deadline
        assert not is_overdue(PaymentState.SENT, SENT_AT, due - TICK, kept)
        for state in PaymentState:
            assert is_overdue(state, SENT_AT, due, kept) is state.open

    def test_no_profile_has_a_deadline_that_no_look_keeps(self) -> None:
        """The run of a file looks first after three days."""
        shorter = FIRST_LOOK - TICK
        with pytest.raises(ValidationError):
            PrepaidProfile(name="x", effective_from=SENT_AT, payout_deadline_file=shorter)
        kept = PrepaidProfile(name="x", effective_from=SENT_AT, payout_deadline_file=FIRST_LOOK)
        assert kept.payout_deadline(Rail.FILE) == FIRST_LOOK

    @given(st.timedeltas(timedelta(0), timedelta(days=400)))
    def test_the_next_look_is_ahead_and_within_a_day_once_overdue(self, passed: timedelta) -> None:
        """C-06: whenever a worker comes back, the looks stay at their hour."""
        now = SENT_AT + passed
        look = next_look(SENT_AT, now)
        assert look > now
        assert (look - SENT_AT - FIRST_LOOK) % LOOK_EVERY == timedelta(0)
        if passed >= FIRST_LOOK:
            assert look - now <= LOOK_EVERY
