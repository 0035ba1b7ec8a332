"""The interest fee that a merchant subsidises, by instalment count (P-41)."""

from __future__ import annotations

from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.rules.profiles import PrepaidProfile


def fee_basis_points(instalments: int, profile: PrepaidProfile) -> int:
    """Basis points of the price for ``instalments``. Raises Rejected(INSTALMENTS_NOT_PRICED)."""
    if not 1 <= instalments <= len(profile.fee_basis_points):
        detail = f"{instalments} instalments have no price in {profile.name}"
        raise Rejected(Reason(code=Code.INSTALMENTS_NOT_PRICED, detail=detail))
    return profile.fee_basis_points[instalments - 1]


def fee_minor(gross_minor: int, basis_points: int) -> int:
    """Fee in minor units, rounded half up. 1,200.00 at 300 basis points is 36.00."""
    return (gross_minor * basis_points + 5_000) // 10_000


def fee_to_return_minor(
    gross_minor: int, *, returned_before_minor: int, returned_now_minor: int, basis_points: int
) -> int:
    """Fee to give back for goods of ``returned_now_minor``, in minor units.

    The difference of two fees: parts returned one after another never give back more than was held.
    """
    kept_before = fee_minor(gross_minor - returned_before_minor, basis_points)
    kept_after = fee_minor(gross_minor - returned_before_minor - returned_now_minor, basis_points)
    return kept_before - kept_after
