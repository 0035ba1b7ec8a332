"""Crossings with the rules' figures: P-52, P-55, P-59, Q-01 … Q-03."""

from __future__ import annotations

import pytest

from tillkeeper.rules.guard import Threshold, crossings, thresholds
from tillkeeper.rules.profiles import JD_PREPAID_2023_11

DEFAULT = thresholds(None, None, JD_PREPAID_2023_11)
HIGH = thresholds(500_000, None, JD_PREPAID_2023_11)


class TestCrossings:
    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            (102_000, 98_400, [Threshold.WARNING, Threshold.SUSPEND_BELOW]),
            (103_600, 100_000, []),
            (100_000, 99_999, [Threshold.WARNING, Threshold.SUSPEND_BELOW]),
            (20_000, 19_999, [Threshold.HARD_FLOOR]),
            (20_001, 20_000, []),
            (99_999, 100_000, []),
            (100_000, 100_001, [Threshold.RESUME_ABOVE]),
            (100_001, 200_000, []),
            (98_400, 90_000, []),
        ],
    )
    def test_default_lines(self, before: int, after: int, expected: list[Threshold]) -> None:
        """P-52: 984.00 suspends, 1,000.00 does not, 199.99 is the hard floor; P-55: > 1,000.00."""
        assert crossings(before, after, DEFAULT) == expected

    def test_higher_warning_moves_the_resume_line(self) -> None:
        """P-55, Q-02: warning 5,000.00: 3,000.00 still suspended, 5,000.01 resumes."""
        assert crossings(90_000, 300_000, HIGH) == []
        assert crossings(300_000, 500_000, HIGH) == []
        assert crossings(300_000, 500_001, HIGH) == [Threshold.RESUME_ABOVE]

    def test_warning_alone_at_its_equality(self) -> None:
        """P-59 with a warning of 3,000.00: 2,999.99 alerts, 3,000.00 does not."""
        lines = thresholds(300_000, None, JD_PREPAID_2023_11)
        assert crossings(300_001, 300_000, lines) == []
        assert crossings(300_000, 299_999, lines) == [Threshold.WARNING]
