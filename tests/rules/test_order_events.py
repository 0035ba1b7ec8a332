"""What rows of an event file mean; returns never exceed what was held (P-40 … P-50.1)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.rules import order_events
from tillkeeper.rules.fees import fee_minor
from tillkeeper.rules.order_events import Decided, EventMapping, EventRow
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


def sole(mapping: EventMapping, one: EventRow) -> OrderMessage | Reason | None:
    """What the mapping decides about a row whose purchase was read."""
    ((line, decision),) = mapping.read(one)
    assert line == one.line
    return decision


def decided(rows: Iterable[EventRow], mapping: EventMapping | None = None) -> list[Decided]:
    """Everything that a whole file decides, in order."""
    mapping = mapping or EventMapping(PROFILE)
    told = [decision for one in rows for decision in mapping.read(one)]
    return told + [decision for part in mapping.rest() for decision in part]


def given_back(told: Iterable[Decided]) -> list[int]:
    """Fees that the releases give back."""
    messages = [one for _, one in told if isinstance(one, OrderMessage)]
    return [m.amount_minor or 0 for m in messages if m.event is OrderEvent.RELEASE]


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
        message = sole(mapping, row("PURCHASED"))
        assert message == OrderMessage(
            event=OrderEvent.HOLD, merchant="M2", currency="CNY", order="O1", at=DAY,
            amount_minor=36_00,
        )  # fmt: skip

    def test_row_without_count_is_refused_with_all_later_rows(self, mapping: EventMapping) -> None:
        """P-41: no price is guessed, and an order that was not held is not settled."""
        assert code(sole(mapping, row("PURCHASED", instalments=None))) == (
            Code.INSTALMENTS_NOT_PRICED
        )
        for event in ("PURCHASED", "DELIVERED", "CANCELED"):
            assert code(sole(mapping, row(event))) == Code.ORDER_REFUSED
        assert code(sole(mapping, returned(1, minute=1))) == Code.ORDER_REFUSED

    def test_purchase_that_could_not_be_read_refuses_its_later_rows(
        self, mapping: EventMapping
    ) -> None:
        """P-41."""
        mapping.refuse(("M2", "CNY", "O1"))
        assert code(sole(mapping, row("DELIVERED"))) == Code.ORDER_REFUSED

    def test_given_count_prices_rows_that_carry_none(self) -> None:
        """P-41: ``--instalments``."""
        mapping = EventMapping(PROFILE, instalments=6)
        assert said(sole(mapping, row("PURCHASED", instalments=None))) == (
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
        sole(mapping, row("PURCHASED"))
        assert said(sole(mapping, row("PURCHASED", 2_400_00, minute=1)))[1] == 72_00
        assert said(sole(mapping, row("CANCELED", 2_400_00, minute=2)))[1] == 36_00

    def test_fee_that_rounds_to_nothing_moves_no_money(self, mapping: EventMapping) -> None:
        """C-01: 0.16 at 300 basis points is 0.0048: the order is noted only."""
        rows = [row("PURCHASED", 16), row("DELIVERED", 16, minute=1), returned(16, minute=2)]
        assert [sole(mapping, r) for r in rows] == [None, None, None]


class TestLaterEvents:
    def test_delivery_settles(self, mapping: EventMapping) -> None:
        """P-50."""
        sole(mapping, row("PURCHASED"))
        assert said(sole(mapping, row("DELIVERED"))) == (OrderEvent.SETTLE, None)

    @pytest.mark.parametrize("event", ["CANCELED", "UNAVAILABLE"])
    def test_cancellation_releases_the_fee(self, mapping: EventMapping, event: str) -> None:
        """P-48."""
        sole(mapping, row("PURCHASED"))
        assert said(sole(mapping, row(event))) == (OrderEvent.RELEASE, 36_00)

    def test_cancellation_after_a_partial_return_releases_the_rest(
        self, mapping: EventMapping
    ) -> None:
        """P-48: up to the held remainder."""
        sole(mapping, row("PURCHASED"))
        assert said(sole(mapping, returned(600_00, minute=1)))[1] == 18_00
        assert said(sole(mapping, row("CANCELED", minute=2)))[1] == 18_00
        assert sole(mapping, row("UNAVAILABLE", minute=3)) is None

    def test_return_releases_on_the_order_it_came_from(self, mapping: EventMapping) -> None:
        """P-48, P-49: told apart by the returning order and its time."""
        sole(mapping, row("PURCHASED"))
        message = sole(mapping, returned(600_00, minute=1))
        assert message == OrderMessage(
            event=OrderEvent.RELEASE, merchant="M2", currency="CNY", order="O1",
            at=DAY + timedelta(minutes=1), amount_minor=18_00, message_id="R1@20240506T100100",
        )  # fmt: skip

    def test_same_return_twice_is_the_same_message(self, mapping: EventMapping) -> None:
        """C-02, P-49: a duplicate has no effect."""
        sole(mapping, row("PURCHASED"))
        first = sole(mapping, returned(600_00, minute=1))
        assert sole(mapping, returned(600_00, minute=1)) == first
        assert code(sole(mapping, returned(599_00, minute=1))) == Code.KEY_REUSED

    def test_return_of_more_than_was_bought_is_refused(self, mapping: EventMapping) -> None:
        """P-48: 36.00 held, a message for more is refused."""
        sole(mapping, row("PURCHASED"))
        sole(mapping, returned(1_200_00, minute=1))
        assert code(sole(mapping, returned(1, minute=2))) == Code.EXCEEDS_HELD

    def test_return_before_its_purchase_waits_for_it(self, mapping: EventMapping) -> None:
        """P-49: the order of messages is not guaranteed."""
        assert mapping.read(returned(600_00, minute=1)) == []
        hold, back = mapping.read(row("PURCHASED"))
        assert (said(hold[1]), said(back[1])) == (
            (OrderEvent.HOLD, 36_00),
            (OrderEvent.RELEASE, 18_00),
        )
        assert said(sole(mapping, row("CANCELED", minute=2)))[1] == 18_00

    def test_long_order_ids_still_make_a_message_id(self, mapping: EventMapping) -> None:
        """P-49: an id has at most 64 characters."""
        sole(mapping, row("PURCHASED"))
        message = sole(mapping, row("RETURNED", order="R" * 64, ref_order="O1"))
        assert isinstance(message, OrderMessage)
        assert message.message_id is not None
        assert len(message.message_id) == 48

    @pytest.mark.parametrize("event", ["APPROVED", "SHIPPED"])
    def test_rows_without_money_are_noted(self, mapping: EventMapping, event: str) -> None:
        """Rules 1.4 names no effect for them."""
        assert sole(mapping, row(event)) is None

    @pytest.mark.parametrize("event", ["RETURN_UNMATCHED", "RETURNED"])
    def test_return_without_an_order_is_refused(self, mapping: EventMapping, event: str) -> None:
        """P-48: there is no hold to check."""
        assert code(sole(mapping, row(event))) == Code.RETURN_WITHOUT_ORDER

    @pytest.mark.parametrize("event", ["purchased", "REFUNDED", "="])
    def test_unknown_event_is_refused(self, mapping: EventMapping, event: str) -> None:
        """C-03: nothing is guessed."""
        assert code(sole(mapping, row(event))) == Code.EVENT_UNKNOWN


class TestRowsBeforeTheirPurchase:
    def test_two_halves_before_the_purchase_give_back_its_fee(self) -> None:
        """C-09: 2 × 1003.00 of 2006.00 at three instalments, each rounded alone, exceed the fee."""
        bought = row("PURCHASED", 2_006_00, instalments=3)
        halves = [
            returned(1_003_00, minute=minute).model_copy(update={"instalments": 3})
            for minute in (1, 2)
        ]
        delivered = row("DELIVERED", 2_006_00, minute=3)
        usual = decided([bought, *halves, delivered])
        early = decided([*halves, bought, delivered])
        assert [one for _, one in early] == [one for _, one in usual]
        fee = fee_minor(2_006_00, PROFILE.fee_basis_points[2])
        alone = fee_minor(1_003_00, PROFILE.fee_basis_points[2])
        assert sum(given_back(early)) == fee < 2 * alone
        assert decided([*halves, bought, delivered]) == early

    def test_rows_without_a_purchase_are_sent_at_the_end_with_their_own_fee(self) -> None:
        """C-09, P-49: parts add up to the fee of their sum, never to more."""
        halves = [
            returned(1_003_00, minute=minute).model_copy(update={"instalments": 3})
            for minute in (1, 2)
        ]
        mapping = EventMapping(PROFILE)
        assert [mapping.read(one) for one in halves] == [[], []]
        assert mapping.read(row("DELIVERED", minute=3)) == []
        assert mapping.waiting == 3
        told = [decision for part in mapping.rest() for decision in part]
        assert [line for line, _ in told] == [3, 4, 5]
        assert sum(given_back(told)) == fee_minor(2_006_00, PROFILE.fee_basis_points[2])
        assert mapping.waiting == 0

    def test_rows_before_a_refused_purchase_are_refused(self) -> None:
        """C-09, P-41: as they are when they come after it."""
        early = [row("DELIVERED", minute=1), returned(1, minute=2)]
        told = decided([*early, row("PURCHASED", instalments=None)])
        assert [code(one) for _, one in told] == [
            Code.INSTALMENTS_NOT_PRICED, Code.ORDER_REFUSED, Code.ORDER_REFUSED,
        ]  # fmt: skip
        mapping = EventMapping(PROFILE)
        assert decided(early[:0], mapping) == mapping.read(early[0]) == []
        assert [code(one) for _, one in mapping.refuse(("M2", "CNY", "O1"))] == [Code.ORDER_REFUSED]

    def test_delivery_before_a_purchase_without_fee_moves_no_money(self) -> None:
        """C-09, C-01: nothing stays parked for an order that the book never hears of."""
        assert [one for _, one in decided([row("DELIVERED", 16), row("PURCHASED", 16)])] == [
            None, None,
        ]  # fmt: skip

    def test_rows_of_one_order_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Style 4.8: every list has a limit, before the purchase and after it."""
        monkeypatch.setattr(order_events, "LATER_ROWS_MAX", 3)
        parts = [returned(1_00, minute=minute) for minute in range(1, 5)]
        for rows in ([*parts, row("PURCHASED")], [row("PURCHASED"), *parts]):
            refused = [line for line, one in decided(rows) if isinstance(one, Reason)]
            assert refused == [6]

    def test_oldest_order_is_forgotten_with_its_rows_sent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Style 4.8, C-02: bounded memory, and the same messages on each run."""
        monkeypatch.setattr(order_events, "REMEMBERED_MAX", 6)
        rows = [
            row("DELIVERED", minute=minute, order=f"O{minute}", line=minute) for minute in range(50)
        ]
        mapping = EventMapping(PROFILE)
        told = decided(rows, mapping)
        assert [line for line, _ in told] == list(range(50))
        assert told == decided(rows)
        assert len(mapping._orders) <= 3

    @given(
        prices=st.lists(st.integers(min_value=1, max_value=10**7), min_size=1, max_size=5),
        instalments=st.integers(min_value=1, max_value=24),
        seed=st.randoms(use_true_random=False),
    )
    def test_any_order_of_the_rows_gives_back_the_whole_fee(
        self, prices: list[int], instalments: int, seed: Random
    ) -> None:
        """C-09: every part comes back, in any order: held and given back are equal."""
        more = {"instalments": instalments}
        rows = [row("PURCHASED", sum(prices), **more), row("DELIVERED", sum(prices), minute=50)]
        rows += [
            returned(price, minute=minute).model_copy(update=more)
            for minute, price in enumerate(prices, 1)
        ]
        seed.shuffle(rows)
        fee = fee_minor(sum(prices), PROFILE.fee_basis_points[instalments - 1])
        told = decided(rows)
        assert len(told) == len(rows)
        assert sum(given_back(told)) == fee


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
        held = sole(mapping, row("PURCHASED", gross, instalments=instalments))
        fee = fee_minor(gross, PROFILE.fee_basis_points[instalments - 1])
        assert (said(held)[1] if held else 0) == fee
        rows = [returned(part, minute=minute) for minute, part in enumerate(parts, 1)]
        rows.insert(cancelled_at, row("CANCELED", gross, minute=99))
        returned_fee = 0
        for one in rows:
            answer = sole(mapping, one)
            if isinstance(answer, OrderMessage):
                returned_fee += answer.amount_minor or 0
            assert returned_fee <= fee
        assert returned_fee == fee
