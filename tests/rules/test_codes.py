"""Reference codes: the same for ever, found however banks write them, wrong ones ignored (P-25)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.rules.codes import codes_in, reference_code

CODE = reference_code("M1", "R1")
LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


class TestReferenceCode:
    def test_a_request_has_one_code_for_ever(self) -> None:
        """P-25: merchants have written it down."""
        assert CODE == "TKTSKZDXDG"

    @given(st.tuples(st.text(), st.text()))
    def test_every_code_is_ten_characters_and_found_again(self, names: tuple[str, str]) -> None:
        """P-25."""
        code = reference_code(*names)
        assert len(code) == 10
        assert codes_in(code) == (code,)

    def test_other_requests_have_other_codes(self) -> None:
        """P-25, P-32."""
        codes = {reference_code(f"M{m}", f"R{r}") for m in range(100) for r in range(100)}
        assert len(codes) == 10_000


class TestCodesIn:
    @pytest.mark.parametrize(
        "text",
        [
            CODE,
            f"充值{CODE}货款",
            CODE.lower(),
            f"top-up {CODE[:4]} {CODE[4:7]}-{CODE[7:]}, thanks",
            f"{CODE[:5]}\n{CODE[5:]}",
            f"{CODE[:3]}\r\n {CODE[3:]}",
            "".join(chr(ord(c) + 0xFEE0) for c in CODE),
            "\u200b".join(CODE),
            f"/ROC/{CODE}//INV 2024-05",
            f"TK{CODE}",
            f"{CODE} {CODE}",
        ],
    )
    def test_width_case_spaces_and_breaks_do_not_count(self, text: str) -> None:
        """P-25."""
        assert codes_in(text) == (CODE,)

    def test_several_codes_come_in_their_order(self) -> None:
        """P-25."""
        other = reference_code("M2", "R1")
        assert codes_in(f"{other}, {CODE}") == (other, CODE)

    @pytest.mark.parametrize("text", ["", "TK", CODE[:-1], f"{CODE[:5]}款{CODE[5:]}", "invoice 7"])
    def test_what_is_no_code_is_none(self, text: str) -> None:
        """P-25."""
        assert codes_in(text) == ()

    @given(st.integers(2, 9), st.sampled_from(LETTERS))
    def test_one_wrong_character_is_no_code(self, place: int, letter: str) -> None:
        """P-25: the check character."""
        wrong = CODE[:place] + letter + CODE[place + 1 :]
        assert (CODE in codes_in(wrong)) == (wrong == CODE)
        assert wrong == CODE or codes_in(wrong) == ()

    @given(st.integers(2, 7), st.tuples(st.text(), st.text()))
    def test_two_characters_that_changed_places_are_no_code(
        self, place: int, names: tuple[str, str]
    ) -> None:
        """P-25: the check character."""
        code = reference_code(*names)
        wrong = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
        assert wrong == code or codes_in(wrong) == ()

    @given(st.text())
    def test_any_text_is_read(self, text: str) -> None:
        """P-25."""
        assert all(len(code) == 10 for code in codes_in(text))
