"""Decisions where they take effect: tokens, people, what was shown, and who comes first."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.verify import verify
from tests.ledger.withdrawal_support import (
    AT,
    DAY,
    HOUR,
    OTHER_ACCOUNT,
    Counter,
    bank,
)
from tests.tokens import token_for
from tillkeeper.contracts.account import AccountState, BankDetailsState
from tillkeeper.contracts.actor import Decision
from tillkeeper.contracts.approval import Decide, Verdict
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.withdrawal import WithdrawalCommand, WithdrawalState, WithdrawalView
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

State = WithdrawalState

BIG = 100_000_00
"""Needs operations, then finance."""

GRACE = JD_PREPAID_2023_11.model_copy(update={"withdrawal_grace": timedelta(hours=2)})


@pytest.fixture
def counter(engine: AsyncEngine, ring: KeyRing) -> Counter:
    return Counter(engine, ring)


async def refusal(work: Any) -> tuple[Code, ...]:
    with pytest.raises(Rejected) as caught:
        await work
    return caught.value.codes


async def waiting(counter: Counter, amount: int = 2_000_00) -> WithdrawalView:
    """A request of an account with money enough."""
    await counter.account(fund=amount + 3_000_00)
    return await counter.submit(amount)


async def untouched(counter: Counter, view: WithdrawalView) -> None:
    """Nothing was counted, spent or changed."""
    assert await counter.read() == view
    for table in ("decisions", "spent_tokens", "payments"):
        assert await counter.count(table) == 0


class TestApprove:
    async def test_one_person_of_operations_approves_and_it_is_on_its_way(
        self, counter: Counter
    ) -> None:
        """P-68, X-4: O2 approves 2,000.00; the payment is recorded in the same transaction."""
        view = await counter.approve(await waiting(counter))
        assert (view.state, view.approved_at, view.attempts) == (State.REMITTING, AT, 1)
        assert [(d.actor, d.level, d.on_behalf_of) for d in view.decisions] == [
            ("O2", "operations", None)
        ]
        assert [(s.name, s.at, s.current) for s in view.steps][1:] == [
            ("approved", AT, False), ("remitting", AT, False), ("paid", None, True),
        ]  # fmt: skip
        assert await counter.figures() == (3_000_00, 0, 2_000_00, 0)
        assert await counter.actions("withdrawal/M1/W1") == [
            ("request_withdrawal", "u1"), ("decide_withdrawal", "O2"), ("approve_withdrawal", "O2"),
        ]  # fmt: skip
        rows = await counter.rows("SELECT after->>'token' AS token FROM audit WHERE actor = 'O2'")
        spent = (await counter.rows("SELECT token FROM spent_tokens"))[0].token
        assert [row.token for row in rows if row.token] == [spent, spent]
        assert (await counter.rows("SELECT event FROM notices"))[0].event == "approved"

    async def test_two_levels_need_two_people_one_after_the_other(self, counter: Counter) -> None:
        """P-68, C-07: 100,000.00 needs operations, then finance, never the same person."""
        view = await waiting(counter, BIG)
        assert await refusal(counter.approve(view, "F1", "finance")) == (Code.ROLE_MISSING,)
        view = await counter.approve(view, "O2", "operations", "finance")
        assert (view.state, [level.approvals for level in view.levels]) == (
            State.WAITING_APPROVAL, [1, 0],
        )  # fmt: skip
        for same in ("O2", "o2"):
            again = counter.approve(view, same, "operations", "finance")
            assert await refusal(again) == (Code.ALREADY_DECIDED,)
        assert await refusal(counter.approve(view, "O3")) == (Code.ROLE_MISSING,)
        view = await counter.approve(view, "F1", "finance")
        assert (view.state, [level.approvals for level in view.levels]) == (
            State.REMITTING, [1, 1],
        )  # fmt: skip

    async def test_nobody_approves_his_own_request(self, counter: Counter) -> None:
        """C-07, B15, 4.5 No. 37: whatever his roles are, and however he writes his name."""
        view = await waiting(counter)
        for who in ("u1", "U1"):
            assert await refusal(counter.approve(view, who, "operations", "finance", "admin")) == (
                Code.OWN_REQUEST,
            )
        await untouched(counter, view)

    async def test_a_token_of_another_merchant(self, counter: Counter) -> None:
        """S2: the scope is the token's."""
        view = await waiting(counter)
        token = token_for("O2", "operations", merchants=("M2",), at=AT)
        assert await refusal(counter.decide(view, counter.decision(view, token))) == (
            Code.OUT_OF_SCOPE,
        )
        token = token_for("O2", "operations", merchants=(), at=AT)
        assert await refusal(counter.decide(view, counter.decision(view, token))) == (
            Code.OUT_OF_SCOPE,
        )

    @pytest.mark.parametrize(
        "changes",
        [{"amount_minor": 2_000_01}, {"currency": "EUR"}, {"payee_digest": "0" * 64}],
        ids=str,
    )
    async def test_another_amount_or_payee_than_stands(
        self, counter: Counter, changes: dict[str, Any]
    ) -> None:
        """C-07, 4.5 No. 39: a yes and a no are bound to exactly what was shown."""
        view = await waiting(counter)
        for verdict in Verdict:
            token = token_for("O2", "operations", at=AT)
            body = counter.decision(view, token, verdict, **changes)
            assert await refusal(counter.decide(view, body)) == (Code.DECISION_STALE,)
        await untouched(counter, view)

    async def test_every_reason_is_told_at_once(self, counter: Counter) -> None:
        """P-45, C-07: the person, what was shown, and what blocks."""
        view = await waiting(counter)
        await counter.owe(3_000_01)
        work = counter.approve(view, "u1", "finance", amount_minor=1)
        assert set(await refusal(work)) == {
            Code.OWN_REQUEST, Code.ROLE_MISSING, Code.DECISION_STALE, Code.DUES_OUTSTANDING,
        }  # fmt: skip

    async def test_dues_that_appear_block_it_until_they_are_paid(self, counter: Counter) -> None:
        """P-45: submitted without dues; refused until they are 0; the token is still good."""
        view = await waiting(counter)
        await counter.owe(3_000_01)
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        assert await refusal(counter.decide(view, body)) == (Code.DUES_OUTSTANDING,)
        await untouched(counter, view)
        await counter.fund(1)
        assert await refusal(counter.decide(view, body)) == (Code.DUES_OUTSTANDING,)
        await counter.fund(3_000_00, 3)
        assert (await counter.decide(view, body)).state is State.REMITTING

    async def test_an_abnormal_account_blocks_it(self, counter: Counter) -> None:
        """The matrix of 1.9: a no is still possible."""
        view = await waiting(counter)
        await counter.change(state=AccountState.ABNORMAL)
        assert await refusal(counter.approve(view)) == (Code.ACCOUNT_ABNORMAL,)
        assert (await counter.reject(view)).state is State.REJECTED

    async def test_refused_or_unknown_requests_cannot_be_decided(self, counter: Counter) -> None:
        """4.5 No. 36."""
        await counter.account()
        view = await counter.submit(9_000_00)
        shown = view.model_copy(update={"payee_digest": "0"})
        assert await refusal(counter.approve(shown)) == (Code.REQUEST_DECIDED,)
        unknown = shown.model_copy(update={"request": "W9"})
        assert await refusal(counter.approve(unknown)) == (Code.REQUEST_UNKNOWN,)

    async def test_killed_in_between_leaves_nothing(self, counter: Counter) -> None:
        """C-07, P-69: neither a spent token nor a payment; the same token then approves."""
        view = await waiting(counter)
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        command = WithdrawalCommand(merchant="M1", request="W1", at=AT, body=body)

        async def killed(connection: AsyncConnection) -> None:
            await counter.deciding.decide(connection, command)
            raise Rejected(Code.UNAVAILABLE, detail="killed")

        assert await refusal(counter.run(killed)) == (Code.UNAVAILABLE,)
        await untouched(counter, view)
        assert (await counter.decide(view, body)).state is State.REMITTING


