"""The doors of withdrawals and approvals: each run twice; a refused decision is in the audit."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.approval import ApprovalActivities
from activities.house import House
from activities.withdrawal import WithdrawalActivities
from gateways.bank.exchange import FolderExchange
from ledger.audit import REASON
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from tests.ledger.test_policies import POLICY, admin
from tests.ledger.withdrawal_support import AT, DAY, Counter, bare
from tests.tokens import VERIFIER, for_delegation, for_policy, for_proposal, token_for
from tests.workflows.support import receiving
from tillkeeper.contracts.approval import (
    Decide,
    DecidePolicy,
    Delegate,
    DelegationCommand,
    PolicyCommand,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import Rail
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalCommand,
    WithdrawalRequest,
    WithdrawalState,
)
from tillkeeper.failures import refusal_in
from tillkeeper.sealing import KeyRing

State = WithdrawalState

_REFUSED = """
SELECT actor, after::text AS after, reason_sealed, at FROM audit
 WHERE action = 'refuse_decision' ORDER BY id"""


@pytest.fixture
def house(engine: AsyncEngine, ring: KeyRing, tmp_path: Path, counter: Counter) -> House:
    """A house that pays by files and knows the tests' issuer."""
    return House(
        engine=engine,
        ring=ring,
        profile=counter.profile,
        receiving=receiving,
        lanes=Lanes(OrderBook(engine)),
        exchange=FolderExchange(tmp_path),
        verifier=VERIFIER,
    )


@pytest.fixture
def counter(engine: AsyncEngine, ring: KeyRing) -> Counter:
    return Counter(engine, ring)


def command(body: Any, at: datetime = AT) -> WithdrawalCommand[Any]:
    return WithdrawalCommand(merchant="M1", request="W1", at=at, body=body)


REQUEST = WithdrawalRequest(merchant="M1", request="W1", amount_minor=2_000_00, requested_by="u1")


async def refused(work: Any) -> tuple[Code, ...]:
    with pytest.raises(ApplicationError) as caught:
        await work
    assert caught.value.non_retryable
    refusal = refusal_in(caught.value)
    assert refusal is not None
    return refusal.codes


class TestTwice:
    async def test_every_door_of_a_withdrawal(self, house: House, counter: Counter) -> None:
        """C-02: an activity that ran and is run again answers alike and moves nothing twice."""
        await counter.account(fund=9_000_00)
        doors = WithdrawalActivities(house)
        for _ in range(2):
            view = await doors.submit_withdrawal(command(REQUEST))
            assert view.state is State.WAITING_APPROVAL
        for _ in range(2):
            reminded = await doors.remind_of_withdrawal(bare("W1", AT + DAY))
            assert reminded.reminders == 1
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        for _ in range(2):
            view = await doors.decide_withdrawal(command(body))
            assert (view.state, view.attempts) == (State.REMITTING, 1)
            assert view.payment is not None
            assert view.payment.rail is Rail.FILE
        for door in (doors.remit_withdrawal, doors.read_withdrawal):
            assert await door(bare("W1", AT)) == view
        assert await counter.figures() == (7_000_00, 0, 2_000_00, 0)
        assert await counter.rows(_REFUSED) == []

    async def test_cancelling(self, house: House, counter: Counter) -> None:
        """C-02, P-73."""
        await counter.account()
        doors = WithdrawalActivities(house)
        await doors.submit_withdrawal(command(REQUEST))
        body = CancelWithdrawal(reason="不需要了", actor="u1")
        for _ in range(2):
            view = await doors.cancel_withdrawal(command(body))
            assert view.state is State.CANCELLED_BY_MERCHANT
        assert await counter.figures() == (5_000_00, 0, 0, 0)

    async def test_every_door_of_approvals(self, house: House, counter: Counter) -> None:
        """C-02, C-08."""
        doors = ApprovalActivities(house)
        wanted = ProposePolicy(
            change="P1", policy=POLICY, effective_from=AT + DAY, reason="季度调整",
        )  # fmt: skip
        wanted = for_proposal(wanted, admin("A1"))
        for _ in range(2):
            view = await doors.propose_policy(PolicyCommand(change="P1", at=AT, body=wanted))
        body = DecidePolicy(verdict=Verdict.APPROVE, policy_digest=view.policy_digest)
        body = for_policy("P1", body, admin("A2"))
        for _ in range(2):
            view = await doors.decide_policy(PolicyCommand(change="P1", at=AT, body=body))
        lent = Delegate(
            delegation="D1", delegate="X1", roles=("operations",), until=AT + DAY, reason="出差",
        )  # fmt: skip
        lent = for_delegation(lent, token_for("O2", "operations", at=AT))
        made = [await doors.record_delegation(DelegationCommand(at=AT, body=lent)) for _ in "12"]
        assert made[0] == made[1]
        for table, rows in (("approval_policies", 1), ("delegations", 1), ("decisions", 1)):
            assert await counter.count(table) == rows
        assert await counter.rows(_REFUSED) == []


