"""Which thresholds a change of available crosses (P-52, P-55, P-59, Q-01 … Q-03)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tillkeeper.rules.profiles import PrepaidProfile


class Threshold(StrEnum):
    """A line whose crossing somebody waits for."""

    SUSPEND_BELOW = "suspend_below"
    WARNING = "warning"
    HARD_FLOOR = "hard_floor"
    RESUME_ABOVE = "resume_above"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """One account's lines in minor units; hard_floor <= suspend_below <= warning (Q-01)."""

    warning: int
    suspend_below: int
    hard_floor: int
    resume_above: int


def thresholds(
    warning_minor: int | None, suspend_below_minor: int | None, profile: PrepaidProfile
) -> Thresholds:
    """The lines in force; resume above max(warning, suspend_below) (Q-02)."""
    warning = profile.warning_default_minor if warning_minor is None else warning_minor
    suspend = profile.suspend_below_minor if suspend_below_minor is None else suspend_below_minor
    return Thresholds(warning, suspend, profile.hard_floor_minor, max(warning, suspend))


def crossings(before: int, after: int, lines: Thresholds) -> list[Threshold]:
    """Thresholds crossed by available going from ``before`` to ``after``, in minor units.

    Downward when after < line <= before, upward when before <= resume_above < after: at
    equality the state does not change (Q-03).
    """
    if after < before:
        crossed = []
        if after < lines.warning <= before:
            crossed.append(Threshold.WARNING)
        if after < lines.suspend_below <= before:
            crossed.append(Threshold.SUSPEND_BELOW)
        if after < lines.hard_floor <= before:
            crossed.append(Threshold.HARD_FLOOR)
        return crossed
    return [Threshold.RESUME_ABOVE] if before <= lines.resume_above < after else []