class TestPayee:
    async def test_a_change_before_the_approval_is_shown_with_a_warning(
        self, counter: Counter
    ) -> None:
        """P-69: the approver sees the new account, fresh for 24 h; who saw the old one is stale."""
        old = await waiting(counter)
        assert old.warnings == ()
        await counter.change(bank=bank(OTHER_ACCOUNT), at=AT)
        new = await counter.read()
        assert (new.account, new.warnings) == ("****9999", (Code.BANK_DETAILS_FRESH,))
        assert (await counter.read(at=AT + DAY - timedelta(seconds=1))).warnings
        assert (await counter.read(at=AT + DAY)).warnings == ()
        assert await refusal(counter.approve(old)) == (Code.DECISION_STALE,)
        assert (await counter.approve(new)).account == "****9999"

    async def test_a_change_after_the_approval_changes_nothing(self, counter: Counter) -> None:
        """P-69: the approved destination is used."""
        view = await counter.approve(await waiting(counter))
        await counter.change(bank=bank(OTHER_ACCOUNT))
        assert await counter.read() == view
        assert view.account == "****1234"

    async def test_a_change_between_two_levels_needs_the_first_one_again(
        self, counter: Counter
    ) -> None:
        """P-69, C-07: nobody's yes to one account counts for another one."""
        view = await counter.approve(await waiting(counter, BIG))
        await counter.change(bank=bank(OTHER_ACCOUNT))
        view = await counter.read()
        assert [level.approvals for level in view.levels] == [0, 0]
        assert await refusal(counter.approve(view, "F1", "finance")) == (Code.ROLE_MISSING,)
        view = await counter.approve(view)
        view = await counter.approve(view, "F1", "finance")
        assert (view.state, view.account) == (State.REMITTING, "****9999")
        assert [level.approvals for level in view.levels] == [1, 1]

    async def test_an_account_that_is_not_effective_any_more(self, counter: Counter) -> None:
        """P-04, P-69: nothing is approved to it; a no needs no account."""
        await waiting(counter)
        await counter.change(bank=bank(state=BankDetailsState.PENDING))
        view = await counter.read()
        assert await refusal(counter.approve(view)) == (Code.BANK_DETAILS_NOT_EFFECTIVE,)
        await counter.change(bank=bank("1" * 35))
        view = (await counter.read()).model_copy(update={"payee_digest": "none"})
        assert await refusal(counter.approve(view)) == (Code.FIELD_INVALID,)
        assert (await counter.reject(view)).state is State.REJECTED


