"""Which lumps are sums of pieces that are known, and when that is proven (P-26, C-09)."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.rules.lumps import SUMS_MAX, explain

CHOICE = random.Random(20240506)  # noqa: S311 - amounts, not secrets
MANY = [CHOICE.randrange(1, 10**9) for _ in range(200)]


class TestProven:
    @pytest.mark.parametrize(
        ("lumps", "pieces", "known"),
        [
            ([800], [500, 300], {0: {0, 1}}),
            ([800, 7], [500, 300], {0: {0, 1}}),
            ([800], [500, 300, 70], {0: {0, 1}}),
            ([800, 500], [500, 300], {0: {0, 1}}),
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
        assert 2 ** len(MANY) > SUMS_MAX


class TestDoubt:
    @pytest.mark.parametrize(
        ("lumps", "pieces", "doubtful"),
        [
            ([600], [300, 300, 300], {0}),
            ([300, 300], [300, 300, 300], {0, 1}),
            ([500], [200, 300, 500], {0}),
        ],
    )
    def test_other_pieces_that_could_be_meant_prove_nothing(
        self, lumps: list[int], pieces: list[int], doubtful: set[int]
    ) -> None:
        """C-09: the piece that is left over may be the one."""
        assert explain(lumps, pieces).pieces == {}
        assert explain(lumps, pieces).doubtful == doubtful


class TestAnyAmounts:
    @given(st.lists(st.integers(1, 12), max_size=3), st.lists(st.integers(1, 6), max_size=6))
    def test_proven_pieces_are_the_only_choice(self, lumps: list[int], pieces: list[int]) -> None:
        """C-09: no other pieces explain as much where some are left over; each is used once."""
        found = explain(lumps, pieces)
        used = [place for some in found.pieces.values() for place in some]
        assert len(used) == len(set(used))
        for n, some in found.pieces.items():
            assert sum(pieces[place] for place in some) == lumps[n]
        if not found.pieces or len(used) == len(pieces):
            return
        places = range(len(pieces))
        for n in found.pieces:
            ways = [
                set(way) for size in places for way in combinations(places, size + 1)
                if sum(pieces[place] for place in way) == lumps[n]
            ]  # fmt: skip
            assert all(way <= set(used) for way in ways)
