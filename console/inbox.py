"""``tillkeeper inbox``: what waits for a person, of all lifecycles, and what people do with it.

Items come from the database, runs that stopped from Temporal. An approval names the number of the
proposal that was shown: if another one stands there by now, it is refused (P-29, C-05, C-07).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import (
    ACTOR,
    Actor,
    ReasonOption,
    TokenFile,
    printed,
    read_model,
    token_text,
    with_house,
)
from console.binding import approval_fields, proposal_fields
from console.connection import House
from console.output import AsJson, answer, json_wanted, people, presentable, show
from console.runs import runs
from ledger.engine import in_transaction
from ledger.workitems import Item as ItemRow
from ledger.workitems import ItemRows, item_view
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemAction,
    ItemKind,
    ItemState,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
    WaitingRun,
)
from tillkeeper.rules.proving import NEEDS_NO_TOKEN

app = typer.Typer(help="Work for people: claim, propose, decide.", no_args_is_help=True)
app.command("runs")(runs)

LIST_MAX: Final = 1_000
RESUME: Final = "resume"

Item = Annotated[int, typer.Argument(help="The item's number, from `inbox list`.")]
Number = Annotated[int, typer.Option("--proposal", help="Which proposal: its number, as shown.")]


@app.command("list")
def list_(
    kind: Annotated[
        ItemKind | None, typer.Option("--kind", help="Items of this kind only.")
    ] = None,
    closed: Annotated[
        bool, typer.Option("--all", help="Closed items too, the newest first.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=LIST_MAX)] = 100,
    as_json: AsJson = False,
) -> None:
    """List what waits, the oldest first: items, and runs that need `inbox resume`."""

    async def work(house: House) -> tuple[list[ItemView], tuple[WaitingRun, ...]]:
        rows = ItemRows(house.ring)
        items = await in_transaction(
            house.engine, lambda c: rows.inbox(c, kind, closed=closed, limit=limit + 1)
        )
        runs = () if kind else await (await house.tillkeeper()).waiting_runs()
        return items, runs

    now = datetime.now(UTC)
    items, runs = with_house(work)
    found = [*map(_run_line, runs), *map(_item_line, items)]
    found.sort(key=lambda line: line["since"], reverse=closed)
    for line in found:
        line["age_s"] = int(max(now - line["since"], timedelta()).total_seconds())
    if json_wanted():
        answer({"work": found[:limit], "more": len(found) > limit})
    else:
        _table(found[:limit], more=len(found) > limit)


@app.command("show")
def show_(item: Item, as_json: AsJson = False) -> None:
    """Show an item: context, allowed actions, what is proposed, how it ended.

    Whom a return is proposed to pay is named in clear: that is what a second person decides on.
    """

    async def work(house: House) -> ItemRow:
        rows = ItemRows(house.ring)
        return await in_transaction(house.engine, lambda c: rows.read(c, item))

    found = with_house(work)
    body = _body(item_view(found))
    payee = None if found.proposal is None else found.proposal.payee
    if payee is not None and found.state is ItemState.PROPOSED:
        named = {"payee": payee.name, "payee_account": payee.account}
        bank = payee.model_dump(include={"bank_name", "bic", "clearing_code"}, exclude_none=True)
        body["proposal"] |= named | {"payee_bank": " ".join(bank.values())}
    show(body, f"Item {item}: {found.kind}")


@app.command("claim")
def claim(item: Item, actor: Actor = ACTOR, as_json: AsJson = False) -> None:
    """Take an item, so that nobody else works on it."""
    body = read_model(ClaimItem, {"actor": actor})
    _do(lambda house: _claim(house, item, body))


async def _claim(house: House, item: int, body: ClaimItem) -> ItemView:
    return await (await house.tillkeeper()).claim_item(item, body)


@app.command("release")
def release(
    item: Item, reason: ReasonOption, actor: Actor = ACTOR, as_json: AsJson = False
) -> None:
    """Give an item back; the proposer withdraws his proposal by it."""
    body = read_model(ReleaseItem, {"reason": reason, "actor": actor})

    async def work(house: House) -> ItemView:
        return await (await house.tillkeeper()).release_item(item, body)

    _do(work)


@app.command("propose")
def propose(
    item: Item,
    action: Annotated[ItemAction, typer.Argument(case_sensitive=False)],
    target: Annotated[
        str | None, typer.Argument(help="MERCHANT/REQUEST, or a payment's id.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")] = "",
    return_to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="Whom a return or RETRY_CORRECTED pays: a JSON file with name, account, "
            "bank_name, bic, clearing_code. What is left out stays as it was; another account "
            "needs its own bank (an IBAN needs none).",
        ),
    ] = None,
    actor: Actor = ACTOR,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose what a second person decides; ACKNOWLEDGE closes an item at once, without a token."""
    fields: dict[str, Any] = {"reason": reason, "actor": actor}
    if action not in NEEDS_NO_TOKEN or token_file is not None:
        fields["token"] = token_text(token_file)
    body = read_model(Propose, fields | proposal_fields(action, target, return_to))

    async def work(house: House) -> ItemView:
        return await (await house.tillkeeper()).propose(item, body)

    _do(work)


