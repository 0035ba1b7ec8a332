"""What a command says: one JSON object with ``--json``, tables for people otherwise.

Standard output carries the answer alone; progress and notes go to standard error. Amounts are texts
with the currency's decimals, never floats.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tillkeeper.contracts.errors import (
    Broken,
    Reason,
    Rejected,
    TillkeeperError,
    rejected_from,
)
from tillkeeper.contracts.money import format_amount
from tillkeeper.rules.days import BUSINESS_ZONE, zone

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_REFUSED: Final = 2
EXIT_UNAVAILABLE: Final = 3
EXIT_UNEXPECTED: Final = 70
EXIT_INTERRUPTED: Final = 130
WIDTH_MIN: Final = 120

_MINOR: Final = "_minor"
_STEP: Final = {"name", "at", "current"}


class _Mode:
    """Whether this process answers in JSON."""

    json = False


def _choose(*, value: bool) -> bool:
    _Mode.json = _Mode.json or value
    return value


def _choose_json(value: bool) -> bool:
    return _choose(value=value)


AsJson = Annotated[
    bool,
    typer.Option("--json", is_eager=True, callback=_choose_json, help="Answer one JSON object."),
]
"""The option that every command has."""


def json_wanted() -> bool:
    """Whether ``--json`` was given."""
    return _Mode.json


def ask_for_json(*, wanted: bool) -> None:
    """Choose the form of the answer before the command line is parsed."""
    _Mode.json = wanted


def errors() -> Console:
    """Where notes and progress go."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def answer(body: Mapping[str, Any]) -> None:
    """The answer as JSON on one line."""
    sys.stdout.write(json.dumps(body, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def show(body: Mapping[str, Any], title: str) -> None:
    """The answer: JSON, or a table of its fields."""
    if _Mode.json:
        answer(body)
        return
    table = Table(title=escape(title), show_header=False, title_justify="left")
    for name, value in body.items():
        if not _says_nothing(value):
            table.add_row(name.replace("_", " "), escape(_text(value)))
    people().print(table)


def people() -> Console:
    """Standard output for people; never so narrow that a table loses its figures."""
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH_MIN)
    return console


def presentable(view: BaseModel | Mapping[str, Any], currency: str) -> dict[str, Any]:
    """A view's fields with every ``…_minor`` as a text in ``currency`` (``"5000.00"``)."""
    fields = view.model_dump() if isinstance(view, BaseModel) else dict(view)
    hidden = {"fingerprint"}
    return {
        name.removesuffix(_MINOR): _presented(name, value, currency)
        for name, value in fields.items()
        if name not in hidden
    }


def _presented(name: str, value: Any, currency: str) -> Any:
    if name.endswith(_MINOR) and isinstance(value, int):
        return format_amount(value, currency)
    if isinstance(value, Mapping):
        return presentable(value, currency)
    if isinstance(value, list | tuple):
        return [_presented("", item, currency) for item in value]
    return value


def unreadable(name: str, error: Broken | ValidationError) -> dict[str, str]:
    """A row of a list that cannot be read: its id and the first code why; the others are shown."""
    code = error.code if isinstance(error, Broken) else rejected_from(error).reasons[0].code
    return {"id": name, "code": code}


def end_unreadable(rows: Sequence[Mapping[str, str]]) -> None:
    """End with 1 where rows of a list could not be read, after the list was told."""
    if not rows:
        return
    for row in rows if not _Mode.json else ():
        errors().print(f"UNREADABLE: {row['id']}: what is stored cannot be read: {row['code']}")
    raise typer.Exit(EXIT_BROKEN)


def refuse(error: TillkeeperError) -> None:
    """Say why the command failed: every code with its sentence."""
    if _Mode.json:
        answer({_KEYS[_kind(error)]: [_reason(reason) for reason in _reasons(error)]})
        return
    for reason in _reasons(error):
        sentence = f"{reason.code}: {reason.detail}" if reason.detail else reason.code
        sys.stderr.write(f"{sentence}\n")


def interrupted() -> None:
    """Say that the command was interrupted, and what to do."""
    _say_why("interrupted", "INTERRUPTED", "run the same command again: it continues")


def unexpected(error: Exception) -> None:
    """Say that the command itself is at fault, and where; never what it worked on."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = "?" if where is None else f"{where.tb_frame.f_globals.get('__name__')}"
    line = 0 if where is None else where.tb_lineno
    sentence = f"{type(error).__name__} in {place}, line {line}: a defect, please report it"
    _say_why("unexpected", "UNEXPECTED", sentence)


def _say_why(key: str, code: str, sentence: str) -> None:
    if _Mode.json:
        answer({key: [{"code": code, "detail": sentence}]})
    else:
        sys.stderr.write(f"{code}: {sentence}\n")


def exit_code(error: TillkeeperError) -> int:
    """2 refused, 1 broken, 3 not reachable or unclear."""
    return _kind(error)


_KEYS: Final = {EXIT_REFUSED: "refused", EXIT_BROKEN: "broken", EXIT_UNAVAILABLE: "unavailable"}


def _kind(error: TillkeeperError) -> int:
    if isinstance(error, Rejected):
        return EXIT_REFUSED
    return EXIT_BROKEN if isinstance(error, Broken) else EXIT_UNAVAILABLE


def _reasons(error: TillkeeperError) -> Sequence[Reason]:
    if isinstance(error, Rejected):
        return error.reasons
    return (Reason(code=error.code, detail=str(error)),)


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code.value, "detail": reason.detail}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return str(value)


def local_time(moment: datetime) -> str:
    """A moment for people, in the business zone."""
    return moment.astimezone(zone(BUSINESS_ZONE)).isoformat(sep=" ", timespec="seconds")


def _text(value: Any) -> str:
    """A value for people; times in the business zone."""
    if isinstance(value, datetime):
        return local_time(value)
    if isinstance(value, Mapping):
        if value.keys() == _STEP:
            return _step(value)
        return "  ".join(f"{name}={_text(item)}" for name, item in value.items() if item)
    if isinstance(value, list | tuple):
        return "\n".join(_text(item) for item in value)
    return "yes" if value is True else str(value)


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", (), [], {})


def _step(step: Mapping[str, Any]) -> str:
    """One step of a lifecycle (P-27): done, waited for, or still to come."""
    if step["at"] is not None:
        return f"✓ {step['name']}  {_text(step['at'])}"
    return f"{'●' if step['current'] else '○'} {step['name']}"
