"""The door to policies and delegations (P-68, C-07, C-08): each method is one transaction.

A refused word is undone as a whole, then written to the audit in a transaction of its own.
"""

from __future__ import annotations

from typing import TypeVar

from temporalio import activity

from activities.failures import Work, one_decision
from activities.house import House
from ledger.approvals import Refusals, Tried
from ledger.audit import Audit
from ledger.delegations import Delegations
from ledger.policies import Policies
from tillkeeper.contracts.actor import Decision
from tillkeeper.contracts.approval import (
    ApprovalDoor,
    DecidePolicy,
    DelegationCommand,
    DelegationView,
    PolicyCommand,
    PolicyView,
    ProposePolicy,
)
from tillkeeper.contracts.binding import delegation_decision, policy_decision, policy_proposal

T = TypeVar("T")

Worded = PolicyCommand[ProposePolicy] | PolicyCommand[DecidePolicy] | DelegationCommand
"""A command that comes with a token."""


class ApprovalActivities(ApprovalDoor):
    """ApprovalDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._refusals = Refusals(house.recognise, Audit(house.ring), house.profile.name)
        self._policies = Policies(house.ring, house.profile, house.recognise)
        self._delegations = Delegations(house.ring, house.profile, house.recognise)

    @activity.defn
    async def propose_policy(self, command: PolicyCommand[ProposePolicy]) -> PolicyView:
        """Record a proposal; it is in force only when another person adopts it (C-08)."""
        decision = policy_proposal(command.body)
        return await self._said(command, decision, lambda c: self._policies.propose(c, command))

    @activity.defn
    async def decide_policy(self, command: PolicyCommand[DecidePolicy]) -> PolicyView:
        """Adopt or refuse exactly what was shown (C-07, C-08)."""
        decision = policy_decision(command.change, command.body)
        return await self._said(command, decision, lambda c: self._policies.decide(c, command))

    @activity.defn
    async def record_delegation(self, command: DelegationCommand) -> DelegationView:
        """Record whom a person lets decide in his roles (P-68)."""
        decision = delegation_decision(command.body)
        return await self._said(command, decision, lambda c: self._delegations.record(c, command))

    async def _said(self, command: Worded, decision: Decision, work: Work[T]) -> T:
        tried = Tried(decision.subject, decision, command.body.token, command.at)
        return await one_decision(
            self._house.engine,
            work,
            lambda c, refusal: self._refusals.record(c, tried, refusal),
        )
