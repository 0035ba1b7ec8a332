"""The top-up: request first, then the wire; credited, expired or cancelled (P-20 … P-32)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, Protocol

from tillkeeper.contracts.account import Body, PaymentMethod
from tillkeeper.contracts.base import (
    Command,
    Identifier,
    Model,
    Name,
    NotUnderstood,
    Step,
    Text,
)
from tillkeeper.contracts.errors import Reason
from tillkeeper.contracts.money import AmountMinor, Currency

WORKFLOW: Final = "TopUp"


def topup_workflow_id(merchant: str, request: str) -> str:
    """The business id is the workflow id."""
    return f"topup/{merchant}/{request}"


class TopUpState(StrEnum):
    """Where a request stands; SUBMITTED until it is answered."""

    SUBMITTED = "SUBMITTED"
    REFUSED = "REFUSED"
    WAITING_REMITTANCE = "WAITING_REMITTANCE"
    CREDITED = "CREDITED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class ReceivingAccount(Model):
    """The platform's own bank account that merchants pay to (P-25)."""

    name: Name
    bank: Name
    number: Name
    currency: Currency
    bic: str | None = None
    clearing_code: str | None = None


class TopUpRequest(Model):
    """Ask to top up by exactly ``amount_minor`` minor units (P-23, P-24)."""

    merchant: Identifier
    currency: Currency = "CNY"
    request: Identifier
    amount_minor: AmountMinor
    method: PaymentMethod = PaymentMethod.WIRE
    entry_point: Identifier = "api"


class CancelTopUp(Model):
    """Withdraw a request that is not paid yet."""

    reason: Text
    actor: Identifier


class TopUpView(Model):
    """One request with its dated steps (P-27). ``receiving_account`` is shown while it waits.

    So is ``reference_code``, which the merchant may write into the remittance text (P-25).
    """

    merchant: str
    currency: str
    request: str
    amount_minor: int
    state: TopUpState
    entry_point: str = ""
    refused: tuple[Reason, ...] = ()
    receiving_account: ReceivingAccount | None = None
    reference_code: str = ""
    requested_at: datetime | None = None
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    steps: tuple[Step, ...] = ()
    not_understood: tuple[NotUnderstood, ...] = ()
    activated: bool = False
    needs_person: str = ""
    fingerprint: str = ""


class TopUpCommand(Command, Generic[Body]):
    """A command on one request with the workflow's time (UTC)."""

    merchant: Identifier
    request: Identifier
    body: Body


class TopUpDoor(Protocol):
    """Each method is one database transaction; safe to run twice. A refusal raises Rejected."""

    async def submit_topup(self, command: TopUpCommand[TopUpRequest]) -> TopUpView:
        """Record the request, or its refusal with all reasons (P-06, P-20, P-24, P-32).

        Raises Rejected(KEY_REUSED) for a known request id with another body.
        """
        ...

    async def expire_topup(self, command: TopUpCommand[None]) -> TopUpView:
        """Expire, unless it was decided meanwhile (P-31)."""
        ...

    async def cancel_topup(self, command: TopUpCommand[CancelTopUp]) -> TopUpView:
        """Cancel. Raises Rejected(REQUEST_DECIDED) when it was decided meanwhile."""
        ...

    async def read_topup(self, command: TopUpCommand[None]) -> TopUpView:
        """The request as it stands in the database."""
        ...
