"""Calls about who may approve: changes of the policy by two people, delegations (C-07, C-08)."""

from __future__ import annotations

from tillkeeper.client.calls import Calls, Ended
from tillkeeper.contracts import approval
from tillkeeper.contracts.approval import (
    DecidePolicy,
    Delegate,
    DelegationView,
    PolicyView,
    ProposePolicy,
    delegation_workflow_id,
    policy_workflow_id,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.late import LateDelegation, LatePolicyDecision, LateProposal


class ApprovalCalls(Calls):
    """Propose another policy, decide on it, delegate one's roles."""

    async def propose_policy(self, request: ProposePolicy) -> PolicyView:
        """Ask for another policy; the answer's ``policy_digest`` is what is decided on (C-08).

        Raises Rejected(TOKEN_… | ROLE_MISSING | KEY_REUSED | …).
        """
        workflow_id = policy_workflow_id(request.change)
        try:
            return await self._start_and_ask(
                approval.POLICY_WORKFLOW, workflow_id, request, update="proposed", view=PolicyView
            )
        except Ended:
            return await self._late(LateProposal(body=request), PolicyView)

    async def policy_change(self, change: str) -> PolicyView:
        """One change of the policy, as its run knows it. Raises Rejected(REQUEST_UNKNOWN)."""
        view = await self._view(policy_workflow_id(change), PolicyView)
        if view is None:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such change")
        return view

    async def decide_policy(self, change: str, body: DecidePolicy) -> PolicyView:
        """A second person's yes or no to exactly the policy shown; again, it is answered alike.

        Raises Rejected(TOKEN_… | OWN_REQUEST | ROLE_MISSING | DECISION_STALE | REQUEST_DECIDED).
        """
        workflow_id = policy_workflow_id(change)
        try:
            return await self._ask(workflow_id, "decide", body, PolicyView)
        except Ended:
            return await self._late(LatePolicyDecision(change=change, body=body), PolicyView)

    async def delegate(self, request: Delegate) -> DelegationView:
        """Let another person decide in one's roles until a moment; again, it is answered alike.

        Raises Rejected(TOKEN_… | ROLE_MISSING | KEY_REUSED | …).
        """
        workflow_id = delegation_workflow_id(request.delegation)
        if not await self._begun(approval.DELEGATION_WORKFLOW, workflow_id, request):
            return await self._late(LateDelegation(body=request), DelegationView)
        return await self._recorded(workflow_id, DelegationView)
