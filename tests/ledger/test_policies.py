"""The approval policy's versions: two people, exactly what was shown, never reaching back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.policies import policy_in_force
from tests.ledger.withdrawal_support import AT, DAY, Counter
from tests.tokens import Unbound, for_policy, for_proposal, token_for
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    DecidePolicy,
    Level,
    PolicyCommand,
    PolicyState,
    PolicyView,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.approvals import DEFAULT_POLICY, POLICY_ADMIN
from tillkeeper.sealing import KeyRing

POLICY = ApprovalPolicy(
    bands=(
        Band(upto_minor=1_000_00, auto_reason="小额免审"),
        Band(levels=(Level(name="board", roles=("board",), quorum=2),)),
    )
)


@pytest.fixture
def counter(engine: AsyncEngine, ring: KeyRing) -> Counter:
    return Counter(engine, ring)


def admin(who: str, *roles: str, at: datetime = AT, **more: Any) -> Unbound:
    """A policy admin's token."""
    return token_for(who, *(roles or (POLICY_ADMIN,)), at=at, **more)


async def refusal(work: Any) -> tuple[Code, ...]:
    with pytest.raises(Rejected) as caught:
        await work
    return caught.value.codes


async def propose(
    counter: Counter, token: str, change: str = "P1", *, at: datetime = AT, **more: Any
) -> PolicyView:
    """Propose another policy from tomorrow on."""
    fields: dict[str, Any] = {
        "change": change, "policy": POLICY, "effective_from": AT + DAY, "reason": "季度调整",
    }  # fmt: skip
    body = for_proposal(ProposePolicy(**{**fields, **more}), token)
    command = PolicyCommand(change=change, at=at, body=body)
    return await counter.run(lambda c: counter.policies.propose(c, command))


async def decide(
    counter: Counter,
    view: PolicyView,
    token: str,
    verdict: Verdict = Verdict.APPROVE,
    *,
    at: datetime = AT,
    digest: str | None = None,
) -> PolicyView:
    """Decide on what the view shows."""
    body = DecidePolicy(
        verdict=verdict, policy_digest=digest or view.policy_digest,
        reason="不合适" if verdict is Verdict.REJECT else None,
    )  # fmt: skip
    body = for_policy(view.change, body, token)
    command = PolicyCommand(change=view.change, at=at, body=body)
    return await counter.run(lambda c: counter.policies.decide(c, command))


class TestPropose:
    async def test_a_proposal_changes_nothing(self, counter: Counter) -> None:
        """C-08: in force is what was; reasons are sealed, tokens nowhere."""
        token = admin("A1")
        view = await propose(counter, token)
        assert (view.state, view.proposed_by) == (PolicyState.PROPOSED, "A1")
        assert (view.policy, view.reason) == (POLICY, "季度调整")
        version = await counter.run(lambda c: policy_in_force(c, AT + 9 * DAY))
        assert version == DEFAULT_POLICY
        stored = str(await counter.rows("SELECT p::text FROM approval_policies p"))
        assert "季度调整" not in stored
        assert token.rpartition(".")[0] not in stored

    async def test_the_same_again_is_answered_alike(self, counter: Counter) -> None:
        """C-02: also later and with another token; other words, or another person's, are not."""
        token = admin("A1")
        views = await asyncio.gather(*(propose(counter, token) for _ in range(8)))
        late = AT + 9 * DAY
        views.append(await propose(counter, admin("A1", at=late), at=late))
        assert all(view == views[0] for view in views)
        other = propose(counter, admin("A1"), reason="别的")
        assert await refusal(other) == (Code.KEY_REUSED,)
        assert await refusal(propose(counter, admin("A2"))) == (Code.KEY_REUSED,)
        assert await counter.count("approval_policies") == 1

    async def test_who_may_not(self, counter: Counter) -> None:
        """C-08: a policy admin for every merchant, and no policy of the past."""
        token = admin("A1", "operations", merchants=("M1",))
        work = propose(counter, token, effective_from=AT - timedelta(seconds=1))
        assert set(await refusal(work)) == {
            Code.OUT_OF_SCOPE, Code.ROLE_MISSING, Code.FIELD_INVALID,
        }  # fmt: skip
        assert await refusal(propose(counter, "")) == (Code.TOKEN_MISSING,)
        assert await counter.count("approval_policies") == 0


