"""Payments that leave: one end-to-end id for life, and what a bank's file needs to carry one.

What would not fit a payment file is refused here, before anything is recorded: nothing is ever cut
short in silence. Names, accounts and remittance texts are personal data.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol, Self

from pydantic import BeforeValidator, Field, model_validator

from tillkeeper.contracts.base import Command, Identifier, Model, Moment, NotUnderstood, Step
from tillkeeper.contracts.errors import Code, flaw
from tillkeeper.contracts.money import AmountMinor, Currency

WORKFLOW: Final = "Payout"
OUTCOME_SIGNAL: Final = "bank_outcome"
"""Says only "look again"; who sends it need not be believed."""
WATCH_SIGNAL: Final = "watch"
"""Asks a payout that an earlier run of its withdrawal began to nudge the withdrawal at its end."""

SEPA_NAME_CHARS_MAX: Final = 70

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9?:().,'+-]{0,34}", re.ASCII)
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9./:-]{0,33}", re.ASCII)
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
_BIC: Final = re.compile(r"[A-Z]{6}[A-Z2-9][A-NP-Z0-9](?:[A-Z0-9]{3})?", re.ASCII)
_SEPA: Final = re.compile(
    "A[DLT]|B[EG]|C[HYZ]|D[EK]|E[ES]|F[IR]|G[BIR]|H[RU]|I[EST]|L[ITUV]|M[CDEKT]|N[LO]|P[LT]"
    "|R[OS]|S[EIKM]|VA"
)
"""Countries of the SEPA schemes, by the first letters of an IBAN."""


def _text(limit: int) -> BeforeValidator:
    """A printable text of 1 … ``limit`` characters."""

    def check(value: Any) -> str:
        if value is None or (isinstance(value, str) and not value.strip()):
            raise flaw(Code.PAYMENT_DATA_MISSING, "a payment needs it")
        if not isinstance(value, str) or len(value) > limit:
            raise flaw(Code.FIELD_INVALID, "longer than a payment file can carry")
        if any(unicodedata.category(c) in _INVISIBLE for c in value):
            raise flaw(Code.FIELD_INVALID, "control or invisible characters")
        return value

    return BeforeValidator(check)


def _account(value: Any) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise flaw(Code.PAYMENT_DATA_MISSING, "an account number")
    compact = "".join(unicodedata.normalize("NFKC", str(value)).split())
    if not isinstance(value, str) or _ACCOUNT.fullmatch(compact) is None:
        raise flaw(Code.FIELD_INVALID, "an account number has 1 to 34 letters and digits")
    if _IBAN.fullmatch(compact) and not is_iban(compact):
        raise flaw(Code.FIELD_INVALID, "an IBAN with a wrong check number")
    return compact


def _bic(value: Any) -> str:
    if not isinstance(value, str) or _BIC.fullmatch(value) is None:
        raise flaw(Code.FIELD_INVALID, "a BIC has 8 or 11 characters")
    return value


def _id(value: Any) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise flaw(Code.FIELD_INVALID, "an id has 1 to 35 letters, digits or signs")
    return value


def is_iban(number: str) -> bool:
    """Whether a compact account number is an IBAN, its check number right (ISO 7064, 97-10)."""
    if _IBAN.fullmatch(number) is None:
        return False
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


Max140 = Annotated[str, _text(140)]
"""Printable text of 1 … 140 characters, as names and remittance texts of a payment file."""

Max35 = Annotated[str, _text(35)]
"""Printable text of 1 … 35 characters."""

PaymentId = Annotated[str, BeforeValidator(_id)]
"""1 … 35 characters that every bank keeps as they are; no slash."""

AccountNumber = Annotated[str, BeforeValidator(_account)]
"""1 … 34 letters and digits; kept compact, full width folded."""

Bic = Annotated[str, BeforeValidator(_bic)]
"""8 or 11 characters, as every version of the standard takes them."""


class PaymentParty(Model):
    """Who pays or is paid, and at which account of which bank; personal data.

    ``clearing_code`` is the bank's number in its national clearing (CNAPS: twelve digits).
    """

    name: Max140
    account: AccountNumber
    bank_name: Max140 | None = None
    bic: Bic | None = None
    clearing_code: Max35 | None = None

    @property
    def iban(self) -> bool:
        """Whether the account number is an IBAN."""
        return is_iban(self.account)

    @property
    def bank_known(self) -> bool:
        """Whether anything says which bank keeps the account."""
        return self.iban or any((self.bic, self.clearing_code, self.bank_name))


class PaymentTerms(Model):
    """What is paid, to whom, and with which text; amount in minor units."""

    creditor: PaymentParty
    amount_minor: AmountMinor
    currency: Currency
    remittance: Max140

    @model_validator(mode="after")
    def _can_arrive(self) -> Self:
        if not self.creditor.bank_known:
            raise flaw(Code.PAYMENT_DATA_MISSING, "the payee's bank: its name, BIC or number")
        if self.sepa_creditor and len(self.creditor.name) > SEPA_NAME_CHARS_MAX:
            raise flaw(Code.FIELD_INVALID, "SEPA carries names of 70 characters at most")
        return self

    @property
    def sepa_creditor(self) -> bool:
        """Whether the payee can be paid by SEPA."""
        return self.currency == "EUR" and _in_sepa(self.creditor)


class PaymentInstruction(PaymentTerms):
    """One payment as a bank is told it; ``requested_on`` is the day of execution."""

    end_to_end_id: PaymentId
    debtor: PaymentParty
    requested_on: date

    @property
    def sepa(self) -> bool:
        """Whether it goes by SEPA: euros between two accounts of its countries."""
        return self.sepa_creditor and _in_sepa(self.debtor)


def _in_sepa(party: PaymentParty) -> bool:
    return party.iban and _SEPA.match(party.account) is not None


class PaymentFile(Model):
    """The payments of one file; ``message_id`` tells the file from all others for ever."""

    message_id: PaymentId
    created_at: Moment
    payments: Annotated[tuple[PaymentInstruction, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({one.end_to_end_id for one in self.payments}) != len(self.payments):
            raise flaw(Code.FIELD_INVALID, "one payment stands in a file twice")
        return self


class PaymentFormat(StrEnum):
    """The versions of the payment file that can be written."""

    PAIN_001_03 = "pain.001.001.03"
    PAIN_001_09 = "pain.001.001.09"


class PaymentState(StrEnum):
    """Where a payment stands. Only a booked debit makes it PAID, no status ever does (C-12).

    UNCLEAR: it may have left, the bank gave no answer; it is asked for, never sent again.
    """

    RECORDED = "RECORDED"
    SENT = "SENT"
    UNCLEAR = "UNCLEAR"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    PAID = "PAID"
    RETURNED = "RETURNED"

    @property
    def open(self) -> bool:
        """Whether the bank's answer is still to come."""
        return self in _OPEN


