"""Withdrawals under kills, in short: what ``make chaos`` does with five hundred of them."""

from __future__ import annotations

import pytest

from tests.chaos.faults import ROUND, fault_order
from tests.chaos.run import Plan, perform


class TestChaos:
    @pytest.mark.timeout(1_200)
    async def test_thirty_withdrawals_under_a_kill_a_second_equal_the_banks_book(self) -> None:
        """I1 … I7, I12: nothing lost, nothing paid twice, with every fault of the bank on."""
        report = await perform(Plan(withdrawals=30, seed=4), print)
        assert report.wrong == []
        assert sum(report.outcomes.values()) == 30
        assert sum(report.kills.values()) >= 30


class TestFaults:
    def test_the_same_seed_takes_the_same_parts_in_the_same_order(self) -> None:
        orders = [fault_order(4), fault_order(4)]
        first, second = ([next(order) for _ in range(60)] for order in orders)
        assert first == second
        assert sorted(first[:20]) == sorted(ROUND)
