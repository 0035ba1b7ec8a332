"""``tillkeeper token``: a token of the development issuer, for trying out decisions (S3, C-07).

Each is bound to one decision. Prints it to standard output and nowhere else. In production people
sign in with their own issuer, and this command refuses.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from console.asking import with_house
from console.binding import Wanted, Word, decision_for
from console.connection import House
from console.output import AsJson, answer, json_wanted
from gateways.identity.issuer import Grant
from tillkeeper.contracts.actor import EVERY_MERCHANT, LIFE_MAX
from tillkeeper.contracts.errors import rejected_from
from tillkeeper.contracts.workitem import ItemAction

app = typer.Typer(help="Tokens of those who decide; development only.", no_args_is_help=True)

_MINUTES_MAX = LIFE_MAX // timedelta(minutes=1)

_For = Annotated[
    str,
    typer.Option(
        "--for", help="Good for this alone: withdrawal/M/R, policy/C, delegation/ID, item/N."
    ),
]
_Verdict = Annotated[
    Word, typer.Option("--verdict", case_sensitive=False, help="What is said of it.")
]
_Amount = Annotated[
    str | None, typer.Option("--amount", help="Of a withdrawal: 2000.00; by default what stands.")
]
_Currency = Annotated[
    str | None,
    typer.Option("--currency", help="Of a withdrawal; by default what stands."),
]
_Shown = Annotated[
    str | None,
    typer.Option("--shown", help="Digest of payee or policy, or its first 12 letters."),
]
_Policy = Annotated[
    Path | None, typer.Option("--policy", help="To propose one: JSON file with its bands.")
]
_From = Annotated[
    datetime | None, typer.Option("--effective-from", help="When that policy begins (UTC).")
]
_Action = Annotated[
    ItemAction | None,
    typer.Option("--action", case_sensitive=False, help="What is proposed for an item."),
]
_Target = Annotated[
    str | None, typer.Option("--target", help="Of a match or a payment, as `inbox propose` has it.")
]
_To = Annotated[
    str | None,
    typer.Option("--to", help="Of a return: JSON file with the payee; of a delegation: who."),
]
_Lend = Annotated[
    list[str] | None,
    typer.Option("--lend", help="Of a delegation: a role; may repeat, by default each --role."),
]
_Until = Annotated[
    datetime | None, typer.Option("--until", help="Of a delegation: when it ends (UTC).")
]
_Reason = Annotated[str | None, typer.Option("--reason", help="Of a delegation: its reason.")]


# A negative amount is an amount to refuse, not an option.
@app.command("issue", context_settings={"ignore_unknown_options": True})
def issue(
    subject: Annotated[str, typer.Option("--subject", help="Who is to decide.")],
    role: Annotated[list[str], typer.Option("--role", help="A role; may stand repeatedly.")],
    decision: _For,
    verdict: _Verdict,
    merchant: Annotated[
        list[str] | None, typer.Option("--merchant", help="For these only; every one by default.")
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=_MINUTES_MAX)] = _MINUTES_MAX,
    amount: _Amount = None,
    currency: _Currency = None,
    shown: _Shown = None,
    policy: _Policy = None,
    effective_from: _From = None,
    action: _Action = None,
    target: _Target = None,
    to: _To = None,
    lend: _Lend = None,
    until: _Until = None,
    reason: _Reason = None,
    as_json: AsJson = False,
) -> None:
    """Print a token: who decides, in which roles, and the one decision that it is good for."""
    roles = tuple(role)
    lent = tuple(lend) if lend else roles if verdict is Word.DELEGATE else None
    wanted = Wanted(
        amount, currency, shown, policy, effective_from, action, target, to, lent, until, reason
    )
    fields = {
        "subject": subject,
        "roles": roles,
        "merchants": tuple(merchant) if merchant else (EVERY_MERCHANT,),
        "life": timedelta(minutes=minutes),
    }

    async def work(house: House) -> str:
        issuer, grant = house.issuer, _grant(fields)
        bound = await decision_for(house, decision, verdict, wanted)
        return issuer.issue(grant.model_copy(update={"decision": bound}), datetime.now(UTC))

    token = with_house(work)
    if json_wanted():
        answer({"token": token})
    else:
        sys.stdout.write(f"{token}\n")


def _grant(fields: dict[str, Any]) -> Grant:
    try:
        return Grant(**fields)
    except ValidationError as error:
        raise rejected_from(error) from None
