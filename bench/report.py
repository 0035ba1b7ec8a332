"""What the figures are called, what they should be, and how they are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Goal:
    """A limit for one figure; ``at_most`` turns it round."""

    limit: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Whether ``value`` is on the good side; the limit itself is."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


GOALS: Final[Mapping[str, Goal]] = {
    "hot_over_single": Goal(20),
    "hot_over_bare": Goal(0.6),
    "spread_over_single": Goal(10),
    "coalesced_over_single": Goal(8),
    "coalesced_p99_ms": Goal(50, at_most=True),
    "statement_over_copy": Goal(0.25),
    "statement_peak_mib": Goal(150, at_most=True),
    "grown_over_empty": Goal(0.8),
    "bank_read_over_parse": Goal(2, at_most=True),
    "bank_batches_over_parse": Goal(2, at_most=True),
    "bank_read_peak_mib": Goal(150, at_most=True),
    "withdrawal_over_skeleton": Goal(0.8),
}

MEANINGS: Final[Mapping[str, str]] = {
    "bank_read_over_parse": "reading a statement / lxml building its tree",
    "bank_batches_over_parse": "the same in batches of 100 / lxml building its tree",
    "bank_read_over_stream": "reading a statement / lxml walking its elements",
    "bank_read_per_s": "transactions of a bank statement read",
    "bank_read_peak_mib": "memory of a process that reads a statement, at its highest",
    "hot_over_single": "b / a",
    "hot_over_bare": "b / e",
    "spread_over_single": "c / a",
    "coalesced_over_single": "d / a",
    "statement_over_copy": "f: statement lines exported, over COPY of the same lines",
    "coalesced_p50_ms": "d: half of the callers waited less",
    "coalesced_p99_ms": "d: one caller in a hundred waited longer",
    "coalesced_hot_p99_ms": "the same, all callers into one merchant",
    "single_per_s": "a: holds, one transaction for each",
    "hot_per_s": "b: holds in batches of 500 into one merchant",
    "spread_per_s": "c: holds in batches of 500 over 1,000 merchants",
    "coalesced_per_s": "d: holds of 64 concurrent callers over 1,000 merchants",
    "coalesced_hot_per_s": "the same, all callers into one merchant",
    "bare_per_s": "e: bare inserts of the rows of b, nothing decided",
    "replays_per_s": "the messages of b once more: nothing changes",
    "endings_per_s": "settlements and part releases of b, in batches of 500",
    "statement_lines": "lines of the statement",
    "statement_per_s": "f: statement lines exported as CSV",
    "copy_per_s": "COPY of the same lines",
    "statement_peak_mib": "memory of the process that exports, at its highest",
    "grown_over_empty": "b on the grown book / b on an empty one",
    "grown_transfers": "transfers in the grown book before the measure",
    "grown_per_s": "b on the grown book",
    "empty_per_s": "b on an empty book",
    "withdrawal_over_skeleton": "whole withdrawals / the same messages with empty activities",
    "withdrawal_over_skeleton_lowest": "that ratio in the round where it was lowest",
    "withdrawal_over_skeleton_highest": "and in the one where it was highest",
    "withdrawal_over_plain": "whole withdrawals / the same steps as plain calls",
    "withdrawals_per_s": "withdrawals from the request to the booked debit, one approval",
    "skeletons_per_s": "the skeleton: same messages, child and number of activities",
    "plain_withdrawals_per_s": "the same steps as function calls on PostgreSQL: not durable",
    "rounds": "interleaved rounds; figures are medians, ratios medians of the rounds' ratios",
}


def missed(figures: Figures) -> list[str]:
    """The names of the figures that miss their goal."""
    return [name for name, value in figures.items() if name in GOALS and not GOALS[name].met(value)]


def print_json(figures: Figures) -> None:
    """One object on one line, ratios and milliseconds to the hundredth."""
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def print_table(figures: Figures) -> None:
    """The figures with their goals beside them."""
    table = Table(title="messages exist before the clock starts; every transaction is durable")
    for heading in ("figure", "what"):
        table.add_column(heading)
    for heading in ("measured", "goal"):
        table.add_column(heading, justify="right")
    for name, value in figures.items():
        goal = GOALS.get(name)
        shown = f"{value:,.0f}" if value >= 1_000 or value.is_integer() else f"{value:,.2f}"
        style = "" if goal is None else "green" if goal.met(value) else "red"
        table.add_row(
            name, MEANINGS[name], f"[{style}]{shown}[/]" if style else shown, str(goal or "")
        )
    Console().print(table)
