"""Approvals: the policy as data, decisions, delegations, changes of the policy (P-68, C-07, C-08).

Decides nothing. Who may decide what is in ``rules/approvals.py``; a decision names exactly what was
shown and carries the token of whoever makes it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Generic, Protocol, Self

from pydantic import Field, model_validator

from tillkeeper.contracts.account import Body
from tillkeeper.contracts.actor import Actor, TokenText
from tillkeeper.contracts.base import Command, Identifier, Model, Moment, NotUnderstood, Text
from tillkeeper.contracts.errors import Code, flaw
from tillkeeper.contracts.money import AmountMinor, Currency

POLICY_WORKFLOW: Final = "PolicyChange"
DELEGATION_WORKFLOW: Final = "Delegation"

BANDS_MAX: Final = 20
LEVELS_MAX: Final = 8
QUORUM_MAX: Final = 10
ROLES_MAX: Final = 10


def policy_workflow_id(change: str) -> str:
    """The business id is the workflow id."""
    return f"policy/{change}"


def delegation_workflow_id(delegation: str) -> str:
    """The business id is the workflow id."""
    return f"delegation/{delegation}"


class Verdict(StrEnum):
    """Yes or no; one no is enough (a veto)."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"


class Level(Model):
    """One step of an approval: so many different people who hold one of the roles."""

    name: Identifier
    roles: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=ROLES_MAX)]
    quorum: Annotated[int, Field(ge=1, le=QUORUM_MAX)] = 1


class Band(Model):
    """What amounts up to and with ``upto_minor`` (minor units; None: any) need.

    Levels are passed one after another. A band without levels approves by itself and says why.
    """

    upto_minor: AmountMinor | None = None
    levels: Annotated[tuple[Level, ...], Field(max_length=LEVELS_MAX)] = ()
    auto_reason: Text | None = None

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if bool(self.levels) == (self.auto_reason is not None):
            raise flaw(Code.FIELD_INVALID, "a band has levels, or the reason why it needs none")
        if len({level.name for level in self.levels}) != len(self.levels):
            raise flaw(Code.FIELD_INVALID, "a band's levels have different names")
        return self


Bands = Annotated[tuple[Band, ...], Field(min_length=1, max_length=BANDS_MAX)]


class ApprovalPolicy(Model):
    """Bands by amount, in rising order, the last one without an upper end.

    ``by_currency`` replaces ``bands`` for the currencies it names.
    """

    bands: Bands
    by_currency: dict[Currency, Bands] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _covers_every_amount(self) -> Self:
        for bands in (self.bands, *self.by_currency.values()):
            ends = [band.upto_minor for band in bands]
            below = [end for end in ends[:-1] if end is not None]
            if ends[-1] is not None or len(below) != len(ends) - 1:
                raise flaw(Code.FIELD_INVALID, "only the last band is without an upper end")
            if below != sorted(set(below)):
                raise flaw(Code.FIELD_INVALID, "bands rise from the smallest amount on")
        return self


class PolicyVersion(Model):
    """A policy in force from ``effective_from`` on; ``name`` says which (C-08)."""

    name: str
    effective_from: datetime
    policy: ApprovalPolicy


class Judgement(Model):
    """A person's yes or no. Who decides is what the token says and nothing else.

    A no needs its reason (P-70).
    """

    verdict: Verdict
    reason: Text | None = None
    token: TokenText = ""

    @model_validator(mode="after")
    def _says_why_not(self) -> Self:
        if self.verdict is Verdict.REJECT and self.reason is None:
            raise flaw(Code.REASON_MISSING, "a rejection needs its reason")
        return self


class Decide(Judgement):
    """A decision on exactly the withdrawal shown; the amount in minor units (P-68, C-07)."""

    amount_minor: AmountMinor
    currency: Currency
    payee_digest: Text


class DecisionView(Model):
    """One decision that counts; ``on_behalf_of`` is who delegated it."""

    verdict: Verdict
    level: str
    actor: str
    on_behalf_of: str | None = None
    reason: str = ""
    at: datetime


class LevelView(Model):
    """One level as people see it: how many of the people it needs have decided."""

    name: str
    roles: tuple[str, ...]
    quorum: int
    approvals: int = 0
    current: bool = False


class ProposePolicy(Model):
    """Ask for another policy from ``effective_from`` on; a second policy admin decides (C-08)."""

    change: Identifier
    policy: ApprovalPolicy
    effective_from: Moment
    reason: Text
    token: TokenText = ""

    def without_token(self) -> ProposePolicy:
        """What is asked for, whoever asks; equal for the same proposal sent again."""
        fields = self.model_dump(include=set(ProposePolicy.model_fields) - {"token"})
        return ProposePolicy.model_validate(fields)


class PolicyStart(ProposePolicy):
    """What a run starts with: the proposal, and what earlier runs have to pass on."""

    not_understood: tuple[NotUnderstood, ...] = ()

    def body(self) -> ProposePolicy:
        """The proposal alone."""
        return ProposePolicy.model_validate(self.model_dump(exclude={"not_understood"}))


class DecidePolicy(Judgement):
    """A second person's decision on exactly the policy shown."""

    policy_digest: Text


class PolicyState(StrEnum):
    """Where a change of the policy stands."""

    PROPOSED = "PROPOSED"
    ADOPTED = "ADOPTED"
    REJECTED = "REJECTED"


class PolicyView(Model):
    """One change of the policy; ``policy_digest`` tells it from all others."""

    change: str
    state: PolicyState = PolicyState.PROPOSED
    policy: ApprovalPolicy | None = None
    policy_digest: str = ""
    effective_from: datetime | None = None
    reason: str = ""
    proposed_by: str = ""
    proposed_at: datetime | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str = ""
    not_understood: tuple[NotUnderstood, ...] = ()
    needs_person: str = ""
    fingerprint: str = ""


class Delegate(Model):
    """Let ``delegate`` decide in one's roles until a moment; a moment of the past ends it.

    Whose roles are delegated is what the token says. Nobody delegates what was delegated to him.
    """

    delegation: Identifier
    delegate: Actor
    roles: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=ROLES_MAX)]
    until: Moment
    reason: Text
    token: TokenText = ""

    def without_token(self) -> Delegate:
        """What is asked for, whoever asks; equal for the same delegation sent again."""
        return self.model_copy(update={"token": ""})


class DelegationView(Model):
    """A delegation that was recorded."""

    delegation: str
    delegator: str
    delegate: str
    roles: tuple[str, ...]
    merchants: tuple[str, ...] = ()
    since: datetime
    until: datetime
    fingerprint: str = ""


class PolicyCommand(Command, Generic[Body]):
    """A command on one change of the policy with the workflow's time (UTC)."""

    change: Identifier
    body: Body


class DelegationCommand(Command):
    """A delegation with the workflow's time (UTC)."""

    body: Delegate


class ApprovalDoor(Protocol):
    """Each method is one database transaction; safe to run twice. A refusal raises Rejected."""

    async def propose_policy(self, command: PolicyCommand[ProposePolicy]) -> PolicyView:
        """Record the proposal. Raises Rejected(TOKEN_… | ROLE_MISSING | KEY_REUSED | …)."""
        ...

    async def decide_policy(self, command: PolicyCommand[DecidePolicy]) -> PolicyView:
        """Adopt or refuse. Raises Rejected(TOKEN_… | OWN_REQUEST | DECISION_STALE | …)."""
        ...

    async def record_delegation(self, command: DelegationCommand) -> DelegationView:
        """Record a delegation. Raises Rejected(TOKEN_… | ROLE_MISSING | KEY_REUSED | …)."""
        ...
