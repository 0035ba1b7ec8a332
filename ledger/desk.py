"""The desk: people claim work items, propose, and decide; each act is one transaction (P-29, C-05).

Promises that what an approval does, the item's outcome and an audit that names both people and the
reason stand or fall together (C-07), that whoever moves money proved who he is, and that an act
done twice acts once. A refusal changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act
from ledger.proofs import Proofs, Said
from ledger.remedies import Approval, Remedies
from ledger.workitems import Item, ItemRows, item_view, open_items
from tillkeeper.contracts.actor import ActorToken
from tillkeeper.contracts.binding import (
    item_approval,
    item_proposal,
    item_rejection,
    item_release,
)
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemCommand,
    ItemState,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
)
from tillkeeper.rules.desk import (
    FOUR_EYES,
    OUTCOMES,
    judge_approval,
    judge_claim,
    judge_proposal,
    judge_rejection,
    judge_release,
)


class Desk:
    """The acts on work items, inside the caller's transaction; raises Rejected for a refusal."""

    def __init__(self, rows: ItemRows, remedies: Remedies, proofs: Proofs, profile: str) -> None:
        self._rows = rows
        self._remedies = remedies
        self._proofs = proofs
        self._profile = profile

    async def read(self, connection: AsyncConnection, command: ItemCommand[Any]) -> ItemView:
        """The item as it stands."""
        return item_view(await self._rows.read(connection, command.item))

    async def claim(self, connection: AsyncConnection, command: ItemCommand[ClaimItem]) -> ItemView:
        """Take the item."""
        item, body = await self._rows.locked(connection, command.item), command.body
        if judge_claim(item_view(item), body):
            item = await self._rows.change(
                connection, item, self._act("claim_item", command),
                state=ItemState.CLAIMED, owner=body.actor, claimed_at=command.at,
            )  # fmt: skip
        return item_view(item)

    async def release(
        self, connection: AsyncConnection, command: ItemCommand[ReleaseItem]
    ) -> ItemView:
        """Give the item back; what its proposer proposed is withdrawn."""
        token = self._proofs.read(command.body, command.at)
        item, body = await self._rows.locked(connection, command.item), command.body
        if judge_release(item_view(item), body):
            said = Said(item_release(item.id), token, command.at)
            await self._proofs.spend_any(connection, said)
            act = self._act("release_item", command, body.reason, token)
            item = await self._rows.change(
                connection, item, act,
                state=ItemState.OPEN, owner=None, claimed_at=None, **_NOTHING_PROPOSED,
            )  # fmt: skip
        return item_view(item)

    async def propose(self, connection: AsyncConnection, command: ItemCommand[Propose]) -> ItemView:
        """Propose what needs a second person; what needs none is done, and closes the item."""
        token = self._proofs.read(command.body, command.at)
        item, body = await self._rows.read(connection, command.item), command.body
        if not judge_proposal(item_view(item), body):
            return item_view(item)
        sheet = None
        if body.action not in FOUR_EYES:
            # The book's locks come before the item's, as where a booking settles items.
            sheet = await self._remedies.open_sheet(connection, item, body.action, body.target)
        item = await self._rows.locked(connection, command.item)
        if not judge_proposal(item_view(item), body):
            return item_view(item)
        proposal = await self._remedies.check(connection, item, body.act)
        shown = replace(item, proposals=item.proposals + 1, proposal=proposal)
        said = Said(item_proposal(item.id, body), token, command.at)
        await self._proofs.spend(connection, shown, said)
        changes: dict[str, Any] = {
            "state": ItemState.PROPOSED,
            "owner": body.actor,
            "claimed_at": item.claimed_at or command.at,
            "proposals": item.proposals + 1,
            "action": body.action,
            "target": body.target,
            "proposal": proposal,
            "proposed_by": body.actor,
            "proposed_at": command.at,
        }
        act = self._act(f"propose_{body.action.lower()}", command, body.reason, token)
        if sheet is not None:
            done = Approval(replace(item, **changes), act)
            changes["target"] = await self._remedies.apply(sheet, done)
            changes |= {"proposed_by": None, "decided_by": body.actor} | _closing(body, command)
        after = await self._rows.change(connection, item, act, **changes)
        if sheet is not None:
            await sheet.write()
        return item_view(await self._rows.read(connection, after.id))

    async def approve(self, connection: AsyncConnection, command: ItemCommand[Approve]) -> ItemView:
        """Do what was proposed, and close the item."""
        token = self._proofs.read(command.body, command.at)
        item, body = await self._rows.read(connection, command.item), command.body
        if not judge_approval(item_view(item), body):
            return item_view(item)
        # The book's locks come before the item's, as where a booking settles items.
        sheet = await self._remedies.open_sheet(connection, item, body.action, item.target)
        item = await self._rows.locked(connection, command.item)
        if not judge_approval(item_view(item), body):
            return item_view(item)
        said = Said(item_approval(item.id, body), token, command.at)
        await self._proofs.spend(connection, item, said)
        act = self._act(f"approve_{body.action.lower()}", command, _reason(item), token)
        done = Approval(item, act)
        target = await self._remedies.apply(sheet, done)
        after = await self._rows.change(
            connection, item, act, target=target, decided_by=body.actor, **_closing(body, command)
        )
        await open_items(connection, done.follow, at=command.at)
        await sheet.write()
        return item_view(await self._rows.read(connection, after.id))

    async def reject(
        self, connection: AsyncConnection, command: ItemCommand[RejectProposal]
    ) -> ItemView:
        """Refuse what was proposed; the item stays with its owner."""
        token = self._proofs.read(command.body, command.at)
        item, body = await self._rows.locked(connection, command.item), command.body
        shown = item_view(item)
        if judge_rejection(shown, body) and shown.proposal is not None:
            said = Said(item_rejection(item.id, shown.proposal), token, command.at)
            await self._proofs.spend(connection, item, said)
            act = self._act("reject_proposal", command, body.reason, token)
            item = await self._rows.change(
                connection, item, act, state=ItemState.CLAIMED, **_NOTHING_PROPOSED
            )
        return item_view(item)

    async def refuse(
        self, connection: AsyncConnection, command: ItemCommand[Any], refusal: Rejected
    ) -> None:
        """Write a refused act to the audit, in a transaction of its own."""
        try:
            item = await self._rows.read(connection, command.item)
        except Rejected:
            item = None
        await self._proofs.refuse(connection, item, command, refusal)

    def _act(
        self,
        action: str,
        command: ItemCommand[Any],
        reason: str = "",
        token: ActorToken | None = None,
    ) -> Act:
        proof = None if token is None else token.token_id
        return Act(action, command.body.actor, command.at, self._profile, reason, proof)


_NOTHING_PROPOSED = {
    "action": None, "target": None, "proposal": None, "proposed_by": None, "proposed_at": None,
}  # fmt: skip


def _closing(body: Propose | Approve, command: ItemCommand[Any]) -> dict[str, Any]:
    outcome = OUTCOMES[body.action]
    return {"state": ItemState.CLOSED, "outcome": outcome, "closed_at": command.at}


def _reason(item: Item) -> str:
    return "" if item.proposal is None else item.proposal.body.reason
