"""Whether a withdrawal may be asked for and approved, and when people are reminded (P-65 … P-74).

Decides only, on figures read under the merchant's lock; amounts in minor units of one currency.
It must never let money be promised twice: whoever asks posts the reserve in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tillkeeper.contracts.account import AccountState, BankDetails
from tillkeeper.contracts.errors import Code, Reason
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.withdrawal import WithdrawalRequest
from tillkeeper.rules.blocking import use_refusals
from tillkeeper.rules.days import day_bounds, day_of
from tillkeeper.rules.opening import not_usable
from tillkeeper.rules.profiles import PrepaidProfile


@dataclass(frozen=True, slots=True)
class WithdrawalFigures:
    """What a request is judged by, in minor units.

    ``taken_today`` is the sum of the local day's withdrawals that did not fail. ``bound`` is
    whether an effective wire account is bound, ``can_pay`` whether we have an account and a way to
    pay this currency from.
    """

    available: int
    dues: int
    suspend_below: int
    taken_today: int
    bound: bool
    can_pay: bool


def withdrawal_refusals(
    request: WithdrawalRequest,
    state: AccountState,
    figures: WithdrawalFigures,
    profile: PrepaidProfile,
) -> list[Reason]:
    """Every reason against a withdrawal (P-45, P-66, P-67, P-69, P-74 and the matrix 1.9)."""
    reasons = _state_refusals(state)
    if not figures.can_pay:
        detail = f"nothing pays {request.currency}"
        reasons.append(Reason(code=Code.METHOD_NOT_SUPPORTED, detail=detail))
    if not figures.bound:
        detail = "no effective wire account is bound"
        reasons.append(Reason(code=Code.BANK_DETAILS_NOT_EFFECTIVE, detail=detail))
    if figures.dues > 0:
        reasons.append(Reason(code=Code.DUES_OUTSTANDING, detail="dues are unpaid"))
    return [*reasons, *_amount_refusals(request, figures, profile)]


def approval_blocks(dues: int, state: AccountState) -> tuple[Code, ...]:
    """What holds an approval or a remittance back while it lasts (P-45, P-72, matrix 1.9)."""
    blocks = tuple(reason.code for reason in _state_refusals(state))
    return (*blocks, Code.DUES_OUTSTANDING) if dues > 0 else blocks


def is_bound(details: BankDetails | None) -> bool:
    """Whether these details are an account that a withdrawal can be paid to (P-69)."""
    return details is not None and not not_usable(details)


def is_fresh(bank_since: datetime | None, at: datetime, profile: PrepaidProfile) -> bool:
    """Whether an account bound at ``bank_since`` is younger than the cool-down (P-69).

    At the cool-down's very end it no longer is; an account of unknown age is fresh.
    """
    return bank_since is None or at - bank_since < profile.withdrawal_new_account_cooldown


def local_day(at: datetime, profile: PrepaidProfile) -> tuple[datetime, datetime]:
    """First moment (UTC) of the profile's local day around ``at``, and of the day after (P-67)."""
    return day_bounds(day_of(at, profile.zone), profile.zone)


def reminders_due(requested_at: datetime, at: datetime, profile: PrepaidProfile) -> int:
    """How many reminders are due by ``at``; those missed during downtime are one (P-68, C-06)."""
    return max(0, (at - requested_at) // profile.withdrawal_reminder)


def is_overdue(requested_at: datetime, at: datetime, profile: PrepaidProfile) -> bool:
    """Whether a request without decision is escalated: from the stated age on (P-68)."""
    return at - requested_at >= profile.withdrawal_escalate_after


def next_reminder(
    requested_at: datetime, reminders: int, profile: PrepaidProfile, *, escalated: bool = False
) -> datetime:
    """When people are reminded next, or it is escalated, whichever is first (P-68).

    ``reminders`` is what ``reminders_due`` said at the last reminder, 0 before; a moment of the
    past means at once.
    """
    reminder = requested_at + (reminders + 1) * profile.withdrawal_reminder
    escalation = requested_at + profile.withdrawal_escalate_after
    return reminder if escalated else min(reminder, escalation)


def _state_refusals(state: AccountState) -> list[Reason]:
    if state is AccountState.CONFIGURED:
        return [Reason(code=Code.ACCOUNT_NOT_ACTIVE, detail="nothing was paid in yet")]
    return use_refusals(state)


def _amount_refusals(
    request: WithdrawalRequest, figures: WithdrawalFigures, profile: PrepaidProfile
) -> list[Reason]:
    reasons = []
    amount, left = request.amount_minor, figures.available - request.amount_minor
    least, most = profile.withdrawal_min_minor, profile.withdrawal_daily_max_minor
    if least is not None and amount < least:
        detail = f"at least {format_amount(least, request.currency)}"
        reasons.append(Reason(code=Code.BELOW_MIN_WITHDRAWAL, detail=detail))
    if most is not None and figures.taken_today + amount > most:
        detail = f"at most {format_amount(most, request.currency)} a day"
        reasons.append(Reason(code=Code.ABOVE_DAILY_WITHDRAWAL, detail=detail))
    if left < 0:
        detail = f"available: {format_amount(figures.available, request.currency)}"
        reasons.append(Reason(code=Code.INSUFFICIENT_AVAILABLE, detail=detail))
    elif left < figures.suspend_below <= figures.available and not request.accept_suspension:
        detail = f"{format_amount(left, request.currency)} would be left: confirm the suspension"
        reasons.append(Reason(code=Code.WOULD_SUSPEND_CAMPAIGNS, detail=detail))
    return reasons
