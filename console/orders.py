"""``tillkeeper orders``: charge the interest fee of real orders from an event file (P-40 … P-50.1).

Exit code 0 when the whole file was read, rejected rows included; 2 when the file was not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from console.asking import identifier, with_house
from console.connection import House
from console.importing import BATCH_DEFAULT, OrderImport, Tally
from console.output import EXIT_REFUSED, AsJson, answer, errors, json_wanted, show
from console.progress import import_progress
from console.rejects import Rejects
from gateways.order_events import OrderEventFile
from ledger.orders import BATCH_MAX, OrderBook
from ledger.parked import parked_messages
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.order_events import EventMapping
from tillkeeper.rules.profiles import profile

app = typer.Typer(help="Orders.", no_args_is_help=True)

Instalments = Annotated[
    int | None, typer.Option("--instalments", help="Count for rows that carry none.")
]
Zone = Annotated[str, typer.Option("--zone", help="Zone of times that carry none.")]


@app.callback()
def orders() -> None:
    """Orders."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with an event a row, plain or gzip.")],
    instalments: Instalments = None,
    merchants: Annotated[
        Path | None, typer.Option("--merchants", help="File of merchant ids, one a line.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="This merchant alone; may be repeated.")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Where refused rows are listed.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=BATCH_MAX)] = BATCH_DEFAULT,
    zone: Zone = "UTC",
    as_json: AsJson = False,
) -> None:
    """Hold, release, settle and refund the fees of an event file; run again to continue."""
    events = OrderEventFile(file, zone_name=zone)
    size = events.size_bytes()
    chosen = _chosen(merchants, only)
    listed = rejects or rejects_path(file)
    if listed.exists() and file.exists() and listed.samefile(file):
        raise Rejected(Code.FILE_UNREADABLE, detail="the rejects file would replace the input")

    async def work(house: House) -> tuple[Tally, int]:
        mapping = EventMapping(profile(house.profile), instalments=instalments)
        book = OrderBook(house.engine)
        with Rejects(listed) as bad, import_progress(file.name, size) as progress:
            run = OrderImport(book, mapping, bad, only=chosen, batch=batch)
            tally = await run.run(events, progress)
        return tally, await parked_messages(house.engine, tally.touched)

    tally, still_parked = with_house(work)
    _report(file, listed, tally, still_parked)
    if tally.ended_by is not None:
        raise typer.Exit(EXIT_REFUSED)


def rejects_path(file: Path) -> Path:
    """``rejects-olist_events.csv`` for ``…/olist_events.csv.gz``, in the working directory."""
    return Path(f"rejects-{file.name.removesuffix('.gz').removesuffix('.csv')}.csv")


def summary(tally: Tally, still_parked: int) -> dict[str, Any]:
    """The tally as an answer; ``changed`` is what this run did to the books.

    ``still_parked`` messages of these accounts wait in the books for another one, of any file.
    """
    return {
        "rows": tally.rows,
        "messages": tally.messages,
        "changed": tally.changed,
        "applied": tally.applied,
        "dues": tally.dues,
        "parked": tally.parked,
        "still_parked": still_parked,
        "waiting": tally.waiting,
        "replayed": tally.replayed,
        "noted": tally.noted,
        "skipped": tally.skipped,
        "rejected": tally.rejected.total(),
        "rejected_by_code": dict(sorted(tally.rejected.items())),
        "seconds": f"{tally.seconds:.2f}",
        "rows_per_second": tally.rows_per_second,
    }


def ending_of(tally: Tally) -> dict[str, Any]:
    """Why the file was not read to its end, as an answer; nothing when it was."""
    ending = tally.ended_by
    return {} if ending is None else {"refused": [{"code": ending.code, "detail": ending.detail}]}


def _report(file: Path, listed: Path, tally: Tally, still_parked: int) -> None:
    body = {"file": str(file)} | summary(tally, still_parked)
    body["rejects_file"] = str(listed) if tally.rejected else None
    ending = tally.ended_by
    if json_wanted():
        answer(body | ending_of(tally))
        return
    show(body, "Orders imported")
    if not tally.changed:
        errors().print("Nothing changed: every message was applied before, or refused.")
    if ending is not None:
        errors().print(f"{ending.code}: {ending.detail}", markup=False)


def _chosen(merchants: Path | None, only: list[str] | None) -> set[str] | None:
    if merchants is None and not only:
        return None
    chosen = {identifier(merchant, "--only") for merchant in only or ()}
    if merchants is not None:
        try:
            lines = merchants.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            detail = "the file of merchants cannot be read"
            raise Rejected(Code.FILE_UNREADABLE, detail=detail) from None
        chosen.update(line.strip() for line in lines if line.strip())
    return chosen
