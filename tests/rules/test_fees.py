"""P-41: the fee is the profile's basis points of the price, rounded half up to the minor unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.fees import fee_basis_points, fee_minor, fee_to_return_minor
from tillkeeper.rules.profiles import JD_PREPAID_2023_11 as PROFILE

PRICES = st.integers(min_value=1, max_value=10**15)
BASIS_POINTS = st.sampled_from(PROFILE.fee_basis_points)


class TestFeeBasisPoints:
    @pytest.mark.parametrize(("instalments", "basis_points"), [(1, 50), (6, 300), (24, 1_200)])
    def test_priced_count_is_the_tables(self, instalments: int, basis_points: int) -> None:
        """P-41."""
        assert fee_basis_points(instalments, PROFILE) == basis_points

    @pytest.mark.parametrize("instalments", [-1, 0, 25, 10**9])
    def test_count_outside_the_table_is_refused(self, instalments: int) -> None:
        """P-41: no price is guessed."""
        with pytest.raises(Rejected) as refusal:
            fee_basis_points(instalments, PROFILE)
        assert refusal.value.codes == (Code.INSTALMENTS_NOT_PRICED,)


class TestFeeMinor:
    def test_goods_of_1200_at_300_basis_points_cost_36(self) -> None:
        """P-41: goods price 1,200.00 and interest fee 36.00."""
        assert fee_minor(1_200_00, 300) == 36_00

    @pytest.mark.parametrize(
        ("gross", "basis_points", "fee"),
        [(100, 50, 1), (99, 50, 0), (300, 50, 2), (299, 50, 1), (1, 1_200, 0), (10_000, 50, 50)],
    )
    def test_half_is_rounded_up(self, gross: int, basis_points: int, fee: int) -> None:
        """C-01: 0.5 fen becomes one fen, 0.495 none."""
        assert fee_minor(gross, basis_points) == fee

    @given(PRICES, BASIS_POINTS)
    def test_any_price_is_within_half_a_minor_unit(self, gross: int, basis_points: int) -> None:
        """C-01."""
        assert abs(2 * (fee_minor(gross, basis_points) * 10_000 - gross * basis_points)) <= 10_000


class TestFeeToReturnMinor:
    def test_half_of_the_goods_gives_back_half(self) -> None:
        """P-48: held 36.00; half of the goods returned, fee to return 18.00."""
        back = fee_to_return_minor(
            1_200_00, returned_before_minor=0, returned_now_minor=600_00, basis_points=300
        )
        assert back == 18_00

    @given(st.lists(st.integers(min_value=1, max_value=10**12), min_size=1), BASIS_POINTS)
    def test_all_parts_together_give_back_exactly_what_was_held(
        self, parts: list[int], basis_points: int
    ) -> None:
        """P-48: partial returns never exceed the fee and leave nothing behind."""
        gross, before, given_back = sum(parts), 0, 0
        for part in parts:
            back = fee_to_return_minor(
                gross,
                returned_before_minor=before,
                returned_now_minor=part,
                basis_points=basis_points,
            )
            assert back >= 0
            before, given_back = before + part, given_back + back
            assert given_back <= fee_minor(gross, basis_points)
        assert given_back == fee_minor(gross, basis_points)
