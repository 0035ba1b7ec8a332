"""Which top-up request a bank receipt pays, or why none (P-21 … P-23, P-31, P-32).

Decides only, on what its caller found. Money is never credited on a guess: a request that is
merely likely is suggested to people and stays open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.receipt import PayerKind
from tillkeeper.contracts.topup import TopUpState


@dataclass(frozen=True, slots=True)
class Arrived:
    """What counts of a receipt: amount in minor units, whose account paid, when we heard of it."""

    amount_minor: int
    payer_kind: PayerKind
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request in the receipt's currency; ``same_name`` says that the payer is its merchant."""

    id: int
    amount_minor: int
    state: TopUpState
    expires_at: datetime
    same_name: bool

    def open_at(self, moment: datetime) -> bool:
        """Whether money that arrives at ``moment`` is still in time; at the last moment it is."""
        return self.state is TopUpState.WAITING_REMITTANCE and moment <= self.expires_at


@dataclass(frozen=True, slots=True)
class Match:
    """The request to credit, or the reason why none; ``suggests`` is for people."""

    credits: Candidate | None = None
    reason: Code | None = None
    suggests: Candidate | None = None


def match(arrived: Arrived, candidates: Sequence[Candidate]) -> Match:
    """Credit the one open request of the payer's company with the exact amount, or none."""
    named = [c for c in candidates if c.same_name]
    still_open = [c for c in named if c.open_at(arrived.received_at)]
    exact = [c for c in still_open if c.amount_minor == arrived.amount_minor]
    if arrived.payer_kind is not PayerKind.CORPORATE:
        return Match(reason=Code.NOT_CORPORATE, suggests=_only(exact))
    if len(exact) == 1:
        return Match(credits=exact[0])
    if exact:
        return Match(reason=Code.AMBIGUOUS)
    return _unmatched(arrived, candidates, named, still_open)


def _unmatched(
    arrived: Arrived,
    candidates: Sequence[Candidate],
    named: Sequence[Candidate],
    still_open: Sequence[Candidate],
) -> Match:
    equal = [c for c in named if c.amount_minor == arrived.amount_minor]
    late = [c for c in equal if _expired(c, arrived.received_at)]
    if late:
        latest = max(late, key=lambda c: (c.expires_at, c.id))
        return Match(reason=Code.REQUEST_EXPIRED, suggests=latest)
    if still_open:
        nearest = min(still_open, key=lambda c: (abs(c.amount_minor - arrived.amount_minor), c.id))
        return Match(reason=Code.AMOUNT_MISMATCH, suggests=nearest)
    others = [
        c
        for c in candidates
        if not c.same_name
        and c.amount_minor == arrived.amount_minor
        and c.open_at(arrived.received_at)
    ]
    if others:
        return Match(reason=Code.PAYER_NAME_MISMATCH, suggests=_only(others))
    return Match(reason=Code.NO_OPEN_REQUEST, suggests=_only(_cancelled(equal)))


def _expired(candidate: Candidate, moment: datetime) -> bool:
    waits = candidate.state is TopUpState.WAITING_REMITTANCE
    return candidate.state is TopUpState.EXPIRED or (waits and moment > candidate.expires_at)


def _cancelled(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.state is TopUpState.CANCELLED]


def _only(candidates: Sequence[Candidate]) -> Candidate | None:
    return candidates[0] if len(candidates) == 1 else None
