"""How the client speaks to Temporal: start once, ask, and read what an ended run recorded.

What the Temporal client raises becomes our errors here; nothing else of the package imports it.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
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

from tillkeeper.contracts import late
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Code, Rejected, Unavailable
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.late import LateStart, Word, late_workflow_id
from tillkeeper.failures import refusal_in

TASK_QUEUE: Final = "tillkeeper"
ANSWER_WITHIN: Final = timedelta(seconds=30)
"""How long a call waits for a worker; after that it is Unavailable and may be sent again."""

ONCE: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
"""A lifecycle that ended well is over; one that failed may begin again."""

ANEW: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE
"""A run that only looks: the database knows what a run before has done."""

_LOOK_S: Final = 0.05

View = TypeVar("View", bound=Model)
Starting = WithStartWorkflowOperation[Any, Any]
Answer = TypeVar("Answer")


class Ended(Exception):  # noqa: N818 - no error: the workflow's recorded answer is asked for
    """The workflow has ended, or was never started."""


class Calls:
    """A Temporal client, the task queue of the workers, and how long an answer may take."""

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

    async def _started(
        self,
        workflow: str,
        workflow_id: str,
        request: Model,
        *,
        reuse: WorkflowIDReusePolicy = ONCE,
        nudge: str | None = None,
    ) -> None:
        """Start, unless it runs (then it hears ``nudge``) or, once only, has ended well."""
        with contextlib.suppress(Ended):
            await answered(
                self._client.start_workflow(
                    workflow,
                    request,
                    id=workflow_id,
                    task_queue=self._task_queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=reuse,
                    start_signal=nudge,
                    rpc_timeout=self._within,
                )
            )

    async def _begun(self, workflow: str, workflow_id: str, request: Model) -> bool:
        """Start a run; False where there is one of this id already, running or ended well."""
        try:
            await answered(
                self._client.start_workflow(
                    workflow,
                    request,
                    id=workflow_id,
                    task_queue=self._task_queue,
                    id_reuse_policy=ONCE,
                    rpc_timeout=self._within,
                )
            )
        except Ended:
            return False
        return True

    async def _start_and_ask(
        self, workflow: str, workflow_id: str, request: Model, *, update: str, view: type[View]
    ) -> View:
        start = self._starting(workflow, workflow_id, request)
        return await self._ask_with_start(start, update, request, view)

    def _starting(
        self,
        workflow: str,
        workflow_id: str,
        request: Model,
        *,
        reuse: WorkflowIDReusePolicy = ONCE,
    ) -> Starting:
        """How the workflow is started where it does not run yet."""
        return WithStartWorkflowOperation(
            workflow,
            request,
            id=workflow_id,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=reuse,
        )

    async def _ask_with_start(
        self, start: Starting, update: str, body: Model, view: type[View]
    ) -> View:
        try:
            return await answered(
                self._client.execute_update_with_start_workflow(
                    update,
                    body,
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
        return await answered(
            handle.execute_update(update, body, result_type=view, rpc_timeout=self._within)
        )

    async def _view(self, workflow_id: str, view: type[View]) -> View | None:
        """What the workflow shows, running or ended; None where there is none to ask."""
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id)
        try:
            return await answered(handle.query("view", result_type=view, rpc_timeout=self._within))
        except Ended:
            return None

    async def _recorded(
        self, workflow_id: str, view: type[View], *, missing: Code = Code.REQUEST_UNKNOWN
    ) -> View:
        """The workflow's result, waited for; ``missing`` is refused where there never was one."""
        handle = self._client.get_workflow_handle(workflow_id, result_type=view)
        try:
            return await answered(asyncio.wait_for(handle.result(), self._within.total_seconds()))
        except Ended:
            raise Rejected(missing, detail="there is no such id, or it is long over") from None

    async def _late(self, word: Word, view: type[View]) -> View:
        """Say ``word`` where the run that it belongs to is over: the database answers (C-02)."""
        name = uuid.uuid4().hex
        handle = await answered(
            self._client.start_workflow(
                late.WORKFLOW,
                LateStart(name=name, word=word),
                id=late_workflow_id(name),
                task_queue=self._task_queue,
                result_type=view,
                rpc_timeout=self._within,
            )
        )
        return await answered(asyncio.wait_for(handle.result(), self._within.total_seconds()))


def same(view: View, recorded: str, asked: Model) -> View:
    """The view, where it was made for this very request. Raises Rejected(KEY_REUSED)."""
    if recorded != fingerprint(asked):
        raise Rejected(Code.KEY_REUSED, detail="this id came with another request before")
    return view


async def answered(call: Awaitable[Answer]) -> Answer:
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
        raise Ended from None
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError):
        raise Unavailable("no worker answered in time; ask again") from None
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise Unavailable(f"the workflow cannot be asked now: {type(error).__name__}") from None
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.ALREADY_EXISTS):
            raise Ended from None
        raise Unavailable(f"Temporal refused for now: {error.status.name}") from None
