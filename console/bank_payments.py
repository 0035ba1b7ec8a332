"""``tillkeeper bank payments``: payments out, their state and age, and how to set one going again.

Payees are masked, for a list is read over shoulders (C-11). A restart moves no money of its own:
the payment's run asks the database first, and its file is the same bytes under the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from console.asking import identifier, with_house
from console.connection import House
from console.output import (
    AsJson,
    answer,
    end_unreadable,
    json_wanted,
    people,
    presentable,
    show,
    unreadable,
)
from ledger.engine import in_transaction
from ledger.payment_rows import (
    PaymentRow,
    goes_on,
    latest_payments,
    open_payments,
    payment_view,
    read_payment,
)
from tillkeeper.contracts.errors import Broken
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.payment import PayoutView, payout_workflow_id
from tillkeeper.rules.profiles import profile


def payments(
    restart: Annotated[
        str | None,
        typer.Option(
            "--restart",
            help="Start the run of the payment with this id, of whichever attempt, if it has none.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Decided ones too, the newest first.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """List payments whose end is still to come, the oldest first, with state and age."""
    if restart is not None:
        _restart(identifier(restart, "restart"))
        return
    now = datetime.now(UTC)

    async def work(house: House) -> tuple[list[PayoutView], list[dict[str, str]]]:
        read = latest_payments if every else open_payments
        rows = await in_transaction(house.engine, lambda c: read(c, limit))
        return _views(house, rows, now)

    found, bad = with_house(work)
    if json_wanted():
        answer({"payments": [_body(one, now) for one in found], "unreadable": bad})
    else:
        _print(found, now)
    end_unreadable(bad)


def _views(
    house: House, rows: Sequence[PaymentRow], now: datetime
) -> tuple[list[PayoutView], list[dict[str, str]]]:
    """What can be shown, and the ids of what cannot be: a bad row hides no other one."""
    views, bad = [], []
    for row in rows:
        try:
            views.append(payment_view(house.ring, row, now, profile(house.profile)))
        except (Broken, ValidationError) as error:
            bad.append(unreadable(row.end_to_end_id, error))
    return views, bad


def _print(found: Sequence[PayoutView], now: datetime) -> None:
    table = Table(title="Payments", title_justify="left")
    for heading in ("id", "state", "age", "amount", "payee", "account", "file", ""):
        table.add_column(heading, justify="right" if heading in ("age", "amount") else "left")
    for one in found:
        table.add_row(*map(escape, _cells(one, now)))
    people().print(table)


def _restart(name: str) -> None:
    async def work(house: House) -> tuple[PaymentRow, bool]:
        async def look(connection: AsyncConnection) -> tuple[PaymentRow, bool]:
            row = await read_payment(connection, name)
            return row, await goes_on(connection, row.run)

        row, begins = await in_transaction(house.engine, look)
        if begins:
            # All attempts are in the run of the first; it finds the one that it has come to.
            await (await house.tillkeeper()).start_payout(row.run)
        return row, begins

    row, begins = with_house(work)
    body = {"workflow_id": payout_workflow_id(row.run), "state": row.state.value}
    show(body | {"started": begins}, f"Payment {name}")


def _age_s(one: PayoutView, now: datetime) -> int:
    since = one.recorded_at or now
    return max(0, int(((one.decided_at or now) - since).total_seconds()))


def _body(one: PayoutView, now: datetime) -> dict[str, Any]:
    hidden = {"steps", "not_understood", "needs_person"}
    body = presentable(one.model_dump(exclude=hidden), one.currency)
    return body | {"age_s": _age_s(one, now)}


def _cells(one: PayoutView, now: datetime) -> tuple[str, ...]:
    hours = _age_s(one, now) // 3_600
    return (
        one.end_to_end_id,
        f"{one.state} {one.reason or ''}".strip(),
        f"{hours // 24}d {hours % 24}h",
        f"{format_amount(one.amount_minor, one.currency, grouped=True)} {one.currency}",
        one.payee,
        one.account,
        one.message_id or "",
        "overdue" if one.overdue else "",
    )
