"""What is blocked in which state: the matrix of rules.md 1.9, always with every reason at once.

Decides only. A new operation is one function here; whoever asks must hold the account's lock.
"""

from __future__ import annotations

from typing import NamedTuple

from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.errors import Code, Reason
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.topup import TopUpRequest
from tillkeeper.rules.opening import BEFORE_OPENED
from tillkeeper.rules.profiles import PrepaidProfile


class Holdings(NamedTuple):
    """What an account holds and owes, in minor units, and its open top-up requests."""

    available: int
    frozen: int
    withdrawing: int
    dues: int
    open_topups: int


def use_refusals(state: AccountState, *, while_abnormal: bool = False) -> list[Reason]:
    """Why money cannot be asked for in this state (P-06 and the matrix)."""
    if state in BEFORE_OPENED:
        return [Reason(code=Code.ACCOUNT_NOT_OPENED, detail="the account is not opened")]
    if state is AccountState.OPENED:
        return [Reason(code=Code.ALERT_NOT_CONFIGURED, detail="configure the alerts first")]
    if state is AccountState.ABNORMAL and not while_abnormal:
        return [Reason(code=Code.ACCOUNT_ABNORMAL, detail="the account is abnormal")]
    if state is AccountState.CLOSED:
        return [Reason(code=Code.ACCOUNT_CLOSED, detail="the account is closed")]
    return []


def topup_refusals(
    request: TopUpRequest,
    state: AccountState,
    profile: PrepaidProfile,
    *,
    equal_request_open: bool,
    can_receive: bool,
) -> list[Reason]:
    """Every reason against a top-up request (P-06, P-20, P-24, P-32 and the matrix)."""
    reasons = use_refusals(state, while_abnormal=profile.topup_while_abnormal)
    if request.method not in profile.topup_methods or not can_receive:
        detail = f"{request.method} in {request.currency} is not supported"
        reasons.append(Reason(code=Code.METHOD_NOT_SUPPORTED, detail=detail))
    if request.amount_minor < profile.topup_min_minor:
        least = format_amount(profile.topup_min_minor, request.currency)
        reasons.append(Reason(code=Code.BELOW_MIN_TOPUP, detail=f"at least {least}"))
    if equal_request_open:
        detail = "a request of this amount is open already"
        reasons.append(Reason(code=Code.DUPLICATE_OPEN_REQUEST, detail=detail))
    return reasons


def configuring_refusals(state: AccountState) -> list[Reason]:
    """Alerts are configured in every state from OPENED on, until the account is closed."""
    if state in BEFORE_OPENED:
        return [Reason(code=Code.ACCOUNT_NOT_OPENED, detail="the account is not opened")]
    if state is AccountState.CLOSED:
        return [Reason(code=Code.ACCOUNT_CLOSED, detail="the account is closed")]
    return []


def standing_refusals(state: AccountState) -> list[Reason]:
    """Only an active account becomes abnormal, and only an abnormal one normal again (1.9)."""
    if state in (AccountState.ACTIVE, AccountState.ABNORMAL):
        return []
    if state is AccountState.CLOSED:
        return [Reason(code=Code.ACCOUNT_CLOSED, detail="the account is closed")]
    return [Reason(code=Code.ACCOUNT_NOT_ACTIVE, detail="the account is not active")]


def closing_refusals(holdings: Holdings) -> list[Reason]:
    """Every reason why the account cannot be closed yet."""
    failing = (
        (holdings.available, Code.BALANCE_NOT_ZERO, "money is available"),
        (holdings.frozen, Code.FUNDS_FROZEN, "money is held for orders"),
        (holdings.withdrawing, Code.WITHDRAWAL_IN_PROGRESS, "a withdrawal is in progress"),
        (holdings.dues, Code.DUES_OUTSTANDING, "dues are unpaid"),
        (holdings.open_topups, Code.OPEN_TOPUP_REQUEST, "a top-up request is open"),
    )
    return [Reason(code=code, detail=detail) for figure, code, detail in failing if figure]
