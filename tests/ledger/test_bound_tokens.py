"""A token is good for the decision that its issuer bound it to, and for nothing else (S3, C-07)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.approval import ApprovalActivities
from activities.house import House
from activities.withdrawal import WithdrawalActivities
from activities.work_item import WorkItemActivities
from gateways.bank.exchange import FolderExchange
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from ledger.workitems import NewItem, open_items
from tests.ledger.desk_support import AT as DESK_AT
from tests.ledger.desk_support import BANK, Office
from tests.ledger.test_policies import POLICY, admin
from tests.ledger.withdrawal_support import AT, DAY, Counter
from tests.tokens import (
    VERIFIER,
    Unbound,
    for_delegation,
    for_item,
    for_proposal,
    signed,
    token_for,
)
from tests.workflows.support import receiving
from tillkeeper.contracts.actor import Decision, decision_digest
from tillkeeper.contracts.approval import (
    Decide,
    DecidePolicy,
    Delegate,
    DelegationCommand,
    PolicyCommand,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.binding import item_proposal, item_release
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.withdrawal import WithdrawalCommand, WithdrawalRequest
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemAction,
    ItemCommand,
    ItemKind,
    ItemState,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
)
from tillkeeper.failures import refusal_in
from tillkeeper.rules.proving import DESK
from tillkeeper.sealing import KeyRing

GAP = NewItem(ItemKind.STATEMENT_GAP, "gap/1")
FAILED = NewItem(ItemKind.WITHDRAWAL_FAILED, "withdrawal/M1/W9")

_REFUSED = """
SELECT subject, actor, after::text AS after FROM audit
 WHERE action = 'refuse_decision' ORDER BY id"""

_SPENT_BEFORE = """
INSERT INTO spent_tokens (token, decision, subject, actor, at)
VALUES ($1, $2, $3, $4, $5) RETURNING token"""

Send = Callable[[str], Awaitable[Any]]
"""Says one word with the given token, through its door."""


@dataclass
class Stand:
    """One of everything that waits for a decision, and the doors to all of it."""

    counter: Counter
    office: Office
    house: House

    async def words(self) -> dict[str, tuple[Unbound, Send]]:
        """Each kind of decision: by whom, and how it is said."""
        return {
            **await self._withdrawal(), **await self._policies(), **await self._desk(),
        }  # fmt: skip

    async def _withdrawal(self) -> dict[str, tuple[Unbound, Send]]:
        doors = WithdrawalActivities(self.house)
        asked = WithdrawalRequest(
            merchant="M1", request="W1", amount_minor=2_000_00, requested_by="u1"
        )
        view = await doors.submit_withdrawal(self._on(asked))

        def said(verdict: Verdict) -> Send:
            async def send(token: str) -> Any:
                body = self.counter.decision(view, "", verdict)
                return await doors.decide_withdrawal(self._on(_with(body, token)))

            return send

        words = {f"withdrawal {v}": (_operations(), said(v)) for v in Verdict}
        lent = Delegate(
            delegation="D1", delegate="X1", roles=("operations",), until=AT + DAY, reason="出差"
        )

        async def delegate(token: str) -> Any:
            command = DelegationCommand(at=AT, body=_with(lent, token))
            return await ApprovalActivities(self.house).record_delegation(command)

        return {**words, "delegation": (_operations(), delegate)}

    async def _policies(self) -> dict[str, tuple[Unbound, Send]]:
        doors = ApprovalActivities(self.house)
        first = ProposePolicy(change="P1", policy=POLICY, effective_from=AT + DAY, reason="季度")
        second = first.model_copy(update={"change": "P2"})
        made = for_proposal(first, admin("A1"))
        view = await doors.propose_policy(PolicyCommand(change="P1", at=AT, body=made))

        async def propose(token: str) -> Any:
            body = _with(second, token)
            return await doors.propose_policy(PolicyCommand(change="P2", at=AT, body=body))

        def said(verdict: Verdict) -> Send:
            body = DecidePolicy(verdict=verdict, policy_digest=view.policy_digest, reason="x")

            async def send(token: str) -> Any:
                command = PolicyCommand(change="P1", at=AT, body=_with(body, token))
                return await doors.decide_policy(command)

            return send

        words = {f"policy {v}": (admin("A2"), said(v)) for v in Verdict}
        return {**words, "policy PROPOSE": (admin("A2"), propose)}

    async def _desk(self) -> dict[str, tuple[Unbound, Send]]:
        doors, office = WorkItemActivities(self.house), self.office
        await office.ask()
        there = [await office.receipt(reference=name) for name in ("B1", "B2")]
        open_one, item = [await office.item(f"receipt/{receipt.digest}") for receipt in there]
        shown = await office.propose(item, ItemAction.MATCH, "M1/T1")
        back = Propose(action=ItemAction.RETURN, reason="x", actor="O1", return_to=BANK)
        yes = Approve(
            proposal=1, action=ItemAction.MATCH, target="M1/T1", amount_minor=5_000_00, actor="O2"
        )
        no = RejectProposal(proposal=1, reason="证明不足", actor="O2")
        assert shown.proposal is not None

        def said(number: int, body: Any, door: Callable[..., Awaitable[ItemView]]) -> Send:
            async def send(token: str) -> Any:
                return await door(ItemCommand(item=number, at=DESK_AT, body=_with(body, token)))

            return send

        return {
            "desk PROPOSE": (_desk("O1"), said(open_one, back, doors.propose_action)),
            "desk APPROVE": (_desk("O2"), said(item, yes, doors.approve_proposal)),
            "desk REJECT": (_desk("O2"), said(item, no, doors.reject_proposal)),
        }

    def _on(self, body: Any) -> WithdrawalCommand[Any]:
        return WithdrawalCommand(merchant="M1", request="W1", at=AT, body=body)

    async def state(self) -> list[Any]:
        """Everything that a decision could change."""
        tables = (
            "withdrawals", "decisions", "spent_tokens", "approval_policies", "delegations",
            "work_items", "payments", "accounts",
        )  # fmt: skip
        return [await self.counter.rows(f"SELECT t::text FROM {t} t ORDER BY 1") for t in tables]  # noqa: S608

    async def refusals(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = await self.counter.rows(_REFUSED)
        return [(row.subject, row.actor, json.loads(row.after)) for row in rows]


@pytest.fixture
def house(engine: AsyncEngine, ring: KeyRing, tmp_path: Path, counter: Counter) -> House:
    """A house that pays by files and knows the tests' issuer."""
    return House(
        engine=engine, ring=ring, profile=counter.profile, receiving=receiving,
        lanes=Lanes(OrderBook(engine)), exchange=FolderExchange(tmp_path), verifier=VERIFIER,
    )  # fmt: skip


