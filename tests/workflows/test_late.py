"""C-02, C-07: words that come when their run is over, forgotten or stopped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from activities.withdrawal import WithdrawalActivities
from tests.tokens import for_delegation, token_for
from tests.workflows.support import refused
from tests.workflows.test_approval import lending
from tests.workflows.withdrawal_support import CANCEL, People, judged, no, yes
from tillkeeper.contracts.approval import ApprovalPolicy, Band, PolicyState, policy_workflow_id
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.withdrawal import WithdrawalCommand, WithdrawalState, WithdrawalView

OTHER = ApprovalPolicy(bands=(Band(auto_reason="试运行期间"),))
FORGED = "e30.eyJzdWIiOiJPMiJ9.AAAA"
"""Says it is O2's, and nobody signed it."""


async def forgotten(people: People) -> WithdrawalView:
    """A withdrawal that waits, of whose run Temporal knows nothing (any more)."""
    asked = people.request(2_000_00, "W1")
    command = WithdrawalCommand(
        merchant=asked.merchant, request=asked.request, at=datetime.now(UTC), body=asked
    )
    return await WithdrawalActivities(people.platform.house).submit_withdrawal(command)


async def refusals(people: People) -> list[list[str]]:
    """The codes of every refused decision in the audit."""
    rows = await people.platform.rows(
        "SELECT after ->> 'refused' AS codes FROM audit WHERE action = 'refuse_decision'"
        " ORDER BY id"
    )
    return [json.loads(row.codes) for row in rows]


class TestWithdrawal:
    async def test_a_decision_on_what_is_over_is_verified_and_audited(self, people: People) -> None:
        """C-07: a forged token is told nothing; another person is told that it is decided."""
        view = await people.ask()
        body = no(view)
        assert (await people.decide(view, body)).state is WithdrawalState.REJECTED
        await people.handle().result()
        assert (await people.decide(view, body)).state is WithdrawalState.REJECTED
        before = await refusals(people)
        with refused(Code.TOKEN_INVALID):
            await people.decide(view, body.model_copy(update={"token": FORGED}))
        with refused(Code.REQUEST_DECIDED):
            await people.decide(view, no(view, "O3"))
        with refused(Code.REQUEST_DECIDED):
            await people.decide(view, yes(view))
        told = [["TOKEN_INVALID"], ["REQUEST_DECIDED"], ["REQUEST_DECIDED"]]
        assert await refusals(people) == before + told

    @pytest.mark.parametrize("way", ["ended", "forgotten"])
    async def test_a_cancelled_one_is_answered_alike(self, people: People, way: str) -> None:
        """C-02: whether its run has ended or Temporal has forgotten it."""
        view = await (people.ask() if way == "ended" else forgotten(people))
        till = people.platform.till
        done = await till.cancel_withdrawal(view.merchant, view.request, CANCEL)
        if way == "ended":
            await people.handle().result()
        again = await till.cancel_withdrawal(view.merchant, view.request, CANCEL)
        assert (again.state, again.ended_at) == (done.state, done.ended_at)
        assert (await people.platform.balances()).available == 5_000_00

    async def test_a_decision_on_what_temporal_forgot_is_answered_alike(
        self, people: People
    ) -> None:
        """C-02: the token was spent on it, which the database knows."""
        view = await forgotten(people)
        body = no(view)
        assert (await people.decide(view, body)).state is WithdrawalState.REJECTED
        assert (await people.decide(view, body)).state is WithdrawalState.REJECTED

    async def test_an_approval_of_one_whose_run_was_stopped_counts(self, people: People) -> None:
        """C-06: the row waits; the run is started again by whoever watches for lost ones."""
        view = await people.ask()
        await people.handle().terminate("somebody")
        assert (await people.approve(view)).state is WithdrawalState.REMITTING

    async def test_nothing_is_known_of_what_never_was(self, people: People) -> None:
        """Refused, and nothing begins."""
        view = (await people.ask()).model_copy(update={"request": "never"})
        with refused(Code.REQUEST_UNKNOWN):
            await people.approve(view)
        with refused(Code.REQUEST_UNKNOWN):
            await people.platform.till.cancel_withdrawal(view.merchant, "never", CANCEL)


class TestPolicy:
    async def test_a_proposal_made_again_has_its_own_token_verified(self, people: People) -> None:
        """C-07: while its run is open: a forged token is refused, the proposer's is spent."""
        change = f"P-{people.platform.merchant}"
        await people.propose(OTHER, change=change)
        begins = (await people.platform.till.policy_change(change)).effective_from
        with refused(Code.TOKEN_INVALID):
            await people.propose(OTHER, change=change, effective_from=begins, token=FORGED)
        with refused(Code.KEY_REUSED):
            await people.propose(OTHER, "A2", change=change, effective_from=begins)
        again = await people.propose(OTHER, change=change, effective_from=begins)
        assert again.state is PolicyState.PROPOSED
        spent = await people.platform.rows(
            "SELECT actor FROM spent_tokens WHERE subject = $1", policy_workflow_id(change)
        )
        assert [row.actor for row in spent] == ["A1", "A2", "A1"]

    @pytest.mark.parametrize("way", ["ended", "stopped"])
    async def test_a_late_decision_is_verified(self, people: People, way: str) -> None:
        """C-07: a run that was stopped leaves the change decidable by its second person."""
        shown = await people.propose(OTHER)
        handle = people.platform.client.get_workflow_handle(policy_workflow_id(shown.change))
        body = judged(shown)
        if way == "ended":
            await people.platform.till.decide_policy(shown.change, body)
            await handle.result()
        else:
            await handle.terminate("somebody")
        with refused(Code.TOKEN_INVALID):
            forged = body.model_copy(update={"token": FORGED})
            await people.platform.till.decide_policy(shown.change, forged)
        done = await people.platform.till.decide_policy(shown.change, body)
        assert (done.state, done.decided_by) == (PolicyState.ADOPTED, "A2")
        assert done.decided_at is not None
        assert done.decided_at < datetime.now(UTC) + timedelta(seconds=1)


class TestDelegation:
    async def test_a_delegation_made_again_is_verified(self, people: People) -> None:
        """C-07: the same one by another person, or by nobody, is refused."""
        till, name = people.platform.till, f"D-{people.platform.merchant}"
        body = lending(delegation=name)
        first = await till.delegate(body)
        assert await till.delegate(body) == first
        with refused(Code.TOKEN_INVALID):
            await till.delegate(body.model_copy(update={"token": FORGED}))
        with refused(Code.KEY_REUSED):
            await till.delegate(for_delegation(body, token_for("O5", "operations")))
