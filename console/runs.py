"""``tillkeeper inbox runs``: runs that were lost and came back, and those that cannot.

The watch over runs looks every ten minutes; here it is asked, or made to look at once (C-06).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from console.asking import with_house
from console.connection import House
from console.output import AsJson, answer, json_wanted, people
from tillkeeper.contracts.watch import RevivedRun, RunWatchView


def runs(
    now: Annotated[bool, typer.Option("--now", help="Look at once, then list.")] = False,
    as_json: AsJson = False,
) -> None:
    """List runs that were started again from the database, the newest first."""

    async def work(house: House) -> RunWatchView | None:
        till = await house.tillkeeper()
        return await till.look_at_runs() if now else await till.runs_watch()

    found = with_house(work)
    seen = found or RunWatchView()
    if json_wanted():
        answer(
            {
                "watched": found is not None,
                **seen.model_dump(mode="json", exclude={"last", "ended"}),
                "last": _bodies(seen.last),
                "ended": _bodies(seen.ended),
            }
        )
        return
    if found is None:
        people().print("Nobody watches: no worker has run here, or its watch was ended.")
        return
    table = Table(title="Runs", title_justify="left")
    for heading in ("run", "when", ""):
        table.add_column(heading)
    for one in reversed(seen.ended):
        table.add_row(*_cells(one), "ended well, its row is open: look")
    for one in reversed(seen.last):
        table.add_row(*_cells(one), "started again")
    people().print(table)
    age = "never" if seen.looked_at is None else f"{_seconds_ago(seen.looked_at)} s ago"
    people().print(f"{seen.revived} started again in all; looked {age}")


def _bodies(some: tuple[RevivedRun, ...]) -> list[dict[str, str]]:
    return [one.model_dump(mode="json") for one in reversed(some)]


def _cells(one: RevivedRun) -> tuple[str, str]:
    return escape(one.workflow_id), f"{one.at:%Y-%m-%d %H:%M:%S}"


def _seconds_ago(moment: datetime) -> int:
    return max(0, int((datetime.now(UTC) - moment).total_seconds()))