class TestToken:
    async def test_the_same_decision_again_is_answered_alike_even_after_expiry(
        self, counter: Counter
    ) -> None:
        """C-02, S3, B13."""
        view = await waiting(counter)
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        first = await counter.decide(view, body)
        assert await counter.decide(view, body) == first
        assert await counter.decide(view, body, at=AT + HOUR) == first
        assert await counter.count("decisions") == 1

    async def test_an_expired_token_decides_nothing(self, counter: Counter) -> None:
        """S3, B13: at the very moment of its expiry it is over."""
        view = await waiting(counter)
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        late = AT + timedelta(minutes=5)
        assert await refusal(counter.decide(view, body, at=late)) == (Code.TOKEN_EXPIRED,)
        just = late - timedelta(seconds=1)
        assert (await counter.decide(view, body, at=just)).state is State.REMITTING

    async def test_a_spent_token_is_good_for_nothing_else(self, counter: Counter) -> None:
        """S3: not for the other verdict, not for another withdrawal, not for a delegation."""
        view = await waiting(counter)
        other = await counter.submit(1_000_00, "W2")
        yes = counter.decision(view, token_for("O2", "operations", at=AT))
        await counter.decide(view, yes)
        no = counter.decision(view, yes.token, Verdict.REJECT)
        assert await refusal(counter.decide(view, no)) == (Code.TOKEN_INVALID,)
        assert await refusal(counter.decide(other, counter.decision(other, yes.token))) == (
            Code.TOKEN_INVALID,
        )
        lent = counter.delegate(yes.token, "O3", "operations", until=AT + DAY)
        assert await refusal(lent) == (Code.TOKEN_INVALID,)
        assert (await counter.read("W2")).state is State.WAITING_APPROVAL

    async def test_one_token_for_two_decisions_at_once(self, counter: Counter) -> None:
        """S3: two withdrawals race for it, the one that it names gets it."""
        await counter.account()
        for n in range(5):
            views = [await counter.submit(1_00, f"{name}{n}") for name in "AB"]
            named = views[n % 2]
            token = counter.decision(named, token_for("O2", "operations", at=AT)).token
            answers = await asyncio.gather(
                *(counter.decide(view, counter.decision(view, token)) for view in views),
                return_exceptions=True,
            )
            refused = [answer.codes for answer in answers if isinstance(answer, Rejected)]
            assert refused == [(Code.TOKEN_INVALID,)]
            assert (await counter.read(named.request)).state is State.REMITTING
        assert await counter.count("spent_tokens") == 5

    async def test_a_bound_token_is_good_for_its_decision_only(self, counter: Counter) -> None:
        """S3: bound by its issuer to withdrawal, verdict, amount and payee."""
        view = await waiting(counter)
        await counter.submit(1_000_00, "W2")
        other = await counter.read("W2")
        bound = Decision(
            subject="withdrawal/M1/W1", verdict="APPROVE", amount_minor=2_000_00, currency="CNY",
            shown=view.payee_digest,
        )  # fmt: skip
        token = token_for("O2", "operations", at=AT).to(bound)
        assert await refusal(counter.decide(other, counter.decision(other, token))) == (
            Code.TOKEN_INVALID,
        )
        no = counter.decision(view, token, Verdict.REJECT)
        assert await refusal(counter.decide(view, no)) == (Code.TOKEN_INVALID,)
        assert (await counter.decide(view, counter.decision(view, token))).decisions

    @pytest.mark.parametrize("token", ["", "x", "a.b.c"])
    async def test_none_or_nonsense(self, counter: Counter, token: str) -> None:
        """C-07: a name in a body decides nothing, and an unknown request tells no more."""
        view = await waiting(counter)
        code = Code.TOKEN_INVALID if token else Code.TOKEN_MISSING
        body = counter.decision(view, token)
        assert await refusal(counter.decide(view, body)) == (code,)
        unknown = view.model_copy(update={"request": "W9"})
        assert await refusal(counter.decide(unknown, body)) == (code,)
        await untouched(counter, view)

    async def test_its_text_is_nowhere(self, counter: Counter) -> None:
        """S3: its id alone is kept."""
        view = await waiting(counter)
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        token = body.token
        done = await counter.decide(view, body)
        rows = await counter.rows(
            "SELECT t::text FROM spent_tokens t UNION ALL SELECT d::text FROM decisions d"
            " UNION ALL SELECT a::text FROM audit a"
        )
        for text in (str(rows), str(done), repr(body)):
            assert token not in text
            assert token.rpartition(".")[2] not in text


