"""Reconciliation: one bank account's day, as the bank tells it and as our book has it (C-14)."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final, Protocol

from pydantic import Field

from tillkeeper.contracts.base import EARLIEST, LATEST, Command, Model, Moment, NotUnderstood

WORKFLOW: Final = "Reconciliation"
LOOK: Final = "look"
"""The nudge that something of the day changed: as a signal unanswered, as an update answered."""

DIFFERENCES_SHOWN_MAX: Final = 100
"""A view names no more than these; it always counts all."""

ACCOUNT_ID_MAX: Final = 2**63 - 1

AccountId = Annotated[int, Field(gt=0, le=ACCOUNT_ID_MAX)]
"""Number of one of our bank accounts in the book, not the bank's number of it."""

Day = Annotated[date, Field(ge=EARLIEST.date(), lt=LATEST.date())]
"""A day of the business zone, 1970 … 2199."""


def reconciliation_workflow_id(account: int, day: date) -> str:
    """The business id is the workflow id, and what a work item of the day is about."""
    return f"reconcile/{account}/{day.isoformat()}"


class ReconciliationState(StrEnum):
    """What a day came to when it was compared last; LOOKING until it was."""

    LOOKING = "LOOKING"
    CLEAN = "CLEAN"
    DIFFERENT = "DIFFERENT"
    NO_STATEMENT = "NO_STATEMENT"


class DifferenceKind(StrEnum):
    """How book and statement differ."""

    NOT_IN_BOOK = "NOT_IN_BOOK"
    """The bank tells an entry that moved nothing in the book."""
    NOT_ON_STATEMENT = "NOT_ON_STATEMENT"
    """The book has a movement that no statement tells, though a notification may."""
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    """Both have it, with different amounts."""
    BALANCE_DIFFERS = "BALANCE_DIFFERS"
    """A statement contradicts itself, or its closing balance the book's, by more than is listed."""


class Difference(Model):
    """One difference; signed minor units, positive where the account gained.

    ``subject`` is the entry, the transfer's subject or the statement; ``transfer`` its row.
    """

    kind: DifferenceKind
    subject: str
    bank_minor: int | None = None
    book_minor: int | None = None
    transfer: int | None = None
    first_seen: datetime | None = None

    @property
    def off_minor(self) -> int:
        """By how much the bank is above the book."""
        return (self.bank_minor or 0) - (self.book_minor or 0)


class ReconciliationStart(Model):
    """The day to compare. ``since`` and what follows carry a long wait into the next run.

    ``paced``: nudges that come close together share a look. A run that began before this was so
    looks at each, as its history has it.
    """

    account: AccountId
    day: Day
    paced: bool = False
    since: Moment | None = None
    not_understood: tuple[NotUnderstood, ...] = ()


class ReconciliationView(Model):
    """One account's day. Totals are signed minor units; the age is in whole days since the day.

    ``look_at`` names days before whose figures do not agree any more, to be compared again.
    ``given_up`` is set when nobody looks any longer, though the difference stands.
    """

    account: int
    day: date
    currency: str = ""
    state: ReconciliationState = ReconciliationState.LOOKING
    statement: str | None = None
    matched: int = 0
    bank_total_minor: int = 0
    book_total_minor: int = 0
    difference_count: int = 0
    largest_minor: int = 0
    age_days: int = 0
    differences: tuple[Difference, ...] = ()
    needs_desk: bool = False
    look_at: tuple[date, ...] = ()
    first_at: datetime | None = None
    checked_at: datetime | None = None
    given_up: bool = False
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""


class ReconciliationCommand(Command):
    """Compare one day, at the workflow's time (UTC)."""

    account: AccountId
    day: Day


class ReconciliationDoor(Protocol):
    """One database transaction; safe to run twice."""

    async def reconcile_day(self, command: ReconciliationCommand) -> ReconciliationView:
        """Compare the day, record what differs, open or settle its work item (C-05, C-14).

        Raises Rejected(BANK_ACCOUNT_UNKNOWN).
        """
        ...