@app.command("approve")
def approve(
    item: Item,
    proposal: Number,
    actor: Actor = ACTOR,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Approve a proposal of somebody else: it is done, and the item closed."""
    said = {"proposal": proposal, "actor": actor, "token": token_text(token_file)}

    async def work(house: House) -> ItemView:
        shown = (await _read(house, item)).proposal
        fields: dict[str, Any] = said | {"action": ItemAction.MATCH}
        if shown is not None:
            fields |= approval_fields(shown)
        return await (await house.tillkeeper()).approve(item, read_model(Approve, fields))

    _do(work)


@app.command("reject")
def reject(
    item: Item,
    proposal: Number,
    reason: ReasonOption,
    actor: Actor = ACTOR,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a proposal of somebody else; the item stays open."""
    said = {"reason": reason, "actor": actor, "token": token_text(token_file)}
    fields = {"proposal": proposal, **said}
    body = read_model(RejectProposal, fields)

    async def work(house: House) -> ItemView:
        return await (await house.tillkeeper()).reject(item, body)

    _do(work)


@app.command(RESUME)
def resume(
    workflow_id: Annotated[
        str, typer.Argument(callback=printed, help="The run's id, from `inbox list`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a run that stopped try again."""

    async def work(house: House) -> str:
        return await (await house.tillkeeper()).resume(workflow_id)

    waited_for = with_house(work)
    show({"workflow_id": workflow_id, "waited_for": waited_for}, "Resumed")


async def _read(house: House, item: int) -> ItemView:
    rows = ItemRows(house.ring)
    return item_view(await in_transaction(house.engine, lambda c: rows.read(c, item)))


def _do(work: Callable[[House], Awaitable[ItemView]]) -> None:
    _show(with_house(work))


def _show(view: ItemView) -> None:
    show(_body(view), f"Item {view.item}: {view.kind}")


def _body(view: ItemView) -> dict[str, Any]:
    age = int(view.age(datetime.now(UTC)).total_seconds())
    return presentable(view, view.currency or "CNY") | {"age_s": age}


def _item_line(item: ItemView) -> dict[str, Any]:
    money = item.amount_minor is not None and item.currency is not None
    return {
        "id": str(item.item),
        "kind": item.kind.value,
        "state": item.state.value,
        "subject": item.subject,
        "reason": item.reason,
        "owner": item.owner,
        "amount": format_amount(item.amount_minor or 0, item.currency or "") if money else None,
        "currency": item.currency,
        "since": item.opened_at,
        "outcome": item.outcome,
        "actions": [action.value for action in item.actions],
    }


def _run_line(run: WaitingRun) -> dict[str, Any]:
    return {
        "id": run.workflow_id,
        "kind": run.lifecycle,
        "state": run.stage,
        "subject": run.workflow_id,
        "reason": "",
        "owner": None,
        "amount": None,
        "currency": None,
        "since": run.since,
        "outcome": None,
        "actions": [RESUME],
    }


def _table(found: list[dict[str, Any]], *, more: bool) -> None:
    table = Table(title="Inbox", title_justify="left")
    for heading in ("id", "kind", "state", "owner", "age", "amount", "about", "actions"):
        table.add_column(heading, justify="right" if heading in ("age", "amount") else "left")
    for line in found:
        state = f"{line['state']} {line['outcome'] or ''}".strip()
        amount = f"{line['amount']} {line['currency']}" if line["amount"] else ""
        about = "" if line["subject"] == line["id"] else f"{line['subject']} {line['reason']}"
        cells = (
            line["id"], line["kind"], state, line["owner"] or "", _age(line["age_s"]), amount,
            about.strip(), " ".join(line["actions"]),
        )  # fmt: skip
        table.add_row(*map(escape, cells))
    people().print(table)
    if more:
        people().print("… and more: --limit, --kind")


def _age(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    return f"{days}d {hours}h" if days else f"{hours}h {rest // 60}m"
