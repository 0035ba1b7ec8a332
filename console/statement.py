"""``tillkeeper statement``: what changed a merchant's total, between two balances (P-76 … P-79).

To the screen up to a limit, to a file without one. Income is green and expense is red, everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import CurrencyOption, Merchant, natural_day, with_house
from console.connection import House
from console.output import AsJson, answer, json_wanted, people, show
from ledger.export import export_csv, export_xlsx
from ledger.statements import (
    COLOURS,
    StatementFigures,
    StatementLine,
    StatementTime,
    StatementWanted,
    statement_page,
)
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import format_amount
from tillkeeper.rules.days import BUSINESS_ZONE, day_of, zone
from tillkeeper.rules.postings import STATEMENT_KINDS

LINES_SHOWN: Final = 200
FIRST_DAY: Final = "1970-01-02"


def statement(
    merchant: Merchant,
    currency: CurrencyOption = "CNY",
    first: Annotated[str, typer.Option("--from", help="First day, like 2024-05-01.")] = FIRST_DAY,
    last: Annotated[str | None, typer.Option("--to", help="Last day; today by default.")] = None,
    kind: Annotated[
        list[TransferKind] | None, typer.Option("--kind", help="Only this; may be repeated.")
    ] = None,
    by: Annotated[
        StatementTime, typer.Option("--by", help="The event's own time, or the booking's.")
    ] = StatementTime.EFFECTIVE,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all lines to FILE.csv or FILE.xlsx.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = LINES_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show a statement, or write it to a file: opening + lines = closing."""
    final = natural_day(last) if last else day_of(datetime.now(UTC))
    wanted = StatementWanted(
        merchant=merchant,
        currency=currency,
        first=natural_day(first),
        until=final + timedelta(days=1),
        by=by,
        kinds=frozenset(kind or STATEMENT_KINDS),
    )
    if out is not None:
        figures = with_house(lambda house: _export(house, wanted, out, overwrite=overwrite))
        show(_figures(figures, wanted) | {"file": str(out)}, f"Statement of {merchant}")
        return
    figures, lines = with_house(lambda house: statement_page(house.engine, wanted, limit=limit))
    if json_wanted():
        left_out = figures.lines > limit
        shown = [_fields(line, currency) for line in lines]
        answer(_figures(figures, wanted) | {"truncated": left_out, "entries": shown})
    else:
        _print(figures, lines, wanted, limit)


async def _export(
    house: House, wanted: StatementWanted, out: Path, *, overwrite: bool
) -> StatementFigures:
    match out.suffix.lower():
        case ".csv":
            return await export_csv(house.engine, wanted, out, overwrite=overwrite)
        case ".xlsx":
            return await export_xlsx(house.engine, wanted, out, overwrite=overwrite)
        case _:
            raise Rejected(Code.FIELD_INVALID, detail="--out names a .csv or an .xlsx file")


def _figures(figures: StatementFigures, wanted: StatementWanted) -> dict[str, Any]:
    amounts = {
        "opening": figures.opening,
        "income": figures.income,
        "expense": figures.expense,
        "not_shown": figures.not_shown,
        "closing": figures.closing,
    }
    return {
        "merchant": wanted.merchant,
        "currency": wanted.currency,
        "from": wanted.first.isoformat(),
        "to": (wanted.until - timedelta(days=1)).isoformat(),
        **{name: format_amount(amount, wanted.currency) for name, amount in amounts.items()},
        "lines": figures.lines,
    }


def _fields(line: StatementLine, currency: str) -> dict[str, Any]:
    return {
        "time": line.time,
        "recorded_at": line.recorded_at,
        "kind": line.kind,
        "direction": line.direction,
        "amount": format_amount(line.amount or 0, currency),
        "total": format_amount(line.total, currency),
        "transfer": line.transfer,
        "reference": line.reference,
    }


def _print(
    figures: StatementFigures, lines: list[StatementLine], wanted: StatementWanted, limit: int
) -> None:
    currency = wanted.currency
    table = Table(title=f"Statement of {escape(wanted.merchant)} in {currency}")
    table.add_column("time")
    table.add_column("kind")
    table.add_column("amount", justify="right")
    table.add_column("total", justify="right")
    table.add_column("reference")
    table.add_row("", "opening", "", format_amount(figures.opening, currency, grouped=True))
    for line in lines:
        table.add_row(
            "" if line.time is None else _local(line.time),
            line.kind,
            format_amount(line.amount or 0, currency, grouped=True),
            format_amount(line.total, currency, grouped=True),
            escape(line.reference),
            style=None if line.direction is None else COLOURS[line.direction],
        )
    if figures.lines > limit:
        table.add_row("", f"… {figures.lines - limit} more: --limit, or --out FILE.csv")
    table.add_row("", "closing", "", format_amount(figures.closing, currency, grouped=True))
    people().print(table)


def _local(moment: datetime) -> str:
    return moment.astimezone(zone(BUSINESS_ZONE)).strftime("%Y-%m-%d %H:%M:%S")
