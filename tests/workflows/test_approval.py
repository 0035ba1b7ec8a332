"""Changes of the policy and delegations as runs: P-68, C-07, C-08."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.tokens import for_delegation, token_for
from tests.workflows.support import eventually, refused
from tests.workflows.withdrawal_support import People, judged
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    DecidePolicy,
    Delegate,
    Level,
    PolicyState,
    PolicyView,
    Verdict,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.withdrawal import WithdrawalState

FINANCE_ALONE = ApprovalPolicy(bands=(Band(levels=(Level(name="finance", roles=("finance",)),)),))


class TestPolicy:
    async def test_a_second_admin_adopts_it_and_later_requests_obey_it(
        self, people: People
    ) -> None:
        """C-08: what was asked for before keeps its levels, what is asked for later has the new."""
        before = await people.ask(1_000_00, "W1")
        proposed = await people.propose(FINANCE_ALONE)
        decide = people.platform.till.decide_policy
        with refused(Code.OWN_REQUEST):
            await decide(proposed.change, judged(proposed, "A1"))
        with refused(Code.DECISION_STALE):
            await decide(proposed.change, judged(proposed, policy_digest="0" * 64))
        yes = judged(proposed)
        adopted = await decide(proposed.change, yes)
        assert (adopted.state, adopted.decided_by) == (PolicyState.ADOPTED, "A2")
        assert await decide(proposed.change, yes) == adopted

        async def in_force() -> bool:
            return datetime.now(UTC) > proposed_from(proposed)

        await eventually(in_force)
        after = await people.ask(1_000_00, "W2")
        assert [level.name for level in after.levels] == ["finance"]
        assert [level.name for level in before.levels] == ["operations"]
        with refused(Code.REQUEST_DECIDED):
            await decide(proposed.change, no(proposed))

    async def test_a_refused_one_changes_nothing_and_the_same_again_is_answered_alike(
        self, people: People
    ) -> None:
        """C-02, C-07: another policy under its id is KEY_REUSED."""
        proposed = await people.propose(FINANCE_ALONE)
        again: dict[str, Any] = {"effective_from": proposed.effective_from}
        assert await people.propose(FINANCE_ALONE, **again) == proposed
        with refused(Code.KEY_REUSED):
            await people.propose(FINANCE_ALONE, reason="另一理由", **again)
        view = await people.platform.till.decide_policy(proposed.change, no(proposed))
        assert (view.state, view.decision_reason) == (PolicyState.REJECTED, "过宽")
        assert (await people.propose(FINANCE_ALONE, **again)).state is PolicyState.REJECTED
        with refused(Code.KEY_REUSED):
            await people.propose(FINANCE_ALONE, reason="另一理由", **again)
        assert (await people.ask()).policy.startswith("default")

    async def test_nobody_proposes_without_the_role(self, people: People) -> None:
        """C-08: only policy admins; a token of another role starts nothing that stays."""
        with refused(Code.ROLE_MISSING):
            await people.propose(FINANCE_ALONE, token=token_for("O2", "operations"))
        with refused(Code.TOKEN_MISSING):
            await people.propose(FINANCE_ALONE, change="P2", token="")
        assert await people.platform.rows("SELECT id FROM approval_policies") == []

    async def test_a_decision_may_come_as_a_signal(self, people: People) -> None:
        """Design §3: the same model; what is misspelt shows as not understood."""
        proposed = await people.propose(FINANCE_ALONE)
        handle = people.platform.client.get_workflow_handle(f"policy/{proposed.change}")
        await handle.signal("adopt", judged(proposed))
        await handle.signal("decide", judged(proposed))
        done = await handle.result()
        assert done["state"] == PolicyState.ADOPTED
        assert [noted["name"] for noted in done["not_understood"]] == ["adopt"]


class TestDelegation:
    async def test_a_delegate_decides_until_it_ends(self, people: People) -> None:
        """P-68: O3 stands in for O2; the decision counts for both."""
        view = await people.ask()
        with refused(Code.ROLE_MISSING):
            await people.approve(view, "O3", "nothing")
        lent = await people.platform.till.delegate(lending())
        assert (lent.delegator, lent.delegate) == ("O2", "O3")
        approved = await people.approve(view, "O3", "nothing")
        assert approved.state is WithdrawalState.REMITTING
        decision = approved.decisions[0]
        assert (decision.actor, decision.on_behalf_of) == ("O3", "O2")

    async def test_the_same_again_is_answered_alike_and_another_body_refused(
        self, people: People
    ) -> None:
        """C-02: ids are for ever."""
        body = lending(delegation=f"D-{people.platform.merchant}")
        till = people.platform.till
        first = await till.delegate(body)
        assert await till.delegate(body) == first
        with refused(Code.KEY_REUSED):
            await till.delegate(lending(delegation=body.delegation, delegate="O4"))
        with refused(Code.ROLE_MISSING):
            await till.delegate(lending(delegation="D-finance", roles=("finance",)))


def lending(**changes: Any) -> Delegate:
    """O2 lets O3 decide in his role for a day."""
    fields: dict[str, Any] = {
        "delegation": f"D-{uuid.uuid4().hex}", "delegate": "O3",
        "roles": ("operations",), "until": datetime.now(UTC) + timedelta(days=1),
        "reason": "休假",
    }  # fmt: skip
    return for_delegation(Delegate(**{**fields, **changes}), token_for("O2", "operations"))


def no(view: PolicyView) -> DecidePolicy:
    """A second policy admin's no."""
    return judged(view, verdict=Verdict.REJECT, reason="过宽")


def proposed_from(view: PolicyView) -> datetime:
    """When the proposed policy begins."""
    assert view.effective_from is not None
    return view.effective_from
