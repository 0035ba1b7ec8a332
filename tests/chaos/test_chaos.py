"""The schedule of faults is drawn from the seed alone; the run itself is ``make chaos``."""

from __future__ import annotations

from tests.chaos.faults import ROUND, fault_order


class TestFaults:
    def test_the_same_seed_takes_the_same_parts_in_the_same_order(self) -> None:
        orders = [fault_order(4), fault_order(4)]
        first, second = ([next(order) for _ in range(60)] for order in orders)
        assert first == second
        assert sorted(first[:20]) == sorted(ROUND)
