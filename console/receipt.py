"""``tillkeeper receipt``: report money that arrived on a platform account (P-21 … P-26)."""

from __future__ import annotations

from typing import Final

import typer

from console.asking import FromFile, fields_from, read_amount, read_model, with_house
from console.connection import House
from console.output import AsJson, answer, presentable, show
from tillkeeper.contracts.receipt import ReceiptReport, ReceiptView

app = typer.Typer(help="Bank receipts.", no_args_is_help=True)

EXAMPLE: Final = {
    "receiving_account": "0000000000",
    "bank_reference": "2024050600001",
    "amount": "5000.00",
    "currency": "CNY",
    "payer_name": "甲乙贸易有限公司",
    "payer_account": "6225000000001234",
    "payer_kind": "corporate",
    "booked_at": "2024-05-06T10:00:00+08:00",
}


@app.command("example")
def example(as_json: AsJson = False) -> None:
    """Print a JSON file for `receipt report --from`."""
    answer(EXAMPLE)


@app.command("report")
def report(source: FromFile, as_json: AsJson = False) -> None:
    """Report a receipt from a JSON file; `receipt example` prints one."""
    fields = fields_from(source)
    currency = fields.get("currency", "CNY")
    fields = read_amount(fields, "amount", currency if isinstance(currency, str) else "")
    body = read_model(ReceiptReport, fields)

    async def work(house: House) -> ReceiptView:
        return await (await house.tillkeeper()).report_receipt(body)

    view = with_house(work)
    show(presentable(view, view.currency), f"Receipt {view.digest}")
