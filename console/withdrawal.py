"""``tillkeeper withdrawal``: what a merchant asks for, and how far it is (P-65 … P-74).

Reads the database, which knows what an ended run does not; payee and account are masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from console.asking import (
    ACTOR,
    Actor,
    CurrencyOption,
    Merchant,
    ReasonOption,
    RequestId,
    identifier,
    read_model,
    with_house,
)
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
from ledger.withdrawal_rows import listed, read
from ledger.withdrawal_views import WithdrawalViews
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.money import format_amount, parse_amount
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalRequest,
    WithdrawalState,
    WithdrawalView,
)
from tillkeeper.rules.profiles import profile

app = typer.Typer(help="Withdrawals to the bound bank account.", no_args_is_help=True)

LIST_MAX: Final = 1_000

Limit = Annotated[int, typer.Option("--limit", min=1, max=LIST_MAX)]


@dataclass(frozen=True, slots=True)
class Found:
    """The withdrawals of a list; ``unreadable`` names those that cannot be shown, and why."""

    views: list[WithdrawalView] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)

    def more_than(self, limit: int) -> bool:
        """Whether there are more than ``limit`` of both."""
        return len(self.views) + len(self.unreadable) > limit


# A negative amount is an amount to refuse, not an option.
@app.command("request", context_settings={"ignore_unknown_options": True})
def request(
    merchant: Merchant,
    request_id: RequestId,
    amount: Annotated[str, typer.Argument(help="Like 2000.00.")],
    currency: CurrencyOption = "CNY",
    requested_by: Annotated[
        str, typer.Option("--by", help="Who asks, and so never approves; your login by default.")
    ] = ACTOR,
    accept_suspension: Annotated[
        bool, typer.Option("--accept-suspension", help="Also where campaigns will stop (P-74).")
    ] = False,
    entry_point: Annotated[str, typer.Option("--entry-point")] = "cli",
    as_json: AsJson = False,
) -> None:
    """Ask for money; it leaves available at once and waits for approval."""
    body = read_model(
        WithdrawalRequest,
        {
            "merchant": merchant,
            "currency": currency,
            "request": request_id,
            "amount_minor": parse_amount(amount, currency),
            "requested_by": requested_by,
            "accept_suspension": accept_suspension,
            "entry_point": entry_point,
        },
    )

    async def work(house: House) -> WithdrawalView:
        return await (await house.tillkeeper()).request_withdrawal(body)

    show_withdrawal(with_house(work))


@app.command("show")
def show_(merchant: Merchant, request_id: RequestId, as_json: AsJson = False) -> None:
    """Show a request with its dated steps, who decided, and the payment."""
    show_withdrawal(with_house(lambda house: recorded(house, merchant, request_id)))


@app.command("list")
def list_(
    merchant: Annotated[str | None, typer.Option("--merchant", help="Of this one only.")] = None,
    state: Annotated[WithdrawalState | None, typer.Option("--state", case_sensitive=False)] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List requests, the oldest first; without --state those that are still open."""
    whose = None if merchant is None else identifier(merchant, "merchant")
    states = [one for one in WithdrawalState if one.open] if state is None else [state]
    shown = with_house(lambda house: found(house, states, limit, merchant=whose))
    show_list(shown, "Withdrawals", limit)


@app.command("cancel")
def cancel(
    merchant: Merchant,
    request_id: RequestId,
    reason: ReasonOption,
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Take a request back that is not approved yet."""
    body = read_model(CancelWithdrawal, {"reason": reason, "actor": actor})

    async def work(house: House) -> WithdrawalView:
        return await (await house.tillkeeper()).cancel_withdrawal(merchant, request_id, body)

    show_withdrawal(with_house(work))


async def recorded(house: House, merchant: str, request_id: str) -> WithdrawalView:
    """The withdrawal as the database has it. Raises Rejected(REQUEST_UNKNOWN)."""
    views = WithdrawalViews(house.ring, profile(house.profile))

    async def look(connection: AsyncConnection) -> WithdrawalView:
        row = await read(connection, merchant, request_id)
        if row is None:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such withdrawal")
        return await views.view(connection, row, datetime.now(UTC))

    return await in_transaction(house.engine, look)


async def found(
    house: House, states: list[WithdrawalState], limit: int, *, merchant: str | None = None
) -> Found:
    """Withdrawals in these states, the oldest first, ``limit`` and one more at most.

    One that cannot be read hides no other.
    """
    views = WithdrawalViews(house.ring, profile(house.profile))
    now = datetime.now(UTC)

    async def look(connection: AsyncConnection) -> Found:
        rows = await listed(connection, merchant=merchant, states=states, limit=limit + 1)
        made = Found()
        for row in rows:
            try:
                made.views.append(await views.view(connection, row, now))
            except (Broken, ValidationError) as error:
                made.unreadable.append(unreadable(row.subject, error))
        return made

    return await in_transaction(house.engine, look)


def show_withdrawal(view: WithdrawalView) -> None:
    """One withdrawal for people, or as JSON."""
    body = presentable(view, view.currency)
    show(body, f"Withdrawal {view.request} of {view.merchant}")


def show_list(shown: Found, title: str, limit: int = LIST_MAX) -> None:
    """A line for each withdrawal; what is asked of people stands in it.

    The command ends with 1 where one cannot be read.
    """
    if json_wanted():
        lines = [presentable(view, view.currency) for view in shown.views[:limit]]
        more = shown.more_than(limit)
        answer({"withdrawals": lines, "unreadable": shown.unreadable, "more": more})
    else:
        _print_list(shown, title, limit)
    end_unreadable(shown.unreadable)


def _print_list(shown: Found, title: str, limit: int) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("merchant", "request", "amount", "state", "since", "account", "waits for"):
        table.add_column(heading, justify="right" if heading == "amount" else "left")
    for view in shown.views[:limit]:
        table.add_row(*map(escape, _cells(view)))
    people().print(table)
    if shown.more_than(limit):
        people().print("… and more: --limit, --merchant, --state")


def _cells(view: WithdrawalView) -> tuple[str, ...]:
    waits: list[Any] = [*view.blocked, *view.warnings]
    waits += [
        f"{level.name} {level.approvals}/{level.quorum}" for level in view.levels if level.current
    ]
    return (
        view.merchant,
        view.request,
        f"{format_amount(view.amount_minor, view.currency, grouped=True)} {view.currency}",
        view.state.value,
        "" if view.requested_at is None else f"{view.requested_at:%Y-%m-%d %H:%M}",
        view.account,
        ", ".join(map(str, waits)),
    )
