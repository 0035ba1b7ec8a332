"""Progress for people on a terminal: bars on standard error, nothing anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from console.importing import Progress as Report
from console.importing import Tally
from console.output import errors


@contextmanager
def import_progress(what: str, size_bytes: int) -> Iterator[Report]:
    """A bar over the file's bytes with the rate of rows; silent where no person looks."""
    bars = _bars(TextColumn("{task.fields[rate]} rows/s"), TimeRemainingColumn())
    with bars:
        task = bars.add_task(what, total=size_bytes or None, rate="-")
        began = bars.get_time()

        def report(tally: Tally, position_bytes: int) -> None:
            elapsed = bars.get_time() - began
            rate = f"{tally.rows / elapsed:,.0f}" if elapsed else "-"
            bars.update(task, completed=position_bytes, rate=rate)

        yield report


@contextmanager
def count_progress(what: str, total: int) -> Iterator[Progress]:
    """A bar over ``total`` things; advance its only task."""
    bars = _bars(TextColumn("{task.completed}/{task.total}"))
    with bars:
        bars.add_task(what, total=total)
        yield bars


def _bars(*more: TextColumn | TimeRemainingColumn) -> Progress:
    console = errors()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *more,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
