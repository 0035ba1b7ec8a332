"""What services use: typed calls over a plain Temporal client that start, decide and ask.

Promises one answer per business id: the same request again is answered alike, whether its workflow
still runs, has ended or is forgotten (C-02); what only asks (``account``, ``topup``) knows what
Temporal has not forgotten. A refusal raises Rejected with every reason;
Unavailable means that the same call may be sent again. It never touches the database.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from tillkeeper.contracts import account, order, receipt, topup
from tillkeeper.contracts.account import (
    AccountState,
    AccountView,
    AddContact,
    CloseAccount,
    ConfigureAlerts,
    Home,
    MerchantFacts,
    OpenAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
    account_workflow_id,
)
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Code, Rejected, Unavailable
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.order import OrderMessage, order_workflow_id
from tillkeeper.contracts.receipt import ReceiptReport, ReceiptView, receipt_workflow_id
from tillkeeper.contracts.topup import (
    CancelTopUp,
    TopUpRequest,
    TopUpState,
    TopUpView,
    topup_workflow_id,
)
from tillkeeper.failures import refusal_in
from tillkeeper.rules.opening import should_prompt_open

TASK_QUEUE: Final = "tillkeeper"
ANSWER_WITHIN: Final = timedelta(seconds=30)
"""How long a call waits for a worker; after that it is Unavailable and may be sent again."""

_LOOK_S: Final = 0.05

View = TypeVar("View", bound=Model)
Answer = TypeVar("Answer")


class _Ended(Exception):  # noqa: N818 - no error: the workflow's recorded answer is asked for
    """The workflow has ended, or was never started."""


class Tillkeeper:
    """The door for services; every method may be called again with the same arguments."""

    def __init__(
        self,
        client: Client,
        task_queue: str = TASK_QUEUE,
        *,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._within = answer_within

    async def open_account(self, request: OpenAccount) -> AccountView:
        """Open an account, or answer as it stands: it may wait for bank details (P-01 … P-05).

        Raises Rejected(NOT_ELIGIBLE | NAME_MISMATCH | KEY_REUSED); refused, it may be asked again.
        """
        workflow_id = account_workflow_id(request.merchant, request.currency)
        try:
            return await self._start_and_ask(
                account.WORKFLOW, workflow_id, request, update="opened", view=AccountView
            )
        except _Ended:
            view = await self._recorded(workflow_id, AccountView)
        return _same(view, view.fingerprint, request)

    async def account(self, merchant: str, currency: str = "CNY") -> AccountView:
        """The account as it stands, masked. Raises Rejected(ACCOUNT_NOT_OPENED)."""
        view = await self._view(account_workflow_id(merchant, currency), AccountView)
        if view is None or view.state is AccountState.NOT_OPENED:
            detail = f"this merchant has no account in {currency}"
            raise Rejected(Code.ACCOUNT_NOT_OPENED, detail=detail)
        return view

    async def home(self, facts: MerchantFacts) -> Home:
        """The home page: whether to prompt for opening, and the account (P-02)."""
        try:
            view = await self.account(facts.merchant, facts.currency)
        except Rejected:
            prompt = should_prompt_open(facts, AccountState.NOT_OPENED)
            return Home(should_prompt_open=prompt)
        return Home(should_prompt_open=should_prompt_open(facts, view.state), account=view)

    async def provide_bank_details(
        self, merchant: str, currency: str, body: ProvideBankDetails
    ) -> AccountView:
        """Tell the bank details as they are now (P-03 … P-05). Raises Rejected(NAME_MISMATCH …)."""
        return await self._decide(merchant, currency, "provide_bank_details", body)

    async def configure_alerts(
        self, merchant: str, currency: str, body: ConfigureAlerts
    ) -> AccountView:
        """Set the warning amount and all contacts (P-06 … P-08).

        Raises Rejected(NOT_CONFIGURABLE | BELOW_SUSPENSION | CONTACT_…).
        """
        return await self._decide(merchant, currency, "configure_alerts", body)

    async def add_contact(self, merchant: str, currency: str, body: AddContact) -> AccountView:
        """Add a contact (P-08). Raises Rejected(CONTACT_LIMIT_3)."""
        return await self._decide(merchant, currency, "add_contact", body)

    async def replace_contact(
        self, merchant: str, currency: str, body: ReplaceContact
    ) -> AccountView:
        """Replace a contact (P-08). Raises Rejected(CONTACT_UNKNOWN)."""
        return await self._decide(merchant, currency, "replace_contact", body)

    async def set_standing(self, merchant: str, currency: str, body: SetStanding) -> AccountView:
        """Mark abnormal, or normal again (1.9). Raises Rejected(ACCOUNT_NOT_ACTIVE)."""
        return await self._decide(merchant, currency, "set_standing", body)

    async def close_account(self, merchant: str, currency: str, body: CloseAccount) -> AccountView:
        """Close the account; a closed one answers alike. Raises Rejected with every obstacle."""
        return await self._decide(merchant, currency, "close", body)

    async def request_topup(self, request: TopUpRequest) -> TopUpView:
        """Ask to top up; the answer says where to pay, and until when (P-24, P-25).

        Raises Rejected with every reason against it, or KEY_REUSED for another body.
        """
        workflow_id = topup_workflow_id(request.merchant, request.request)
        try:
            view = await self._start_and_ask(
                topup.WORKFLOW, workflow_id, request, update="submitted", view=TopUpView
            )
        except _Ended:
            view = await self._recorded(workflow_id, TopUpView)
            _same(view, view.fingerprint, request)
        if view.state is TopUpState.REFUSED:
            raise Rejected(*view.refused)
        return view

    async def topup(self, merchant: str, request: str) -> TopUpView:
        """One request with its dated steps (P-27). Raises Rejected(REQUEST_UNKNOWN)."""
        view = await self._view(topup_workflow_id(merchant, request), TopUpView)
        if view is None:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such request")
        return view

    async def cancel_topup(self, merchant: str, request: str, body: CancelTopUp) -> TopUpView:
        """Cancel a request; a cancelled one answers alike. Raises Rejected(REQUEST_DECIDED | …)."""
        workflow_id = topup_workflow_id(merchant, request)
        try:
            return await self._ask(workflow_id, "cancel", body, TopUpView)
        except _Ended:
            view = await self._recorded(workflow_id, TopUpView, missing=Code.REQUEST_UNKNOWN)
        if view.state is not TopUpState.CANCELLED:
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the request is {view.state} already")
        return view

    async def report_receipt(self, report: ReceiptReport) -> ReceiptView:
        """Report money that arrived; answers what it was credited to, or why to none (P-21 … P-26).

        Raises Rejected(WRONG_ACCOUNT | KEY_REUSED | TIME_OUT_OF_RANGE).
        """
        workflow_id = receipt_workflow_id(report)
        await self._started(receipt.WORKFLOW, workflow_id, report)
        view = await self._recorded(workflow_id, ReceiptView)
        return _same(view, view.fingerprint, report)

    async def hand_over(self, message: OrderMessage) -> str:
        """Leave an order message that the book could not take; it is applied once (P-43).

        Answers the id of the workflow that keeps it; the same message again changes nothing.
        """
        workflow_id = order_workflow_id(message)
        await self._started(order.WORKFLOW, workflow_id, message)
        return workflow_id

    async def _decide(
        self, merchant: str, currency: str, decision: str, body: Model
    ) -> AccountView:
        workflow_id = account_workflow_id(merchant, currency)
        try:
            return await self._ask(workflow_id, decision, body, AccountView)
        except _Ended:
            missing = Code.ACCOUNT_NOT_OPENED
            view = await self._recorded(workflow_id, AccountView, missing=missing)
        if decision != "close":
            raise Rejected(Code.ACCOUNT_CLOSED, detail="the account is closed")
        return view

    async def _started(self, workflow: str, workflow_id: str, request: Model) -> None:
        """Start, unless it runs or has ended: then its result is the answer."""
        with contextlib.suppress(_Ended):
            await _answered(
                self._client.start_workflow(
                    workflow,
                    request,
                    id=workflow_id,
                    task_queue=self._task_queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                    rpc_timeout=self._within,
                )
            )

    async def _start_and_ask(
        self, workflow: str, workflow_id: str, request: Model, *, update: str, view: type[View]
    ) -> View:
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            workflow,
            request,
            id=workflow_id,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        )
        try:
            return await _answered(
                self._client.execute_update_with_start_workflow(
                    update,
                    request,
                    start_workflow_operation=start,
                    result_type=view,
                    rpc_timeout=self._within,
                )
            )
        except Exception:
            # The start keeps its own failure; one that nobody looks at is logged with a traceback.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(start.workflow_handle(), _LOOK_S)
            raise

    async def _ask(self, workflow_id: str, update: str, body: Model, view: type[View]) -> View:
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id)
        return await _answered(
            handle.execute_update(update, body, result_type=view, rpc_timeout=self._within)
        )

    async def _view(self, workflow_id: str, view: type[View]) -> View | None:
        """What the workflow shows, running or ended; None where there is none to ask."""
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id)
        try:
            return await _answered(handle.query("view", result_type=view, rpc_timeout=self._within))
        except _Ended:
            return None

    async def _recorded(
        self, workflow_id: str, view: type[View], *, missing: Code = Code.REQUEST_UNKNOWN
    ) -> View:
        """The workflow's result, waited for; ``missing`` is refused where there never was one."""
        handle = self._client.get_workflow_handle(workflow_id, result_type=view)
        try:
            return await _answered(asyncio.wait_for(handle.result(), self._within.total_seconds()))
        except _Ended:
            raise Rejected(missing, detail="there is no such id, or it is long over") from None


def _same(view: View, recorded: str, asked: Model) -> View:
    if recorded != fingerprint(asked):
        raise Rejected(Code.KEY_REUSED, detail="this id came with another request before")
    return view


async def _answered(call: Awaitable[Answer]) -> Answer:
    """Await a call of the Temporal client, and turn what it raises into our errors."""
    try:
        return await call
    except (WorkflowUpdateFailedError, WorkflowFailureError) as error:
        refusal = refusal_in(error)
        if refusal is not None:
            raise refusal from None
        # Stopped from outside, or broken: nobody knows here what it did before.
        raise Unavailable("the workflow was stopped; send the first request again") from None
    except WorkflowAlreadyStartedError:
        raise _Ended from None
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError):
        raise Unavailable("no worker answered in time; ask again") from None
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise Unavailable(f"the workflow cannot be asked now: {type(error).__name__}") from None
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.ALREADY_EXISTS):
            raise _Ended from None
        raise Unavailable(f"Temporal refused for now: {error.status.name}") from None