@pytest.fixture
def counter(engine: AsyncEngine, ring: KeyRing) -> Counter:
    return Counter(engine, ring)


@pytest_asyncio.fixture(loop_scope="session")
async def stand(engine: AsyncEngine, ring: KeyRing, counter: Counter, house: House) -> Stand:
    """An active account with 5,000.00."""
    await counter.account()
    return Stand(counter, Office(engine, ring), house)


class TestUnbound:
    async def test_no_decision_takes_a_token_that_names_none(self, stand: Stand) -> None:
        """S3: of each kind: refused, not spent, in the audit under its actor; nothing changes."""
        words = await stand.words()
        before = await stand.state()
        told = []
        for name, (token, send) in words.items():
            assert await refused(send(token)) == (Code.TOKEN_UNBOUND,), name
            known = VERIFIER.recognise(token, AT)
            told.append((known.subject, {"refused": ["TOKEN_UNBOUND"], "token": known.token_id}))
        assert await stand.state() == before
        assert [(actor, after) for _, actor, after in await stand.refusals()] == told
        assert {subject.split("/")[0] for subject, _, _ in await stand.refusals()} == {
            "withdrawal", "policy", "delegation", "item",
        }  # fmt: skip

    async def test_no_decision_takes_a_token_of_another_one(self, stand: Stand) -> None:
        """S3: of any kind for any other kind; and nobody spends it by trying."""
        words = await stand.words()
        elsewhere = Decision(subject="withdrawal/M1/W7", verdict="APPROVE")
        before = await stand.state()
        for name, (token, send) in words.items():
            assert await refused(send(token.to(elsewhere))) == (Code.TOKEN_INVALID,), name
        assert await stand.state() == before
        assert {actor for _, actor, _ in await stand.refusals()} == {"O1", "O2", "A2"}

    async def test_a_refusal_for_another_reason_spends_only_a_bound_one(self, stand: Stand) -> None:
        """S3: whoever finds a token cannot spend it on what it is not bound to."""
        await stand.words()
        doors = WithdrawalActivities(stand.house)
        view = await stand.counter.read()
        mine = stand.counter.decision(view, token_for("O2", "operations", at=AT))
        for request, codes in (("W404", (Code.REQUEST_UNKNOWN,)), ("W1", ())):
            command = WithdrawalCommand(merchant="M1", request=request, at=AT, body=mine)
            assert await refused(doors.decide_withdrawal(command)) == codes

    async def test_one_that_was_spent_before_is_answered_as_it_was(self, stand: Stand) -> None:
        """C-02: also one that was never bound, from before tokens had to be."""
        counter, token = stand.counter, token_for("O2", "operations", at=AT)
        view = await counter.submit()
        yes = Decide(
            verdict=Verdict.APPROVE, amount_minor=2_000_00, currency="CNY",
            payee_digest=view.payee_digest,
        )  # fmt: skip
        said = Decision(
            subject="withdrawal/M1/W1", verdict="APPROVE", amount_minor=2_000_00, currency="CNY",
            shown=view.payee_digest,
        )  # fmt: skip
        spent = VERIFIER.recognise(token, AT).token_id
        row = (spent, decision_digest(said), said.subject, "O2", AT)
        await counter.rows(_SPENT_BEFORE, *row)
        assert await counter.decide(view, _with(yes, token), at=AT + DAY) == view
        with pytest.raises(Rejected, match="TOKEN_EXPIRED"):
            await counter.decide(view, _with(yes, token_for("O2", at=AT)), at=AT + DAY)