class TestVeto:
    async def test_anybody_of_any_level_may_say_no(self, counter: Counter) -> None:
        """P-68, P-70: finance rejects what waits for operations, with its reason."""
        view = await waiting(counter, BIG)
        token = token_for("F1", "finance", at=AT)
        done = await counter.decide(view, counter.decision(view, token, Verdict.REJECT))
        assert (done.state, done.reason) == (State.REJECTED, "资料不符")
        assert [(d.verdict, d.level, d.reason) for d in done.decisions] == [
            (Verdict.REJECT, "finance", "资料不符")
        ]
        assert await counter.figures() == (BIG + 3_000_00, 0, 0, 0)

    async def test_it_undoes_an_approval_during_the_grace_period(self, counter: Counter) -> None:
        """P-68: also by him who approved; the money is back, no payment was ever recorded."""
        counter.under(GRACE)
        view = await counter.approve(await waiting(counter))
        assert view.state is State.APPROVED
        assert await refusal(counter.approve(view, "O3")) == (Code.REQUEST_DECIDED,)
        done = await counter.reject(view, "O2", at=AT + HOUR)
        assert done.state is State.REJECTED
        assert [s.name for s in done.steps] == ["submitted", "approved", "rejected"]
        assert await counter.figures() == (5_000_00, 0, 0, 0)
        assert (await counter.remit(at=AT + 3 * HOUR)).state is State.REJECTED
        assert await counter.count("payments") == 0

    async def test_it_comes_too_late_once_the_payment_is_recorded(self, counter: Counter) -> None:
        """P-69, B1: what may have left is not given back."""
        view = await counter.approve(await waiting(counter))
        assert await refusal(counter.reject(view, "O3")) == (Code.REQUEST_DECIDED,)
        assert await counter.figures() == (3_000_00, 0, 2_000_00, 0)

    async def test_strangers_and_the_requester_have_no_veto(self, counter: Counter) -> None:
        """P-68, C-07: the merchant cancels instead."""
        view = await waiting(counter)
        for who, roles, code in (
            ("X1", ("warehouse",), Code.ROLE_MISSING), ("u1", ("operations",), Code.OWN_REQUEST),
        ):  # fmt: skip
            token = token_for(who, *roles, at=AT)
            body = counter.decision(view, token, Verdict.REJECT)
            assert await refusal(counter.decide(view, body)) == (code,)
        await untouched(counter, view)


