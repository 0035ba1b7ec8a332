"""The business clock: the one place that cuts days. Zone by name, default Asia/Shanghai."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tillkeeper.contracts.errors import Code, Reason, Rejected

BUSINESS_ZONE: Final = "Asia/Shanghai"


def zone(name: str) -> ZoneInfo:
    """The zone called ``name``. Raises Rejected(FIELD_INVALID) for a zone that does not exist."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Rejected(Reason(code=Code.FIELD_INVALID, detail="no such time zone")) from None


def day_of(moment: datetime, zone_name: str = BUSINESS_ZONE) -> date:
    """The natural day on which ``moment`` (aware) falls."""
    if moment.tzinfo is None:
        raise Rejected(Reason(code=Code.TIME_NAIVE, detail="a time needs its zone"))
    return moment.astimezone(zone(zone_name)).date()


def day_bounds(day: date, zone_name: str = BUSINESS_ZONE) -> tuple[datetime, datetime]:
    """First moment of ``day`` and of the day after, in UTC: 23, 24 or 25 hours apart."""
    where = zone(zone_name)
    first = datetime.combine(day, time.min, tzinfo=where)
    after = datetime.combine(day + timedelta(days=1), time.min, tzinfo=where)
    return first.astimezone(UTC), after.astimezone(UTC)
