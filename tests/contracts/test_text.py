"""Names and times that no door lets in (bad input 16, 25, 33, 34)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from tillkeeper.contracts.base import Moment, Name
from tillkeeper.contracts.errors import Code, rejected_from

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


class TestName:
    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("", Code.TEXT_EMPTY),
            ("   ", Code.TEXT_EMPTY),
            ("　", Code.TEXT_EMPTY),
            ("x" * 201, Code.TEXT_TOO_LONG),
            ("甲" * 10_240, Code.TEXT_TOO_LONG),
            ("甲\x00乙", Code.TEXT_NOT_PRINTABLE),
            ("甲\n乙", Code.TEXT_NOT_PRINTABLE),
            ("\x1b[31m甲", Code.TEXT_NOT_PRINTABLE),
            ("甲\u202e乙", Code.TEXT_NOT_PRINTABLE),
            ("甲\u200b乙", Code.TEXT_NOT_PRINTABLE),
            ("甲\ud800", Code.TEXT_NOT_PRINTABLE),
        ],
    )
    def test_unfit_name_is_refused(self, name: str, code: Code) -> None:
        with pytest.raises(ValidationError) as error:
            _NAME.validate_python(name)
        assert rejected_from(error.value).codes == (code,)

    def test_longest_name_is_taken(self) -> None:
        assert _NAME.validate_python("甲" * 200) == "甲" * 200


class TestMoment:
    @pytest.mark.parametrize(
        ("moment", "code"),
        [
            (datetime(2024, 1, 1), Code.TIME_NAIVE),  # noqa: DTZ001
            (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), Code.TIME_OUT_OF_RANGE),
            (datetime(2200, 1, 1, tzinfo=UTC), Code.TIME_OUT_OF_RANGE),
            (datetime(1, 1, 1, tzinfo=UTC), Code.TIME_OUT_OF_RANGE),
        ],
    )
    def test_unfit_time_is_refused(self, moment: datetime, code: Code) -> None:
        with pytest.raises(ValidationError) as error:
            _MOMENT.validate_python(moment)
        assert rejected_from(error.value).codes == (code,)

    def test_first_moment_is_taken(self) -> None:
        first = datetime(1970, 1, 1, tzinfo=UTC)
        assert _MOMENT.validate_python(first) == first
