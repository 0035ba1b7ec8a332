"""``tillkeeper demo``: the whole of it on real or generated orders, and a table at the end.

Without a file the orders are generated, and it says so. Run again, it changes nothing and says so.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.asking import with_house
from console.connection import House
from console.demonstration import Chosen, Prepared, Till, choose, prepare, totals
from console.generator import MERCHANTS_DEFAULT, ORDERS_DEFAULT, SEED_DEFAULT, generate
from console.importing import OrderImport, Tally
from console.orders import Instalments, ending_of, summary
from console.output import EXIT_BROKEN, EXIT_REFUSED, AsJson, answer, errors, json_wanted, people
from console.progress import count_progress, import_progress
from console.rejects import Rejects
from console.verify import sentence, verification
from gateways.order_events import OrderEventFile
from ledger.orders import OrderBook
from ledger.parked import parked_messages
from ledger.summaries import AccountFigures, account_figures
from ledger.verify import Verification
from ledger.verify import verify as verify_book
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.order import HoldState
from tillkeeper.rules.order_events import EventMapping
from tillkeeper.rules.profiles import profile

_SHOWN: Final = (HoldState.HELD, HoldState.DUE, HoldState.SETTLED, HoldState.RELEASED)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Everything that one run found and did."""

    source: str
    chosen: Chosen
    prepared: Prepared
    tally: Tally
    still_parked: int
    verified: Verification
    figures: list[AccountFigures]
    rejects: Path
    ui: str | None
    seconds: float


