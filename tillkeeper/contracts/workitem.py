"""Work for people: one inbox for all lifecycles (P-29, C-05, C-07).

An item says what waits, since when, and what may be done; it never holds personal data, which the
desk reads from what the item is about. It is closed with an outcome only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Generic, Protocol, TypeVar

from pydantic import Field

from tillkeeper.contracts.actor import Actor, TokenText
from tillkeeper.contracts.base import Command, Model, Name, NotUnderstood, Text
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.money import AmountMinor

WORKFLOW: Final = "WorkItem"
ITEM_ID_MAX: Final = 2**63 - 1

LUMPS: Final = "lump/"
"""What the subjects of lumps that are held begin with, before the lump's number."""

ItemId = Annotated[int, Field(ge=1, le=ITEM_ID_MAX)]
"""Number of an item, from 1."""


def item_workflow_id(item: int) -> str:
    """The business id is the workflow id."""
    return f"item/{item}"


class ItemKind(StrEnum):
    """What waits for a person; the subject of an item names the thing itself."""

    UNMATCHED_RECEIPT = "UNMATCHED_RECEIPT"
    """``receipt/<digest>``: money that no request explains (P-29)."""
    UNKNOWN_DEBIT = "UNKNOWN_DEBIT"
    """``entry/<id>``: money that left without a payment of ours."""
    CREDIT_REVERSED = "CREDIT_REVERSED"
    """``entry/<id>``: the bank took back money that was credited to a merchant."""
    BANK_FILE_REFUSED = "BANK_FILE_REFUSED"
    """``bank-file/<digest>``: a file of which nothing was taken."""
    BANK_FILE_LOSSES = "BANK_FILE_LOSSES"
    """``bank-file/<digest>``: a file that was read but for the losses listed with it."""
    FOREIGN_STATEMENT = "FOREIGN_STATEMENT"
    """``bank-account/<digest>``: statements of an account that is not configured as ours."""
    STATEMENT_BREAK = "STATEMENT_BREAK"
    """``statement/<id>``: opening and entries do not make the closing balance."""
    STATEMENT_GAP = "STATEMENT_GAP"
    """``bank-account/<id>/gap/<day>``: a statement is missing, or contradicts the one before."""
    STATEMENT_OVERLAP = "STATEMENT_OVERLAP"
    """``statement/<id>``: nets to nothing, and all of it may be what another statement told.

    ``lump/<id>``: an entry that may sum up what is in the book: not booked.
    """
    RECONCILIATION_DIFFERENCE = "RECONCILIATION_DIFFERENCE"
    """``reconcile/<account id>/<day>``: book and statement differ (C-14)."""
    PAYMENT_REJECTED = "PAYMENT_REJECTED"
    """``payment/<end-to-end id>``: the bank refused a payment of ours."""
    PAYMENT_OVERDUE = "PAYMENT_OVERDUE"
    """``payment/<end-to-end id>``: the bank says nothing about a payment of ours, or contradicts
    itself (C-12)."""
    PAYEE_DIFFERS = "PAYEE_DIFFERS"
    """``payment/<end-to-end id>``: paid, but to another account than it was given to the bank."""
    WITHDRAWAL_FAILED = "WITHDRAWAL_FAILED"
    """``withdrawal/<merchant>/<request>``: approved, and not paid by the bank (P-71)."""
    WITHDRAWAL_OVERDUE = "WITHDRAWAL_OVERDUE"
    """``withdrawal/<merchant>/<request>``: nobody has decided it for days (P-68)."""


class ItemState(StrEnum):
    """Where an item stands; PROPOSED waits for a second person."""

    OPEN = "OPEN"
    CLAIMED = "CLAIMED"
    PROPOSED = "PROPOSED"
    CLOSED = "CLOSED"


class Outcome(StrEnum):
    """How an item ended; none is ever closed without one (C-05)."""

    MATCHED = "MATCHED"
    RETURNED = "RETURNED"
    CHARGED = "CHARGED"
    PAID = "PAID"
    """The debit was a payment of ours."""
    RETRIED = "RETRIED"
    """Paid again, by a new attempt."""
    NOT_PAID = "NOT_PAID"
    """People proved that the bank paid it not."""
    KNOWN = "KNOWN"
    """The lump is what was notified."""
    BOOKED = "BOOKED"
    """The lump was money of its own."""
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
    """It came right by itself: a missing statement arrived, a difference went."""


