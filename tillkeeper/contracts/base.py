"""The two ways a model is read: strict at a door, tolerant in a history.

A model that lives in a history ignores fields it does not know and gives later fields a default,
because a start input that does not parse would leave a workflow stuck for ever. Doors refuse
unknown fields.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from tillkeeper.contracts.errors import Code, flaw, rejected_from

NAME_CHARS_MAX: Final = 200
REASON_CHARS_MAX: Final = 500
ID_CHARS_MAX: Final = 64
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Model(BaseModel):
    """Frozen, strict in types, tolerant to unknown fields (see the module's promise)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


M = TypeVar("M", bound=BaseModel)


def at_the_door(model: type[M], data: object) -> M:
    """Read caller's ``data`` strictly: unknown fields are refused too. Raises Rejected."""
    try:
        return model.model_validate(data, extra="forbid")
    except ValidationError as error:
        raise rejected_from(error) from None


def json_at_the_door(model: type[M], text: str | bytes) -> M:
    """Read a caller's JSON strictly: unknown fields are refused too. Raises Rejected."""
    try:
        return model.model_validate_json(text, extra="forbid")
    except ValidationError as error:
        raise rejected_from(error) from None


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise flaw(
            Code.ID_MALFORMED,
            "1 to 64 characters out of A-Z a-z 0-9 . _ : @ -, a letter or digit first",
        )
    return value


def _printable(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise flaw(Code.TEXT_EMPTY, "a text that is not empty")
    if len(value) > REASON_CHARS_MAX:
        raise flaw(Code.TEXT_TOO_LONG, "too long a text")
    if any(unicodedata.category(c) in _INVISIBLE for c in value):
        raise flaw(Code.TEXT_NOT_PRINTABLE, "control or invisible characters in a text")
    return value


def _name(value: str) -> str:
    if len(value) > NAME_CHARS_MAX:
        raise flaw(Code.TEXT_TOO_LONG, "at most 200 characters")
    return value


def _moment(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise flaw(Code.TIME_NAIVE, "a time needs its zone")
    if not EARLIEST <= value < LATEST:
        raise flaw(Code.TIME_OUT_OF_RANGE, "a time between 1970 and 2199")
    return value


Identifier = Annotated[str, BeforeValidator(_identifier)]
"""Business id: 1 … 64 ASCII characters, no slash (ids are joined by slashes)."""

Text = Annotated[str, BeforeValidator(_printable)]
"""Printable text, 1 … 500 characters."""

Name = Annotated[Text, AfterValidator(_name)]
"""Name of a person, company or bank, 1 … 200 printable characters; personal data."""

Moment = Annotated[datetime, AfterValidator(_moment)]
"""Aware time, 1970 … 2199."""


class Command(Model):
    """What a workflow asks of a door, at its own time (UTC), which is the Temporal server's."""

    at: Moment


class NotUnderstood(Model):
    """A message that arrived but could not be read; shown so that it is not lost in silence."""

    name: str
    why: str
    at: datetime


class Step(Model):
    """One dated step of a lifecycle (P-27): done when ``at`` is set."""

    name: str
    at: datetime | None = None
    current: bool = False
