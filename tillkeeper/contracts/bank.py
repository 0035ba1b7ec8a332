"""What a bank's file says, in one form for every format: transactions, balances, statuses, losses.

Amounts are exact minor units and never rounded; what could not be read stands in ``problems`` and
nowhere else. These models repeat the file and decide nothing: names and account numbers in them
are personal data and must be sealed before they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field

from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.receipt import PayerKind

FILE_AMOUNT_MINOR_MAX: Final = 10**18
"""Largest amount that a file may state, in minor units: it fits into 64 bits."""

FileAmount = Annotated[int, Field(ge=0, le=FILE_AMOUNT_MINOR_MAX)]
"""Minor units as a file states them, 0 … 10^18; the side says which way the money went."""

FileCurrency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217 code, historic ones included: a file may name currencies that are not kept here."""


class FileKind(StrEnum):
    """Which message a file is."""

    CAMT_052 = "camt.052"
    CAMT_053 = "camt.053"
    CAMT_054 = "camt.054"
    PAIN_002 = "pain.002"
    MT940 = "MT940"
    MT942 = "MT942"


class Side(StrEnum):
    """What the money does to the account; for a reversal too, the effect of the reversal."""

    CREDIT = "credit"
    DEBIT = "debit"


class BookingStatus(StrEnum):
    """Only BOOKED is money; PENDING and INFORMATION never are."""

    BOOKED = "booked"
    PENDING = "pending"
    INFORMATION = "information"


class Finding(Model):
    """Something a person should know; ``where`` counts from 1 and holds no personal data."""

    code: Code
    where: str
    detail: str = ""
    line: int | None = None


class BankTransaction(Model):
    """One transaction; amounts in minor units of their currency, dates as the bank wrote them.

    An entry of the statement may state several ``parts``; what moved on the account is the entry
    (``entry_amount_minor``). ``amount_minor`` is what the part states, or the entry's for an
    entry that states none; None where one of several parts has no amount of its own.
    ``remittance`` is the free text, line by line, or the structured references where there is none.
    ``adds_up`` is set when the parts of the entry make up the entry exactly, in its currency.
    ``payer_kind`` is what the bank says about the debtor (P-22). The debtor's bank is named by up
    to three texts: ``debtor_bic``, ``debtor_clearing_id`` (such as CNAPS), ``debtor_bank`` (name).
    """

    statement: int
    entry: int
    part: int = 1
    parts: int = 1
    account: str | None = None
    amount_minor: FileAmount | None
    currency: FileCurrency
    side: Side
    status: BookingStatus
    reversal: bool = False
    entry_amount_minor: FileAmount
    entry_currency: FileCurrency
    entry_side: Side
    adds_up: bool
    batch_count: int | None = None
    booking_date: date | None = None
    value_date: date | None = None
    booked_at: datetime | None = None
    debtor_name: str | None = None
    debtor_account: str | None = None
    payer_kind: PayerKind = PayerKind.UNKNOWN
    debtor_bic: str | None = None
    debtor_clearing_id: str | None = None
    debtor_bank: str | None = None
    creditor_name: str | None = None
    creditor_account: str | None = None
    ultimate_debtor_name: str | None = None
    ultimate_creditor_name: str | None = None
    end_to_end_id: str | None = None
    bank_reference: str | None = None
    entry_bank_reference: str | None = None
    entry_reference: str | None = None
    transaction_id: str | None = None
    instruction_id: str | None = None
    payment_id: str | None = None
    message_id: str | None = None
    remittance: str = ""
    creditor_references: tuple[str, ...] = ()
    information: str = ""
    return_reason: str | None = None
    line: int | None = None

    @classmethod
    def exact(cls, fields: dict[str, Any]) -> BankTransaction:
        """The same without validation: for readers whose values are of the fields' types already.

        ``fields`` are all of them, a copy of ``UNSAID`` with what is said; they are kept as they
        are. A file has thousands; tests prove that what the readers make equals what is validated.
        """
        made = cls.__new__(cls)
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_fields_set__", _ALL_FIELDS)
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made

    @property
    def booked(self) -> bool:
        """Whether the bank has booked it: nothing else is money."""
        return self.status is BookingStatus.BOOKED

    @property
    def counts(self) -> bool:
        """Whether amount and side are money that moved: booked, and the entry's parts add up."""
        return self.booked and self.adds_up


