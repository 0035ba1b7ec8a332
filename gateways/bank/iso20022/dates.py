"""Days and times as ISO 20022 writes them; without a zone there is no moment, only a day."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache


@lru_cache(maxsize=1024)
def day(text: str) -> date:
    """The day of ``2024-05-06``, of a time, or of a day with a zone. Raises ValueError."""
    return date.fromisoformat(text[:10])


@lru_cache(maxsize=1024)
def moment(text: str) -> datetime | None:
    """An aware time, or None when it names no zone. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else None


def day_or_none(text: str | None) -> date | None:
    """As ``day``; None for what is no date."""
    try:
        return day(text) if text else None
    except ValueError:
        return None


def moment_or_none(text: str | None) -> datetime | None:
    """As ``moment``; None for what is no time."""
    try:
        return moment(text) if text else None
    except ValueError:
        return None
