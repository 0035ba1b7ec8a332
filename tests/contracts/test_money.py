"""C-01 and the money lines of bad input: refused with a code, never rounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tillkeeper.contracts.errors import Code, Rejected, rejected_from
from tillkeeper.contracts.money import (
    AMOUNT_MINOR_MAX,
    EXPONENTS,
    AmountMinor,
    Currency,
    format_amount,
    parse_amount,
)

_AMOUNT: TypeAdapter[int] = TypeAdapter(AmountMinor)
_CURRENCY: TypeAdapter[str] = TypeAdapter(Currency)


def _code(adapter: TypeAdapter[int] | TypeAdapter[str], json: str) -> Code:
    with pytest.raises(ValidationError) as error:
        adapter.validate_json(json)
    return rejected_from(error.value).codes[0]


class TestAmountMinor:
    @pytest.mark.parametrize(
        ("json", "code"),
        [
            ("1.0", Code.AMOUNT_NOT_INTEGER),
            ("1e3", Code.AMOUNT_NOT_INTEGER),
            ('"1"', Code.AMOUNT_NOT_INTEGER),
            ("true", Code.AMOUNT_NOT_INTEGER),
            ("null", Code.AMOUNT_NOT_INTEGER),
            ("NaN", Code.AMOUNT_NOT_INTEGER),
            ("[1]", Code.AMOUNT_NOT_INTEGER),
            ("0", Code.AMOUNT_NOT_POSITIVE),
            ("-1", Code.AMOUNT_NOT_POSITIVE),
            ("9223372036854775808", Code.AMOUNT_TOO_LARGE),
            ("1000000000000001", Code.AMOUNT_TOO_LARGE),
        ],
    )
    def test_what_is_no_amount_is_refused(self, json: str, code: Code) -> None:
        assert _code(_AMOUNT, json) is code

    def test_the_largest_amount_is_taken(self) -> None:
        assert _AMOUNT.validate_json(str(AMOUNT_MINOR_MAX)) == AMOUNT_MINOR_MAX

    @pytest.mark.parametrize("json", ['"XXX"', '"cny"', '""', "156", '"CNY "'])
    def test_unknown_currency_is_refused(self, json: str) -> None:
        assert _code(_CURRENCY, json) is Code.CURRENCY_UNKNOWN


class TestParseAmount:
    @pytest.mark.parametrize(
        ("text", "currency", "minor"),
        [
            ("0.30", "CNY", 30),
            ("5000", "CNY", 500_000),
            ("5000.0", "CNY", 500_000),
            ("3000.01", "CNY", 300_001),
            ("12", "JPY", 12),
            ("1.234", "KWD", 1_234),
        ],
    )
    def test_amounts_are_read_exactly(self, text: str, currency: str, minor: int) -> None:
        assert parse_amount(text, currency) == minor

    @pytest.mark.parametrize(
        ("text", "currency", "code"),
        [
            ("0.305", "CNY", Code.AMOUNT_TOO_PRECISE),
            ("1.2345", "KWD", Code.AMOUNT_TOO_PRECISE),
            ("12.0", "JPY", Code.AMOUNT_TOO_PRECISE),
            ("0", "CNY", Code.AMOUNT_NOT_POSITIVE),
            ("-5.00", "CNY", Code.AMOUNT_NOT_POSITIVE),
            ("1e3", "CNY", Code.AMOUNT_MALFORMED),
            ("1,000.00", "CNY", Code.AMOUNT_MALFORMED),
            ("05.00", "CNY", Code.AMOUNT_MALFORMED),
            ("５.00", "CNY", Code.AMOUNT_MALFORMED),
            ("", "CNY", Code.AMOUNT_MALFORMED),
            ("NaN", "CNY", Code.AMOUNT_MALFORMED),
            (" 5.00", "CNY", Code.AMOUNT_MALFORMED),
            ("5.00\n", "CNY", Code.AMOUNT_MALFORMED),
            ("92233720368547758.08", "CNY", Code.AMOUNT_TOO_LARGE),
            ("9" * 5_000, "CNY", Code.AMOUNT_MALFORMED),
            ("5.00", "XXX", Code.CURRENCY_UNKNOWN),
        ],
    )
    def test_what_does_not_fit_is_refused(self, text: str, currency: str, code: Code) -> None:
        with pytest.raises(Rejected) as refusal:
            parse_amount(text, currency)
        assert refusal.value.codes == (code,)

    @given(st.integers(1, AMOUNT_MINOR_MAX), st.sampled_from(sorted(EXPONENTS)))
    def test_text_and_minor_units_are_each_others_inverse(self, minor: int, currency: str) -> None:
        """C-01: 0.1 + 0.2 is stored and returned as 0.30."""
        assert parse_amount(format_amount(minor, currency), currency) == minor

    def test_amounts_for_people(self) -> None:
        assert format_amount(-123_456_789, "CNY", grouped=True) == "-1,234,567.89"
        assert format_amount(5, "CNY") == "0.05"
        assert format_amount(-5, "JPY") == "-5"
