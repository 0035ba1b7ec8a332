"""``tillkeeper topup``: ask first, then transfer exactly that amount (P-20 … P-32)."""

from __future__ import annotations

from typing import Annotated

import typer

from console.asking import (
    ACTOR,
    Actor,
    CurrencyOption,
    Merchant,
    ReasonOption,
    RequestId,
    read_model,
    with_house,
)
from console.connection import House
from console.output import AsJson, presentable, show
from tillkeeper.contracts.account import PaymentMethod
from tillkeeper.contracts.money import parse_amount
from tillkeeper.contracts.topup import CancelTopUp, TopUpRequest, TopUpView

app = typer.Typer(help="Top-ups by wire transfer.", no_args_is_help=True)


# A negative amount is an amount to refuse, not an option.
@app.command("request", context_settings={"ignore_unknown_options": True})
def request(
    merchant: Merchant,
    request_id: RequestId,
    amount: Annotated[str, typer.Argument(help="Like 5000.00.")],
    currency: CurrencyOption = "CNY",
    method: Annotated[PaymentMethod, typer.Option("--method")] = PaymentMethod.WIRE,
    entry_point: Annotated[str, typer.Option("--entry-point")] = "cli",
    as_json: AsJson = False,
) -> None:
    """Ask to top up; the answer says where to pay, and until when."""
    body = read_model(
        TopUpRequest,
        {
            "merchant": merchant,
            "currency": currency,
            "request": request_id,
            "amount_minor": parse_amount(amount, currency),
            "method": method.value,
            "entry_point": entry_point,
        },
    )

    async def work(house: House) -> TopUpView:
        return await (await house.tillkeeper()).request_topup(body)

    _show(with_house(work))


@app.command("show")
def show_(merchant: Merchant, request_id: RequestId, as_json: AsJson = False) -> None:
    """Show a request with its dated steps."""

    async def work(house: House) -> TopUpView:
        return await (await house.tillkeeper()).topup(merchant, request_id)

    _show(with_house(work))


@app.command("cancel")
def cancel(
    merchant: Merchant,
    request_id: RequestId,
    reason: ReasonOption,
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Withdraw a request that is not paid yet."""
    body = read_model(CancelTopUp, {"reason": reason, "actor": actor})

    async def work(house: House) -> TopUpView:
        return await (await house.tillkeeper()).cancel_topup(merchant, request_id, body)

    _show(with_house(work))


def _show(view: TopUpView) -> None:
    show(presentable(view, view.currency), f"Top-up {view.request} of {view.merchant}")
