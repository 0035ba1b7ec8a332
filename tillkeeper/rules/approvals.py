"""Who may decide what, and when it is decided: the one place of four eyes (P-68, C-07, C-08, S4).

Judges a person, as a verified token names him, on the case as it stands under its lock. Promises
that nothing is approved without the people whom its levels ask for, each another one and none of
them who asked for it. It must never read a clock, a name out of a body, or a token's text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from tillkeeper.contracts.actor import EVERY_MERCHANT, ActorToken
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    Delegate,
    Level,
    LevelView,
    PolicyVersion,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.base import EARLIEST
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.rules.desk import same_person

POLICY_ADMIN: Final = "policy-admin"
"""The role that proposes and decides changes of the policy."""

LENT_MAX: Final = timedelta(days=90)
"""How far ahead a delegation may end; whoever is away longer lends his roles again."""

_OPERATIONS: Final = Level(name="operations", roles=("operations",))
_FINANCE: Final = Level(name="finance", roles=("finance",))

DEFAULT_POLICY: Final = PolicyVersion(
    name="default@2026-11",
    effective_from=EARLIEST,
    policy=ApprovalPolicy(
        bands=(
            Band(upto_minor=50_000_00, levels=(_OPERATIONS,)),
            Band(upto_minor=500_000_00, levels=(_OPERATIONS, _FINANCE)),
            Band(levels=(_OPERATIONS, _FINANCE.model_copy(update={"quorum": 2}))),
        )
    ),
)
"""What is in force until another policy is adopted."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A decision that was counted before: by whom, and for whom if he acted as a delegate."""

    actor: str
    on_behalf_of: str | None
    level: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Delegated:
    """The delegator's roles lent to the delegate for these merchants, until a moment (UTC)."""

    delegator: str
    delegate: str
    roles: tuple[str, ...]
    merchants: tuple[str, ...]
    until: datetime


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be decided: whose it is, what it needs, what was decided, who stands in."""

    merchant: str
    requested_by: str
    levels: tuple[Level, ...]
    counted: tuple[Counted, ...] = ()
    delegations: tuple[Delegated, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruling:
    """How a decision counts: in which level, for whom, and whether it was the last one needed."""

    level: str
    on_behalf_of: str | None
    complete: bool


class _Standing(NamedTuple):
    level: str
    on_behalf_of: str | None


def in_force(versions: Sequence[PolicyVersion], at: datetime) -> PolicyVersion:
    """The policy in force at ``at`` among the adopted ones; of equal dates the last one given."""
    begun = [version for version in versions if version.effective_from <= at]
    last = max(enumerate(begun), key=lambda one: (one[1].effective_from, one[0]), default=None)
    return DEFAULT_POLICY if last is None else last[1]


def coming(versions: Sequence[PolicyVersion], at: datetime) -> tuple[PolicyVersion, ...]:
    """The policies that will be in force after ``at``, by their dates: of equal ones the last."""
    by_date = {one.effective_from: one for one in versions if one.effective_from > at}
    return tuple(by_date[begin] for begin in sorted(by_date))


def same_people(one: Sequence[Level], other: Sequence[Level]) -> bool:
    """Whether two sequences of levels ask for the same people in the same order.

    Neither a level's name nor the order of its roles makes a difference.
    """
    return [(a.quorum, frozenset(a.roles)) for a in one] == [
        (b.quorum, frozenset(b.roles)) for b in other
    ]


def levels_for(policy: ApprovalPolicy, amount_minor: int, currency: str) -> Band:
    """The band that an amount (minor units) falls into; its upper end belongs to it."""
    bands = policy.by_currency.get(currency, policy.bands)
    return next(b for b in bands if b.upto_minor is None or amount_minor <= b.upto_minor)


def judge_approval(case: Case, actor: ActorToken, at: datetime) -> Ruling:
    """How a yes counts: in the level that is waited for, once per person (P-68, C-07).

    Raises Rejected(OUT_OF_SCOPE | OWN_REQUEST | ALREADY_DECIDED | ROLE_MISSING) with every reason,
    or REQUEST_DECIDED where no level waits.
    """
    done = _approvals(case.levels, case.counted)
    waiting = _first_open(case.levels, done)
    if waiting is None:
        raise Rejected(Code.REQUEST_DECIDED, detail="nothing waits for an approval")
    standing = _standing(case, (waiting,), actor, at, _spent(case.counted))
    done[waiting.name] += 1
    return Ruling(*standing, complete=_first_open(case.levels, done) is None)


def judge_veto(case: Case, actor: ActorToken, at: datetime) -> Ruling:
    """How a no counts: one of anybody with a role of any level ends it, and completes nothing.

    Who has approved may still say no: that is how an approval is undone.
    Raises Rejected(OUT_OF_SCOPE | OWN_REQUEST | ROLE_MISSING) with every reason.
    """
    waiting = _first_open(case.levels, _approvals(case.levels, case.counted))
    ahead = () if waiting is None else (waiting,)
    standing = _standing(case, (*ahead, *case.levels), actor, at, ())
    return Ruling(*standing, complete=False)


def level_views(levels: Sequence[Level], counted: Sequence[Counted]) -> tuple[LevelView, ...]:
    """The levels as people see them; the one that waits is current, none after a no."""
    done = _approvals(levels, counted)
    waiting = None if _refused(counted) else _first_open(levels, done)
    return tuple(
        LevelView(
            name=level.name,
            roles=level.roles,
            quorum=level.quorum,
            approvals=done[level.name],
            current=level is waiting,
        )
        for level in levels
    )


def judge_delegation(body: Delegate, actor: ActorToken, at: datetime) -> None:
    """Whether a person may lend these roles: his own ones, for 90 days, and not to himself.

    A delegation of the past ends what was lent, so it needs no role any more.
    Raises Rejected(ROLE_MISSING | FIELD_INVALID) with every reason.
    """
    reasons = []
    lacking = [role for role in body.roles if role not in actor.roles]
    if lacking and at < body.until:
        detail = f"nobody lends what he has not: {', '.join(lacking)}"
        reasons.append(Reason(code=Code.ROLE_MISSING, detail=detail))
    if body.until > at + LENT_MAX:
        detail = f"until: at most {LENT_MAX.days} days from now"
        reasons.append(Reason(code=Code.FIELD_INVALID, detail=detail))
    if same_person(body.delegate, actor.subject):
        detail = "delegate: another person"
        reasons.append(Reason(code=Code.FIELD_INVALID, detail=detail))
    if reasons:
        raise Rejected(*reasons)


def judge_policy_proposal(body: ProposePolicy, actor: ActorToken, at: datetime) -> None:
    """Whether a person may propose this policy; it never begins before it is proposed (C-08).

    Raises Rejected(OUT_OF_SCOPE | ROLE_MISSING | FIELD_INVALID) with every reason.
    """
    reasons = _admin_refusals(actor)
    if body.effective_from < at:
        detail = "effective_from: a policy never begins in the past"
        reasons.append(Reason(code=Code.FIELD_INVALID, detail=detail))
    if reasons:
        raise Rejected(*reasons)


def judge_policy_decision(proposed_by: str, actor: ActorToken) -> None:
    """Whether a person may adopt or refuse a proposal: a second policy admin (C-07, C-08).

    Raises Rejected(OUT_OF_SCOPE | OWN_REQUEST | ROLE_MISSING) with every reason.
    """
    reasons = _admin_refusals(actor)
    if same_person(proposed_by, actor.subject):
        reasons.append(_own())
    if reasons:
        raise Rejected(*reasons)


def begins(effective_from: datetime, adopted_at: datetime) -> datetime:
    """When an adopted policy begins: never before its adoption, so no past answer changes."""
    return max(effective_from, adopted_at)


def _standing(
    case: Case,
    levels: Sequence[Level],
    actor: ActorToken,
    at: datetime,
    spent: Collection[str],
) -> _Standing:
    """In which level and for whom he decides: as himself where he can, for another otherwise."""
    reasons = _personal_refusals(case, actor, spent)
    own = next((level for level in levels if set(level.roles) & set(actor.roles)), None)
    if own is not None:
        found: _Standing | None = _Standing(own.name, None)
    else:
        found, why_not = _through_another(case, levels, actor, at, spent)
        reasons += why_not
    if reasons or found is None:
        raise Rejected(*dict.fromkeys(reasons))
    return found


def _personal_refusals(case: Case, actor: ActorToken, spent: Collection[str]) -> list[Reason]:
    reasons = []
    if not actor.acts_for(case.merchant):
        reasons.append(Reason(code=Code.OUT_OF_SCOPE, detail="the token is not for this merchant"))
    if same_person(case.requested_by, actor.subject):
        reasons.append(_own())
    if actor.subject.casefold() in spent:
        reasons.append(_decided())
    return reasons


def _through_another(
    case: Case, levels: Sequence[Level], actor: ActorToken, at: datetime, spent: Collection[str]
) -> tuple[_Standing | None, list[Reason]]:
    """For whom he decides; a delegation lends roles and never makes the delegate's scope wider."""
    reasons = []
    for level, lent in _lent(case, levels, actor, at):
        if same_person(case.requested_by, lent.delegator):
            reasons.append(_own())
        elif lent.delegator.casefold() in spent:
            reasons.append(_decided())
        else:
            return _Standing(level.name, lent.delegator), []
    return None, reasons or [_role_missing(levels)]