class ItemAction(StrEnum):
    """What people may do with an item; which, depends on its kind."""

    MATCH = "MATCH"
    """Credit the receipt to a top-up request: the target, ``merchant/request``."""
    RETURN = "RETURN"
    """Pay the receipt back to its sender."""
    CHARGE = "CHARGE"
    """Book the debit as a bank charge."""
    PAYMENT = "PAYMENT"
    """The debit is a payment of ours: the target, its end-to-end id; what is more is a charge."""
    RETRY = "RETRY"
    """Pay the same payee again, after the bank's proven no (P-71)."""
    RETRY_CORRECTED = "RETRY_CORRECTED"
    """Pay another account: ``return_to`` says which; by two people (P-71)."""
    RETURN_TO_AVAILABLE = "RETURN_TO_AVAILABLE"
    """Give a failed withdrawal's money back to its merchant (P-71, T9)."""
    NOT_PAID = "NOT_PAID"
    """The bank proved to people that it did not pay; the reason names the evidence (C-12).

    Where a line of the bank's names the payment as debited, the target is its end-to-end id.
    """
    THESE_PIECES = "THESE_PIECES"
    """The lump that is held is the sum of what was notified: nothing is booked for it."""
    OTHER_MONEY = "OTHER_MONEY"
    """The lump that is held is money of its own, and is booked."""
    ACKNOWLEDGE = "ACKNOWLEDGE"
    """Take note; nothing moves."""


class ItemStart(Model):
    """What an item's run starts with, and what earlier runs have to pass on."""

    item: ItemId
    reminders: int = 0
    not_understood: tuple[NotUnderstood, ...] = ()


class ClaimItem(Model):
    """Take an item, so that nobody else works on it."""

    actor: Actor


class ReleaseItem(Model):
    """Give an item back; the proposer withdraws his proposal by it. It needs no token."""

    reason: Text
    actor: Actor
    token: TokenText = ""


class ReturnTo(Model):
    """Where a return or a corrected payment goes; replaces what is known. Personal data.

    Of another account than the known one, what is left out of its bank is not known.
    """

    name: Name | None = None
    account: Name | None = None
    bank_name: Name | None = None
    bic: Name | None = None
    clearing_code: Name | None = None


class Propose(Model):
    """What shall be done, and why; ``return_to`` is for a return only.

    Whatever moves money needs the actor's token; to take note needs none.
    """

    action: ItemAction
    target: Text | None = None
    reason: Text
    actor: Actor
    return_to: ReturnTo | None = None
    token: TokenText = ""

    @property
    def act(self) -> Propose:
        """The proposal without its token: what is kept, and what makes two of them the same."""
        return self.model_copy(update={"token": ""})


class Approve(Model):
    """A second person's yes to exactly what was shown (C-07); the amount in minor units.

    ``payee_digest`` is a return's, as its proposal shows it.
    """

    proposal: int
    action: ItemAction
    target: Text | None = None
    amount_minor: AmountMinor | None = None
    payee_digest: Text | None = None
    actor: Actor
    token: TokenText = ""


class RejectProposal(Model):
    """A second person's no; the item stays with its owner."""

    proposal: int
    reason: Text
    actor: Actor
    token: TokenText = ""


class ProposalView(Model):
    """What is proposed, or was done; the payee of a return is masked.

    ``payee_digest`` (keyed) tells one payee from all others; ``payee_differs`` names the fields
    in which the bank told another one, or nothing.
    """

    number: int
    action: ItemAction
    target: str | None = None
    amount_minor: int | None = None
    reason: str
    payee: str = ""
    payee_account: str = ""
    payee_digest: str | None = None
    payee_differs: tuple[str, ...] = ()
    proposed_by: str
    proposed_at: datetime
    fingerprint: str = ""


