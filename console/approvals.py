"""``tillkeeper approvals``: what waits for a yes or no, and how people give it (P-68, C-07).

A decision names the amount and the payee that were shown: if another one stands there by now, it is
refused. Who decides is what his token says; the token comes from a file, never as an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from console.asking import (
    CurrencyOption,
    Merchant,
    ReasonOption,
    RequestId,
    TokenFile,
    read_model,
    token_text,
    with_house,
)
from console.binding import NO_PAYEE, SHOWN_CHARS_MIN, completed
from console.connection import House
from console.output import AsJson, presentable, show
from console.withdrawal import Limit, found, recorded, show_list, show_withdrawal
from tillkeeper.contracts.approval import Decide, Delegate, DelegationView, Verdict
from tillkeeper.contracts.money import format_amount, parse_amount
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView, withdrawal_workflow_id

app = typer.Typer(help="Decide on withdrawals; lend one's roles.", no_args_is_help=True)

_CURRENCY: Final = "CNY"
"""What the commands take where no --currency is given."""

Amount = Annotated[str, typer.Option("--amount", help="The amount that was shown: 2000.00.")]
Shown = Annotated[
    str,
    typer.Option("--shown", help="The payee's digest that was shown; its first 12 letters do."),
]


@app.command("list")
def list_(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List what waits for an approval, the oldest first."""
    waiting = [WithdrawalState.WAITING_APPROVAL]
    show_list(with_house(lambda house: found(house, waiting, limit)), "Approvals", limit)


@app.command("show")
def show_(merchant: Merchant, request_id: RequestId, as_json: AsJson = False) -> None:
    """Show what an approval would pay, to whom, what it still needs, and the warnings."""
    view = with_house(lambda house: recorded(house, merchant, request_id))
    body = presentable(view, view.currency)
    if view.state is WithdrawalState.WAITING_APPROVAL:
        body |= {"decide_with": decide_with(view), "token_with": token_with(view)}
    show(body, f"Withdrawal {view.request} of {view.merchant}")


@app.command("approve")
def approve(
    merchant: Merchant,
    request_id: RequestId,
    amount: Amount,
    shown: Shown,
    currency: CurrencyOption = "CNY",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Approve exactly what was shown; the last approval needed sends the payment on its way."""
    fields = {"verdict": Verdict.APPROVE.value, "amount": amount, "currency": currency}
    _decide(merchant, request_id, shown, fields | {"token": token_text(token_file)})


@app.command("reject")
def reject(
    merchant: Merchant,
    request_id: RequestId,
    amount: Amount,
    shown: Shown,
    reason: ReasonOption,
    currency: CurrencyOption = "CNY",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a withdrawal, or undo its approval during the grace period; the money goes back."""
    fields = {"verdict": Verdict.REJECT.value, "amount": amount, "currency": currency}
    token = {"token": token_text(token_file)}
    _decide(merchant, request_id, shown, fields | token | {"reason": reason})


@app.command("delegate")
def delegate(
    delegation: Annotated[str, typer.Argument(help="The delegation's id, chosen by you.")],
    to: Annotated[str, typer.Option("--to", help="Who may decide in your roles.")],
    role: Annotated[list[str], typer.Option("--role", help="Which of your roles; may repeat.")],
    until: Annotated[
        datetime, typer.Option("--until", help="When it ends (UTC); a past moment ends it.")
    ],
    reason: ReasonOption,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Let another person decide in your roles until a moment."""
    body = read_model(
        Delegate,
        {
            "delegation": delegation,
            "delegate": to,
            "roles": role,
            "until": until.replace(tzinfo=UTC).isoformat(),
            "reason": reason,
            "token": token_text(token_file),
        },
    )

    async def work(house: House) -> DelegationView:
        return await (await house.tillkeeper()).delegate(body)

    show(presentable(with_house(work), "CNY"), f"Delegation {delegation}")


def decide_with(view: WithdrawalView) -> str:
    """The options that repeat what is shown."""
    amount = format_amount(view.amount_minor, view.currency)
    currency = "" if view.currency == _CURRENCY else f" --currency {view.currency}"
    return f"--amount {amount}{currency} --shown {view.payee_digest[:SHOWN_CHARS_MIN] or NO_PAYEE}"


def token_with(view: WithdrawalView) -> str:
    """How a developer gets the token that approves exactly this."""
    roles = [level.roles[0] for level in view.levels if level.current]
    role = roles[0] if roles else "ROLE"
    subject = withdrawal_workflow_id(view.merchant, view.request)
    return (
        f"token issue --subject YOU --role {role} --for {subject} --verdict approve"
        f" {decide_with(view)}"
    )


def _decide(merchant: str, request_id: str, shown: str, fields: dict[str, Any]) -> None:
    amount = parse_amount(fields.pop("amount"), fields["currency"])

    async def work(house: House) -> WithdrawalView:
        # One that is over has no payee any more; it is answered from what was decided.
        standing = (await recorded(house, merchant, request_id)).payee_digest or shown
        digest = completed(shown, standing)
        given = fields | {"amount_minor": amount, "payee_digest": digest}
        body = read_model(Decide, given)
        return await (await house.tillkeeper()).decide_withdrawal(merchant, request_id, body)

    show_withdrawal(with_house(work))
