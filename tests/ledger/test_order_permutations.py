"""C-09: any order of one order's messages, duplicated at will, ends in the same balances."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.support import Desk, hold, open_account, refund, release, settle
from tests.stack import Database
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.order import OrderMessage

_numbers = itertools.count()


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    made = Desk(database.app_url)
    yield made
    made.close()


@st.composite
def _messages(draw: st.DrawFn) -> list[OrderMessage]:
    """A hold and returns that do not exceed it, with or without a settlement."""
    fee = draw(st.integers(1, 5_000))
    cuts = sorted(draw(st.lists(st.integers(0, fee), max_size=3)))
    parts = [b - a for a, b in itertools.pairwise([0, *cuts]) if b > a]
    made = [hold("M0", "O1", fee)]
    for number, part in enumerate(parts):
        give_back = draw(st.sampled_from([release, refund]))
        made.append(give_back("M0", "O1", part, f"m{number}"))
    return [*made, settle("M0", "O1")]


def _sent_to(merchant: str, messages: list[OrderMessage]) -> list[OrderMessage]:
    return [message.model_copy(update={"merchant": merchant}) for message in messages]


class TestAnyOrder:
    @given(data=st.data(), fund=st.integers(0, 6_000), other=st.integers(0, 3_000))
    @settings(
        max_examples=120,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_any_order_and_repetition_ends_alike(
        self, desk: Desk, data: st.DataObject, fund: int, other: int
    ) -> None:
        """C-09, P-49: in order and shuffled, one by one and in one batch, with duplicates."""
        messages = data.draw(_messages())
        shuffled = data.draw(st.permutations([*messages, *data.draw(st.permutations(messages))]))
        number = next(_numbers)
        ends = []
        for variant, sequence in (("a", messages), ("b", shuffled), ("c", shuffled)):
            merchant = f"M{number}{variant}"
            desk.run(open_account(desk.engine, merchant, fund=fund + other))
            if other:
                desk.apply(hold(merchant, "O0", other))
                desk.apply(hold(merchant, "O9", fund + 1))
            batches = [sequence] if variant == "c" else [[m] for m in sequence]
            for batch in batches:
                outcomes = desk.apply(*_sent_to(merchant, batch))
                assert all(outcome.code is None for outcome in outcomes)
            ends.append(desk.figures(merchant))
        assert ends[0] == ends[1] == ends[2]

    @given(data=st.data(), fund=st.integers(0, 4_000))
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_returns_above_the_fee_never_give_back_more(
        self, desk: Desk, data: st.DataObject, fund: int
    ) -> None:
        """P-48, P-50.1: whatever the order, at most the fee comes back; the rest is refused."""
        fee = data.draw(st.integers(1, 3_000))
        amounts = data.draw(st.lists(st.integers(1, 3_000), min_size=1, max_size=4))
        merchant = f"X{next(_numbers)}"
        messages = [hold(merchant, "O1", fee), settle(merchant, "O1")]
        for number, amount in enumerate(amounts):
            give_back = data.draw(st.sampled_from([release, refund]))
            messages.append(give_back(merchant, "O1", amount, f"m{number}"))
        desk.run(open_account(desk.engine, merchant, fund=fund))
        refused = {Code.EXCEEDS_HELD, Code.EXCEEDS_SETTLED, None}
        for message in data.draw(st.permutations(messages)):
            assert desk.apply(message)[0].code in refused
        available, frozen, dues = desk.figures(merchant)
        assert frozen == 0
        assert fund - fee <= available - dues <= fund