_OPEN: Final = frozenset(
    {PaymentState.RECORDED, PaymentState.SENT, PaymentState.UNCLEAR, PaymentState.ACCEPTED}
)


class Rail(StrEnum):
    """By which way a payment leaves: a file in the exchange, or the bank's own door."""

    FILE = "file"
    HTTP = "http"


class FailureClass(StrEnum):
    """What may be done after the bank's proven no (S-44, E-10, E-11)."""

    RETRY_NOW = "RETRY_NOW"
    """The bank's own trouble: again after a short while."""
    RETRY_LATER = "RETRY_LATER"
    """A limit or a cut-off: again on the next day."""
    NEEDS_PAYEE = "NEEDS_PAYEE"
    """The payee's account: wrong, closed, of another name."""
    NEEDS_PAYER = "NEEDS_PAYER"
    """Our account: too little on it, blocked."""
    NEVER = "NEVER"
    """Forbidden, or a reason that nobody here knows: a person decides."""


def payout_workflow_id(run: str) -> str:
    """The id for life of the first payment is the workflow's; later attempts stay in its run."""
    return f"payout/{run}"


class PayoutView(Model):
    """One payment as people see it; payee and account are masked. Amount in minor units.

    ``reason`` is the bank's code. ``overdue`` is set while the bank says nothing for too long.
    ``run`` is the first attempt's end-to-end id, by which the payout's run is called.
    ``retry_at`` is set where a rejected payment is tried again, by a new attempt;
    ``ask_at`` where the bank is to be asked what became of it.
    """

    end_to_end_id: str
    subject: str = ""
    state: PaymentState = PaymentState.RECORDED
    rail: Rail = Rail.FILE
    run: str = ""
    attempt: int = 1
    failure: FailureClass | None = None
    retry_at: datetime | None = None
    ask_at: datetime | None = None
    merchant: str = ""
    amount_minor: int = 0
    currency: str = ""
    payee: str = ""
    account: str = ""
    reason: str | None = None
    message_id: str | None = None
    recorded_at: datetime | None = None
    sent_at: datetime | None = None
    decided_at: datetime | None = None
    overdue: bool = False
    steps: tuple[Step, ...] = ()
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""