def demo(
    orders: Annotated[
        Path | None, typer.Option("--orders", help="Event file; generated when not given.")
    ] = None,
    merchants: Annotated[
        int, typer.Option("--merchants", min=1, max=5_000, help="The busiest N of the file.")
    ] = MERCHANTS_DEFAULT,
    instalments: Instalments = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the generated orders.")] = SEED_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Open accounts, fund them, import orders, verify the books, show a table."""

    if orders is not None and (orders.is_fifo() or orders.is_char_device()):
        detail = "the demonstration reads its orders twice: give it a file, not a pipe"
        raise Rejected(Code.FILE_UNREADABLE, detail=detail)

    async def work(house: House) -> _Shown:
        return await _run(house, orders, merchants, instalments=instalments, seed=seed)

    shown = with_house(work)
    if json_wanted():
        answer(_body(shown))
    else:
        _print(shown)
    if not shown.verified.ok:
        raise typer.Exit(EXIT_BROKEN)
    if shown.tally.ended_by is not None:
        raise typer.Exit(EXIT_REFUSED)


async def _run(
    house: House, orders: Path | None, merchants: int, *, instalments: int | None, seed: int
) -> _Shown:
    began = time.monotonic()
    folder = house.home / "demo"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, source = (orders, str(orders)) if orders else _generated(folder, seed, merchants)
    errors().print(f"Orders: {source}", markup=False)
    file = OrderEventFile(path)
    chosen = choose(file, merchants)
    rules = profile(house.profile)
    mapping = EventMapping(rules, instalments=instalments)
    errors().print(f"Opening and funding {totals(chosen.accounts)}: workflows, bank, files …")
    with count_progress("accounts", len(chosen.accounts)) as bars:
        till = Till(await house.tillkeeper(), house.engine, house.bank)
        prepared = await prepare(
            till, chosen, rules, advance=lambda: bars.advance(bars.task_ids[0])
        )
    rejects = folder / f"rejects-{path.name.removesuffix('.gz').removesuffix('.csv')}.csv"
    errors().print("Importing their orders …")
    with Rejects(rejects) as bad, import_progress("orders", file.size_bytes()) as progress:
        run = OrderImport(OrderBook(house.engine), mapping, bad, only=chosen.merchants)
        tally = await run.run(file, progress)
    errors().print("Verifying the books …")
    verified, figures, parked = await asyncio.gather(
        verify_book(house.engine),
        account_figures(house.engine, chosen.accounts),
        parked_messages(house.engine, tally.touched),
    )
    seconds = time.monotonic() - began
    return _Shown(
        source, chosen, prepared, tally, parked, verified, figures, rejects, house.ui, seconds
    )


def _generated(folder: Path, seed: int, merchants: int) -> tuple[Path, str]:
    path = folder / f"generated-{seed}-{merchants}.csv.gz"
    generate(path, seed=seed, merchants=merchants)
    what = f"GENERATED, not real: seed {seed}, {merchants} merchants, {ORDERS_DEFAULT} orders"
    return path, f"{what} ({path})"


def _body(shown: _Shown) -> dict[str, Any]:
    return {
        "orders": shown.source,
        "accounts": asdict(shown.prepared),
        "import": summary(shown.tally, shown.still_parked),
        "rejects_file": str(shown.rejects) if shown.tally.rejected else None,
        "changed": _changed(shown),
        "verification": verification(shown.verified),
        "merchants": [_fields(figures) for figures in shown.figures],
        "ui": shown.ui,
        "seconds": f"{shown.seconds:.1f}",
    } | ending_of(shown.tally)


def _changed(shown: _Shown) -> bool:
    done = shown.prepared
    return bool(done.opened or done.configured or done.topped_up or shown.tally.changed)


def _fields(figures: AccountFigures) -> dict[str, Any]:
    currency = figures.currency
    return {
        "merchant": figures.merchant,
        "currency": currency,
        "available": format_amount(figures.available, currency),
        "frozen": format_amount(figures.frozen, currency),
        "dues": format_amount(figures.dues, currency),
        "settled": format_amount(figures.settled, currency),
        "refunded": format_amount(figures.refunded, currency),
        "orders": {state.value: figures.orders.get(state, 0) for state in HoldState},
    }


def _print(shown: _Shown) -> None:
    people().print(_table(shown.figures))
    tally, done = shown.tally, shown.prepared
    lines = [
        f"Orders    {shown.source}",
        f"Accounts  {done.opened} opened, {done.topped_up} topped up, {done.found} found",
        f"Import    {tally.rows:,} rows in {tally.seconds:.1f} s ({tally.rows_per_second:,}/s): "
        f"{tally.changed:,} messages changed the books, {tally.replayed:,} were known, "
        f"{tally.noted:,} rows noted, {tally.skipped:,} of other merchants",
    ]
    if done.topped_up:
        lines.insert(
            2,
            f"Money     {done.topped_up} wires arrived at the bank simulator, its camt.054 files "
            f"were imported and matched: all accounts ACTIVE after {done.funded_in} s",
        )
    if tally.rejected:
        codes = ", ".join(f"{code} {n}" for code, n in tally.rejected.most_common())
        lines.append(f"Rejected  {tally.rejected.total():,} rows: {codes} ({shown.rejects})")
    if tally.ended_by is not None:
        lines.append(f"The file ended early: {tally.ended_by.code}: {tally.ended_by.detail}")
    if shown.still_parked:
        lines.append(f"Waiting   {shown.still_parked:,} messages for another one of their order")
    if not _changed(shown):
        lines.append("Nothing new: no account was opened and no balance was changed by this run.")
    lines.append(sentence(shown.verified))
    if shown.ui:
        lines.append(f"Look at the workflows: {shown.ui}")
    for line in lines:
        people().print(escape(line), soft_wrap=True)


def _table(rows: list[AccountFigures]) -> Table:
    table = Table(title="Prepaid accounts", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("merchant", no_wrap=True)
    amounts = ("available", "frozen", "dues", "settled", "refunded")
    for name in ("cur", *amounts, *(f"#{state.value}" for state in _SHOWN)):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    for currency in sorted({row.currency for row in rows}):
        table.add_section()
        table.add_row(*_cells(_sum(currency, rows)), style="bold")
    return table


def _cells(row: AccountFigures) -> list[str]:
    amounts = (row.available, row.frozen, row.dues, row.settled, row.refunded)
    return [
        escape(row.merchant if len(row.merchant) <= 12 else f"{row.merchant[:11]}…"),
        row.currency,
        *(format_amount(amount, row.currency, grouped=True) for amount in amounts),
        *(f"{row.orders.get(state, 0):,}" for state in _SHOWN),
    ]


def _sum(currency: str, rows: list[AccountFigures]) -> AccountFigures:
    total = AccountFigures("Σ", currency, 0, 0, 0)
    for row in rows:
        if row.currency != currency:
            continue
        total.available += row.available
        total.frozen += row.frozen
        total.dues += row.dues
        total.settled += row.settled
        total.refunded += row.refunded
        for state, count in row.orders.items():
            total.orders[state] = total.orders.get(state, 0) + count
    return total
