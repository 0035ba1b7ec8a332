"""What rows of an event file mean; returns never exceed what was held (P-40 … P-50.1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.rules.fees import fee_minor
from tillkeeper.rules.order_events import EventMapping, EventRow
from tillkeeper.rules.profiles import JD_PREPAID_2023_11 as PROFILE

DAY = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)


def row(event: str, gross: int = 1_200_00, *, minute: int = 0, **more: object) -> EventRow:
    """A row about order O1 of M2 with six instalments: 300 basis points."""
    fields: dict[str, object] = {
        "line": 2 + minute, "at": DAY + timedelta(minutes=minute), "merchant": "M2", "order": "O1",
        "event": event, "gross_minor": gross, "currency": "CNY", "instalments": 6,
    }  # fmt: skip
    return EventRow.model_validate(fields | more)


def returned(gross: int, *, minute: int) -> EventRow:
    """Goods of O1 that came back."""
    return row("RETURNED", gross, minute=minute, order="R1", ref_order="O1")


@pytest.fixture
def mapping() -> EventMapping:
    """A mapping that has read nothing."""
    return EventMapping(PROFILE)


def said(answer: OrderMessage | Reason | None) -> tuple[OrderEvent, int | None]:
    """Event and amount of a message."""
    assert isinstance(answer, OrderMessage)
    return answer.event, answer.amount_minor


def code(answer: OrderMessage | Reason | None) -> Code:
    """Code of a refusal."""
    assert isinstance(answer, Reason)
    return answer.code


class TestPurchased:
    def test_purchase_holds_the_fee_and_not_the_price(self, mapping: EventMapping) -> None:
        """P-40, P-41: 1,200.00 at 300 basis points holds 36.00 at the order's own time."""
        message = mapping.message_for(row("PURCHASED"))
        assert message == OrderMessage(
            event=OrderEvent.HOLD, merchant="M2", currency="CNY", order="O1", at=DAY,
            amount_minor=36_00,
        )  # fmt: skip

    def test_row_without_count_is_refused_with_all_later_rows(self, mapping: EventMapping) -> None:
        """P-41: no price is guessed, and an order that was not held is not settled."""
        assert code(mapping.message_for(row("PURCHASED", instalments=None))) == (
            Code.INSTALMENTS_NOT_PRICED
        )
        for event in ("PURCHASED", "DELIVERED", "CANCELED"):
            assert code(mapping.message_for(row(event))) == Code.ORDER_REFUSED
        assert code(mapping.message_for(returned(1, minute=1))) == Code.ORDER_REFUSED

    def test_purchase_that_could_not_be_read_refuses_its_later_rows(
        self, mapping: EventMapping
    ) -> None:
        """P-41."""
        mapping.refuse(("M2", "CNY", "O1"))
        assert code(mapping.message_for(row("DELIVERED"))) == Code.ORDER_REFUSED

    def test_given_count_prices_rows_that_carry_none(self) -> None:
        """P-41: ``--instalments``."""
        mapping = EventMapping(PROFILE, instalments=6)
        assert said(mapping.message_for(row("PURCHASED", instalments=None))) == (
            OrderEvent.HOLD,
            36_00,
        )

    def test_given_count_without_price_is_refused(self) -> None:
        """P-41."""
        with pytest.raises(Rejected) as refusal:
            EventMapping(PROFILE, instalments=25)
        assert refusal.value.codes == (Code.INSTALMENTS_NOT_PRICED,)

    def test_second_purchase_with_another_price_is_left_to_the_book(
        self, mapping: EventMapping
    ) -> None:
        """P-42: the first price stays, so returns are computed from what is held."""
        mapping.message_for(row("PURCHASED"))
        assert said(mapping.message_for(row("PURCHASED", 2_400_00, minute=1)))[1] == 72_00
        assert said(mapping.message_for(row("CANCELED", 2_400_00, minute=2)))[1] == 36_00

    def test_fee_that_rounds_to_nothing_moves_no_money(self, mapping: EventMapping) -> None:
        """C-01: 0.16 at 300 basis points is 0.0048: the order is noted only."""
        rows = [row("PURCHASED", 16), row("DELIVERED", 16, minute=1), returned(16, minute=2)]
        assert [mapping.message_for(r) for r in rows] == [None, None, None]


