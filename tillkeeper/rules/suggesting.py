"""Which requests an unmatched receipt was perhaps meant for, and why: for people only (P-29, P-31).

A score is an integer 0 … 100 and comes with its reasons. It never credits anything. A request of
the same company, with the exact amount and still open, always stands above every other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.contracts.workitem import Hint, Suggestion, Why
from tillkeeper.rules.names import normalised_name

SUGGESTIONS_MAX: Final = 5
SCORE_MIN: Final = 32
"""Below it a request has too little in common with the receipt to be worth a look."""

CERTAIN: Final = 90
"""Same company, exact amount, open: nothing else scores as high."""

SIMILAR_PERCENT_MIN: Final = 60
NEAR_PERCENT_MAX: Final = 10

_CODE, _SAME, _SIMILAR, _EXACT, _NEAR = 40, 30, 18, 25, 10
_STANDING: Final = {
    Hint.OPEN: (15, "it still waits for its money"),
    Hint.EXPIRED: (8, "it has expired"),
    Hint.CANCELLED: (4, "it was cancelled"),
}
_TIMELY: Final = 5


@dataclass(frozen=True, slots=True)
class Payment:
    """What counts of a receipt; ``amount_minor`` in minor units, ``codes`` in its remittance."""

    amount_minor: int
    currency: str
    payer_name: str | None
    received_at: datetime
    codes: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is not credited, in the receipt's currency; holds its company's name."""

    id: int
    merchant: str
    request: str
    amount_minor: int
    state: TopUpState
    requested_at: datetime
    expires_at: datetime
    legal_name: str
    code: str | None = None

    def __repr__(self) -> str:
        return f"Asked({self.merchant}/{self.request})"


def suggest(payment: Payment, requests: Sequence[Asked]) -> tuple[Suggestion, ...]:
    """The likeliest requests, best first; at most SUGGESTIONS_MAX, none below SCORE_MIN."""
    scored = ((request, *_score(payment, request)) for request in requests)
    worth = [found for found in scored if found[1] >= SCORE_MIN]
    worth.sort(key=lambda found: (-found[1], -found[0].id))
    return tuple(
        Suggestion(
            request=f"{request.merchant}/{request.request}",
            amount_minor=request.amount_minor,
            state=request.state.value,
            score=score,
            why=why,
        )
        for request, score, why in worth[:SUGGESTIONS_MAX]
    )


def similarity(left: str, right: str) -> int:
    """How alike two names are after normalisation, in percent: pairs of letters they share."""
    one, other = normalised_name(left), normalised_name(right)
    if not one or not other:
        return 0
    if one == other:
        return 100
    pairs, others = Counter(pairwise(one)), Counter(pairwise(other))
    shared = (pairs & others).total()
    return min(200 * shared // max(pairs.total() + others.total(), 1), 99)


def _score(payment: Payment, request: Asked) -> tuple[int, tuple[Why, ...]]:
    points = [_by_name(payment, request), _by_amount(payment, request), _by_code(payment, request)]
    evidence = [point for point in points if point is not None]
    if not evidence:
        return 0, ()
    standing = _standing(payment, request)
    evidence.append((_STANDING[standing][0], Why(hint=standing, words=_STANDING[standing][1])))
    timely = _by_time(payment, request)
    if timely is not None:
        evidence.append(timely)
    why = tuple(said for _, said in evidence)
    hints = {said.hint for said in why}
    total = sum(score for score, _ in evidence)
    if hints >= {Hint.SAME_NAME, Hint.EXACT_AMOUNT, Hint.OPEN}:
        extra = sum(5 for hint in (Hint.REFERENCE_CODE, Hint.IN_TIME) if hint in hints)
        return CERTAIN + extra, why
    return min(total, CERTAIN - 1), why


Point = tuple[int, Why]


def _by_name(payment: Payment, request: Asked) -> Point | None:
    if payment.payer_name is None:
        return None
    alike = similarity(payment.payer_name, request.legal_name)
    if alike == 100:
        return _SAME, Why(hint=Hint.SAME_NAME, words="the payer has the company's name")
    if alike >= SIMILAR_PERCENT_MIN:
        words = f"the payer's name is {alike} % like the company's"
        return _SIMILAR * alike // 100, Why(hint=Hint.SIMILAR_NAME, words=words)
    return None


def _by_amount(payment: Payment, request: Asked) -> Point | None:
    short = request.amount_minor - payment.amount_minor
    if short == 0:
        return _EXACT, Why(hint=Hint.EXACT_AMOUNT, words="exactly the amount asked for")
    apart = -(-abs(short) * 100 // request.amount_minor)
    if apart > NEAR_PERCENT_MAX:
        return None
    side = "less" if short > 0 else "more"
    words = f"{format_amount(abs(short), payment.currency, grouped=True)} {side} than asked for"
    return _NEAR + 1 - apart, Why(hint=Hint.NEAR_AMOUNT, words=words)


def _by_code(payment: Payment, request: Asked) -> Point | None:
    if request.code is None or request.code not in payment.codes:
        return None
    return _CODE, Why(hint=Hint.REFERENCE_CODE, words="the remittance text has its code")


def _by_time(payment: Payment, request: Asked) -> Point | None:
    if not request.requested_at <= payment.received_at:
        return None
    if payment.received_at <= request.expires_at:
        return _TIMELY, Why(hint=Hint.IN_TIME, words="it came between request and expiry")
    return None


def _standing(payment: Payment, request: Asked) -> Hint:
    if request.state is TopUpState.CANCELLED:
        return Hint.CANCELLED
    overdue = payment.received_at > request.expires_at
    if request.state is TopUpState.WAITING_REMITTANCE and not overdue:
        return Hint.OPEN
    return Hint.EXPIRED
