"""A stateful model of the book: plain Python decides beside PostgreSQL, step by step (I13, L2).

200 runs of 50 steps; each run works on merchants of its own in one database, and the verifier reads
all of them at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from ledger.verify import verify
from tests.ledger.support import (
    Desk,
    hold,
    open_account,
    refund,
    release,
    settle,
    topup_requests,
)
from tests.stack import Database
from tillkeeper.contracts.order import OrderEvent, OrderMessage

ORDERS = [f"O{n}" for n in range(6)]
AMOUNTS = st.sampled_from([1, 2, 50, 99, 100, 101, 250, 1_000])


@dataclass
class ModelOrder:
    """Where one order stands, as a person would keep it on paper."""

    fee: int | None = None
    held: int = 0
    dues: int = 0
    settled: int = 0
    complete: bool = False
    waiting: list[tuple[OrderEvent, int]] = field(default_factory=list)


class ModelTill:
    """The executable model: sums and lists only, no code of ours."""

    def __init__(self) -> None:
        self.available = 0
        self.orders = {name: ModelOrder() for name in ORDERS}
        self.due: list[ModelOrder] = []
        self.seen: set[tuple[str, str]] = set()

    def credit(self, amount: int) -> None:
        self.available += amount
        for order in self.due:
            paid = min(amount, order.dues)
            amount -= paid
            self.available -= paid
            order.dues -= paid
            if order.complete:
                order.settled += paid
            else:
                order.held += paid
        self.due = [order for order in self.due if order.dues]

    def hear(self, message: OrderMessage) -> None:
        name = message.message_id or message.event.value
        if (message.order, name) in self.seen:
            return
        self.seen.add((message.order, name))
        order = self.orders[message.order]
        if message.event is OrderEvent.HOLD:
            self._hold(order, message.amount_minor or 0)
        elif message.event is OrderEvent.SETTLE:
            order.complete = True
            self._finish(order)
        else:
            self._give_back(order, message.event, message.amount_minor or 0)

    def _hold(self, order: ModelOrder, fee: int) -> None:
        order.fee = fee
        if fee <= self.available:
            self.available -= fee
            order.held = fee
        else:
            order.dues = fee
            self.due.append(order)
        complete, order.complete = order.complete, False
        for event, amount in [w for w in order.waiting if w[0] is OrderEvent.RELEASE]:
            order.waiting.remove((event, amount))
            # A release that waited for the hold is judged as one that came after the completion.
            order.complete = complete
            self._give_back(order, event, amount)
        order.complete = complete
        if complete:
            self._finish(order)

    def _finish(self, order: ModelOrder) -> None:
        if order.fee is None:
            return
        order.settled += order.held
        order.held = 0
        waiting, order.waiting = order.waiting, []
        for event, amount in waiting:
            self._give_back(order, event, amount)

    def _give_back(self, order: ModelOrder, event: OrderEvent, amount: int) -> None:
        early = order.fee is None or (event is OrderEvent.REFUND and not order.complete)
        if early:
            order.waiting.append((event, amount))
            return
        pot = order.held + order.settled + order.dues
        if amount > pot:
            return
        cancelled = min(order.dues, amount)
        order.dues -= cancelled
        from_held = min(order.held, amount - cancelled)
        order.held -= from_held
        order.settled -= amount - cancelled - from_held
        self.due = [o for o in self.due if o.dues]
        if amount > cancelled:
            self.credit(amount - cancelled)

    def figures(self) -> tuple[int, int, int]:
        orders = self.orders.values()
        return self.available, sum(o.held for o in orders), sum(o.dues for o in orders)


class BookMachine(RuleBasedStateMachine):
    """Drives the real book and the model with the same messages."""

    desk: ClassVar[Desk]
    numbers: ClassVar[Iterator[int]] = itertools.count()

    @initialize(fund=st.integers(0, 1_500))
    def open(self, fund: int) -> None:
        self.merchant = f"M{next(self.numbers)}"
        self.model = ModelTill()
        self.sent: list[OrderMessage] = []
        self.topups = itertools.count(2)
        self.desk.run(open_account(self.desk.engine, self.merchant, fund=fund))
        self.model.credit(fund)

    def _send(self, *messages: OrderMessage) -> None:
        self.sent += messages
        self.desk.apply(*messages)
        for message in messages:
            self.model.hear(message)

    @rule(order=st.sampled_from(ORDERS))
    def place(self, order: str) -> None:
        # The fee belongs to the order, so that a repetition is one.
        self._send(hold(self.merchant, order, 100 * (ORDERS.index(order) + 1)))

    @rule(order=st.sampled_from(ORDERS))
    def complete(self, order: str) -> None:
        self._send(settle(self.merchant, order))

    @rule(order=st.sampled_from(ORDERS), amount=AMOUNTS)
    def release(self, order: str, amount: int) -> None:
        self._send(release(self.merchant, order, amount, f"r{len(self.sent)}"))

    @rule(order=st.sampled_from(ORDERS), amount=AMOUNTS)
    def refund(self, order: str, amount: int) -> None:
        self._send(refund(self.merchant, order, amount, f"x{len(self.sent)}"))

    @rule(amount=AMOUNTS)
    def top_up(self, amount: int) -> None:
        requests = topup_requests(self.merchant, amount, next(self.topups))
        self.desk.run(self.desk.book.post(requests))
        again = self.desk.run(self.desk.book.post(requests))
        assert all(outcome.replayed for outcome in again)
        self.model.credit(amount)

    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        if self.sent:
            again = data.draw(st.lists(st.sampled_from(self.sent), max_size=4))
            before = self.desk.figures(self.merchant)
            if again:
                outcomes = self.desk.apply(*again)
                assert all(o.replayed or o.code is not None for o in outcomes)
            assert self.desk.figures(self.merchant) == before

    @rule(orders=st.permutations(ORDERS), amount=AMOUNTS)
    def batch(self, orders: list[str], amount: int) -> None:
        messages = []
        for number, order in enumerate(orders[:3]):
            messages.append(hold(self.merchant, order, 100 * (ORDERS.index(order) + 1)))
            messages.append(release(self.merchant, order, amount, f"b{len(self.sent)}-{number}"))
        self._send(*messages, settle(self.merchant, orders[0]))

    @invariant()
    def balances_equal_the_model(self) -> None:
        if hasattr(self, "model"):
            assert self.desk.figures(self.merchant) == self.model.figures()


@pytest.mark.timeout(400)
def test_book_equals_the_model_in_200_runs_of_50_steps(database: Database) -> None:
    """C-02 … C-04, C-09, P-44 … P-50.1 together."""
    desk = Desk(database.app_url)
    BookMachine.desk = desk
    try:
        run_machine(
            BookMachine,
            settings=settings(
                max_examples=200,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        found = desk.run(verify(desk.engine))
        assert found.broken is None
    finally:
        desk.close()