class TestLaterEvents:
    def test_delivery_settles(self, mapping: EventMapping) -> None:
        """P-50."""
        mapping.message_for(row("PURCHASED"))
        assert said(mapping.message_for(row("DELIVERED"))) == (OrderEvent.SETTLE, None)

    @pytest.mark.parametrize("event", ["CANCELED", "UNAVAILABLE"])
    def test_cancellation_releases_the_fee(self, mapping: EventMapping, event: str) -> None:
        """P-48."""
        mapping.message_for(row("PURCHASED"))
        assert said(mapping.message_for(row(event))) == (OrderEvent.RELEASE, 36_00)

    def test_cancellation_after_a_partial_return_releases_the_rest(
        self, mapping: EventMapping
    ) -> None:
        """P-48: up to the held remainder."""
        mapping.message_for(row("PURCHASED"))
        assert said(mapping.message_for(returned(600_00, minute=1)))[1] == 18_00
        assert said(mapping.message_for(row("CANCELED", minute=2)))[1] == 18_00
        assert mapping.message_for(row("UNAVAILABLE", minute=3)) is None

    def test_return_releases_on_the_order_it_came_from(self, mapping: EventMapping) -> None:
        """P-48, P-49: told apart by the returning order and its time."""
        mapping.message_for(row("PURCHASED"))
        message = mapping.message_for(returned(600_00, minute=1))
        assert message == OrderMessage(
            event=OrderEvent.RELEASE, merchant="M2", currency="CNY", order="O1",
            at=DAY + timedelta(minutes=1), amount_minor=18_00, message_id="R1@20240506T100100",
        )  # fmt: skip

    def test_same_return_twice_is_the_same_message(self, mapping: EventMapping) -> None:
        """C-02, P-49: a duplicate has no effect."""
        mapping.message_for(row("PURCHASED"))
        first = mapping.message_for(returned(600_00, minute=1))
        assert mapping.message_for(returned(600_00, minute=1)) == first
        assert code(mapping.message_for(returned(599_00, minute=1))) == Code.KEY_REUSED

    def test_return_of_more_than_was_bought_is_refused(self, mapping: EventMapping) -> None:
        """P-48: 36.00 held, a message for more is refused."""
        mapping.message_for(row("PURCHASED"))
        mapping.message_for(returned(1_200_00, minute=1))
        assert code(mapping.message_for(returned(1, minute=2))) == Code.EXCEEDS_HELD

    def test_return_before_its_purchase_counts_when_the_purchase_comes(
        self, mapping: EventMapping
    ) -> None:
        """P-49: the order of messages is not guaranteed."""
        assert said(mapping.message_for(returned(600_00, minute=1)))[1] == 18_00
        mapping.message_for(row("PURCHASED"))
        assert said(mapping.message_for(row("CANCELED", minute=2)))[1] == 18_00

    def test_long_order_ids_still_make_a_message_id(self, mapping: EventMapping) -> None:
        """P-49: an id has at most 64 characters."""
        mapping.message_for(row("PURCHASED"))
        message = mapping.message_for(row("RETURNED", order="R" * 64, ref_order="O1"))
        assert isinstance(message, OrderMessage)
        assert message.message_id is not None
        assert len(message.message_id) == 48

    @pytest.mark.parametrize("event", ["APPROVED", "SHIPPED"])
    def test_rows_without_money_are_noted(self, mapping: EventMapping, event: str) -> None:
        """Rules 1.4 names no effect for them."""
        assert mapping.message_for(row(event)) is None

    @pytest.mark.parametrize("event", ["RETURN_UNMATCHED", "RETURNED"])
    def test_return_without_an_order_is_refused(self, mapping: EventMapping, event: str) -> None:
        """P-48: there is no hold to check."""
        assert code(mapping.message_for(row(event))) == Code.RETURN_WITHOUT_ORDER

    @pytest.mark.parametrize("event", ["purchased", "REFUNDED", "="])
    def test_unknown_event_is_refused(self, mapping: EventMapping, event: str) -> None:
        """C-03: nothing is guessed."""
        assert code(mapping.message_for(row(event))) == Code.EVENT_UNKNOWN


class TestReturnsNeverExceed:
    @given(
        gross=st.integers(min_value=1, max_value=10**9),
        parts=st.lists(st.integers(min_value=1, max_value=10**9), max_size=12),
        instalments=st.integers(min_value=1, max_value=24),
        cancelled_at=st.integers(min_value=0, max_value=12),
    )
    def test_whatever_comes_back_is_at_most_what_was_held(
        self, gross: int, parts: list[int], instalments: int, cancelled_at: int
    ) -> None:
        """P-48, P-50.1: for any parts, in any order, with a cancellation among them."""
        mapping = EventMapping(PROFILE)
        held = mapping.message_for(row("PURCHASED", gross, instalments=instalments))
        fee = fee_minor(gross, PROFILE.fee_basis_points[instalments - 1])
        assert (said(held)[1] if held else 0) == fee
        rows = [returned(part, minute=minute) for minute, part in enumerate(parts, 1)]
        rows.insert(cancelled_at, row("CANCELED", gross, minute=99))
        given_back = 0
        for one in rows:
            answer = mapping.message_for(one)
            if isinstance(answer, OrderMessage):
                given_back += answer.amount_minor or 0
            assert given_back <= fee
        assert given_back == fee
