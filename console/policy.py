"""``tillkeeper policy``: which amounts need whom, changed by two people, tried on the past (C-08).

A proposal's policy comes from a JSON file (docs/approvals.md); a decision names the digest that was
shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from console.asking import (
    ReasonOption,
    TokenFile,
    fields_from,
    identifier,
    natural_day,
    read_model,
    token_text,
    with_house,
)
from console.binding import completed, standing_policy
from console.connection import House
from console.output import AsJson, answer, json_wanted, people, presentable, show
from ledger.engine import in_transaction
from ledger.policies import adopted_policies
from ledger.withdrawal_rows import WithdrawalRow, listed
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    DecidePolicy,
    Level,
    PolicyVersion,
    PolicyView,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.rules.approvals import coming, in_force, levels_for, same_people
from tillkeeper.rules.days import day_bounds

app = typer.Typer(help="Which amounts need whose approval.", no_args_is_help=True)

SIMULATED_MAX: Final = 10_000

_ASKED: Final = [state for state in WithdrawalState if state is not WithdrawalState.REFUSED]
"""What was refused at once needed nobody."""


def _change(value: str | None) -> str | None:
    return None if value is None else identifier(value, "change")


Change = Annotated[
    str, typer.Argument(callback=_change, help="The change's id, chosen by whoever proposes it.")
]
Shown = Annotated[
    str,
    typer.Option("--shown", help="The policy's digest that was shown; its first 12 letters do."),
]
PolicyFile = Annotated[Path, typer.Option("--policy", help="JSON file with the policy's bands.")]


@app.command("show")
def show_(
    change: Annotated[
        str | None, typer.Argument(callback=_change, help="A change; else what is in force.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the policy in force and those that come, or one change of it with its digest."""
    if change is not None:
        named = change

        async def work(house: House) -> PolicyView:
            return await (await house.tillkeeper()).policy_change(named)

        _show(with_house(work))
        return
    versions, now = with_house(_adopted), datetime.now(UTC)
    version, later = in_force(versions, now), coming(versions, now)
    if json_wanted():
        answer(
            version.model_dump(mode="json")
            | {"coming": [one.model_dump(mode="json") for one in later]}
        )
        return
    for one in (version, *later):
        body = {"effective_from": one.effective_from, "bands": _sentences(one.policy)}
        title = f"Policy {one.name}" if one is version else f"To come: {one.name}"
        show({"name": one.name, **body}, title)


