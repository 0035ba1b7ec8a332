"""The prepaid account: opening, bank details, alerts, standing, closing (P-01 … P-11)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

from tillkeeper.contracts.base import (
    Command,
    Identifier,
    Model,
    Moment,
    Name,
    NotUnderstood,
    Step,
    Text,
)
from tillkeeper.contracts.money import Currency, ThresholdMinor

WORKFLOW: Final = "Account"


def account_workflow_id(merchant: str, currency: str) -> str:
    """One account, hence one workflow, per merchant and currency."""
    return f"account/{merchant}/{currency}"


class MerchantType(StrEnum):
    """What kind of seller; only self-operated suppliers may prepay (P-01)."""

    SELF_OPERATED_SUPPLIER = "SELF_OPERATED_SUPPLIER"
    POP = "POP"


class AccountState(StrEnum):
    """Rules 1.9."""

    NOT_OPENED = "NOT_OPENED"
    OPENING = "OPENING"
    WAITING_BANK_INFO = "WAITING_BANK_INFO"
    OPENED = "OPENED"
    CONFIGURED = "CONFIGURED"
    ACTIVE = "ACTIVE"
    ABNORMAL = "ABNORMAL"
    CLOSED = "CLOSED"


class NextAction(StrEnum):
    """What the merchant has to do next."""

    PROVIDE_BANK_DETAILS = "PROVIDE_BANK_DETAILS"
    WAIT_FOR_BANK_DETAILS = "WAIT_FOR_BANK_DETAILS"
    CONFIGURE_ALERTS = "CONFIGURE_ALERTS"
    TOP_UP = "TOP_UP"
    CONTACT_OPERATIONS = "CONTACT_OPERATIONS"
    NONE = "NONE"


class BankDetailsSource(StrEnum):
    """Who maintains the bound bank account (P-03)."""

    PURCHASING_MAINTAINED = "PURCHASING_MAINTAINED"
    SELF_SERVICE = "SELF_SERVICE"


class BankDetailsState(StrEnum):
    """Whether the supplier system already lets these details be used (P-04)."""

    PENDING = "PENDING"
    EFFECTIVE = "EFFECTIVE"


class PaymentMethod(StrEnum):
    """How money travels; only wires for now (P-04, P-20)."""

    WIRE = "wire"
    CARD = "card"
    CASH = "cash"


class BankDetails(Model):
    """The bank account bound to the prepaid account; personal data (P-03 … P-05)."""

    method: PaymentMethod = PaymentMethod.WIRE
    bank: Name
    branch: Name
    account_number: Name
    company_name: Name
    source: BankDetailsSource
    state: BankDetailsState


class Contact(Model):
    """Who is told: an e-mail address and/or a mobile number; personal data (P-08)."""

    name: Name | None = None
    email: Name | None = None
    mobile: Name | None = None


class OpenAccount(Model):
    """Ask for a prepaid account.

    ``billing_from`` is the agreed start of prepaid billing for a merchant taken over with its
    running orders; by default billing changes at the moment of activation (P-10).
    """

    merchant: Identifier
    currency: Currency = "CNY"
    merchant_type: MerchantType
    prepaid_eligible: bool
    legal_name: Name
    opening_user: Identifier
    bank_details: BankDetails | None = None
    billing_from: Moment | None = None


class ConfigureAlerts(Model):
    """Set the warning amount (minor units) and the contacts (P-06 … P-08)."""

    warning_minor: ThresholdMinor
    contacts: tuple[Contact, ...]
    suspend_below_minor: ThresholdMinor | None = None
    actor: Identifier


class AddContact(Model):
    """Add one contact (P-08)."""

    contact: Contact
    actor: Identifier


class ReplaceContact(Model):
    """Replace the contact at ``position`` (0-based) (P-08)."""

    position: int
    contact: Contact
    actor: Identifier


class ProvideBankDetails(Model):
    """Bank details as the supplier system or the merchant keeps them now (P-03, P-04)."""

    details: BankDetails
    actor: Identifier


class SetStanding(Model):
    """Mark the account abnormal, or normal again; for operators."""

    abnormal: bool
    reason: Text
    actor: Identifier


class CloseAccount(Model):
    """Close an account that holds nothing and owes nothing."""

    reason: Text
    actor: Identifier


class MaskedBank(Model):
    """Bound bank account as views show it."""

    account_number: str
    company_name: str
    bank: str
    source: BankDetailsSource
    state: BankDetailsState


class AccountView(Model):
    """What people see of an account; names, numbers and contacts are masked."""

    merchant: str
    currency: str
    state: AccountState
    next_action: NextAction
    legal_name: str = ""
    bank: MaskedBank | None = None
    contacts: tuple[str, ...] = ()
    warning_minor: int | None = None
    suspend_below_minor: int | None = None
    opened_at: datetime | None = None
    configured_at: datetime | None = None
    activated_at: datetime | None = None
    billing_from: datetime | None = None
    closed_at: datetime | None = None
    profile: str = ""
    steps: tuple[Step, ...] = ()
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""
    fingerprint: str = ""


class MerchantFacts(Model):
    """What the merchant's system knows about a merchant that enters the home page (P-02)."""

    merchant: Identifier
    currency: Currency = "CNY"
    merchant_type: MerchantType
    prepaid_eligible: bool


class Home(Model):
    """The home page of one merchant: whether to prompt for opening, and the account (P-02)."""

    should_prompt_open: bool
    account: AccountView | None = None


class AccountStart(OpenAccount):
    """What an Account run starts with: the request, and what earlier runs have to pass on."""

    not_understood: tuple[NotUnderstood, ...] = ()

    def request(self) -> OpenAccount:
        """The opening request alone."""
        return OpenAccount.model_validate(self.model_dump(exclude={"not_understood"}))


Body = TypeVar("Body")


class AccountCommand(Command, Generic[Body]):
    """A command with the account it is for and the workflow's time (UTC)."""

    merchant: Identifier
    currency: Currency
    body: Body


class AccountDoor(Protocol):
    """Each method is one database transaction; safe to run twice. A refusal raises Rejected."""

    async def open_account(self, command: AccountCommand[OpenAccount]) -> AccountView:
        """Record the opening, bind the bank details when they are effective (P-01, P-03 … P-05)."""
        ...

    async def provide_bank_details(
        self, command: AccountCommand[ProvideBankDetails]
    ) -> AccountView:
        """Bind or change the bank account (P-03 … P-05)."""
        ...

    async def configure_alerts(self, command: AccountCommand[ConfigureAlerts]) -> AccountView:
        """Set the warning amount and all contacts (P-06 … P-08)."""
        ...

    async def add_contact(self, command: AccountCommand[AddContact]) -> AccountView:
        """Add one contact (P-08)."""
        ...

    async def replace_contact(self, command: AccountCommand[ReplaceContact]) -> AccountView:
        """Replace one contact (P-08)."""
        ...

    async def set_standing(self, command: AccountCommand[SetStanding]) -> AccountView:
        """Mark abnormal or normal."""
        ...

    async def close_account(self, command: AccountCommand[CloseAccount]) -> AccountView:
        """Close, if it holds nothing and owes nothing."""
        ...

    async def read_account(self, command: AccountCommand[None]) -> AccountView:
        """The account as it stands in the database."""
        ...
