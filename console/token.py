"""``tillkeeper token``: a token of the development issuer, for trying out decisions (S3, C-07).

Prints it to standard output and nowhere else. In production people sign in with their own issuer,
and this command refuses.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from console.asking import CurrencyOption, with_house
from console.connection import House
from console.output import AsJson, answer, json_wanted
from gateways.identity.issuer import Grant
from tillkeeper.contracts.actor import EVERY_MERCHANT, LIFE_MAX, Decision
from tillkeeper.contracts.approval import Verdict
from tillkeeper.contracts.errors import Code, Rejected, rejected_from
from tillkeeper.contracts.money import parse_amount

app = typer.Typer(help="Tokens of those who decide; development only.", no_args_is_help=True)

_MINUTES_MAX = LIFE_MAX // timedelta(minutes=1)


# A negative amount is an amount to refuse, not an option.
@app.command("issue", context_settings={"ignore_unknown_options": True})
def issue(
    subject: Annotated[str, typer.Option("--subject", help="Who is to decide.")],
    role: Annotated[list[str], typer.Option("--role", help="A role; may stand repeatedly.")],
    merchant: Annotated[
        list[str] | None, typer.Option("--merchant", help="For these only; every one by default.")
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=_MINUTES_MAX)] = _MINUTES_MAX,
    decision: Annotated[
        str | None,
        typer.Option("--for", help="Good for this alone: withdrawal/M/R, policy/C, item/N/P."),
    ] = None,
    verdict: Annotated[
        Verdict | None, typer.Option("--verdict", case_sensitive=False, help="With --for.")
    ] = None,
    amount: Annotated[str | None, typer.Option("--amount", help="With --for: 2000.00.")] = None,
    currency: CurrencyOption = "CNY",
    shown: Annotated[
        str | None, typer.Option("--shown", help="With --for: digest of the payee or policy.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token: who decides, in which roles, for which decision."""
    fields = {
        "subject": subject,
        "roles": tuple(role),
        "merchants": tuple(merchant) if merchant else (EVERY_MERCHANT,),
        "life": timedelta(minutes=minutes),
        "decision": _decision(decision, verdict, amount, currency, shown),
    }

    async def work(house: House) -> str:
        return house.issuer.issue(_grant(fields), datetime.now(UTC))

    token = with_house(work)
    if json_wanted():
        answer({"token": token})
    else:
        sys.stdout.write(f"{token}\n")


def _decision(
    subject: str | None,
    verdict: Verdict | None,
    amount: str | None,
    currency: str,
    shown: str | None,
) -> Decision | None:
    if subject is None:
        if verdict is None and amount is None and shown is None:
            return None
        detail = "--verdict, --amount and --shown belong to --for"
        raise Rejected(Code.FIELD_INVALID, detail=detail)
    if verdict is None:
        raise Rejected(Code.FIELD_MISSING, detail="--for needs its --verdict")
    return Decision(
        subject=subject,
        verdict=verdict,
        amount_minor=None if amount is None else parse_amount(amount, currency),
        currency=None if amount is None else currency,
        shown=shown,
    )


def _grant(fields: dict[str, Any]) -> Grant:
    try:
        return Grant(**fields)
    except ValidationError as error:
        raise rejected_from(error) from None
