"""``tillkeeper bank reconcile`` and ``… reconciliations``: book and bank compared, by day (C-14).

Exit code 1 where they differ. Amounts are signed: positive where the account gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.markup import escape
from rich.table import Table

from console.asking import natural_day, printed, with_house
from console.connection import House
from console.output import (
    EXIT_BROKEN,
    EXIT_OK,
    AsJson,
    answer,
    json_wanted,
    people,
    presentable,
    show,
)
from ledger.bank.reconciled import DayLine, days, our_accounts
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import Currency, format_amount
from tillkeeper.contracts.reconciliation import (
    Difference,
    ReconciliationState,
    ReconciliationView,
)
from tillkeeper.rules.days import day_of
from tillkeeper.rules.names import masked_number

_CURRENCY: Final = TypeAdapter(Currency)

Day = Annotated[str, typer.Option("--day", help="The day, like 2024-05-06, in Asia/Shanghai.")]
Number = Annotated[
    str | None, typer.Option("--account", callback=printed, help="Our own account's number.")
]
CurrencyOf = Annotated[str | None, typer.Option("--currency", help="ISO code of that account.")]
All = Annotated[bool, typer.Option("--all", help="Clean days too.")]


def reconcile(
    day: Day, account: Number = None, currency: CurrencyOf = None, as_json: AsJson = False
) -> int:
    """Compare a day of our bank accounts with the book now; 1 where they differ."""
    when = natural_day(day)
    if currency is not None:
        _check_currency(currency)

    async def work(house: House) -> list[ReconciliationView]:
        found = await our_accounts(house.engine, account, currency)
        if not found:
            detail = "no statement has told of such an account of ours"
            raise Rejected(Code.BANK_ACCOUNT_UNKNOWN, detail=detail)
        till = await house.tillkeeper()
        return [await till.reconcile(one, when) for one, _, _ in found]

    views = with_house(work)
    if json_wanted():
        answer({"reconciliations": [presentable(view, view.currency) for view in views]})
    else:
        for view in views:
            _show(view)
    differ = any(view.state is ReconciliationState.DIFFERENT for view in views)
    return EXIT_BROKEN if differ else EXIT_OK


def reconciliations(clean: All = False, as_json: AsJson = False) -> None:
    """List the days that are not clean, with the age of the oldest difference."""

    async def work(house: House) -> list[DayLine]:
        return await days(house.engine, clean=clean)

    lines = with_house(work)
    now = datetime.now(UTC)
    if json_wanted():
        answer({"reconciliations": [_line(line, now) for line in lines]})
    else:
        _table(lines, now)


def _check_currency(currency: str) -> None:
    try:
        _CURRENCY.validate_python(currency)
    except ValidationError:
        raise Rejected(Code.CURRENCY_UNKNOWN, detail="not a currency that is kept here") from None


def _show(view: ReconciliationView) -> None:
    hidden = {"differences", "look_at", "needs_person", "not_understood", "day", "account"}
    shown = {
        name: value
        for name, value in presentable(view, view.currency).items()
        if name not in hidden
    }
    show(shown, f"Account {view.account}, {view.day}")
    if not view.differences:
        return
    table = Table(title_justify="left")
    for heading in ("difference", "subject", "bank", "book", "off", "first seen"):
        table.add_column(heading, justify="right" if heading in ("bank", "book", "off") else "left")
    for one in view.differences:
        table.add_row(*map(escape, _row(one, view.currency)))
    people().print(table)


def _row(one: Difference, currency: str) -> tuple[str, ...]:
    amounts = (one.bank_minor, one.book_minor, one.off_minor)
    figures = (
        "" if minor is None else format_amount(minor, currency, grouped=True) for minor in amounts
    )
    seen = "" if one.first_seen is None else day_of(one.first_seen).isoformat()
    return (one.kind.value, one.subject, *figures, seen)


def _line(line: DayLine, now: datetime) -> dict[str, Any]:
    fields = asdict(line)
    for name in ("bank_total", "book_total"):
        fields[name] = format_amount(fields[name], line.currency)
    return fields | {"age_days": _age(line, now)}


def _age(line: DayLine, now: datetime) -> int | None:
    """Whole days since the oldest difference was first seen."""
    return None if line.first_seen is None else max(0, (now - line.first_seen).days)


def _table(lines: Sequence[DayLine], now: datetime) -> None:
    table = Table(title="Reconciliations", title_justify="left")
    for heading in ("day", "account", "", "state", "agree", "differ", "bank", "book", "age"):
        right = heading in ("agree", "differ", "bank", "book", "age")
        table.add_column(heading, justify="right" if right else "left")
    for line in lines:
        age = _age(line, now)
        table.add_row(
            line.day.isoformat(), f"{line.account}: {masked_number(line.number)}", line.currency,
            line.state.value, str(line.matched), str(line.differences),
            format_amount(line.bank_total, line.currency, grouped=True),
            format_amount(line.book_total, line.currency, grouped=True),
            "" if age is None else f"{age} d",
        )  # fmt: skip
    people().print(table)