class TestDelegation:
    async def lend(self, counter: Counter, who: str, to: str, *roles: str, **more: Any) -> None:
        token = token_for(who, *roles, at=AT)
        await counter.delegate(token, to, *roles, **{"until": AT + DAY, **more})

    async def test_a_delegate_decides_for_another_until_it_is_over(self, counter: Counter) -> None:
        """P-68: at its very end it is over."""
        view = await waiting(counter)
        await self.lend(counter, "O2", "X1", "operations")
        late = AT + DAY
        assert await refusal(counter.approve(view, "X1", "warehouse", at=late)) == (
            Code.ROLE_MISSING,
        )
        done = await counter.approve(view, "x1", "warehouse", at=late - timedelta(seconds=1))
        assert [(d.actor, d.on_behalf_of) for d in done.decisions] == [("x1", "O2")]

    async def test_nobody_counts_twice_through_another(self, counter: Counter) -> None:
        """C-07: the delegator of one level is not the approver of the next, nor his delegate."""
        view = await waiting(counter, BIG)
        await self.lend(counter, "O2", "X1", "operations", "finance")
        view = await counter.approve(view, "X1", "warehouse")
        assert await refusal(counter.approve(view, "O2", "finance")) == (Code.ALREADY_DECIDED,)
        assert Code.ALREADY_DECIDED in await refusal(counter.approve(view, "X1", "finance"))
        assert (await counter.approve(view, "F1", "finance")).state is State.REMITTING

    async def test_the_requester_decides_neither_as_nor_through_a_delegate(
        self, counter: Counter
    ) -> None:
        """C-07, S4: not lent to him, and not by him."""
        view = await waiting(counter)
        await self.lend(counter, "O2", "u1", "operations")
        assert Code.OWN_REQUEST in await refusal(counter.approve(view, "u1", "warehouse"))
        await self.lend(counter, "U1", "X1", "operations", name="D2")
        assert await refusal(counter.approve(view, "X1", "warehouse")) == (Code.OWN_REQUEST,)
        await untouched_but_tokens(counter, view)

    async def test_a_later_word_ends_it(self, counter: Counter) -> None:
        """P-68: until a moment of the past; both stay on record."""
        view = await waiting(counter)
        await self.lend(counter, "O2", "X1", "operations")
        await self.lend(counter, "O2", "X1", "operations", name="D2", until=AT - DAY)
        assert await refusal(counter.approve(view, "X1", "warehouse")) == (Code.ROLE_MISSING,)
        assert await counter.count("delegations") == 2

    async def test_own_roles_only_and_not_to_oneself(self, counter: Counter) -> None:
        """C-07: nothing is recorded of it."""
        token = token_for("O2", "operations", at=AT)
        work = counter.delegate(token, "o2", "operations", "finance", until=AT + DAY)
        assert set(await refusal(work)) == {Code.ROLE_MISSING, Code.FIELD_INVALID}
        assert await counter.count("delegations") == 0

    async def test_the_same_again_is_answered_alike(self, counter: Counter) -> None:
        """C-02: with the same token, with another one, from eight at once; other words are not."""
        token = token_for("O2", "operations", at=AT)
        views = await asyncio.gather(
            *(counter.delegate(token, "X1", "operations", until=AT + DAY) for _ in range(8))
        )
        fresh = token_for("O2", "operations", at=AT)
        views.append(await counter.delegate(fresh, "X1", "operations", until=AT + DAY))
        assert all(view == views[0] for view in views)
        assert (views[0].delegator, views[0].merchants) == ("O2", ("*",))
        other = token_for("O2", "operations", at=AT)
        work = counter.delegate(other, "X2", "operations", until=AT + DAY)
        assert await refusal(work) == (Code.KEY_REUSED,)
        another = token_for("O3", "operations", at=AT)
        work = counter.delegate(another, "X1", "operations", until=AT + DAY)
        assert await refusal(work) == (Code.KEY_REUSED,)
        assert await counter.count("delegations") == 1


