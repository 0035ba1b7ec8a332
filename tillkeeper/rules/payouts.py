"""What may follow a bank's proven no, and when a silent bank is asked: pure tables (S-44, C-12).

A reason that stands in no table is never tried again by itself: a person decides (P-71).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from types import MappingProxyType
from typing import Final

from tillkeeper.contracts.payment import FailureClass, PaymentState, PayoutView, Rail
from tillkeeper.rules.days import BUSINESS_ZONE, day_of, zone

NOT_FOUND: Final = "NOTFOUND"
"""Our reason where the bank knows no such payment after its stated delay (E-09)."""

NOT_PAID: Final = "NOTPAID"
"""Our reason where people hold the bank's proof."""

OURS: Final = frozenset({NOT_FOUND, NOT_PAID})
"""Reasons that no bank gives: its own text of the same letters is no code, and none of ours."""

ATTEMPTS_MAX: Final = 5
"""Attempts of one run; after the last no a person decides."""

RETRY_FIRST: Final = timedelta(seconds=30)
RETRY_CEILING: Final = timedelta(minutes=4)
"""What the last wait comes to; more attempts would not make it longer."""

NEXT_DAY_AT: Final = time(8)
NEXT_DAY_SPREAD: Final = timedelta(minutes=30)

ASK_FIRST: Final = timedelta(minutes=1)
"""E-09: no sooner, unless the bank states a shorter delay."""
ASK_CEILING: Final = timedelta(hours=1)
ASK_ACCEPTED: Final = timedelta(days=1)
"""An early status may be taken back (E-12)."""

_CLASSES: Final = MappingProxyType(
    {
        FailureClass.RETRY_NOW: (
            *(NOT_FOUND, "AB05", "AB06", "AB07", "AB08", "AB09", "AB10", "AB11"),
            *("ED05", "TS01", "TS04"),
        ),
        FailureClass.RETRY_LATER: ("AM13", "AM14", "AM21", "AM23", "DT01", "TM01"),
        FailureClass.NEEDS_PAYEE: (
            *("AC01", "AC03", "AC04", "AC06", "AC07", "AC14", "AC15"),
            *("BE01", "BE04", "BE06", "BE22", "CNOR", "MD07"),
            *("RC01", "RC03", "RC04", "RR03"),
        ),
        FailureClass.NEEDS_PAYER: (
            *("AC02", "AC05", "AC13", "AM04", "BE16", "DNOR", "RR01", "RR02"),
        ),
    }
)
_CLASS_OF: Final = MappingProxyType(
    {code: failure for failure, codes in _CLASSES.items() for code in codes}
)


def failure_class(code: str | None) -> FailureClass:
    """The class of a bank's reason, by the codes of ISO 20022; one that is unknown is NEVER."""
    return _CLASS_OF.get(code or "", FailureClass.NEVER)


def retry_at(failure: FailureClass, tries: int, at: datetime, jitter: int) -> datetime | None:
    """When the next attempt is due after the no of the ``tries``-th, learned ``at``; None: never.

    ``jitter`` is 0 … 1000. At once means half to whole of 30 s, doubling to at most 4 min; later
    means on the next local day at 08:00, or up to 30 minutes after.
    """
    if tries >= ATTEMPTS_MAX:
        return None
    if failure is FailureClass.RETRY_NOW:
        wait = min(RETRY_FIRST * (1 << tries - 1), RETRY_CEILING)
        return at + wait * (1000 + jitter) // 2000
    if failure is FailureClass.RETRY_LATER:
        where = zone(BUSINESS_ZONE)
        morning = datetime.combine(day_of(at) + timedelta(days=1), NEXT_DAY_AT, tzinfo=where)
        return morning.astimezone(UTC) + NEXT_DAY_SPREAD * jitter // 1000
    return None


def next_rail(rails: Sequence[Rail], used: Rail, failure: FailureClass | None) -> Rail:
    """By which way the next attempt leaves: another one where the bank's own way was in trouble."""
    if used not in rails:
        return rails[0]
    step = 1 if failure is FailureClass.RETRY_NOW else 0
    return rails[(rails.index(used) + step) % len(rails)]


def is_proven_absent(sending_at: datetime, at: datetime, visibility: timedelta) -> bool:
    """Whether "not found", asked ``at``, proves that nothing was paid (E-09)."""
    return at >= sending_at + visibility


def next_ask(
    view: PayoutView,
    sending_at: datetime,
    asked: tuple[datetime | None, int],
    visibility: timedelta,
) -> datetime | None:
    """When to ask the bank's door again; None where it need not, or cannot, be asked.

    ``asked`` says when it was asked last, and how often. What is unclear is asked for after one
    minute, or the bank's stated delay where that is shorter, then at doubling distances of at most
    one hour, and once when the delay is over; what is accepted once a day.
    """
    last, times = asked
    if view.rail is not Rail.HTTP:
        return None
    if view.state is PaymentState.ACCEPTED:
        return max(last or sending_at, view.sent_at or sending_at) + ASK_ACCEPTED
    if view.state is not PaymentState.UNCLEAR:
        return None
    wait = min(min(ASK_FIRST, visibility) * (1 << min(times, 16)), ASK_CEILING)
    due = (last or sending_at) + wait
    visible = sending_at + visibility
    return visible if (last or sending_at) < visible < due else due
