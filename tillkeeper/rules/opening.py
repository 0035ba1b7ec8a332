"""Who may open a prepaid account, with which bank details, and what comes next (P-01 … P-11).

Decides only: every answer follows from the arguments, nothing is looked up and nothing is changed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from tillkeeper.contracts.account import (
    AccountState,
    BankDetails,
    BankDetailsState,
    MerchantFacts,
    MerchantType,
    NextAction,
    OpenAccount,
    PaymentMethod,
)
from tillkeeper.contracts.base import Step
from tillkeeper.contracts.errors import Code, Reason
from tillkeeper.rules.names import same_company

BEFORE_OPENED: Final = frozenset(
    {AccountState.NOT_OPENED, AccountState.OPENING, AccountState.WAITING_BANK_INFO}
)
"""States in which nothing can be done with the account but providing its bank details."""


def may_prepay(merchant_type: MerchantType, *, prepaid_eligible: bool) -> bool:
    """Only self-operated suppliers that carry the flag may prepay (P-01)."""
    return merchant_type is MerchantType.SELF_OPERATED_SUPPLIER and prepaid_eligible


def should_prompt_open(facts: MerchantFacts, state: AccountState) -> bool:
    """Whether the home page asks the merchant to open an account (P-02)."""
    eligible = may_prepay(facts.merchant_type, prepaid_eligible=facts.prepaid_eligible)
    return eligible and state is AccountState.NOT_OPENED


def opening_refusals(request: OpenAccount) -> list[Reason]:
    """Every reason why this opening is refused for good (P-01, P-05)."""
    reasons = []
    if not may_prepay(request.merchant_type, prepaid_eligible=request.prepaid_eligible):
        reasons.append(
            Reason(
                code=Code.NOT_ELIGIBLE, detail="only eligible self-operated suppliers may prepay"
            )
        )
    if request.bank_details is not None:
        reasons += name_refusals(request.bank_details, request.legal_name)
    return reasons


def name_refusals(details: BankDetails, legal_name: str) -> list[Reason]:
    """The bank account's company must be the legal entity, after normalisation (P-05)."""
    if same_company(details.company_name, legal_name):
        return []
    detail = "the bank account's company name is not the legal name"
    return [Reason(code=Code.NAME_MISMATCH, detail=detail)]


def not_usable(details: BankDetails) -> list[Reason]:
    """Why these bank details cannot be bound yet: opening waits for usable ones (P-04)."""
    reasons = []
    if details.method is not PaymentMethod.WIRE:
        reasons.append(
            Reason(code=Code.BANK_DETAILS_NOT_WIRE, detail="only wire details can be bound")
        )
    if details.state is not BankDetailsState.EFFECTIVE:
        reasons.append(
            Reason(code=Code.BANK_DETAILS_NOT_EFFECTIVE, detail="the details are not effective yet")
        )
    return reasons


def state_after_opening(details: BankDetails | None) -> AccountState:
    """Opened with usable bank details, waiting for them otherwise (P-04)."""
    if details is None or not_usable(details):
        return AccountState.WAITING_BANK_INFO
    return AccountState.OPENED


def next_action(state: AccountState, details: BankDetails | None) -> NextAction:
    """What the merchant has to do next (P-04, P-06, P-09)."""
    if state in BEFORE_OPENED:
        return _about_bank_details(details)
    return {
        AccountState.OPENED: NextAction.CONFIGURE_ALERTS,
        AccountState.CONFIGURED: NextAction.TOP_UP,
        AccountState.ABNORMAL: NextAction.CONTACT_OPERATIONS,
    }.get(state, NextAction.NONE)


def _about_bank_details(details: BankDetails | None) -> NextAction:
    if details is None or details.method is not PaymentMethod.WIRE:
        return NextAction.PROVIDE_BANK_DETAILS
    return NextAction.WAIT_FOR_BANK_DETAILS


def account_steps(
    state: AccountState,
    *,
    opened_at: datetime | None,
    configured_at: datetime | None,
    activated_at: datetime | None,
    closed_at: datetime | None,
) -> tuple[Step, ...]:
    """The dated way of an account; the step somebody waits for is the current one."""
    dated = (("opened", opened_at), ("configured", configured_at), ("activated", activated_at))
    waited_for = next((name for name, at in dated if at is None), None)
    closed = state is AccountState.CLOSED
    steps = [
        Step(name=name, at=at, current=name == waited_for and not closed) for name, at in dated
    ]
    return (*steps, Step(name="closed", at=closed_at))


def activates(state: AccountState) -> bool:
    """Whether the credit of a top-up makes the account active: once, when configured (P-09)."""
    return state is AccountState.CONFIGURED


def billing_start(agreed: datetime | None, activated_at: datetime) -> datetime:
    """Orders placed at or after this moment are prepaid: the agreed start, or activation (P-10)."""
    return activated_at if agreed is None else agreed


def bills_prepaid(placed_at: datetime, billing_from: datetime | None) -> bool:
    """Whether an order placed then is billed through the prepaid account (P-10)."""
    return billing_from is not None and placed_at >= billing_from