class ItemView(Model):
    """One item as people may see it: no names, no numbers of accounts.

    ``credited`` (``merchant/request``) and ``payment`` (its run's end-to-end id) say what its end
    has moved, ``paid_for`` the subject where that pays a withdrawal, ``activated`` that the credit
    made the account active (P-09). ``proposals`` counts all of them.
    """

    item: int
    kind: ItemKind
    subject: str
    state: ItemState
    reason: str = ""
    amount_minor: int | None = None
    currency: str | None = None
    context: Mapping[str, str | int | None] = Field(default_factory=dict)
    opened_at: datetime
    owner: str | None = None
    claimed_at: datetime | None = None
    actions: tuple[ItemAction, ...] = ()
    proposals: int = 0
    proposal: ProposalView | None = None
    outcome: Outcome | None = None
    decided_by: str | None = None
    closed_at: datetime | None = None
    credited: str | None = None
    activated: bool = False
    payment: str | None = None
    paid_for: str | None = None
    reminders: int = 0
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""

    @property
    def open(self) -> bool:
        """Whether the item still waits for an outcome."""
        return self.state is not ItemState.CLOSED

    def age(self, at: datetime) -> timedelta:
        """How long the item waits at ``at``, or has waited until it was closed."""
        return max((self.closed_at or at) - self.opened_at, timedelta(0))


class WaitingRun(Model):
    """A run of any lifecycle that waits for a person; ``resume`` makes it try again."""

    workflow_id: str
    lifecycle: str
    stage: str = ""
    merchant: str = ""
    amount_minor: int | None = None
    since: datetime


class Hint(StrEnum):
    """Why a request is suggested for a receipt."""

    REFERENCE_CODE = "REFERENCE_CODE"
    SAME_NAME = "SAME_NAME"
    SIMILAR_NAME = "SIMILAR_NAME"
    EXACT_AMOUNT = "EXACT_AMOUNT"
    NEAR_AMOUNT = "NEAR_AMOUNT"
    OPEN = "OPEN"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    IN_TIME = "IN_TIME"


class Why(Model):
    """One reason of a suggestion, with its words; never a name."""

    hint: Hint
    words: str


class Suggestion(Model):
    """A request that a receipt was perhaps meant for; ``score`` 0 … 100, for people only."""

    request: str
    amount_minor: int
    state: str
    score: int
    why: tuple[Why, ...]


class UnmatchedReceipt(Model):
    """Money that no request explains, as the desk sees it; payer masked unless asked for.

    ``text`` came with it, told where the payer is: it proves nothing, for the payer wrote it.
    """

    digest: str
    amount_minor: int
    currency: str
    reason: Code | None = None
    payer: str = ""
    payer_account: str = ""
    payer_kind: str = ""
    text: str = ""
    booked_at: datetime
    received_at: datetime
    item: int | None = None
    suggestions: tuple[Suggestion, ...] = ()


class OverdueRequest(Model):
    """A top-up request that ran out, and no money was matched to it since (P-29, P-31).

    ``receipts`` are the unmatched ones of the same company or of exactly its amount, as the numbers
    of their items: one of them may be the money.
    """

    request: str
    amount_minor: int
    currency: str
    requested_at: datetime
    expired_at: datetime
    receipts: tuple[int, ...] = ()


Body = TypeVar("Body")


class ItemCommand(Command, Generic[Body]):
    """A command on one item with the workflow's time (UTC)."""

    item: ItemId
    body: Body


class WorkItemDoor(Protocol):
    """Each method is one database transaction; safe to run twice. A refusal raises Rejected.

    The same act again is answered alike; on a closed item any other is refused ITEM_CLOSED.
    """

    async def read_item(self, command: ItemCommand[None]) -> ItemView:
        """The item as it stands. Raises Rejected(ITEM_UNKNOWN)."""
        ...

    async def claim_item(self, command: ItemCommand[ClaimItem]) -> ItemView:
        """Take it. Raises Rejected(ITEM_OWNED | ITEM_PROPOSED | ITEM_CLOSED)."""
        ...

    async def release_item(self, command: ItemCommand[ReleaseItem]) -> ItemView:
        """Give it back. Raises Rejected(ITEM_PROPOSED | ITEM_CLOSED)."""
        ...

    async def propose_action(self, command: ItemCommand[Propose]) -> ItemView:
        """Propose what needs a second person; an acknowledgement closes at once.

        Raises Rejected(ACTION_NOT_ALLOWED | TARGET_MISSING | ITEM_OWNED | ITEM_PROPOSED | …).
        """
        ...

    async def approve_proposal(self, command: ItemCommand[Approve]) -> ItemView:
        """Do what was proposed, and close (C-07).

        Raises Rejected(OWN_PROPOSAL | PROPOSAL_STALE | ITEM_NOT_PROPOSED | …).
        """
        ...

    async def reject_proposal(self, command: ItemCommand[RejectProposal]) -> ItemView:
        """Refuse what was proposed; the item stays open."""
        ...