class TestProposal:
    async def test_a_token_for_one_action_proposes_no_other(self, stand: Stand) -> None:
        """P-71, C-07: for RETRY, it gives nothing back; for one payee, it pays no other.

        C-11: the plain digest, from which an account could be guessed, is kept nowhere.
        """
        await stand.counter.run(lambda c: open_items(c, [FAILED], at=DESK_AT))
        item = await stand.office.item(FAILED.subject)
        retry = Propose(action=ItemAction.RETRY, reason="x", actor="O1")
        token = signed(item, retry, DESK_AT).token
        other = retry.model_copy(update={"action": ItemAction.RETURN_TO_AVAILABLE})
        assert item_proposal(item, retry) != item_proposal(item, other)
        assert item_proposal(item, retry) != item_proposal(item + 1, retry)
        corrected = Propose(
            action=ItemAction.RETRY_CORRECTED, reason="x", actor="O1", return_to=BANK
        )
        away = corrected.model_copy(
            update={"return_to": BANK.model_copy(update={"account": "6225880288888888"})}
        )
        assert item_proposal(item, corrected) != item_proposal(item, away)
        office = stand.office
        await office.ask()
        receipt = await office.receipt()
        there = await office.item(f"receipt/{receipt.digest}")
        back = Propose(action=ItemAction.RETURN, reason="x", actor="O1", return_to=BANK)
        mine = signed(there, back, DESK_AT).token
        for taken in (mine, token):
            with pytest.raises(Rejected, match="TOKEN_INVALID"):
                await office.propose(there, ItemAction.MATCH, "M1/T1", token=taken)
        assert (await office.propose(there, ItemAction.RETURN, return_to=BANK, token=mine)).proposal
        rows = await stand.counter.rows("SELECT decision FROM spent_tokens")
        assert decision_digest(item_proposal(there, back)) not in [row.decision for row in rows]

    async def test_what_was_refused_by_a_second_person_is_not_proposed_again_by_its_token(
        self, stand: Stand
    ) -> None:
        """S3: the same words a second time need a token of their own."""
        office = stand.office
        await office.ask()
        item = await office.item(f"receipt/{(await office.receipt()).digest}")
        match = Propose(action=ItemAction.MATCH, target="M1/T1", reason="附证明", actor="O1")
        token = signed(item, match, DESK_AT).token
        await office.reject(await office.propose(item, ItemAction.MATCH, "M1/T1", token=token))
        with pytest.raises(Rejected, match="TOKEN_SPENT"):
            await office.propose(item, ItemAction.MATCH, "M1/T1", token=token)
        assert (await office.propose(item, ItemAction.MATCH, "M1/T1")).proposals == 2

    @pytest.mark.parametrize("named", [False, True])
    async def test_a_token_that_is_not_needed_must_be_for_that_act_all_the_same(
        self, stand: Stand, named: bool
    ) -> None:
        """S3: or whoever found it could take note, or withdraw, in its person's proved name."""
        office = stand.office
        await stand.counter.run(lambda c: open_items(c, [GAP], at=DESK_AT))
        item = await office.item(GAP.subject)
        note = Propose(action=ItemAction.ACKNOWLEDGE, reason="x", actor="O1")
        token, code = _desk("O1"), "TOKEN_UNBOUND"
        taken: str = token
        if named:
            taken, code = (
                token.to(Decision(subject="policy/P1", verdict="APPROVE")),
                "TOKEN_INVALID",
            )

        async def say(body: Any) -> ItemView:
            command = ItemCommand(item=item, at=DESK_AT, body=body)
            door = office.desk.propose if isinstance(body, Propose) else office.desk.release
            return await office.run(lambda c: door(c, command))

        claim = ItemCommand(item=item, at=DESK_AT, body=ClaimItem(actor="O1"))
        await office.run(lambda c: office.desk.claim(c, claim))
        freed = ReleaseItem(reason="x", actor="O1")
        for body in (note, freed):
            with pytest.raises(Rejected, match=code):
                await say(_with(body, taken))
        assert (await say(_with(freed, token.to(item_release(item))))).state is ItemState.OPEN
        assert (await say(for_item(item, note, token))).state is ItemState.CLOSED


