"""Which lumps are sums of pieces that are known, and when that is proven (P-26, C-09)."""

from __future__ import annotations

import random
import time
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.rules.lumps import STEPS_MAX, Work, explain, makes_up

CHOICE = random.Random(20240506)  # noqa: S311 - amounts, not secrets
MANY = [CHOICE.randrange(1, 10**9) for _ in range(200)]


class TestProven:
    @pytest.mark.parametrize(
        ("lumps", "pieces", "known"),
        [
            ([800], [500, 300], {0: {0, 1}}),
            ([800, 7], [500, 300], {0: {0, 1}}),
            ([800], [500, 300, 70], {0: {0, 1}}),
            ([500, 500], [200, 300, 500], {0: {0, 1, 2}, 1: set()}),
            ([500, 500], [500, 500], {0: {0}, 1: {1}}),
            ([300, 300], [300, 300, 70], {0: {0}, 1: {1}}),
            ([700, 100], [500, 300], {}),
            ([], [500], {}),
            ([500], [], {}),
        ],
    )
    def test_one_choice_of_pieces_explains_a_lump(
        self, lumps: list[int], pieces: list[int], known: dict[int, set[int]]
    ) -> None:
        """C-09: what is left over does not hide it, and equal pieces that all go do not either."""
        found = explain(lumps, pieces)
        assert ({n: set(some) for n, some in found.pieces.items()}, found.doubtful) == (
            known, frozenset(),
        )  # fmt: skip

    def test_more_than_can_be_tried_is_proven_by_totals_and_equal_amounts(self) -> None:
        """P-26: one lump, two lumps, and each piece told again under another reference."""
        assert explain([sum(MANY)], MANY).pieces == {0: tuple(range(len(MANY)))}
        both = explain([sum(MANY[:90]), sum(MANY[90:])], MANY)
        assert sum(map(len, both.pieces.values())) == len(MANY)
        assert len(explain([*MANY, 7], [*MANY, 5]).pieces) == len(MANY)
        assert 2 ** len(MANY) > STEPS_MAX

    def test_lump_of_all_pieces_is_found_beside_another(self) -> None:
        """P-26: beyond what is tried the total decides, where one lump alone is it."""
        assert set(explain([sum(MANY), 7], MANY).pieces) == {0}
        assert explain([sum(MANY), sum(MANY)], MANY).pieces == {}


class TestDoubt:
    @pytest.mark.parametrize(
        ("lumps", "pieces", "doubtful"),
        [
            ([600], [300, 300, 300], {0}),
            ([300, 300], [300, 300, 300], {0, 1}),
            ([500], [200, 300, 500], {0}),
            ([800, 500], [500, 300], {0, 1}),
            ([500, 300, 800], [500, 300], {0, 1, 2}),
            ([500, 500], [500], {0, 1}),
            ([800, 500, 900, 70], [500, 300, 70, 400], {0, 1, 2}),
        ],
    )
    def test_other_pieces_that_could_be_meant_prove_nothing(
        self, lumps: list[int], pieces: list[int], doubtful: set[int]
    ) -> None:
        """C-09: the piece that is left over may be the one."""
        found = explain(lumps, pieces)
        assert set(found.pieces).isdisjoint(doubtful)
        assert found.doubtful == doubtful


class TestAnyAmounts:
    @given(st.lists(st.integers(1, 12), max_size=3), st.lists(st.integers(1, 6), max_size=6))
    def test_explained_is_the_only_choice_or_all(self, lumps: list[int], pieces: list[int]) -> None:
        """C-09: each piece is used once; where some are left, nothing else explains as much."""
        found = explain(lumps, pieces)
        used = [place for some in found.pieces.values() for place in some]
        assert len(used) == len(set(used))
        assert sum(lumps[n] for n in found.pieces) == sum(pieces[place] for place in used)
        assert not found.doubtful & set(found.pieces)
        if len(found.pieces) == len(lumps) and len(used) == len(pieces):
            return
        for n in found.pieces:
            assert all(way <= set(used) for way in _ways(lumps[n], pieces))
        for n in set(range(len(lumps))) - set(found.pieces):
            assert (n in found.doubtful) == bool(_ways(lumps[n], pieces))

    @given(st.integers(1, 12), st.lists(st.integers(1, 6), max_size=6))
    def test_pieces_that_make_a_lump_up_are_found(self, lump: int, pieces: list[int]) -> None:
        """P-26: any of the choices, where there is one."""
        found = makes_up(lump, pieces)
        assert (found is None) == (not _ways(lump, pieces))
        if found is not None:
            assert len(found) == len(set(found))
            assert sum(pieces[place] for place in found) == lump


class TestWork:
    @pytest.mark.parametrize(
        ("lumps", "pieces"),
        [
            ([100] * 5_000, [100] * 5_000),
            ([100] * 10_000, [100] * 5_000),
            ([10**6 + 1], [100] * 5_000),
            ([10**6 + 1] * 2 + [100] * 400, [100] * 400),
            ([10**12], list(range(1, 5_000))),
            (MANY * 25, [one + 1 for one in MANY] * 25),
        ],
    )
    def test_any_number_of_amounts_takes_bounded_work(
        self, lumps: list[int], pieces: list[int]
    ) -> None:
        """P-26: hostile files state anything."""
        work = Work()
        before, began = work.left, time.process_time()
        explain(lumps, pieces, work)
        assert before - work.left <= STEPS_MAX
        assert time.process_time() - began < 2

    def test_work_that_is_done_leaves_equal_amounts_and_totals(self) -> None:
        """P-26: one budget for all that is asked together."""
        assert explain([800], [500, 300], Work(0)).pieces == {0: (0, 1)}
        assert explain([800], [500, 300, 70], Work(0)).doubtful == {0}


def _ways(lump: int, pieces: list[int]) -> list[set[int]]:
    places = range(len(pieces))
    return [
        set(way) for size in places for way in combinations(places, size + 1)
        if sum(pieces[place] for place in way) == lump
    ]  # fmt: skip