UNSAID: Final[Mapping[str, Any]] = MappingProxyType(
    {
        name: None if field.is_required() else field.default
        for name, field in BankTransaction.model_fields.items()
    }
)
"""Every field of a transaction of which nothing is said; what is required is None."""

_ALL_FIELDS: Final = set(UNSAID)
_set: Final = object.__setattr__


class StatementBalance(Model):
    """A balance in minor units; ``kind`` is the bank's code (OPBD, CLBD, 60F, 62M, …)."""

    kind: str
    amount_minor: FileAmount
    currency: FileCurrency
    side: Side
    on: date | None = None

    @property
    def signed_minor(self) -> int:
        """Minor units, negative when the account is overdrawn."""
        return self.amount_minor if self.side is Side.CREDIT else -self.amount_minor


OPENING_KINDS: Final = ("OPBD", "PRCD", "60F", "60M")
CLOSING_KINDS: Final = ("CLBD", "62F", "62M")


class BankStatement(Model):
    """One statement, report or notification of a file: the account, its balances, its place."""

    index: int
    identifier: str | None = None
    account: str | None = None
    currency: str | None = None
    number: str | None = None
    page: str | None = None
    last_page: bool | None = None
    entries: int = 0
    balances: tuple[StatementBalance, ...] = ()

    @property
    def opening(self) -> StatementBalance | None:
        """The balance before the first entry."""
        return self._first(OPENING_KINDS)

    @property
    def closing(self) -> StatementBalance | None:
        """The balance after the last entry."""
        return self._first(CLOSING_KINDS)

    def _first(self, kinds: Sequence[str]) -> StatementBalance | None:
        for kind in kinds:
            for balance in self.balances:
                if balance.kind == kind:
                    return balance
        return None


class StatusLevel(StrEnum):
    """What a status speaks about: the whole file sent, one payment in it, one transaction."""

    GROUP = "group"
    PAYMENT = "payment"
    TRANSACTION = "transaction"


class PaymentStatus(Model):
    """One status of a pain.002; the lowest one present wins, so ``stated_at`` may be above.

    A transaction that is named without a status has its payment's, or its group's (C-12).
    """

    level: StatusLevel
    stated_at: StatusLevel
    status: str
    message_id: str | None = None
    payment_id: str | None = None
    end_to_end_id: str | None = None
    instruction_id: str | None = None
    transaction_id: str | None = None
    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


class BankFile(Model):
    """All that one file says; ``problems`` are losses, ``warnings`` lose nothing.

    ``digest`` (SHA-256 of the bytes) tells a file that was delivered before.
    """

    kind: FileKind
    version: str | None = None
    digest: str
    message_id: str | None = None
    created_at: datetime | None = None
    statements: tuple[BankStatement, ...] = ()
    transactions: tuple[BankTransaction, ...] = ()
    statuses: tuple[PaymentStatus, ...] = ()
    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def status_of(
        self, *, end_to_end_id: str, payment_id: str, message_id: str
    ) -> PaymentStatus | None:
        """What the file says about one payment sent: transaction's, else payment's, else group's.

        None when it says nothing about it; that is no answer, neither yes nor no (C-12).
        """
        ours = [one for one in self.statuses if one.message_id == message_id]
        named = [one for one in ours if one.end_to_end_id == end_to_end_id]
        payment = [
            one for one in ours if one.level is StatusLevel.PAYMENT and one.payment_id == payment_id
        ]
        group = [one for one in ours if one.level is StatusLevel.GROUP]
        for found in (named, payment, group):
            if found:
                return found[-1]
        return None
