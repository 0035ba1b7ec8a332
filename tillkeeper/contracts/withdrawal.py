"""The withdrawal: reserved at once, approved by people, paid out once (P-65 … P-74, X-4)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, Protocol

from tillkeeper.contracts.account import Body
from tillkeeper.contracts.actor import Actor
from tillkeeper.contracts.approval import Decide, DecisionView, LevelView
from tillkeeper.contracts.base import Command, Identifier, Model, NotUnderstood, Step, Text
from tillkeeper.contracts.errors import Code, Reason
from tillkeeper.contracts.money import AmountMinor, Currency
from tillkeeper.contracts.payment import PayoutView

WORKFLOW: Final = "Withdrawal"
CHANGED_SIGNAL: Final = "changed"
"""Says only "look again"; who sends it need not be believed."""


def withdrawal_workflow_id(merchant: str, request: str) -> str:
    """The business id is the workflow id."""
    return f"withdrawal/{merchant}/{request}"


def withdrawal_of(subject: str) -> tuple[str, str] | None:
    """Merchant and request of ``withdrawal/<merchant>/<request>[/…]``; None: another thing."""
    what, _, rest = subject.partition("/")
    merchant, _, request = rest.partition("/")
    request = request.partition("/")[0]
    return (merchant, request) if what == "withdrawal" and request else None


class WithdrawalState(StrEnum):
    """Where a withdrawal stands (P-73); SUBMITTED until it is answered."""

    SUBMITTED = "SUBMITTED"
    REFUSED = "REFUSED"
    WAITING_APPROVAL = "WAITING_APPROVAL"
    APPROVED = "APPROVED"
    """Approved for good, but not on its way: the grace period runs, or dues block it (P-45)."""
    REMITTING = "REMITTING"
    PAID = "PAID"
    REJECTED = "REJECTED"
    CANCELLED_BY_MERCHANT = "CANCELLED_BY_MERCHANT"
    FAILED_MANUAL = "FAILED_MANUAL"
    """The bank paid it not, and a person must choose (P-71)."""
    RETURNED = "RETURNED"
    """Back in available, by a person after a failure or by the bank after it was paid (C-13)."""

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return self in _OPEN


_OPEN: Final = frozenset(
    {
        WithdrawalState.SUBMITTED,
        WithdrawalState.WAITING_APPROVAL,
        WithdrawalState.APPROVED,
        WithdrawalState.REMITTING,
        WithdrawalState.FAILED_MANUAL,
    }
)


class WithdrawalRequest(Model):
    """Ask for ``amount_minor`` minor units to the bound bank account (P-65 … P-67, P-69).

    ``requested_by`` never approves it (C-07). ``accept_suspension`` is the flag of P-74.
    """

    merchant: Identifier
    currency: Currency = "CNY"
    request: Identifier
    amount_minor: AmountMinor
    requested_by: Actor
    accept_suspension: bool = False
    entry_point: Identifier = "api"


class CancelWithdrawal(Model):
    """The merchant withdraws a request that is not approved yet."""

    reason: Text
    actor: Actor


class WithdrawalView(Model):
    """One withdrawal with its dated steps (P-27, P-73); payee and account are masked.

    ``payee_digest`` (keyed) tells one payee from all others: a decision names it. ``warnings`` are
    for whoever approves: BANK_DETAILS_FRESH where the account is younger than the cool-down (P-69).
    ``blocked`` says what holds an approved one back: DUES_OUTSTANDING (P-45).
    """

    merchant: str
    currency: str
    request: str
    amount_minor: int
    state: WithdrawalState
    requested_by: str = ""
    entry_point: str = ""
    refused: tuple[Reason, ...] = ()
    payee: str = ""
    account: str = ""
    bank: str = ""
    payee_digest: str = ""
    warnings: tuple[Code, ...] = ()
    blocked: tuple[Code, ...] = ()
    policy: str = ""
    auto_reason: str = ""
    levels: tuple[LevelView, ...] = ()
    decisions: tuple[DecisionView, ...] = ()
    reason: str = ""
    """Why it was rejected, cancelled or failed."""
    requested_at: datetime | None = None
    approved_at: datetime | None = None
    remit_at: datetime | None = None
    """When the grace period of an approved one ends."""
    remind_at: datetime | None = None
    """When whoever is to decide is reminded next, or it is escalated (P-68)."""
    reminders: int = 0
    escalated: bool = False
    ended_at: datetime | None = None
    attempts: int = 0
    payment: PayoutView | None = None
    """The payment that is on its way, or was the last."""
    steps: tuple[Step, ...] = ()
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""
    fingerprint: str = ""


class WithdrawalStart(WithdrawalRequest):
    """What a run starts with: the request, and what earlier runs have to pass on.

    ``last`` is what the run before saw: people see it until this one has looked.
    """

    last: WithdrawalView | None = None
    not_understood: tuple[NotUnderstood, ...] = ()

    def body(self) -> WithdrawalRequest:
        """The request alone."""
        return WithdrawalRequest.model_validate(self.model_dump(exclude={"last", "not_understood"}))


class WithdrawalCommand(Command, Generic[Body]):
    """A command on one withdrawal with the workflow's time (UTC)."""

    merchant: Identifier
    request: Identifier
    body: Body


class WithdrawalDoor(Protocol):
    """Each method is one database transaction; safe to run twice. A refusal raises Rejected."""

    async def submit_withdrawal(
        self, command: WithdrawalCommand[WithdrawalRequest]
    ) -> WithdrawalView:
        """Reserve the money with the request, or record its refusal with all reasons (P-66, P-67).

        What the policy approves by itself is APPROVED or REMITTING at once.
        Raises Rejected(KEY_REUSED) for a known request id with another body.
        """
        ...

    async def decide_withdrawal(self, command: WithdrawalCommand[Decide]) -> WithdrawalView:
        """Count a decision; the last approval freezes the payee and records the payment (P-69).

        Raises Rejected(TOKEN_… | OWN_REQUEST | ALREADY_DECIDED | ROLE_MISSING | DECISION_STALE |
        DUES_OUTSTANDING | REQUEST_DECIDED | …); every refusal is in the audit.
        """
        ...

    async def cancel_withdrawal(
        self, command: WithdrawalCommand[CancelWithdrawal]
    ) -> WithdrawalView:
        """Give the money back. Raises Rejected(REQUEST_DECIDED) once it is approved."""
        ...

    async def remit_withdrawal(self, command: WithdrawalCommand[None]) -> WithdrawalView:
        """After the grace period: record the payment, unless dues block it (P-45)."""
        ...

    async def remind_of_withdrawal(self, command: WithdrawalCommand[None]) -> WithdrawalView:
        """Remind whoever is to decide; after three days a person is told (P-68)."""
        ...

    async def read_withdrawal(self, command: WithdrawalCommand[None]) -> WithdrawalView:
        """The withdrawal as it stands in the database."""
        ...
