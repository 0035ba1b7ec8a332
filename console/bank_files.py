"""``tillkeeper bank import``, ``… files`` and ``… statements``: banks' files into the books.

A file is kept before it is worked off, so a run that was killed is simply run again: what is known
says so and changes nothing. 0 when nothing was lost; 2 with losses or refusals, each listed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import with_house
from console.connection import House
from console.output import EXIT_OK, EXIT_REFUSED, AsJson, answer, errors, json_wanted, people
from gateways.bank.exchange import UNFINISHED
from gateways.bank.iso20022.document import FILE_BYTES_MAX
from ledger.bank.files import Arrival, FileRow, file_row, receive_file
from ledger.bank.overview import FileLine, StatementLine, file_view, newest_files, statement_lines
from ledger.engine import in_transaction
from ledger.snapshot import snapshot
from tillkeeper.contracts.bank_file import BankFileState, BankFileView, FileSource
from tillkeeper.contracts.errors import Broken, Code, Rejected, Unavailable
from tillkeeper.contracts.money import format_amount
from tillkeeper.rules.days import BUSINESS_ZONE, zone
from tillkeeper.rules.names import masked_number

WAIT_DEFAULT_S: Final = 600
PAUSE_S: Final = 0.5
_COUNTS: Final = (
    *("entries", "new_entries", "notices", "foreign_statements"),
    *("credited", "unmatched", "losses", "warnings"),
)
_NUMBER: Final = re.compile(r"[A-Za-z0-9]*\d[A-Za-z0-9]{8,}|[A-Za-z0-9]{8,}\d[A-Za-z0-9]*")

Encoding = Annotated[
    str | None,
    typer.Option(help="Letters of an MT940 that are not UTF-8, such as cp1252, cp852 or gb18030."),
]
Wait = Annotated[int, typer.Option("--wait", min=1, help="Seconds to wait for one file.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000)]


@dataclass(frozen=True)
class Imported:
    """What became of one file; ``known``: its bytes were worked off before, nothing changed."""

    file: str
    known: bool
    view: BankFileView | None
    refused: str | None
    lost: tuple[dict[str, Any], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all of the file is in the books."""
        return self.refused is None and not self.lost

    def body(self) -> dict[str, Any]:
        """As an answer."""
        counts = {name: 0 if self.view is None else getattr(self.view, name) for name in _COUNTS}
        return {
            "file": self.file,
            "digest": None if self.view is None else self.view.digest,
            "known": self.known,
            "kind": None if self.view is None else self.view.kind,
            "state": BankFileState.REFUSED if self.view is None else self.view.state,
            "refused": self.refused,
            **counts,
            "lost": list(self.lost),
        }


def import_(
    path: Annotated[Path, typer.Argument(help="A bank's file, or a folder of them.")],
    encoding: Encoding = None,
    wait: Wait = WAIT_DEFAULT_S,
    as_json: AsJson = False,
) -> int:
    """Keep banks' files and book what they tell; known ones change nothing."""
    files = _files(path)

    async def work(house: House) -> list[Imported]:
        done = []
        for file in files:
            one = await _import(house, file, encoding, wait)
            done.append(one)
            if not json_wanted():
                _tell(one)
        return done

    done = with_house(work)
    if json_wanted():
        answer({"files": [one.body() for one in done], "total": _total(done)})
    elif len(done) > 1:
        total = ", ".join(
            f"{value} {name.replace('_', ' ')}" for name, value in _total(done).items()
        )
        people().print(f"In all: {total}")
    return EXIT_OK if all(one.whole for one in done) else EXIT_REFUSED


