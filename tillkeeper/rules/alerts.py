"""What a merchant may configure: thresholds and contacts (P-06 … P-08, Q-01, Q-06).

Decides only; names and addresses go through it and never into a reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from tillkeeper.contracts.account import ConfigureAlerts, Contact
from tillkeeper.contracts.errors import Code, Reason
from tillkeeper.rules.profiles import PrepaidProfile


def alert_refusals(
    wanted: ConfigureAlerts, current_suspend_below_minor: int | None, profile: PrepaidProfile
) -> list[Reason]:
    """Every reason against these thresholds and contacts (P-06 … P-08)."""
    return [
        *_threshold_refusals(wanted, current_suspend_below_minor, profile),
        *contact_refusals(wanted.contacts, profile),
    ]


def suspend_below(
    wanted_minor: int | None, current_minor: int | None, profile: PrepaidProfile
) -> int:
    """The suspension amount in force, in minor units: asked for, kept, or the profile's."""
    if wanted_minor is not None:
        return wanted_minor
    return profile.suspend_below_minor if current_minor is None else current_minor


def contact_refusals(contacts: Sequence[Contact], profile: PrepaidProfile) -> list[Reason]:
    """At least one contact, at most three, each of them reachable (P-06, P-08, Q-06)."""
    reasons = []
    if not contacts:
        reasons.append(Reason(code=Code.CONTACT_REQUIRED, detail="name at least one contact"))
    if len(contacts) > profile.contacts_max:
        detail = f"at most {profile.contacts_max} contacts"
        reasons.append(Reason(code=Code.CONTACT_LIMIT_3, detail=detail))
    for position, contact in enumerate(contacts):
        if contact.email is None and contact.mobile is None:
            detail = f"contact {position} has neither e-mail nor mobile"
            reasons.append(Reason(code=Code.CONTACT_UNREACHABLE, detail=detail))
    return reasons


def with_contact(contacts: Sequence[Contact], added: Contact) -> tuple[Contact, ...]:
    """The contacts with one more; the same contact twice is one contact."""
    return tuple(contacts) if added in contacts else (*contacts, added)


def replaced(
    contacts: Sequence[Contact], position: int, contact: Contact
) -> tuple[Contact, ...] | None:
    """The contacts with the one at ``position`` (0-based) replaced; None where there is none."""
    if not 0 <= position < len(contacts):
        return None
    return (*contacts[:position], contact, *contacts[position + 1 :])


def _threshold_refusals(
    wanted: ConfigureAlerts, current_suspend_below_minor: int | None, profile: PrepaidProfile
) -> list[Reason]:
    reasons = []
    asked = wanted.suspend_below_minor
    if asked is not None and not profile.guard_merchant_override:
        detail = "the suspension amount is the platform's"
        reasons.append(Reason(code=Code.NOT_CONFIGURABLE, detail=detail))
        asked = None
    elif asked is not None and asked < profile.hard_floor_minor:
        detail = "the suspension amount may not be below the platform's floor"
        reasons.append(Reason(code=Code.NOT_CONFIGURABLE, detail=detail))
    if wanted.warning_minor < suspend_below(asked, current_suspend_below_minor, profile):
        detail = "the warning amount may not be below the suspension amount"
        reasons.append(Reason(code=Code.BELOW_SUSPENSION, detail=detail))
    return reasons