class TestDecide:
    async def test_a_second_admin_adopts_exactly_what_was_shown(self, counter: Counter) -> None:
        """C-07, C-08: in force from its date on, not a second before."""
        view = await propose(counter, admin("A1"))
        token = admin("A2")
        done = await decide(counter, view, token)
        assert (done.state, done.decided_by, done.decided_at) == (PolicyState.ADOPTED, "A2", AT)
        assert await decide(counter, view, token, at=AT + 9 * DAY) == done
        at = AT + DAY
        version = await counter.run(lambda c: policy_in_force(c, at - timedelta(microseconds=1)))
        assert version.name == DEFAULT_POLICY.name
        version = await counter.run(lambda c: policy_in_force(c, at))
        assert (version.name, version.policy) == ("policy/P1", POLICY)
        assert await counter.actions("policy/P1") == [
            ("propose_policy", "A1"), ("adopt_policy", "A2"),
        ]  # fmt: skip

    async def test_late_adoption_never_reaches_back(self, counter: Counter) -> None:
        """C-08: adopted three days after its date, it begins at its adoption."""
        view = await propose(counter, admin("A1"))
        late = AT + 4 * DAY
        await decide(counter, view, admin("A2", at=late), at=late)
        for at, name in ((late - timedelta(seconds=1), DEFAULT_POLICY.name), (late, "policy/P1")):
            version = await counter.run(partial(policy_in_force, at=at))
            assert version.name == name

    async def test_nobody_adopts_his_own(self, counter: Counter) -> None:
        """C-07: however he writes his name."""
        view = await propose(counter, admin("A1"))
        for who in ("A1", "a1"):
            assert await refusal(decide(counter, view, admin(who))) == (Code.OWN_REQUEST,)
        assert await refusal(decide(counter, view, admin("A2", "operations"))) == (
            Code.ROLE_MISSING,
        )

    async def test_another_policy_than_shown(self, counter: Counter) -> None:
        """C-07: stale."""
        view = await propose(counter, admin("A1"))
        work = decide(counter, view, admin("A2"), digest="0" * 64)
        assert await refusal(work) == (Code.DECISION_STALE,)
        unknown = view.model_copy(update={"change": "P9"})
        assert await refusal(decide(counter, unknown, admin("A2"))) == (Code.REQUEST_UNKNOWN,)

    async def test_eight_admins_decide_once(self, counter: Counter) -> None:
        """B14: one outcome, all others are told it."""
        view = await propose(counter, admin("A1"))
        answers = await asyncio.gather(
            *(
                decide(counter, view, admin(f"B{n}"), Verdict.REJECT if n % 2 else Verdict.APPROVE)
                for n in range(8)
            ),
            return_exceptions=True,
        )
        done = [answer for answer in answers if isinstance(answer, PolicyView)]
        refused = [answer.codes for answer in answers if isinstance(answer, Rejected)]
        assert len(done) == 1
        assert refused == [(Code.REQUEST_DECIDED,)] * 7

    async def test_a_refused_change_is_never_in_force(self, counter: Counter) -> None:
        """C-08: with its reason."""
        view = await propose(counter, admin("A1"))
        done = await decide(counter, view, admin("A2"), Verdict.REJECT)
        assert (done.state, done.decision_reason) == (PolicyState.REJECTED, "不合适")
        version = await counter.run(lambda c: policy_in_force(c, AT + 9 * DAY))
        assert version == DEFAULT_POLICY


class TestInForce:
    async def test_requests_keep_the_policy_of_their_day(self, counter: Counter) -> None:
        """C-08: what was submitted before is decided by what it was submitted under."""
        await counter.account(fund=20_000_00)
        before = await counter.submit(2_000_00)
        view = await propose(counter, admin("A1"))
        await decide(counter, view, admin("A2"))
        late = AT + DAY
        after = await counter.submit(2_000_00, "W2", at=late)
        assert [level.name for level in after.levels] == ["board"]
        assert (await counter.submit(1_000_00, "W3", at=late)).auto_reason == "小额免审"
        assert (await counter.submit(1_000_01, "W4", at=late)).auto_reason == ""
        done = await counter.approve(before, at=late)
        assert (done.policy, len(done.decisions)) == (DEFAULT_POLICY.name, 1)
        one = await counter.approve(after, "B1", "board", at=late)
        assert one.levels[0].approvals == 1
        two = await counter.approve(after, "B2", "board", at=late)
        assert (two.levels[0].approvals, two.attempts) == (2, 1)