class TestRefused:
    async def test_a_refused_decision_is_in_the_audit_and_nothing_else(
        self, house: House, counter: Counter
    ) -> None:
        """C-07, S3: undone as a whole, told by whom and why; run twice, written once."""
        await counter.account()
        doors = WithdrawalActivities(house)
        view = await doors.submit_withdrawal(command(REQUEST))
        body = counter.decision(view, token_for("u1", "operations", at=AT))
        for _ in range(2):
            assert await refused(doors.decide_withdrawal(command(body))) == (Code.OWN_REQUEST,)
        rows = await counter.rows(_REFUSED)
        assert [(row.actor, row.at, row.reason_sealed) for row in rows] == [("u1", AT, None)]
        after = json.loads(rows[0].after)
        assert after == {
            "refused": ["OWN_REQUEST"], "token": VERIFIER.recognise(body.token, AT).token_id,
        }  # fmt: skip
        for table in ("decisions", "payments"):
            assert await counter.count(table) == 0
        later = AT.replace(minute=1)
        await refused(doors.decide_withdrawal(command(body, later)))
        assert len(await counter.rows(_REFUSED)) == 2

    async def test_a_refused_decisions_token_is_good_for_no_other(
        self, house: House, counter: Counter
    ) -> None:
        """S3: whoever finds it in a history can decide nothing with it, nor do the same later."""
        await counter.account()
        doors = WithdrawalActivities(house)
        view = await doors.submit_withdrawal(command(REQUEST))
        token = token_for("O1", "operations", at=AT)
        stale = counter.decision(view, token, amount_minor=1)
        assert await refused(doors.decide_withdrawal(command(stale))) == (Code.DECISION_STALE,)
        right = counter.decision(view, stale.token)
        assert await refused(doors.decide_withdrawal(command(right))) == (Code.TOKEN_INVALID,)
        assert await refused(doors.decide_withdrawal(command(stale))) == (Code.DECISION_STALE,)
        fresh = counter.decision(view, token_for("O1", "operations", at=AT))
        assert (await doors.decide_withdrawal(command(fresh))).decisions

    async def test_without_a_token_nobody_is_named(self, house: House, counter: Counter) -> None:
        """S3: whatever the body says; a raw client of Temporal gets no further."""
        await counter.account()
        doors = WithdrawalActivities(house)
        view = await doors.submit_withdrawal(command(REQUEST))
        for token, code in (("", Code.TOKEN_MISSING), ("x.y.z", Code.TOKEN_INVALID)):
            body = counter.decision(view, token)
            assert await refused(doors.decide_withdrawal(command(body))) == (code,)
        rows = await counter.rows(_REFUSED)
        assert {row.actor for row in rows} == {"unknown"}
        assert [json.loads(row.after)["refused"] for row in rows] == [
            ["TOKEN_MISSING"], ["TOKEN_INVALID"],
        ]  # fmt: skip

    async def test_a_house_without_an_issuer_decides_nothing(
        self, house: House, counter: Counter
    ) -> None:
        """S12: fails closed."""
        await counter.account()
        doors = WithdrawalActivities(dataclasses.replace(house, verifier=None))
        view = await doors.submit_withdrawal(command(REQUEST))
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        assert await refused(doors.decide_withdrawal(command(body))) == (Code.TOKEN_INVALID,)

    async def test_refused_words_about_policies_and_delegations(
        self, house: House, counter: Counter
    ) -> None:
        """C-07, C-08."""
        doors = ApprovalActivities(house)
        wanted = ProposePolicy(
            change="P1", policy=POLICY, effective_from=AT + DAY, reason="季度调整",
        )  # fmt: skip
        wanted = for_proposal(wanted, admin("A1", "operations"))
        work = doors.propose_policy(PolicyCommand(change="P1", at=AT, body=wanted))
        assert await refused(work) == (Code.ROLE_MISSING,)
        lent = Delegate(
            delegation="D1", delegate="X1", roles=("finance",), until=AT + DAY, reason="出差",
        )  # fmt: skip
        lent = for_delegation(lent, token_for("O2", "operations", at=AT))
        assert await refused(doors.record_delegation(DelegationCommand(at=AT, body=lent))) == (
            Code.ROLE_MISSING,
        )
        sql = "SELECT subject, actor FROM audit WHERE action = 'refuse_decision' ORDER BY id"
        assert [tuple(row) for row in await counter.rows(sql)] == [
            ("policy/P1", "A1"), ("delegation/D1", "O2"),
        ]  # fmt: skip

    async def test_a_reason_that_was_typed_is_sealed(
        self, house: House, counter: Counter, ring: KeyRing
    ) -> None:
        """C-11: the audit keeps a veto's reason sealed."""
        await counter.account()
        doors = WithdrawalActivities(house)
        view = await doors.submit_withdrawal(command(REQUEST))
        body: Decide = counter.decision(view, token_for("O2", "operations", at=AT), Verdict.REJECT)
        await doors.decide_withdrawal(command(body))
        rows = await counter.rows("SELECT reason_sealed FROM audit WHERE actor = 'O2'")
        assert [ring.open_text(row.reason_sealed, purpose=REASON) for row in rows] == [
            "资料不符", "资料不符",
        ]  # fmt: skip
