"""Named, versioned, effective-dated figures (C-08, rules.md part 7).

A decision stores the name of the profile it used; a profile in use is never edited.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from tillkeeper.contracts.account import PaymentMethod
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.payment import Rail
from tillkeeper.rules.days import BUSINESS_ZONE


class PrepaidProfile(Model):
    """Figures of the prepaid account; amounts in minor units of the account's currency."""

    name: str
    effective_from: datetime
    zone: str = BUSINESS_ZONE
    topup_min_minor: int = 3_000_00
    topup_request_ttl: timedelta = timedelta(days=15)
    topup_methods: tuple[PaymentMethod, ...] = (PaymentMethod.WIRE,)
    topup_while_abnormal: bool = False
    warning_default_minor: int = 1_000_00
    suspend_below_minor: int = 1_000_00
    hard_floor_minor: int = 200_00
    guard_merchant_override: bool = False
    contacts_max: int = 3
    withdrawal_min_minor: int | None = None
    withdrawal_daily_max_minor: int | None = None
    withdrawal_reminder: timedelta = timedelta(hours=24)
    withdrawal_escalate_after: timedelta = timedelta(hours=72)
    withdrawal_grace: timedelta = timedelta(0)
    withdrawal_new_account_cooldown: timedelta = timedelta(hours=24)
    payout_deadline_http: timedelta = timedelta(days=3)
    payout_deadline_file: Annotated[timedelta, Field(ge=timedelta(days=3))] = timedelta(days=3)
    """A payment by file is looked at first after three days: no earlier deadline can be kept."""
    fee_basis_points: tuple[int, ...] = tuple(50 * count for count in range(1, 25))
    """Interest fee by instalment count: the first figure is for one instalment (P-41)."""

    def payout_deadline(self, rail: Rail) -> timedelta:
        """How long a bank may say nothing final of a payment by ``rail`` (C-12)."""
        return self.payout_deadline_http if rail is Rail.HTTP else self.payout_deadline_file


JD_PREPAID_2023_11: Final = PrepaidProfile(
    name="jd-prepaid@2023-11", effective_from=datetime(2023, 11, 2, tzinfo=UTC)
)

PROFILES: Final = MappingProxyType({p.name: p for p in (JD_PREPAID_2023_11,)})


def profile(name: str) -> PrepaidProfile:
    """The profile called ``name``. Raises Rejected(FIELD_INVALID)."""
    try:
        return PROFILES[name]
    except KeyError:
        raise Rejected(Reason(code=Code.FIELD_INVALID, detail="no such rule profile")) from None
