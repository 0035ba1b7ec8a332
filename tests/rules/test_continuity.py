"""Opening + entries = closing, and the next opening is the last closing (issue 3, C-14)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillkeeper.rules.continuity import Stated, chain, difference, gaps

DAY = date(2024, 5, 6)


def stated(number: int, day: int, opening: int, closing: int) -> Stated:
    return Stated(number, DAY + timedelta(days=day), opening, closing)


class TestDifference:
    @pytest.mark.parametrize(
        ("opening", "entries", "closing", "missing"),
        [(0, 100, 100, 0), (100, -100, 0, 0), (-50, 20, -30, 0), (0, 100, 101, 1), (0, 1, 0, -1)],
    )
    def test_opening_and_entries_make_the_closing(
        self, opening: int, entries: int, closing: int, missing: int
    ) -> None:
        """C-14: to the fen, overdrawn accounts too."""
        assert difference(opening, entries, closing) == missing


class TestGaps:
    def test_nothing_and_one_statement_have_none(self) -> None:
        """Issue 3: the first statement follows nothing."""
        assert gaps([]) == ()
        assert gaps([stated(1, 0, 77, 99)]) == ()

    def test_a_gap_is_named_by_the_day_that_does_not_join(self) -> None:
        """Issue 3."""
        [gap] = gaps([stated(3, 4, 150, 160), stated(1, 0, 0, 100), stated(2, 1, 100, 120)])
        assert (gap.day, gap.missing) == (DAY + timedelta(days=4), 30)
        assert (gap.before.id, gap.after.id) == (2, 3)

    def test_days_without_a_statement_are_no_gap_while_nothing_moved(self) -> None:
        """Issue 3: banks do not work on Sundays."""
        assert gaps([stated(1, 0, 0, 100), stated(2, 30, 100, 90)]) == ()

    def test_two_pages_of_one_day_join(self) -> None:
        """Issue 3: whichever is known first."""
        pages = [stated(1, 0, 100, 70), stated(2, 0, 0, 100), stated(3, 1, 70, 70)]
        assert gaps(pages) == ()
        assert [one.id for one in chain(pages)] == [2, 1, 3]

    def test_there_and_back_on_one_day_joins_both_neighbours(self) -> None:
        """Issue 3: balances that are passed more than once."""
        day = [stated(1, 0, 0, 5), stated(2, 1, 5, 9), stated(3, 1, 9, 5), stated(4, 1, 5, 7),
               stated(5, 1, 7, 7), stated(6, 2, 7, 8)]  # fmt: skip
        assert gaps(day) == ()

    def test_a_round_trip_begins_where_the_day_before_ended(self) -> None:
        """Issue 3."""
        assert gaps([stated(1, 0, 0, 5), stated(2, 1, 3, 5), stated(3, 1, 5, 3)]) == ()
        first = [stated(1, 0, 3, 5), stated(2, 0, 5, 3), stated(3, 1, 5, 9)]
        assert gaps(first) == ()

    def test_a_missing_page_is_one_gap(self) -> None:
        """Issue 3."""
        [gap] = gaps([stated(1, 0, 0, 10), stated(2, 1, 20, 30), stated(3, 1, 10, 15)])
        assert (gap.before.id, gap.after.id, gap.missing) == (3, 2, 5)

    def test_a_statement_that_contradicts_is_seen(self) -> None:
        """Issue 3: a second one of the same days with other balances."""
        found = gaps([stated(1, 0, 0, 10), stated(2, 1, 10, 20), stated(3, 1, 10, 25)])
        assert len(found) == 1


@st.composite
def accounts(draw: st.DrawFn) -> list[Stated]:
    """A whole account: some statements a day, small balances so that they repeat."""
    balance = 0
    made: list[Stated] = []
    for day in range(draw(st.integers(1, 5))):
        for _ in range(draw(st.integers(0, 5))):
            after = draw(st.integers(-2, 2))
            made.append(stated(len(made) + 1, day, balance, after))
            balance = after
    return made


class TestAnyOrder:
    @settings(max_examples=500, deadline=None)
    @given(accounts(), st.randoms(use_true_random=False))
    def test_a_whole_account_has_no_gap_in_any_order(
        self, made: list[Stated], choice: Random
    ) -> None:
        """Issue 3, C-09: statements and their ids in any order."""
        ids = [one.id for one in made]
        choice.shuffle(ids)
        shuffled = [replace(one, id=place) for one, place in zip(made, ids, strict=True)]
        choice.shuffle(shuffled)
        found = chain(shuffled)
        assert sorted(one.id for one in found) == sorted(ids)
        assert gaps(shuffled) == ()

    @given(st.lists(st.integers(-10, 10), min_size=2, max_size=8, unique=True), st.data())
    def test_what_is_left_out_is_one_gap(self, balances: list[int], data: st.DataObject) -> None:
        """Issue 3: one statement a day; put in again it is none."""
        made = [
            stated(day, day, before, after)
            for day, (before, after) in enumerate(pairwise(balances))
        ]
        assert gaps(data.draw(st.permutations(made))) == ()
        if len(made) > 2:
            left_out = data.draw(st.integers(1, len(made) - 2))
            rest = [one for one in made if one.id != left_out]
            [gap] = gaps(data.draw(st.permutations(rest)))
            assert gap.after.id == left_out + 1
