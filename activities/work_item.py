"""The door to the desk (P-29, C-05, C-07): each method is one transaction, safe to run twice.

A refused decision is undone as a whole, then written to the audit in a transaction of its own.
"""

from __future__ import annotations

from typing import Any

from temporalio import activity

from activities.failures import Work, one_decision, one_transaction
from activities.house import House
from ledger.desk import Desk
from ledger.proofs import Proofs
from ledger.receiving import Receiver
from ledger.remedies import Remedies
from ledger.workitems import ItemRows
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemCommand,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
    WorkItemDoor,
)


class WorkItemActivities(WorkItemDoor):
    """WorkItemDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._engine = house.engine
        receiver = Receiver(house.ring, house.accounts, house.profile)
        remedies = Remedies(receiver, lambda c: house.rail(c) is not None, house.rails)
        name = house.profile.name
        proofs = Proofs(house.recognise, house.ring, name)
        self._desk = Desk(ItemRows(house.ring), remedies, proofs, name)

    @activity.defn
    async def read_item(self, command: ItemCommand[None]) -> ItemView:
        """The item as it stands."""
        return await one_transaction(self._engine, lambda c: self._desk.read(c, command))

    @activity.defn
    async def claim_item(self, command: ItemCommand[ClaimItem]) -> ItemView:
        """Take it, so that nobody else works on it."""
        return await one_transaction(self._engine, lambda c: self._desk.claim(c, command))

    @activity.defn
    async def release_item(self, command: ItemCommand[ReleaseItem]) -> ItemView:
        """Give it back, and withdraw one's proposal."""
        return await one_transaction(self._engine, lambda c: self._desk.release(c, command))

    @activity.defn
    async def propose_action(self, command: ItemCommand[Propose]) -> ItemView:
        """Propose, or acknowledge what needs no second person."""
        return await self._said(command, lambda c: self._desk.propose(c, command))

    @activity.defn
    async def approve_proposal(self, command: ItemCommand[Approve]) -> ItemView:
        """Do what was proposed and close the item, in one transaction (P-29, C-07)."""
        return await self._said(command, lambda c: self._desk.approve(c, command))

    @activity.defn
    async def reject_proposal(self, command: ItemCommand[RejectProposal]) -> ItemView:
        """Refuse what was proposed."""
        return await self._said(command, lambda c: self._desk.reject(c, command))

    async def _said(self, command: ItemCommand[Any], work: Work[ItemView]) -> ItemView:
        return await one_decision(
            self._engine, work, lambda c, refusal: self._desk.refuse(c, command, refusal)
        )
