"""Statements that overlap tell the same money; that follow each other, other money (P-26)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tillkeeper.rules.likeness import Known
from tillkeeper.rules.overlap import cut
from tillkeeper.rules.sameness import Identity, Movement

DAY = date(2024, 5, 6)


def on(day: int) -> date:
    return DAY + timedelta(days=day)


def stated(first: int, last: int, opening: int, closing: int, number: str = "1") -> Identity:
    return Identity("camt.053", None, number, opening, on(first), closing, on(last))


def move(signed: int, day: int = 0, reference: str | None = None) -> Movement:
    return Movement(signed, on(day), True, reference)


D0 = Known(stated(0, 0, 0, 100, "D0"), [move(100)])
D1 = Known(stated(1, 1, 100, 200, "D1"), [move(100, 1)])
D2 = Known(stated(2, 2, 200, 300, "D2"), [move(60, 2), move(40, 2)])


def new(identity: Identity, told: list[Movement], *known: Known) -> list[int]:
    found = cut(identity, told, known)
    return [told[n].signed for n, one in enumerate(found.found) if one is None]


class TestCut:
    def test_days_are_known_by_the_week_and_the_week_by_its_days(self) -> None:
        """P-26: equal amounts on days in a row, each once."""
        week, told = stated(0, 1, 0, 200, "W"), [move(100), move(100, 1)]
        assert new(week, told, D0, D1) == []
        assert new(D1.identity, [move(100, 1)], Known(week, told)) == []

    def test_a_missing_day_is_cut_out_and_joins(self) -> None:
        """P-26, C-14."""
        told = [move(100), move(100, 1), move(100, 2)]
        found = cut(stated(0, 2, 0, 300), told, [D0, D2])
        [run] = found.runs
        assert (run.places, run.identity.opening, run.identity.closing) == ([1], 100, 200)

    def test_a_batch_cut_otherwise_is_known(self) -> None:
        """P-26: where the chain adds up."""
        assert new(stated(1, 2, 100, 300), [move(100, 1), move(100, 2)], D1, D2) == []

    def test_partial_overlap_is_cut_at_the_day(self) -> None:
        """P-26: what does not match is new."""
        known = Known(stated(0, 1, 0, 200, "W"), [move(100), move(100, 1)])
        found = cut(stated(1, 2, 100, 250), [move(100, 1), move(50, 2)], [known])
        [run] = found.runs
        assert (run.places, run.identity.opening, run.identity.closing) == ([1], 200, 250)

    def test_what_contradicts_the_balances_is_new(self) -> None:
        """P-26: booked, and continuity shows the gap."""
        assert new(stated(1, 1, 500, 600, "X"), [move(100, 1)], D0, D2) == [100]

    @pytest.mark.parametrize("reference", [None, "B"])
    def test_pages_of_one_day_are_separate_money(self, reference: str | None) -> None:
        """P-26: there and back and there again; following on with equal amounts."""
        first = Known(stated(0, 0, 0, 100, "1"), [move(100, 0, reference and "A")])
        back = Known(stated(0, 0, 100, 0, "2"), [move(-100, 0, reference and "C")])
        again = [move(100, 0, reference)]
        assert new(stated(0, 0, 0, 100, "3"), again, first, back) == [100]
        assert new(stated(0, 0, 100, 200, "2"), again, first) == [100]

    def test_a_loop_of_one_day_is_known_only_by_its_references(self) -> None:
        """P-26: 0 to 0 again could be the next page."""
        for reference, fresh in (("R", []), (None, [5, -5])):
            told = [move(5, 0, reference), move(-5, 0, reference)]
            pages = [Known(stated(0, 0, 0, 5, "1"), told[:1]),
                     Known(stated(0, 0, 5, 0, "2"), told[1:])]  # fmt: skip
            assert new(stated(0, 0, 0, 0, "3"), told, *pages) == fresh

    def test_the_day_is_known_by_its_pages(self) -> None:
        """P-26."""
        pages = [Known(stated(0, 0, 0, 5, "1"), [move(5)]), Known(stated(0, 0, 5, 9), [move(4)])]
        assert new(stated(0, 0, 0, 9, "D"), [move(5), move(4)], *pages) == []
        assert new(stated(0, 0, 0, 9, "D"), [move(5), move(4)], pages[0]) == [4]
        day = Known(stated(0, 0, 0, 9, "D"), [move(5), move(4)])
        assert new(stated(0, 0, 5, 9, "2"), [move(4)], day) == []

    def test_a_page_that_holds_a_batch_leaves_the_rest_of_it_to_the_next(self) -> None:
        """P-26: of 8 it stated 5; the page that tells the other 3 is a statement of its own."""
        page = Known(stated(0, 0, 0, 5, "1"), [move(5, 0, "A"), move(3, 0, "B")])
        assert new(stated(0, 0, 5, 8, "2"), [move(3, 0, "B")], page) == [3]
        assert new(stated(0, 0, 0, 8, "D"), [move(5, 0, "A"), move(3, 0, "B")], page) == []