class TestDelegation:
    async def test_its_whole_content_is_bound(self, stand: Stand) -> None:
        """C-07: the id, the delegate, the roles, the end, the reason."""
        body = Delegate(
            delegation="D1", delegate="X1", roles=("operations",), until=AT + DAY, reason="出差"
        )
        token = for_delegation(body, token_for("O2", "operations", "finance", at=AT)).token
        for changes in (
            {"delegation": "D2"},
            {"delegate": "mallory"},
            {"roles": ("operations", "finance")},
            {"until": AT + 2 * DAY},
            {"reason": "其他"},
        ):
            other = body.model_copy(update={**changes, "token": token})
            with pytest.raises(Rejected, match="TOKEN_INVALID"):
                await self.record(stand, other)
        assert await stand.counter.count("delegations") == 0
        assert (await self.record(stand, _with(body, token))).delegate == "X1"

    async def test_it_ends_within_ninety_days(self, stand: Stand) -> None:
        """C-07: one that leaked is not for ever."""
        last = AT + timedelta(days=90)
        token = token_for("O2", "operations", at=AT)
        with pytest.raises(Rejected, match="FIELD_INVALID"):
            await stand.counter.delegate(
                token, "X1", "operations", until=last + timedelta(microseconds=1)
            )
        lent = await stand.counter.delegate(token, "X1", "operations", until=last)
        assert lent.until == last

    async def record(self, stand: Stand, body: Delegate) -> Any:
        command = DelegationCommand(at=AT, body=body)
        return await stand.counter.run(lambda c: stand.counter.delegations.record(c, command))


def _operations() -> Unbound:
    return token_for("O2", "operations", at=AT)


def _desk(who: str) -> Unbound:
    return token_for(who, DESK, at=DESK_AT)


def _with(body: Any, token: str) -> Any:
    return body.model_copy(update={"token": str(token)})


async def refused(work: Awaitable[Any]) -> tuple[Code, ...]:
    """The codes of a refusal by a door, none where it was accepted."""
    try:
        await work
    except ApplicationError as error:
        refusal = refusal_in(error)
        assert refusal is not None
        return refusal.codes
    return ()
