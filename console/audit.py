"""``tillkeeper audit``: the chain over all that was changed, its head for keeping outside, and what
was done to one subject.

A head that is kept where no owner of the database can write it is what finds a chain that was
rewritten as a whole: take one daily, keep them all.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import fields_from, printed, read_model, with_house
from console.connection import House
from console.output import EXIT_BROKEN, AsJson, answer, json_wanted, local_time, people, show
from ledger.audit import Audit, AuditRow
from ledger.audit_chain import head as head_of
from ledger.audit_proof import Proof, prove
from ledger.engine import in_transaction
from ledger.export import published
from ledger.snapshot import snapshot
from tillkeeper.contracts.audit import AuditHead

app = typer.Typer(
    help="Who changed what, and the proof that nobody edited it.", no_args_is_help=True
)


@app.command("head")
def head_(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this new file, to be kept outside.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where the chain stands: place, hash, rows, time."""

    async def work(house: House) -> AuditHead:
        async with snapshot(house.engine) as connection:
            found = await head_of(connection)
        if out is not None:
            async with published(out, overwrite=False) as path:
                path.write_text(found.model_dump_json() + "\n", encoding="utf-8")
        return found

    body = with_house(work).model_dump()
    show(body if out is None else body | {"file": str(out)}, "The audit's chain")


@app.command("verify")
def verify_(
    anchor: Annotated[
        list[Path] | None,
        typer.Option("--anchor", help="A head that was kept outside; may be repeated."),
    ] = None,
    chain_only: Annotated[
        bool,
        typer.Option("--chain-only", help="Without the stamps, for whoever has no key ring."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute the chain and the stamps; name the first place or row that does not fit.

    The exit code is 1 then, and where rows wait for more than a minute while nothing is chained.
    It needs the key ring.
    """
    anchors = [_anchor(path) for path in anchor or ()]

    async def work(house: House) -> Proof:
        return await prove(house.engine, anchors, ring=None if chain_only else house.ring)

    found = with_house(work)
    if json_wanted():
        answer(_proof(found, len(anchors)))
    else:
        people().print(escape(sentence(found, len(anchors))), soft_wrap=True)
    if found.stalled or not found.ok:
        raise typer.Exit(EXIT_BROKEN)


@app.command("show")
def show_(
    subject: Annotated[
        str, typer.Argument(callback=printed, help="Like withdrawal/M1/W1, item/7 or topup/M1/T1.")
    ],
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show what was done to a subject: by whom, when, why, and what it changed.

    What people typed is opened: it needs the key ring.
    """

    async def work(house: House) -> list[AuditRow]:
        audit = Audit(house.ring)
        return await in_transaction(house.engine, lambda c: audit.history(c, subject, limit))

    rows = with_house(work)
    if json_wanted():
        answer({"subject": subject, "rows": [asdict(row) for row in rows]})
        return
    table = Table(title=escape(f"Audit of {subject}"), title_justify="left")
    for heading in ("place", "at", "action", "actor", "changed", "reason"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(escape, _cells(row)))
    people().print(table)


def sentence(found: Proof, anchors: int) -> str:
    """The verdict in one sentence, and what is worth a look."""
    if found.broken is not None:
        broken = found.broken
        where = [] if broken.place is None else [f"place {broken.place}"]
        where += [] if broken.audit is None else [f"audit row {broken.audit}"]
        return f"BROKEN: {', '.join(where)}: expected {broken.expected}, found {broken.found}"
    said = f"The audit verifies: {found.head.rows:,} rows, head {found.head.hash}"
    if anchors:
        said += f", through {anchors} head{'s' * (anchors > 1)} kept outside"
    said += "."
    if found.unstamped is None:
        said += " Stamps were not looked at: a row that was forged may be in the chain."
    elif found.unstamped:
        said += f" {found.unstamped:,} rows are older than stamps: the chain alone holds them."
    if found.stalled:
        said = f"NOT CHAINED: nothing was chained for a minute, and rows wait. {said}"
    if found.unchained:
        said += f" Not chained yet: {found.unchained:,} rows, the oldest {_age_s(found)} s old."
    if found.backdated:
        said += f" Worth a look: {found.backdated:,} rows recorded before older ones."
    return said


def _anchor(path: Path) -> AuditHead:
    """Raises Rejected(FILE_UNREADABLE | INPUT_NOT_UNDERSTOOD | FIELD_…)."""
    return read_model(AuditHead, fields_from(path))


def _proof(found: Proof, anchors: int) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "broken": None if found.broken is None else asdict(found.broken),
        "head": found.head.model_dump(),
        "anchors": anchors,
        "unchained": found.unchained,
        "unchained_age_s": _age_s(found),
        "backdated": found.backdated,
        "stalled": found.stalled,
        "unstamped": found.unstamped,
    }


def _age_s(found: Proof) -> int:
    if found.unchained_since is None:
        return 0
    return max(0, int((datetime.now(UTC) - found.unchained_since).total_seconds()))


def _cells(row: AuditRow) -> tuple[str, ...]:
    names = sorted(row.before.keys() | row.after.keys())
    changed = (f"{n}: {row.before.get(n, '–')} → {row.after.get(n, '–')}" for n in names)
    place = "" if row.place is None else str(row.place)
    return place, local_time(row.at), row.action, row.actor, "\n".join(changed), row.reason
