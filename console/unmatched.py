"""``tillkeeper bank unmatched``: money without a request, and which request it perhaps was for.

A list is read over shoulders, so payers are masked in it; `show` names the payer, for the desk has
to compare names (P-29, P-31, C-11). Nothing is credited here: that takes two people in the inbox.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import printed, with_house
from console.connection import House
from console.output import AsJson, answer, json_wanted, people, presentable, show
from ledger.unmatched import Unmatched
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.workitem import OverdueRequest, UnmatchedReceipt

app = typer.Typer(help="Money that no request explains.")

Limit = Annotated[int, typer.Option("--limit", min=1, max=500)]


@app.callback(invoke_without_command=True)
def unmatched(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List unmatched receipts, the oldest first, each with its likeliest request."""
    if context.invoked_subcommand is None:
        list_(limit)


@app.command("list")
def list_(limit: Limit = 50, as_json: AsJson = False) -> None:
    """List unmatched receipts, the oldest first, each with its likeliest request."""

    async def work(house: House) -> list[UnmatchedReceipt]:
        return await Unmatched(house.engine, house.ring).oldest(limit)

    found = with_house(work)
    if json_wanted():
        answer({"receipts": [_body(receipt) for receipt in found]})
        return
    table = Table(title="Unmatched receipts", title_justify="left")
    for heading in (
        "item",
        "received",
        "amount",
        "payer",
        "account",
        "reason",
        "perhaps",
        "digest",
    ):
        table.add_column(heading, justify="right" if heading == "amount" else "left")
    for receipt in found:
        table.add_row(*map(escape, _cells(receipt)))
    people().print(table)


@app.command("show")
def show_(
    digest: Annotated[
        str, typer.Argument(callback=printed, help="The receipt's digest, from the list.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show an unmatched receipt: its payer's name, and the requests it may be for, with reasons."""

    async def work(house: House) -> UnmatchedReceipt:
        return await Unmatched(house.engine, house.ring).one(digest)

    receipt = with_house(work)
    body = _body(receipt)
    if not json_wanted():
        body["suggestions"] = [_sentence(one, receipt.currency) for one in body["suggestions"]]
    show(body, f"Receipt {digest}")


@app.command("requests")
def requests(
    days: Annotated[int, typer.Option("--days", min=1, max=3_650, help="How far back.")] = 30,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List top-up requests that ran out unpaid, the oldest first, with money that may be theirs.

    Nothing has to be done about them, so they are no items: most were given up. Money is matched
    to one of them by the receipt's item.
    """
    since = datetime.now(UTC) - timedelta(days=days)

    async def work(house: House) -> list[OverdueRequest]:
        return await Unmatched(house.engine, house.ring).overdue(since, limit)

    found = with_house(work)
    if json_wanted():
        answer({"requests": [presentable(one, one.currency) for one in found]})
        return
    table = Table(title="Requests that ran out unpaid", title_justify="left")
    for heading in ("request", "amount", "asked", "ran out", "perhaps items"):
        table.add_column(heading, justify="right" if heading == "amount" else "left")
    for one in found:
        table.add_row(
            escape(one.request),
            f"{format_amount(one.amount_minor, one.currency, grouped=True)} {one.currency}",
            f"{one.requested_at:%Y-%m-%d}",
            f"{one.expired_at:%Y-%m-%d}",
            " ".join(map(str, one.receipts)),
        )
    people().print(table)


def _body(receipt: UnmatchedReceipt) -> dict[str, Any]:
    body = presentable(receipt, receipt.currency)
    body["suggestions"] = [presentable(one, receipt.currency) for one in receipt.suggestions]
    return body


def _sentence(one: dict[str, Any], currency: str) -> str:
    why = ", ".join(reason["words"] for reason in one["why"])
    return f"{one['score']}  {one['request']}  {one['amount']} {currency}: {why}"


def _cells(receipt: UnmatchedReceipt) -> tuple[str, ...]:
    best = receipt.suggestions[0] if receipt.suggestions else None
    return (
        str(receipt.item or ""),
        f"{receipt.received_at:%Y-%m-%d}",
        f"{format_amount(receipt.amount_minor, receipt.currency, grouped=True)} {receipt.currency}",
        receipt.payer,
        receipt.payer_account,
        receipt.reason or "",
        f"{best.request} ({best.score})" if best else "",
        receipt.digest,
    )