class PayoutStart(Model):
    """Send a recorded payment and see it through; carried on when the run continues as new.

    Whatever was not recorded before is not paid, so nobody pays by starting a run. ``current`` is
    the attempt that the run has come to, ``known`` the payment as the starter or the run before
    saw it, ``watched`` whether a withdrawal is to be nudged at the end.
    """

    end_to_end_id: Identifier
    current: Identifier | None = None
    known: PayoutView | None = None
    watched: bool = False
    not_understood: tuple[NotUnderstood, ...] = ()


class PayoutCommand(Command):
    """A command on one payment with the workflow's time (UTC)."""

    end_to_end_id: Identifier


class SentCommand(PayoutCommand):
    """The file ``message_id`` that carries the payment has left."""

    message_id: PaymentId


class PayoutDoor(Protocol):
    """Each method is one transaction or one outside call; safe to run twice."""

    async def read_payment(self, command: PayoutCommand) -> PayoutView:
        """The payment as it stands. Raises Rejected(PAYMENT_UNKNOWN)."""
        ...

    async def write_payment_file(self, command: PayoutCommand) -> str:
        """Put the payment's file into the outbox, the same bytes every time; its message id.

        Raises Rejected(BANK_EXCHANGE_MISSING | BANK_ACCOUNT_UNKNOWN | PAYMENT_FILE_INVALID), and
        Rejected(REQUEST_DECIDED) for what does not leave by a file, or is decided.
        """
        ...

    async def mark_payment_sent(self, command: SentCommand) -> PayoutView:
        """Remember that the file has left."""
        ...

    async def submit_payment(self, command: PayoutCommand) -> PayoutView:
        """Give the payment to the bank's door, at most once ever; the payment as it stands then.

        It is marked before the call and answered after it: a kill in between, or no answer, leaves
        it UNCLEAR. Raises Rejected(BANK_DOOR_MISSING | BANK_ACCOUNT_UNKNOWN | …), nothing sent.
        """
        ...

    async def ask_about_payment(self, command: PayoutCommand) -> PayoutView:
        """Ask the bank's door what became of it; no answer changes nothing (C-12).

        "Not found" is a no only after the bank's stated delay.
        """
        ...

    async def record_next_attempt(self, command: PayoutCommand) -> PayoutView:
        """After a proven no: the next attempt, with an id of its own; again, the same one."""
        ...

    async def note_overdue_payment(self, command: PayoutCommand) -> PayoutView:
        """Open work for a person where the bank has said nothing final (C-12)."""
        ...
