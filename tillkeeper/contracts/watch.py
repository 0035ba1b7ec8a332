"""The watch over runs: what the database says is open has its run, or gets it again (C-06)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Protocol

from pydantic import Field

from tillkeeper.contracts.base import Command, Model, NotUnderstood

WORKFLOW: Final = "RunWatch"
WATCH_WORKFLOW_ID: Final = "watch/runs"

REMEMBERED_MAX: Final = 50
"""How many revived runs are named, the last ones; all are counted."""


class RevivedRun(Model):
    """A run that was started again from what the database knows of it."""

    workflow_id: str
    at: datetime


Remembered = Annotated[tuple[RevivedRun, ...], Field(max_length=REMEMBERED_MAX)]


class LookCommand(Command):
    """Look once; ``at`` is the workflow's time (UTC)."""


class Look(Model):
    """What one look found: ``revived`` counts all, ``last`` names the last of them.

    ``ended`` are runs that ended well while their row is open: nothing starts those, for what they
    have done might be done twice.
    """

    revived: int = 0
    last: Remembered = ()
    ended: Remembered = ()


class RunWatchRequest(Model):
    """Watch for ever; the rest is what the runs before have found."""

    revived: int = 0
    last: Remembered = ()
    not_understood: tuple[NotUnderstood, ...] = ()


class RunWatchView(Model):
    """What the watch has found so far, and when it looked last."""

    looked_at: datetime | None = None
    revived: int = 0
    last: Remembered = ()
    ended: Remembered = ()
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""


class RunWatchDoor(Protocol):
    """Safe to run twice, and in two workers at once."""

    async def revive_runs(self, command: LookCommand) -> Look:
        """Start again what is open for some minutes and does not run; touch nothing else."""
        ...


def latest(*found: Sequence[RevivedRun]) -> tuple[RevivedRun, ...]:
    """The last ones of several lists, as many as are remembered."""
    return tuple(one for some in found for one in some)[-REMEMBERED_MAX:]
