"""Which top-up request a bank receipt pays, or why none (P-21 … P-23, P-31, P-32).

Decides only, on what its caller found. Money is never credited on a guess: a request that is
merely likely is suggested to people and stays open. A reference code tells apart what name and
exact amount leave equal; it never stands in for either, and money whose code names another request
than name and amount do is for people.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.receipt import PayerKind
from tillkeeper.contracts.topup import TopUpState


@dataclass(frozen=True, slots=True)
class Arrived:
    """What counts of a receipt: amount in minor units, whose account paid, when we heard of it.

    ``codes`` are the reference codes in its remittance text; ``named`` says that a payer is named.
    """

    amount_minor: int
    payer_kind: PayerKind
    received_at: datetime
    codes: Collection[str] = ()
    named: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request in the receipt's currency; ``same_name`` says that the payer is its merchant."""

    id: int
    amount_minor: int
    state: TopUpState
    expires_at: datetime
    same_name: bool
    code: str | None = None

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
    """Credit the one open request of the payer's company with the exact amount, or none.

    Where a code names another known request, paid or open, name and amount alone are a guess (P-25,
    P-32); a code that names none is no word at all.
    """
    named = [c for c in candidates if c.same_name]
    still_open = [c for c in named if c.open_at(arrived.received_at)]
    exact = [c for c in still_open if c.amount_minor == arrived.amount_minor]
    if arrived.payer_kind is PayerKind.PERSONAL:
        return Match(reason=Code.NOT_CORPORATE, suggests=_meant(arrived, exact) or _only(exact))
    coded = _coded(arrived, candidates)
    chosen = exact if len(exact) == 1 and not coded else _coded(arrived, exact)
    if len(chosen) == 1:
        return Match(credits=chosen[0])
    if exact:
        return Match(reason=Code.AMBIGUOUS, suggests=_meant(arrived, candidates))
    reason, likely = _unmatched(arrived, candidates, named, still_open)
    return Match(reason=reason, suggests=_meant(arrived, candidates) or likely)


def _unmatched(
    arrived: Arrived,
    candidates: Sequence[Candidate],
    named: Sequence[Candidate],
    still_open: Sequence[Candidate],
) -> tuple[Code, Candidate | None]:
    equal = [c for c in named if c.amount_minor == arrived.amount_minor]
    late = [c for c in equal if _expired(c, arrived.received_at)]
    if late:
        return Code.REQUEST_EXPIRED, max(late, key=lambda c: (c.expires_at, c.id))
    if still_open:
        nearest = min(still_open, key=lambda c: (abs(c.amount_minor - arrived.amount_minor), c.id))
        return Code.AMOUNT_MISMATCH, nearest
    others = [
        c
        for c in candidates
        if not c.same_name
        and c.amount_minor == arrived.amount_minor
        and c.open_at(arrived.received_at)
    ]
    if not arrived.named:
        return Code.PAYER_UNKNOWN, _only(others)
    if others:
        return Code.PAYER_NAME_MISMATCH, _only(others)
    return Code.NO_OPEN_REQUEST, _only(_cancelled(equal))


def _coded(arrived: Arrived, candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.code is not None and c.code in arrived.codes]


def _meant(arrived: Arrived, candidates: Sequence[Candidate]) -> Candidate | None:
    """The one request that the payer's codes name and that is not paid."""
    return _only([c for c in _coded(arrived, candidates) if c.state is not TopUpState.CREDITED])


def _expired(candidate: Candidate, moment: datetime) -> bool:
    waits = candidate.state is TopUpState.WAITING_REMITTANCE
    return candidate.state is TopUpState.EXPIRED or (waits and moment > candidate.expires_at)


def _cancelled(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.state is TopUpState.CANCELLED]


def _only(candidates: Sequence[Candidate]) -> Candidate | None:
    return candidates[0] if len(candidates) == 1 else None