def _lent(
    case: Case, levels: Sequence[Level], actor: ActorToken, at: datetime
) -> Iterator[tuple[Level, Delegated]]:
    """What others lent him that counts here and now."""
    for level in levels:
        for lent in case.delegations:
            if (
                same_person(lent.delegate, actor.subject)
                and not same_person(lent.delegator, actor.subject)
                and at < lent.until
                and set(level.roles) & set(lent.roles)
                and {case.merchant, EVERY_MERCHANT} & set(lent.merchants)
            ):
                yield level, lent


def _spent(counted: Sequence[Counted]) -> frozenset[str]:
    """Who has given his approval, himself or through another."""
    people = (name for one in counted if one.verdict is Verdict.APPROVE for name in _both(one))
    return frozenset(name.casefold() for name in people)


def _both(one: Counted) -> tuple[str, ...]:
    return (one.actor,) if one.on_behalf_of is None else (one.actor, one.on_behalf_of)


def _approvals(levels: Sequence[Level], counted: Sequence[Counted]) -> dict[str, int]:
    yes = [one.level for one in counted if one.verdict is Verdict.APPROVE]
    return {level.name: yes.count(level.name) for level in levels}


def _refused(counted: Sequence[Counted]) -> bool:
    return any(one.verdict is Verdict.REJECT for one in counted)


def _first_open(levels: Sequence[Level], done: dict[str, int]) -> Level | None:
    return next((level for level in levels if done[level.name] < level.quorum), None)


def _admin_refusals(actor: ActorToken) -> list[Reason]:
    reasons = []
    if EVERY_MERCHANT not in actor.merchants:
        detail = "a policy is for every merchant, the token is not"
        reasons.append(Reason(code=Code.OUT_OF_SCOPE, detail=detail))
    if POLICY_ADMIN not in actor.roles:
        detail = f"a policy needs the role {POLICY_ADMIN}"
        reasons.append(Reason(code=Code.ROLE_MISSING, detail=detail))
    return reasons


def _own() -> Reason:
    return Reason(code=Code.OWN_REQUEST, detail="nobody decides what he asked for")


def _decided() -> Reason:
    return Reason(code=Code.ALREADY_DECIDED, detail="one person, one approval")


def _role_missing(levels: Sequence[Level]) -> Reason:
    roles = dict.fromkeys(role for level in levels for role in level.roles)
    detail = f"needs one of the roles: {', '.join(roles)}" if roles else "nobody decides it"
    return Reason(code=Code.ROLE_MISSING, detail=detail)
