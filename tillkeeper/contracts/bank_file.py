"""A bank's file and its lifecycle: kept, read, booked, told to whom it concerns (P-26, C-02).

The digest of its bytes is its name for ever: the same bytes again are the same file. No view here
holds personal data; what a file says of people stays sealed in the database.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final, Protocol

from pydantic import Field

from tillkeeper.contracts.bank import FileKind
from tillkeeper.contracts.base import Command, Model, NotUnderstood
from tillkeeper.contracts.errors import Code

WORKFLOW: Final = "BankFile"
EXCHANGE_WORKFLOW: Final = "BankExchange"
EXCHANGE_WORKFLOW_ID: Final = "bank-exchange"

AGAIN: Final = "again"
"""The nudge to a file's lifecycle that the file was brought again."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a file's bytes, hexadecimal."""


class FileSource(StrEnum):
    """Who brought a file."""

    EXCHANGE = "exchange"
    IMPORT = "import"


class BankFileState(StrEnum):
    """How far a file has come; of a REFUSED one nothing was taken."""

    RECEIVED = "RECEIVED"
    READ = "READ"
    BOOKED = "BOOKED"
    REFUSED = "REFUSED"

    @property
    def ended(self) -> bool:
        """Whether nothing is left to read or book of the file."""
        return self in (BankFileState.BOOKED, BankFileState.REFUSED)


class BankFileRequest(Model):
    """Work off the file that is kept under ``digest``.

    ``hands_on``: one activity tells all whom the file concerns and has its days compared. A run
    that began before this was so does it in steps, as its history has it; a later run of such a
    lifecycle says how far the one before came: whether all were ``told``, and how many ``days``
    were handed to reconciliation.
    """

    digest: Digest
    hands_on: bool = False
    told: bool = False
    days: int = 0
    not_understood: tuple[NotUnderstood, ...] = ()


def bank_file_workflow_id(digest: str) -> str:
    """One lifecycle for each file's bytes."""
    return f"bank-file/{digest}"


def request_workflow_id(request: BankFileRequest) -> str:
    """The id that a request's own lifecycle has."""
    return bank_file_workflow_id(request.digest)


class BankFileView(Model):
    """What became of a file. ``entries`` are its booked entries on our accounts.

    ``new_entries`` were told by no file before; ``notices`` are no money; ``losses`` could not be
    read; ``credited`` and ``unmatched`` count receipts made of what it told first; ``told``: all
    whom it concerns know it.
    """

    digest: str
    state: BankFileState
    kind: FileKind | None = None
    size: int = 0
    refused: Code | None = None
    entries: int = 0
    new_entries: int = 0
    notices: int = 0
    foreign_statements: int = 0
    losses: int = 0
    warnings: int = 0
    waiting: int = 0
    credited: int = 0
    unmatched: int = 0
    payments: int = 0
    received_at: datetime | None = None
    told: bool = False
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""

    @property
    def worked_off(self) -> bool:
        """Whether nothing is left to do with the file."""
        return self.state.ended and (self.told or self.state is BankFileState.REFUSED)


class BankFileCommand(Command):
    """A command on one file with the workflow's time (UTC)."""

    digest: Digest


class Batch(Model):
    """Entries booked by one call, and whether any are left."""

    entries: int
    more: bool


class AccountDay(Model):
    """One day of one of our bank accounts, by its row."""

    account: int
    day: date


class AccountDays(Model):
    """The days that a file speaks of, oldest first."""

    days: tuple[AccountDay, ...] = ()


class Told(Model):
    """How many lifecycles were nudged."""

    lifecycles: int


class BankFileDoor(Protocol):
    """Each method is safe to run twice. Raises Rejected(BANK_FILE_UNKNOWN) for a file not kept."""

    async def read_bank_file(self, command: BankFileCommand) -> BankFileView:
        """Read the bytes and stage all that they say in one transaction, or refuse them."""
        ...

    async def book_bank_file(self, command: BankFileCommand) -> Batch:
        """Book the next entries in one transaction."""
        ...

    async def hand_on_bank_file(self, command: BankFileCommand) -> BankFileView:
        """Nudge the top-ups, accounts and payments that the file moved, have its days compared.

        Noted, unless the file is to be read again; answers the file as it stands (C-14).
        """
        ...

    async def tell_bank_file(self, command: BankFileCommand) -> Told:
        """Nudge the top-ups, accounts and payments that the file moved, to look."""
        ...

    async def days_of_bank_file(self, command: BankFileCommand) -> AccountDays:
        """The days of our accounts that the file speaks of, to be reconciled (C-14)."""
        ...

    async def end_bank_file(self, command: BankFileCommand) -> BankFileView:
        """Note that all were told, unless it is to be read again; answer the file as it stands."""
        ...


class WatchCommand(Model):
    """Watch the inbox for at most ``seconds``; ``sweep``: look first for what was left behind."""

    seconds: int
    sweep: bool = False


class Arrived(Model):
    """Digests of files that are kept and not worked off yet, oldest first.

    ``fresh``: they were brought just now; otherwise they were left behind, or are being worked off.
    """

    digests: tuple[Digest, ...] = ()
    fresh: bool = False


class BankExchangeDoor(Protocol):
    """The folder that the bank and we share. Safe to run twice, and in two workers at once."""

    async def watch_inbox(self, command: WatchCommand) -> Arrived:
        """Keep the bytes of what arrives, move it away, answer as soon as there is something.

        When the time is over it answers what is still to be worked off of all that is kept.
        """
        ...


class BankExchangeRequest(Model):
    """Watch the exchange for ever; ``taken`` counts the files of the runs before."""

    taken: int = 0
    not_understood: tuple[NotUnderstood, ...] = ()


class BankExchangeView(Model):
    """How many files came through the exchange so far, and what waits for a person."""

    taken: int
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""