class TestRaces:
    async def test_approve_reject_and_cancel_from_eight_at_once(self, counter: Counter) -> None:
        """B14: 200 rounds in all orders; exactly one outcome, and everybody is told the same."""
        merchants = [f"M{n}" for n in range(1, 6)]
        for merchant in merchants:
            await counter.account(merchant)
        rounds = [self.forty_rounds(counter, merchant) for merchant in merchants]
        seen = {state for states in await asyncio.gather(*rounds) for state in states}
        assert seen == {State.REMITTING, State.REJECTED, State.CANCELLED_BY_MERCHANT}
        assert (await verify(counter.engine)).ok

    async def forty_rounds(self, counter: Counter, merchant: str) -> list[State]:
        """One merchant's requests, one after another; how each of them ended."""
        ended = [
            (await self.one_round(counter, merchant, f"R{number}", number)).state
            for number in range(40)
        ]
        gone = 1_00 * ended.count(State.REMITTING)
        assert await counter.figures(merchant) == (5_000_00 - gone, 0, gone, 0)
        return ended

    async def one_round(
        self, counter: Counter, merchant: str, name: str, number: int
    ) -> WithdrawalView:
        """Eight acts on one request, each time another one first; the request as it ended."""
        view = await counter.submit(1_00, name, merchant=merchant)
        acts = [
            counter.approve(view, "O2"),
            counter.reject(view, "O3"),
            counter.cancel(name, merchant=merchant),
            counter.approve(view, "O4"),
            counter.reject(view, "O5"),
            counter.cancel(name, merchant=merchant),
            counter.approve(view, "O6"),
            counter.cancel(name, merchant=merchant),
        ]
        first = number % len(acts)
        order = acts[first:] + acts[:first]
        answers = await asyncio.gather(*order, return_exceptions=True)
        ended = await counter.read(name, merchant=merchant)
        for answer in answers:
            if isinstance(answer, Rejected):
                assert answer.codes == (Code.REQUEST_DECIDED,)
                assert ended.state.value in str(answer)
            else:
                assert answer == ended
        assert len(ended.decisions) == int(ended.state is not State.CANCELLED_BY_MERCHANT)
        return ended

    async def test_eight_of_one_decision(self, counter: Counter) -> None:
        """C-02: one token, eight connections, one approval."""
        view = await waiting(counter)
        body = counter.decision(view, token_for("O2", "operations", at=AT))
        answers = await asyncio.gather(*(counter.decide(view, body) for _ in range(8)))
        assert all(answer == answers[0] for answer in answers)
        assert await counter.count("payments") == 1

    async def test_two_people_of_one_level_at_once(self, counter: Counter) -> None:
        """P-68, C-07: one counts, the other is told that his level is over."""
        view = await waiting(counter, BIG)
        answers = await asyncio.gather(
            *(counter.approve(view, who) for who in ("O2", "O3")), return_exceptions=True
        )
        refused = [a.codes for a in answers if isinstance(a, Rejected)]
        assert refused == [(Code.ROLE_MISSING,)]
        assert await counter.count("decisions") == 1


async def untouched_but_tokens(counter: Counter, view: WithdrawalView) -> None:
    """Nothing was counted; tokens of delegations are spent."""
    assert await counter.read() == view
    assert await counter.count("decisions") == 0


def test_a_no_needs_its_reason() -> None:
    """P-70."""
    with pytest.raises(ValueError, match="reason"):
        Decide(verdict=Verdict.REJECT, amount_minor=1, currency="CNY", payee_digest="0")
