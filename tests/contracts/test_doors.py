"""Strict at the door, tolerant in a history; a refusal has a code and repeats no value (4.5)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tillkeeper.contracts.base import at_the_door, json_at_the_door
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.topup import TopUpRequest

GOOD = {"merchant": "M1", "request": "R1", "amount_minor": 300_000}


def _codes(**changes: object) -> tuple[Code, ...]:
    with pytest.raises(Rejected) as refusal:
        at_the_door(TopUpRequest, {**GOOD, **changes})
    return refusal.value.codes


class TestDoor:
    def test_good_input_is_read(self) -> None:
        assert at_the_door(TopUpRequest, GOOD).currency == "CNY"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"surprise": 1}, Code.FIELD_UNKNOWN),
            ({"amount_minor": 3000.0}, Code.AMOUNT_NOT_INTEGER),
            ({"amount_minor": 2**63}, Code.AMOUNT_TOO_LARGE),
            ({"amount_minor": None}, Code.AMOUNT_NOT_INTEGER),
            ({"merchant": ""}, Code.ID_MALFORMED),
            ({"merchant": "a" * 65}, Code.ID_MALFORMED),
            ({"merchant": "M1/../M2"}, Code.ID_MALFORMED),
            ({"merchant": "M1\x00"}, Code.ID_MALFORMED),
            ({"merchant": "M1\n"}, Code.ID_MALFORMED),
            ({"merchant": "甲"}, Code.ID_MALFORMED),
            ({"request": 7}, Code.ID_MALFORMED),
            ({"currency": "XXX"}, Code.CURRENCY_UNKNOWN),
            ({"currency": "cny"}, Code.CURRENCY_UNKNOWN),
            ({"method": "wire"}, Code.FIELD_INVALID),
        ],
    )
    def test_bad_input_is_refused_with_its_code(
        self, changes: dict[str, object], code: Code
    ) -> None:
        assert _codes(**changes) == (code,)

    def test_all_reasons_come_at_once(self) -> None:
        assert set(_codes(merchant="", amount_minor=0, surprise=1)) == {
            Code.ID_MALFORMED, Code.AMOUNT_NOT_POSITIVE, Code.FIELD_UNKNOWN,
        }  # fmt: skip

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{" * 10_000, "\ud800"])
    def test_json_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(Rejected):
            json_at_the_door(TopUpRequest, text.encode(errors="surrogatepass"))

    def test_refusal_repeats_no_value(self) -> None:
        with pytest.raises(Rejected) as refusal:
            at_the_door(TopUpRequest, {**GOOD, "merchant": "6222 0210 0111 2233 445"})
        assert "6222" not in str(refusal.value)


class TestHistory:
    def test_unknown_field_in_a_history_is_ignored(self) -> None:
        """Design §3: a start input that does not parse would wedge the workflow."""
        assert TopUpRequest.model_validate({**GOOD, "later": "field"}).request == "R1"

    def test_models_are_frozen(self) -> None:
        request = TopUpRequest.model_validate(GOOD)
        with pytest.raises(ValidationError):
            request.amount_minor = 1  # type: ignore[misc]
