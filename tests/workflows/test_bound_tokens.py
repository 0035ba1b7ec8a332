"""Tokens that lie in histories unspent, for what they came with was never understood (S3, C-07).

Somebody types a signal's name wrong, an amount as text, the wrong run, an id that is another one's;
his token stays in a history, good for minutes. Whoever reads it there must gain nothing by it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from tests.tokens import bound_token, for_delegation, token_for
from tests.workflows.support import eventually
from tests.workflows.withdrawal_support import People, judged, no, yes
from tillkeeper.contracts.account import account_workflow_id
from tillkeeper.contracts.approval import (
    DELEGATION_WORKFLOW,
    ApprovalPolicy,
    Band,
    Decide,
    Delegate,
    Level,
    PolicyView,
    ProposePolicy,
    delegation_workflow_id,
    policy_workflow_id,
)
from tillkeeper.contracts.binding import withdrawal_decision
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView

POLICY = ApprovalPolicy(bands=(Band(levels=(Level(name="finance", roles=("finance",)),)),))
ROLES = ("operations", "finance", "policy-admin", "desk")

Slip = Callable[[People, WithdrawalView, Decide], Awaitable[WorkflowHandle[Any, Any]]]
"""A mistake that leaves the decision's token in the history of the run that it answers."""


async def misspelt(people: People, view: WithdrawalView, body: Decide) -> Any:
    await people.handle().signal("decyde", body)
    return people.handle()


async def amount_as_text(people: People, view: WithdrawalView, body: Decide) -> Any:
    fields = json.loads(body.model_dump_json()) | {"amount_minor": "2000.00"}
    await people.handle().signal("decide", fields)
    return people.handle()


async def two_arguments(people: People, view: WithdrawalView, body: Decide) -> Any:
    await people.handle().signal("decide", args=[body, "x"])
    return people.handle()


async def wrong_run(people: People, view: WithdrawalView, body: Decide) -> Any:
    run = account_workflow_id(view.merchant, view.currency)
    handle = people.platform.client.get_workflow_handle(run)
    await handle.signal("decide", body)
    return handle


async def wrong_update(people: People, view: WithdrawalView, body: Decide) -> Any:
    """A policy's run verifies a proposal that comes again, and remembers its token."""
    return await proposed_again(people, await people.propose(POLICY), body.token)


async def wrong_id(people: People, view: WithdrawalView, body: Decide) -> Any:
    """A delegation that is started under another one's id."""
    lent = Delegate(
        delegation=f"D-{uuid.uuid4().hex}", delegate="O3", roles=("operations",), reason="休假",
        until=datetime.now(UTC) + timedelta(days=1), token=body.token,
    )  # fmt: skip
    return await people.platform.client.start_workflow(
        DELEGATION_WORKFLOW, lent, id=delegation_workflow_id(f"other-{uuid.uuid4().hex}"),
        task_queue=people.platform.task_queue,
    )  # fmt: skip


async def unknown_type(people: People, view: WithdrawalView, body: Decide) -> Any:
    return await people.platform.client.start_workflow(
        "Nobody", body, id=f"nobody/{uuid.uuid4().hex}", task_queue=people.platform.task_queue,
        execution_timeout=timedelta(minutes=1),
    )  # fmt: skip


SLIPS = (misspelt, amount_as_text, two_arguments, wrong_run, wrong_update, wrong_id, unknown_type)


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.__name__)
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
async def test_a_token_left_in_a_history_decides_nothing_else(
    people: People, slip: Slip, bound: bool
) -> None:
    """S3: nothing at all where it was not bound; where it was, what its person meant, once."""
    first, second = await people.ask(), await people.ask(1_000_00, "W2")
    meant = yes(first, token="")
    token = token_for("O2", *ROLES)
    said = withdrawal_decision(first.merchant, first.request, meant)
    given = bound_token(token, said) if bound else str(token)
    handle = await slip(people, first, meant.model_copy(update={"token": given}))
    taken = await token_in(people, handle)
    assert taken == given
    refusal = Code.TOKEN_INVALID if bound else Code.TOKEN_UNBOUND
    till = people.platform.till
    lent = Delegate(
        delegation=f"D-{uuid.uuid4().hex}", delegate="mallory", roles=("operations",),
        until=datetime.now(UTC) + timedelta(days=9), reason="休假",
    )  # fmt: skip
    for stolen in (
        people.decide(second, yes(second, token=taken)),
        people.decide(first, no(first, token=taken)),
        people.decide(first, yes(first, token=taken, amount_minor=1_999_99)),
        till.delegate(for_delegation(lent, taken)),
        people.propose(POLICY, change=f"P-{uuid.uuid4().hex}", token=taken),
    ):
        with pytest.raises(Rejected) as caught:
            await stolen
        assert caught.value.codes == (refusal,)
    assert (await people.seen("W2")).state is WithdrawalState.WAITING_APPROVAL
    assert (await people.seen()).decisions == ()
    for table in ("delegations", "decisions"):
        assert await people.platform.rows(f"SELECT 1 FROM {table}") == []  # noqa: S608
    sql = "SELECT DISTINCT actor FROM audit WHERE action = 'refuse_decision'"
    assert [row.actor for row in await people.platform.rows(sql)] == ["O2"]
    if bound:
        approved = await people.decide(first, yes(first, token=taken))
        assert [one.actor for one in approved.decisions] == ["O2"]


async def test_a_token_left_by_a_policy_admin_adopts_no_other_policy(people: People) -> None:
    """C-08: sent again as the update `proposed`, it stays in the history unspent."""
    proposed = await people.propose(POLICY)
    yes_to_it = judged(proposed)
    handle = await proposed_again(people, proposed, yes_to_it.token)
    assert await token_in(people, handle) == yes_to_it.token
    other = await people.propose(POLICY, change=f"Q-{people.platform.merchant}")
    stolen = judged(other).model_copy(update={"token": yes_to_it.token})
    with pytest.raises(Rejected) as caught:
        await people.platform.till.decide_policy(other.change, stolen)
    assert caught.value.codes == (Code.TOKEN_INVALID,)


async def proposed_again(people: People, view: PolicyView, token: str) -> WorkflowHandle[Any, Any]:
    """The same proposal, with another token, by a plain client."""
    assert view.effective_from is not None
    body = ProposePolicy(
        change=view.change, policy=POLICY, effective_from=view.effective_from, reason=view.reason,
        token=token,
    )  # fmt: skip
    handle = people.platform.client.get_workflow_handle(policy_workflow_id(view.change))
    # Refused, for it was made for something else; it lies in the history all the same.
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("proposed", body)
    return handle


async def token_in(people: People, handle: WorkflowHandle[Any, Any]) -> str:
    """The last token in a run's history, as whoever holds a key reads it."""
    found: list[str] = []

    async def there() -> bool:
        async for event in handle.fetch_history_events():
            for given in (
                event.workflow_execution_signaled_event_attributes.input.payloads,
                event.workflow_execution_started_event_attributes.input.payloads,
                event.workflow_execution_update_accepted_event_attributes.accepted_request.input.args.payloads,
            ):
                for payload in given:
                    [one] = await people.platform.client.data_converter.decode([payload])
                    if isinstance(one, dict) and one.get("token"):
                        found.append(one["token"])
        return bool(found)

    await eventually(there)
    return found[-1]
