"""Reads what people hand in: JSON from a file or standard input, amounts and actors.

Strict at the door: unknown fields, doubled fields and floats for money are refused. Personal data
comes in files or on standard input, so that it stays out of the shell's history.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from console.connection import House, house
from tillkeeper.contracts.base import EARLIEST, LATEST, Identifier, M, json_at_the_door
from tillkeeper.contracts.errors import Code, Reason, Rejected, rejected_from
from tillkeeper.contracts.money import Currency, parse_amount

INPUT_BYTES_MAX: Final = 64 * 1024
TOKEN_VARIABLE: Final = "TILLKEEPER_TOKEN"  # noqa: S105 - a variable's name
T = TypeVar("T")

_ID: Final = TypeAdapter(Identifier)
_CURRENCY: Final = TypeAdapter(Currency)


def identifier(value: str, what: str) -> str:
    """``value`` if it is an id. Raises Rejected(ID_MALFORMED)."""
    return _checked(_ID, value, what)


def printed(value: str | None) -> str | None:
    """``value`` if it is a text that can be looked for. Raises Rejected(INPUT_NOT_UNDERSTOOD)."""
    if value is None or value.isprintable():
        return value
    raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="an argument is not a printed text")


def natural_day(text: str) -> date:
    """A day like 2024-05-01. Raises Rejected(FIELD_INVALID | TIME_OUT_OF_RANGE)."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise Rejected(Code.FIELD_INVALID, detail="write a day like 2024-05-01") from None
    if not EARLIEST.date() <= found < LATEST.date():
        raise Rejected(Code.TIME_OUT_OF_RANGE, detail="a day between 1970 and 2199")
    return found


def _checked(kind: TypeAdapter[str], value: str, what: str) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        reasons = rejected_from(error).reasons
        named = (Reason(code=r.code, detail=r.detail.replace("input", what, 1)) for r in reasons)
        raise Rejected(*named) from None


def _merchant(value: str) -> str:
    return identifier(value, "merchant")


def _request(value: str) -> str:
    return identifier(value, "request")


def _currency(value: str) -> str:
    return _checked(_CURRENCY, value, "currency")


Merchant = Annotated[str, typer.Argument(callback=_merchant, help="The merchant's id.")]
RequestId = Annotated[
    str, typer.Argument(callback=_request, help="The request's id, chosen by you.")
]
CurrencyOption = Annotated[
    str, typer.Option("--currency", callback=_currency, help="ISO code of the account.")
]
FromFile = Annotated[
    Path,
    typer.Option("--from", help="JSON file, - for standard input; keeps names out of history."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with your token, - for standard input; else the variable TILLKEEPER_TOKEN.",
    ),
]
Actor = Annotated[str, typer.Option("--actor", help="Who decides; your login by default.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")]


def with_house(work: Callable[[House], Awaitable[T]]) -> T:
    """Run one command's work with the stack's connections."""

    async def run() -> T:
        async with house() as connections:
            return await work(connections)

    return asyncio.run(run())


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


ACTOR: Final = _login()
"""Who decides when nobody else is named."""


def token_text(source: Path | None) -> str:
    """Who decides proves it by a token, which is never an argument: others can read those.

    Raises Rejected(TOKEN_MISSING | FILE_UNREADABLE).
    """
    given = os.environ.get(TOKEN_VARIABLE, "").encode() if source is None else _bytes_of(source)
    token = given.decode(errors="replace").strip()
    if not token:
        detail = f"a token is needed: --token-file, or the variable {TOKEN_VARIABLE}"
        raise Rejected(Code.TOKEN_MISSING, detail=detail)
    return token


def fields_from(source: Path) -> dict[str, Any]:
    """The JSON object in ``source`` (``-``: standard input).

    Raises Rejected(FILE_UNREADABLE | INPUT_NOT_UNDERSTOOD).
    """
    raw = _bytes_of(source)
    if len(raw) > INPUT_BYTES_MAX:
        detail = f"the input is longer than {INPUT_BYTES_MAX} bytes"
        raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail=detail)
    try:
        found = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the input is not JSON") from None
    if not isinstance(found, dict):
        raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the input is not a JSON object")
    return found


def read_amount(fields: dict[str, Any], name: str, currency: str) -> dict[str, Any]:
    """The fields with the text ``name`` (``"5000.00"``) as ``<name>_minor`` in minor units.

    Raises Rejected(AMOUNT_… | FIELD_MISSING): a JSON number may be a float and is refused.
    """
    if name not in fields:
        raise Rejected(Code.FIELD_MISSING, detail=f"{name}: an amount like 5000.00 is needed")
    text = fields[name]
    if not isinstance(text, str):
        detail = f'{name}: write the amount as text, like "5000.00"'
        raise Rejected(Code.AMOUNT_MALFORMED, detail=detail)
    rest = {key: value for key, value in fields.items() if key != name}
    return rest | {f"{name}_minor": parse_amount(text, currency)}


def read_model(model: type[M], fields: dict[str, Any]) -> M:
    """The contract made of ``fields``, strictly. Raises Rejected with every wrong field."""
    return json_at_the_door(model, json.dumps(fields))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _bytes_of(source: Path) -> bytes:
    try:
        if str(source) == "-":
            return sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        with source.open("rb") as stream:
            return stream.read(INPUT_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        detail = f"the input cannot be read: {reason}"
        raise Rejected(Code.FILE_UNREADABLE, detail=detail) from None
