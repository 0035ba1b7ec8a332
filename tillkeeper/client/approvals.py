"""Calls about who may approve: changes of the policy by two people, delegations (C-07, C-08)."""

from __future__ import annotations

from tillkeeper.client.calls import Calls, Ended
from tillkeeper.contracts import approval
from tillkeeper.contracts.approval import (
    DecidePolicy,
    Delegate,
    DelegationView,
    PolicyState,
    PolicyView,
    ProposePolicy,
    Verdict,
    delegation_workflow_id,
    policy_workflow_id,
)
from tillkeeper.contracts.errors import Code, Rejected


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
            view = await self._recorded(workflow_id, PolicyView)
        asked = (request.policy, request.effective_from, request.reason)
        if asked != (view.policy, view.effective_from, view.reason):
            raise Rejected(Code.KEY_REUSED, detail="this id came with another request before")
        return view

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
            view = await self._recorded(workflow_id, PolicyView)
        if body.policy_digest != view.policy_digest:
            raise Rejected(Code.DECISION_STALE, detail="the policy is another one")
        adopted = body.verdict is Verdict.APPROVE
        if view.state is not (PolicyState.ADOPTED if adopted else PolicyState.REJECTED):
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the change is {view.state} already")
        return view

    async def delegate(self, request: Delegate) -> DelegationView:
        """Let another person decide in one's roles until a moment; again, it is answered alike.

        Raises Rejected(TOKEN_… | ROLE_MISSING | KEY_REUSED | …).
        """
        workflow_id = delegation_workflow_id(request.delegation)
        await self._started(approval.DELEGATION_WORKFLOW, workflow_id, request)
        view = await self._recorded(workflow_id, DelegationView)
        recorded = (view.delegate, view.roles, view.until)
        if recorded != (request.delegate, request.roles, request.until):
            raise Rejected(Code.KEY_REUSED, detail="this id came with another request before")
        return view
