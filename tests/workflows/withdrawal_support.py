"""Withdrawals in tests: merchants with money, people with tokens, and what they say."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.client import WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from gateways.bank.exchange import FolderExchange
from gateways.bank.http import BankDoor
from ledger.orders import OrderBook
from tests.tokens import VERIFIER, for_policy, for_proposal, for_withdrawal, token_for
from tests.workflows.support import Platform, eventually
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Decide,
    DecidePolicy,
    PolicyView,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.contracts.withdrawal import (
    WORKFLOW,
    CancelWithdrawal,
    WithdrawalRequest,
    WithdrawalState,
    WithdrawalView,
    withdrawal_workflow_id,
)
from tillkeeper.rules.approvals import POLICY_ADMIN
from tillkeeper.rules.profiles import PrepaidProfile

SOON: Final = timedelta(seconds=3)
CANCEL: Final = CancelWithdrawal(reason="不再需要", actor="user-1")


@dataclass
class People:
    """Who decides on one platform: O2 of operations, F1 and F2 of finance."""

    platform: Platform

    async def active(self, amount_minor: int = 5_000_00, number: int = 1) -> None:
        """An account with so much available, by a top-up of this number."""
        await self.platform.configured()
        await self.platform.fund(amount_minor, number)

        async def active() -> bool:
            account = await self.platform.till.account(self.platform.merchant)
            return account.state is AccountState.ACTIVE

        await eventually(active)

    def request(
        self, amount_minor: int = 2_000_00, request: str = "W1", **more: Any
    ) -> WithdrawalRequest:
        """A request of this test's merchant by user-1."""
        fields: dict[str, Any] = {
            "merchant": self.platform.merchant, "request": request, "amount_minor": amount_minor,
            "requested_by": "user-1",
        }  # fmt: skip
        return WithdrawalRequest(**{**fields, **more})

    async def ask(
        self, amount_minor: int = 2_000_00, request: str = "W1", **more: Any
    ) -> WithdrawalView:
        """Ask for money."""
        body = self.request(amount_minor, request, **more)
        return await self.platform.till.request_withdrawal(body)

    async def decide(self, view: WithdrawalView, body: Decide) -> WithdrawalView:
        """Say it through the client."""
        return await self.platform.till.decide_withdrawal(view.merchant, view.request, body)

    async def approve(
        self, view: WithdrawalView, who: str = "O2", role: str = "operations", **more: Any
    ) -> WithdrawalView:
        """Approve exactly what ``view`` shows."""
        return await self.decide(view, yes(view, who, role, **more))

    async def reject(self, view: WithdrawalView, who: str = "O2", **more: Any) -> WithdrawalView:
        """Refuse what ``view`` shows."""
        return await self.decide(view, no(view, who, **more))

    async def propose(self, policy: ApprovalPolicy, who: str = "A1", **more: Any) -> PolicyView:
        """Propose a policy that begins in a moment, as a policy admin."""
        fields: dict[str, Any] = {
            "change": f"P-{self.platform.merchant}", "policy": policy, "reason": "试运行",
            "effective_from": datetime.now(UTC) + SOON,
        }  # fmt: skip
        token = more.pop("token", None)
        body = ProposePolicy(**{**fields, **more})
        body = for_proposal(body, token_for(who, POLICY_ADMIN) if token is None else token)
        return await self.platform.till.propose_policy(body)

    async def adopt(self, policy: ApprovalPolicy) -> PolicyView:
        """Put a policy in force, by two people."""
        proposed = await self.propose(policy)
        adopted = await self.platform.till.decide_policy(proposed.change, judged(proposed))
        await asyncio.sleep(SOON.total_seconds())
        return adopted

    async def hold(self, amount_minor: int) -> None:
        """An order's fee; what is more than available becomes dues (P-44)."""
        message = OrderMessage(
            event=OrderEvent.HOLD, merchant=self.platform.merchant, currency="CNY", order="O1",
            at=datetime.now(UTC), amount_minor=amount_minor,
        )  # fmt: skip
        await OrderBook(self.platform.engine).apply([message])

    async def seen(self, request: str = "W1") -> WithdrawalView:
        """What the run shows."""
        return await self.platform.till.withdrawal(self.platform.merchant, request)

    async def becomes(self, state: WithdrawalState, request: str = "W1") -> WithdrawalView:
        """Wait until the run shows ``state``; what it showed then."""
        views: list[WithdrawalView] = []

        async def there() -> bool:
            views.append(await self.seen(request))
            return views[-1].state is state

        await eventually(there, within_s=20)
        return views[-1]

    def handle(self, request: str = "W1") -> WorkflowHandle[Any, Any]:
        """The request's run."""
        workflow_id = withdrawal_workflow_id(self.platform.merchant, request)
        return self.platform.client.get_workflow_handle(workflow_id, result_type=WithdrawalView)


def judged(view: PolicyView, who: str = "A2", **changes: Any) -> DecidePolicy:
    """A second policy admin's yes to exactly this policy."""
    fields = {"verdict": Verdict.APPROVE, "policy_digest": view.policy_digest}
    body = DecidePolicy(**{**fields, **changes})
    return for_policy(view.change, body, token_for(who, POLICY_ADMIN))


def starting(people: People, asked: WithdrawalRequest) -> WithStartWorkflowOperation[Any, Any]:
    """A start as a plain client makes it, which starts anew what has ended."""
    return WithStartWorkflowOperation(
        WORKFLOW, asked, id=withdrawal_workflow_id(asked.merchant, asked.request),
        task_queue=people.platform.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )  # fmt: skip


def people_on(
    platform: Platform,
    folder: Path,
    *,
    profile: PrepaidProfile | None = None,
    door: BankDoor | None = None,
) -> People:
    """People on a platform that knows the tests' issuer of tokens; it has no worker yet.

    Payments leave by ``door``, else by files in ``folder``.
    """
    house = dataclasses.replace(
        platform.house, verifier=VERIFIER, profile=profile or platform.house.profile,
        exchange=FolderExchange(folder / "exchange"), door=door,
    )  # fmt: skip
    return People(dataclasses.replace(platform, house=house))


def yes(view: WithdrawalView, who: str = "O2", role: str = "operations", **changes: Any) -> Decide:
    """An approval of exactly what is shown, by a fresh token that is bound to it."""
    return _body(view, Verdict.APPROVE, who, role, changes)


def no(view: WithdrawalView, who: str = "O2", role: str = "operations", **changes: Any) -> Decide:
    """A rejection, by a fresh token."""
    return _body(view, Verdict.REJECT, who, role, {"reason": "资料不符", **changes})


def _body(
    view: WithdrawalView, verdict: Verdict, who: str, role: str, changes: dict[str, Any]
) -> Decide:
    at: datetime = changes.pop("at", datetime.now(UTC))
    token: str | None = changes.pop("token", None)
    fields: dict[str, Any] = {
        "verdict": verdict, "amount_minor": view.amount_minor, "currency": view.currency,
        "payee_digest": view.payee_digest,
    }  # fmt: skip
    body = Decide(**{**fields, **changes})
    return for_withdrawal(view, body, token_for(who, role, at=at) if token is None else token)