def files(limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the files that came last, newest first; numbers in their names are masked."""

    async def work(house: House) -> list[tuple[FileLine, str]]:
        async with snapshot(house.engine) as connection:
            found = await newest_files(connection, limit)
        return [(line, _masked(line.name(house.ring))) for line in found]

    found = with_house(work)
    if json_wanted():
        answer({"files": [_file_body(line, name) for line, name in found]})
        return
    table = Table(title="Banks' files", title_justify="left")
    for heading in (
        "received",
        "file",
        "kind",
        "state",
        "entries",
        "new",
        "lost",
        "from",
        "digest",
    ):
        table.add_column(heading, justify="right" if heading in ("entries", "new") else "left")
    for line, name in found:
        view = line.view
        state = view.refused or view.state
        received = "" if view.received_at is None else _moment(view.received_at)
        row = (received, name, view.kind or "", state, view.entries, view.new_entries)
        more = (view.losses or "", line.source, view.digest[:16])
        table.add_row(*(escape(str(cell)) for cell in (*row, *more)))
    people().print(table)


def statements(as_json: AsJson = False) -> None:
    """Say of each account of ours whether its statements follow each other without a gap."""

    async def work(house: House) -> list[StatementLine]:
        async with snapshot(house.engine) as connection:
            return await statement_lines(connection)

    found = with_house(work)
    if json_wanted():
        answer({"accounts": [_account_body(line) for line in found]})
        return
    table = Table(title="Statements", title_justify="left")
    for heading in ("account", "", "statements", "from", "to", "opening", "closing", "continuity"):
        table.add_column(heading)
    for line in found:
        body = _account_body(line)
        cells = [body[name] for name in ("account", "currency", "statements", "from", "to")]
        said = "whole" if line.continuous else _flaws(line)
        table.add_row(*map(str, (*cells, body["opening"], body["closing"], said)))
    people().print(table)


async def _import(house: House, file: Path, encoding: str | None, wait_s: int) -> Imported:
    try:
        body = _read(file)
    except Rejected as refused:
        return Imported(file.name, known=False, view=None, refused=refused.codes[0].value)
    name = file.name.encode("utf-8", "replace").decode()
    arrival = Arrival(name, FileSource.IMPORT.value, encoding, datetime.now(UTC))
    digest = hashlib.sha256(body).hexdigest()
    before = await in_transaction(house.engine, lambda c: file_view(c, digest))
    await in_transaction(house.engine, lambda c: receive_file(c, house.ring, body, arrival))
    view = await in_transaction(house.engine, lambda c: file_view(c, digest))
    if view is None:
        raise Broken("a file that was kept cannot be read")
    if not view.worked_off:
        view = await _worked_off(house, digest, wait_s)
    known = before is not None and _figures(before) == _figures(view)
    row = await in_transaction(house.engine, lambda c: file_row(c, digest))
    refused_by = None if view.refused is None else view.refused.value
    return Imported(file.name, known, view, refused_by, _lost(row))


def _figures(view: BankFileView) -> tuple[object, ...]:
    """What an import may change."""
    return view.state, view.refused, *(getattr(view, name) for name in _COUNTS)


async def _worked_off(house: House, digest: str, wait_s: int) -> BankFileView:
    """Wait for a file's lifecycle. Raises Unavailable where it waits for a person, or too long."""
    till, until = await house.tillkeeper(), time.monotonic() + wait_s
    while True:
        try:
            view = await till.import_bank_file(digest)
            if view.worked_off:
                return view
        except Unavailable:
            if time.monotonic() >= until:
                raise
            seen = await till.bank_file(digest)
            if seen is not None and seen.needs_person:
                detail = f"bank-file/{digest} waits for a person: {seen.needs_person}"
                raise Unavailable(detail) from None
        await asyncio.sleep(PAUSE_S)


def _files(path: Path) -> list[Path]:
    """The file, or the folder's files by name; hidden and unfinished ones are left."""
    try:
        if path.is_dir():
            return sorted(
                one
                for one in path.iterdir()
                if one.is_file()
                and not one.name.startswith(".")
                and not one.name.lower().endswith(UNFINISHED)
            )
        if path.is_file():
            return [path]
    except (OSError, ValueError):
        pass
    raise Rejected(Code.FILE_UNREADABLE, detail="there is no such file or folder")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            body = stream.read(FILE_BYTES_MAX + 1)
    except OSError:
        raise Rejected(Code.FILE_UNREADABLE, detail="the file cannot be read") from None
    if len(body) > FILE_BYTES_MAX:
        raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 128 MiB in one file")
    return body


def _lost(row: FileRow | None) -> tuple[dict[str, Any], ...]:
    return () if row is None else tuple(json.loads(row.problems))


def _total(done: Sequence[Imported]) -> dict[str, int]:
    """What this run has brought; known files bring nothing."""
    bodies = [one.body() for one in done]
    total = {"files": len(done), "known": sum(one.known for one in done)}
    total["refused"] = sum(one.refused is not None for one in done)
    fresh = [body for body in bodies if not body["known"]]
    return total | {name: sum(body[name] for body in fresh) for name in _COUNTS}


def _tell(one: Imported) -> None:
    """One line for people, and a line for each loss."""
    if one.refused is not None:
        said = f"refused: {one.refused}"
    elif one.known:
        said = "known already, nothing changed"
    else:
        body = one.body()
        said = ", ".join(f"{body[name]} {name.replace('_', ' ')}" for name in _COUNTS if body[name])
    people().print(escape(f"{one.file}: {said or 'nothing to book'}"))
    for loss in one.lost:
        line = f", line {loss['line']}" if loss.get("line") else ""
        errors().print(escape(f"lost: {loss['code']} {loss['where']}{line}"))


def _moment(at: datetime) -> str:
    return at.astimezone(zone(BUSINESS_ZONE)).strftime("%Y-%m-%d %H:%M:%S")


def _masked(name: str) -> str:
    """A file's name without account numbers; dates stay."""
    return _NUMBER.sub(lambda found: masked_number(found[0]), name)


def _file_body(line: FileLine, name: str) -> dict[str, Any]:
    hidden = {
        "told",
        "not_understood",
        "needs_person",
        "credited",
        "unmatched",
        "waiting",
        "payments",
    }
    return {"file": name, "source": line.source, **line.view.model_dump(exclude=hidden)}


def _account_body(line: StatementLine) -> dict[str, Any]:
    first, last = line.statements[0], line.statements[-1]
    return {
        "account": masked_number(line.number),
        "currency": line.currency,
        "statements": len(line.statements),
        "from": first.day.isoformat(),
        "to": last.day.isoformat(),
        "opening": format_amount(first.opening, line.currency),
        "closing": format_amount(last.closing, line.currency),
        "continuous": line.continuous,
        "gaps": [
            {
                "after": gap.before.day.isoformat(),
                "before": gap.day.isoformat(),
                "missing": format_amount(gap.missing, line.currency),
            }
            for gap in line.gaps
        ],
        "broken": [one.day.isoformat() for one in line.broken],
    }


def _flaws(line: StatementLine) -> str:
    gaps = [
        f"gap before {gap.day} ({format_amount(gap.missing, line.currency)})" for gap in line.gaps
    ]
    return "; ".join([*gaps, *(f"{one.day} does not add up" for one in line.broken)])
