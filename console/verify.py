"""``tillkeeper verify``: recompute the book, name the first row that does not fit (C-04)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import with_house
from console.connection import House
from console.output import EXIT_BROKEN, AsJson, answer, json_wanted, people
from ledger.verify import Verification
from ledger.verify import verify as verify_book


def verify(as_json: AsJson = False) -> None:
    """Verify every balance, chain, floor and hold; exit code 1 when something does not fit."""

    async def work(house: House) -> Verification:
        return await verify_book(house.engine)

    found = with_house(work)
    if json_wanted():
        answer(verification(found))
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(EXIT_BROKEN)


def verification(found: Verification) -> dict[str, Any]:
    """The verification as an answer."""
    return {
        "ok": found.ok,
        "broken": None if found.broken is None else asdict(found.broken),
        "offending": found.offending,
        "sizes": asdict(found.sizes),
        "notes": asdict(found.notes),
        "seconds": f"{found.seconds:.2f}",
    }


def sentence(found: Verification) -> str:
    """The verdict in one sentence."""
    if found.broken is None:
        sizes = found.sizes
        return (
            f"The books verify: {sizes.transfers:,} transfers, {sizes.accounts:,} accounts, "
            f"{sizes.orders:,} orders, Σ = 0."
        )
    row = found.broken
    return (
        f"BROKEN: {row.table} {row.id} fails {row.check}: expected {row.expected}, "
        f"found {row.found}"
    )


def _print(found: Verification) -> None:
    table = Table("check", "offending", "seconds", title="Verification", title_justify="left")
    for check in found.checks:
        table.add_row(check.name, str(check.offending), f"{check.seconds:.2f}")
    people().print(table)
    notes = {name.replace("_", " "): n for name, n in asdict(found.notes).items() if n}
    if notes:
        people().print("Worth a look: " + ", ".join(f"{n} {name}" for name, n in notes.items()))
    people().print(escape(sentence(found)))
