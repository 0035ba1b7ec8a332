"""What may be asked of the simulator: strict, amounts in minor units; and how it refuses."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from tillkeeper.contracts.base import Model, Moment, Name, Text
from tillkeeper.contracts.money import AmountMinor, Currency
from tillkeeper.contracts.receipt import PayerKind

DEPOSITS_MAX: Final = 1_000

Number = Annotated[Text, Field(max_length=34)]
Reference = Annotated[Text, Field(max_length=35)]
PartyName = Annotated[Name, Field(max_length=140)]
Letters = Annotated[str, Field(max_length=560)]


class Refused(Exception):  # noqa: N818 - a bank refuses
    """Refused with an HTTP status and a code; nothing was changed."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(f"{code}: {detail}")


class Fault(StrEnum):
    """What goes wrong. The first five concern the answer, and only the last of them the payment."""

    CUT = "cut"
    """Accepted, then the connection is cut; by file: accepted, and never a word about it.

    A payment that it rejects it tells of by file all the same.
    """
    ERROR = "error"
    """Accepted, then answered 500."""
    SILENCE = "silence"
    """Accepted, then ``seconds`` of silence, then the connection is cut."""
    DUPLICATE_STATUS = "duplicate-status"
    """The status message comes twice, under two names."""
    UNAVAILABLE = "unavailable"
    """Answered 503; nothing was accepted. By file: the file is left where it is."""
    EARLY_STATUS = "early-status"
    """Told as settled now, booked with the next day's beginning, or rejected then."""
    PARTIAL = "partial"
    """Of a file, every second payment is rejected with ``code``."""
    REJECT = "reject"
    """Rejected with ``code``."""
    RETURN = "return"
    """Paid, and ``days`` later the money comes back with ``code``."""
    FORGET = "forget"
    """After 24 h of the bank's clock an end-to-end id is not recognised: sent again, paid again."""


class FaultRule(Model):
    """A fault for payments of an id, to an account, or of any kind; ``times`` None is for ever."""

    fault: Fault
    code: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,4}$")] = "AC04"
    seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    days: Annotated[int, Field(ge=1, le=366)] = 2
    end_to_end_id: Reference | None = None
    creditor_account: Number | None = None
    times: Annotated[int, Field(ge=1)] | None = None


class FaultPlan(Model):
    """Replaces all faults: rules, and chances in a thousand for each payment, drawn by ``seed``."""

    rules: list[FaultRule] = Field(default_factory=list, max_length=1_000)
    chances: dict[Fault, Annotated[int, Field(ge=0, le=1000)]] = Field(default_factory=dict)
    seed: int | None = None


class PaymentOrder(Model):
    """Pay ``amount_minor`` from an account here to somebody elsewhere."""

    account: Number
    end_to_end_id: Reference
    amount_minor: AmountMinor
    currency: Currency
    creditor_name: PartyName
    creditor_account: Number
    remittance: Letters = ""
    fault: FaultRule | None = None

    @property
    def fingerprint(self) -> str:
        """What makes it this payment and no other."""
        return fingerprint(self.model_copy(update={"fault": None}))


class Deposit(Model):
    """An incoming wire; ``key`` names it for ever."""

    key: Reference
    account: Number
    currency: Currency
    amount_minor: AmountMinor
    payer_name: PartyName
    payer_account: Number
    payer_kind: PayerKind = PayerKind.CORPORATE
    end_to_end_id: Reference | None = None
    remittance: Letters = ""


class Deposits(Model):
    """Incoming wires that are booked together and told in one camt.054."""

    deposits: Annotated[list[Deposit], Field(min_length=1, max_length=DEPOSITS_MAX)]


class Charge(Model):
    """Money that the bank takes from an account, as for its fees."""

    key: Reference
    account: Number
    currency: Currency
    amount_minor: AmountMinor
    text: Letters = "CHARGES"


class Reversal(Model):
    """Undo a movement by its bank reference: the opposite, marked as a reversal."""

    reference: Reference


class Counterparty(Model):
    """An account elsewhere: closed (AC04), or another's name than was instructed (BE01)."""

    account: Number
    name: PartyName
    closed: bool = False


class Clock(Model):
    """Advance the bank's clock to a moment, or by seconds; never back."""

    to: Moment | None = None
    seconds: Annotated[int, Field(ge=0, le=366 * 86_400)] = 0


class Nothing(Model):
    """An order that says no more than itself."""


class Account(Model):
    """An account of this bank; minor units."""

    number: Number
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3}|\*)$")]
    owner: PartyName
    opening_minor: Annotated[int, Field(ge=0)] = 0


class Movement(Model):
    """One movement of the book, as it is listed one to one."""

    key: str
    account: str
    currency: str
    side: str
    amount_minor: int
    counterparty_name: str
    counterparty_account: str
    counterparty_kind: PayerKind | None = None
    end_to_end_id: str | None = None
    remittance: str = ""
    reason: str | None = None
    reversal: bool = False
    bank_reference: str = ""
    day: date

    @property
    def signed_minor(self) -> int:
        """Minor units; positive where the account gained."""
        return self.amount_minor if self.side == "credit" else -self.amount_minor


class PaymentState(StrEnum):
    """Where a payment stands."""

    ACCEPTED = "ACCEPTED"
    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
    RETURNED = "RETURNED"


class PaymentAnswer(Model):
    """What the bank says of a payment."""

    end_to_end_id: str
    state: PaymentState
    reason: str | None
    amount_minor: int
    currency: str
    at: datetime
    replayed: bool = False


def fingerprint(model: Model) -> str:
    """A digest of everything that a model says."""
    return hashlib.sha256(model.model_dump_json().encode()).hexdigest()