@app.command("propose")
def propose(
    change: Change,
    policy: PolicyFile,
    effective_from: Annotated[datetime, typer.Option("--from", help="When it begins (UTC).")],
    reason: ReasonOption,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose another policy; a second policy admin decides on it."""
    body = read_model(
        ProposePolicy,
        {
            "change": change,
            "policy": fields_from(policy),
            "effective_from": effective_from.replace(tzinfo=UTC).isoformat(),
            "reason": reason,
            "token": token_text(token_file),
        },
    )

    async def work(house: House) -> PolicyView:
        return await (await house.tillkeeper()).propose_policy(body)

    _show(with_house(work))


@app.command("approve")
def approve(
    change: Change, shown: Shown, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Adopt a change that somebody else proposed."""
    _decide(change, {"verdict": Verdict.APPROVE.value, "policy_digest": shown}, token_file)


@app.command("reject")
def reject(
    change: Change,
    shown: Shown,
    reason: ReasonOption,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a change that somebody else proposed."""
    fields = {"verdict": Verdict.REJECT.value, "policy_digest": shown, "reason": reason}
    _decide(change, fields, token_file)


@app.command("simulate")
def simulate(
    since: Annotated[str, typer.Option("--since", help="The first day, like 2026-11-01.")],
    policy: Annotated[
        Path | None, typer.Option("--policy", help="JSON file; without it what is in force.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what past withdrawals needed, and what they would have needed.

    Days are those of Asia/Shanghai. What was refused at once is left out.
    """
    given = None if policy is None else read_model(ApprovalPolicy, fields_from(policy))
    begin, _ = day_bounds(natural_day(since))

    async def work(house: House) -> tuple[list[PolicyVersion], list[WithdrawalRow]]:
        versions = await _adopted(house)

        async def look(connection: AsyncConnection) -> list[WithdrawalRow]:
            return await listed(connection, states=_ASKED, since=begin, limit=SIMULATED_MAX + 1)

        return versions, await in_transaction(house.engine, look)

    versions, rows = with_house(work)
    tried = given or in_force(versions, datetime.now(UTC)).policy
    _simulated([_line(row, tried) for row in rows[:SIMULATED_MAX]], more=len(rows) > SIMULATED_MAX)


async def _adopted(house: House) -> list[PolicyVersion]:
    return await in_transaction(house.engine, adopted_policies)


def _decide(change: str, fields: dict[str, Any], token_file: Path | None) -> None:
    given = fields | {"token": token_text(token_file)}

    async def work(house: House) -> PolicyView:
        standing = await standing_policy(house, identifier(change, "change"))
        digest = completed(fields["policy_digest"], standing)
        body = read_model(DecidePolicy, given | {"policy_digest": digest})
        return await (await house.tillkeeper()).decide_policy(change, body)

    _show(with_house(work))


def _line(row: WithdrawalRow, tried: ApprovalPolicy) -> dict[str, Any]:
    band = levels_for(tried, row.amount, row.currency)
    return {
        "merchant": row.merchant,
        "request": row.request,
        "amount": format_amount(row.amount, row.currency),
        "currency": row.currency,
        "state": row.state.value,
        "policy": row.policy,
        "needed": _people(row.levels),
        "would_need": _people(band.levels),
        "differs": not same_people(row.levels, band.levels),
    }


def _simulated(lines: list[dict[str, Any]], *, more: bool) -> None:
    differing = sum(line["differs"] for line in lines)
    if json_wanted():
        body = {"withdrawals": lines, "count": len(lines), "differing": differing, "more": more}
        answer(body)
        return
    table = Table(title="What withdrawals would have needed", title_justify="left")
    headings = ("merchant", "request", "amount", "currency", "needed", "would need", "")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "amount" else "left")
    for line in lines:
        named = ("merchant", "request", "amount", "currency", "needed", "would_need")
        cells = [*(line[name] for name in named), "≠" if line["differs"] else ""]
        table.add_row(*map(escape, cells))
    people().print(table)
    people().print(f"{len(lines)} withdrawals, {differing} of them would have needed others")
    if more:
        people().print(f"… and more than {SIMULATED_MAX}: a later --since")


def _people(levels: tuple[Level, ...]) -> str:
    """The levels in one line: who, one after another; nobody where there is none."""
    said = [
        f"{level.quorum}× {'|'.join(level.roles)}" if level.quorum > 1 else "|".join(level.roles)
        for level in levels
    ]
    return " → ".join(said) or "nobody"


def _sentences(policy: ApprovalPolicy) -> list[str]:
    """A line for each band; amounts in the currency that it is for."""
    every = {"": policy.bands, **policy.by_currency}
    return [
        f"{currency} {_upto(band.upto_minor, currency or 'CNY')}: "
        f"{_people(band.levels)} {band.auto_reason or ''}".strip()
        for currency, bands in every.items()
        for band in bands
    ]


def _upto(amount_minor: int | None, currency: str) -> str:
    if amount_minor is None:
        return "any more"
    return f"up to {format_amount(amount_minor, currency, grouped=True)}"


def _show(view: PolicyView) -> None:
    body = presentable(view, "CNY")
    if view.policy is not None:
        policy = view.policy
        body["policy"] = policy.model_dump(mode="json") if json_wanted() else _sentences(policy)
    show(body, f"Change {view.change} of the policy")
