"""One function cuts days; Asia/Shanghai unless the profile says otherwise (F17, B23)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.days import day_bounds, day_of

ZONES = ["Asia/Shanghai", "UTC", "America/Sao_Paulo", "Europe/London", "Pacific/Apia",
         "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu"]  # fmt: skip


class TestDayOf:
    def test_day_changes_at_midnight_in_shanghai(self) -> None:
        assert day_of(datetime(2024, 5, 5, 15, 59, 59, tzinfo=UTC)) == date(2024, 5, 5)
        assert day_of(datetime(2024, 5, 5, 16, 0, 0, tzinfo=UTC)) == date(2024, 5, 6)

    def test_naive_time_and_unknown_zone_are_refused(self) -> None:
        with pytest.raises(Rejected) as refusal:
            day_of(datetime(2024, 5, 5))  # noqa: DTZ001
        assert refusal.value.codes == (Code.TIME_NAIVE,)
        for name in ("Mars/Olympus", "../etc/passwd", ""):
            with pytest.raises(Rejected) as refusal:
                day_of(datetime(2024, 5, 5, tzinfo=UTC), name)
            assert refusal.value.codes == (Code.FIELD_INVALID,)


class TestDayBounds:
    @given(st.dates(date(1971, 1, 1), date(2199, 1, 1)), st.sampled_from(ZONES))
    def test_days_follow_each_other_without_gap_or_overlap(self, day: date, zone: str) -> None:
        first, after = day_bounds(day, zone)
        assert after == day_bounds(day + timedelta(days=1), zone)[0]
        assert timedelta(0) <= after - first <= timedelta(hours=25)
        if after > first:
            assert day_of(first, zone) == day
            assert day_of(after - timedelta(microseconds=1), zone) == day

    def test_clock_change_makes_23_and_25_hours(self) -> None:
        for day, hours in ((date(2024, 3, 31), 23), (date(2024, 10, 27), 25)):
            first, after = day_bounds(day, "Europe/London")
            assert after - first == timedelta(hours=hours)
