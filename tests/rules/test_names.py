"""When two company names are one, and what views show of a name or number (P-05, P-21, C-11)."""

from __future__ import annotations

import pytest

from tillkeeper.rules.names import masked_name, masked_number, same_company


class TestSameCompany:
    @pytest.mark.parametrize(
        ("left", "right"),
        [
            ("甲乙贸易(北京)有限公司", "甲乙贸易（北京）有限公司"),
            ("甲乙贸易〔北京〕有限公司", "甲乙贸易(北京)有限公司"),
            ("甲乙 贸易 有限公司", "甲乙贸易有限公司"),
            ("甲乙贸易　有限公司", "甲乙贸易有限公司"),
            ("ＡＢＣ贸易", "abc贸易"),
            ("Acme Trading", "ACME  trading"),
            ("甲乙\u200b贸易\ufeff有限公司", "甲乙贸易有限公司"),
            ("甲·乙贸易", "甲・乙贸易"),
            ("甲·乙贸易", "甲･乙贸易"),
        ],
    )
    def test_width_space_bracket_and_case_do_not_matter(self, left: str, right: str) -> None:
        """P-21."""
        assert same_company(left, right)

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            ("甲乙贸易有限公司", "甲乙贸易公司"),
            ("甲乙贸易有限公司", "丙丁商贸有限公司"),
            ("甲乙贸易(北京)有限公司", "甲乙贸易北京有限公司"),
        ],
    )
    def test_another_name_is_another_company(self, left: str, right: str) -> None:
        """P-05, P-21, with the rules' own names."""
        assert not same_company(left, right)


class TestMasking:
    @pytest.mark.parametrize(
        ("number", "shown"),
        [("6225880212341234", "****1234"), ("6225 8802 1234 1234", "****1234"), ("1234", "****")],
    )
    def test_a_number_shows_its_last_four(self, number: str, shown: str) -> None:
        """C-11."""
        assert masked_number(number) == shown

    def test_a_name_shows_its_first_character(self) -> None:
        """C-11."""
        assert masked_name("甲乙贸易有限公司") == "甲***"
