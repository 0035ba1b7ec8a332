"""Withdrawals in the book: reserved with the request, then given back or on their way."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.notices import REASON
from ledger.payment_rows import opened_terms, payment_of
from tests.ledger.support import settle, top_up
from tests.ledger.withdrawal_support import (
    ACCOUNT,
    AT,
    DAY,
    HOUR,
    NAME,
    OTHER_ACCOUNT,
    Counter,
    bank,
)
from tillkeeper.contracts.account import AccountState, BankDetailsState
from tillkeeper.contracts.approval import ApprovalPolicy, Band
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.payment import PaymentState, Rail
from tillkeeper.contracts.withdrawal import (
    WithdrawalCommand,
    WithdrawalRequest,
    WithdrawalState,
    withdrawal_of,
)
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

State = WithdrawalState

GRACE = JD_PREPAID_2023_11.model_copy(update={"withdrawal_grace": timedelta(hours=2)})
LIMITS = JD_PREPAID_2023_11.model_copy(
    update={"withdrawal_min_minor": 100_00, "withdrawal_daily_max_minor": 3_000_00}
)

_ADOPT = """
INSERT INTO approval_policies (change, fingerprint, state, policy, digest, effective_from,
                               reason_sealed, proposed_by, proposed_at, decided_by, decided_at)
VALUES ('P1', '', 'ADOPTED', $1::jsonb, '', $2, '', 'A1', $2, 'A2', $2) RETURNING id"""


@pytest.fixture
def counter(engine: AsyncEngine, ring: KeyRing) -> Counter:
    return Counter(engine, ring)


async def refusal(work: Any) -> tuple[Code, ...]:
    with pytest.raises(Rejected) as caught:
        await work
    return caught.value.codes


async def adopt(counter: Counter, policy: ApprovalPolicy, at: datetime = AT - DAY) -> None:
    """A policy in force since ``at``."""
    await counter.rows(_ADOPT, policy.model_dump_json(), at)


AUTO = ApprovalPolicy(bands=(Band(auto_reason="小额免审"),))


class TestSubmit:
    async def test_the_money_is_reserved_with_the_request(self, counter: Counter) -> None:
        """P-66, T7: 5,000.00 less 2,000.00 is 3,000.00; a hold of 3,500.00 then makes dues."""
        await counter.account()
        view = await counter.submit()
        assert view.state is State.WAITING_APPROVAL
        assert await counter.figures() == (3_000_00, 0, 2_000_00, 0)
        assert (view.payee, view.account, view.policy) == ("甲***", "****1234", "default@2026-11")
        assert view.bank == "中国工商银行 北京分行"
        assert [(level.name, level.current) for level in view.levels] == [("operations", True)]
        assert [(s.name, s.at, s.current) for s in view.steps] == [
            ("submitted", AT, False), ("approved", None, True),
            ("remitting", None, False), ("paid", None, False),
        ]  # fmt: skip
        await counter.owe(3_500_00)
        assert await counter.figures() == (3_000_00, 0, 2_000_00, 3_500_00)
        assert await counter.actions("withdrawal/M1/W1") == [("request_withdrawal", "u1")]

    async def test_everything_available_may_be_asked_for_and_not_a_cent_more(
        self, counter: Counter
    ) -> None:
        """P-67: 3,000.00 of 3,000.00, and 3,000.01 is refused."""
        await counter.account(fund=3_000_00)
        view = await counter.submit(3_000_01, accept_suspension=True)
        assert [reason.code for reason in view.refused] == [Code.INSUFFICIENT_AVAILABLE]
        view = await counter.submit(3_000_00, "W2", accept_suspension=True)
        assert view.state is State.WAITING_APPROVAL
        assert await counter.figures() == (0, 0, 3_000_00, 0)

    async def test_suspending_the_campaigns_needs_its_flag(self, counter: Counter) -> None:
        """P-74: 3,000.00 less 2,500.00; with the flag the guard is told of the crossings."""
        await counter.account(fund=3_000_00)
        view = await counter.submit(2_500_00)
        assert [reason.code for reason in view.refused] == [Code.WOULD_SUSPEND_CAMPAIGNS]
        view = await counter.submit(2_500_00, "W2", accept_suspension=True)
        assert view.state is State.WAITING_APPROVAL
        rows = await counter.rows("SELECT threshold, available FROM outbox ORDER BY threshold")
        crossed = {(row.threshold, row.available) for row in rows}
        assert {("suspend_below", 500_00), ("warning", 500_00)} <= crossed

    @pytest.mark.parametrize(
        ("state", "code"),
        [
            (AccountState.OPENED, Code.ALERT_NOT_CONFIGURED),
            (AccountState.CONFIGURED, Code.ACCOUNT_NOT_ACTIVE),
            (AccountState.ABNORMAL, Code.ACCOUNT_ABNORMAL),
            (AccountState.CLOSED, Code.ACCOUNT_CLOSED),
        ],
    )
    async def test_the_state_of_the_account_decides(
        self, counter: Counter, state: AccountState, code: Code
    ) -> None:
        """The matrix of 1.9."""
        await counter.account(state=state)
        assert [reason.code for reason in (await counter.submit()).refused] == [code]
        assert await counter.figures() == (5_000_00, 0, 0, 0)

    async def test_every_reason_is_told_at_once_and_remembered_for_ever(
        self, counter: Counter
    ) -> None:
        """P-45 (dues of 0.01), P-67, P-69, C-02: refused once is refused, whatever comes later."""
        await counter.account(fund=0, bound=bank(state=BankDetailsState.PENDING))
        await counter.owe(1)
        first = await counter.submit()
        assert {reason.code for reason in first.refused} == {
            Code.BANK_DETAILS_NOT_EFFECTIVE, Code.DUES_OUTSTANDING, Code.INSUFFICIENT_AVAILABLE,
        }  # fmt: skip
        assert (first.state, first.ended_at) == (State.REFUSED, AT)
        await top_up(counter.engine, "M1", 9_000_00)
        await counter.change(bank=bank())
        again = await counter.submit(at=AT + DAY)
        assert again == first
        assert await counter.count("withdrawals") == 1

    async def test_nothing_is_known_of_the_merchant(self, counter: Counter) -> None:
        """P-65: a merchant without an account is answered like any other."""
        view = await counter.submit(merchant="M404")
        assert Code.ACCOUNT_NOT_OPENED in {reason.code for reason in view.refused}
        assert view.payee_digest == ""
        assert await counter.submit(merchant="M404") == view

    async def test_another_currency_has_no_account_and_no_way_to_pay(
        self, counter: Counter
    ) -> None:
        """4.5 No. 12."""
        await counter.account()
        codes = {reason.code for reason in (await counter.submit(currency="EUR")).refused}
        assert {Code.ACCOUNT_NOT_OPENED, Code.METHOD_NOT_SUPPORTED} <= codes
        assert await counter.figures() == (5_000_00, 0, 0, 0)

    async def test_a_payee_that_no_payment_file_can_carry_is_refused_at_once(
        self, counter: Counter
    ) -> None:
        """P-69: not when it is to be paid, 40 days later."""
        await counter.account(bound=bank("1" * 35))
        view = await counter.submit()
        assert [reason.code for reason in view.refused] == [Code.FIELD_INVALID]
        assert "1111" not in str(view)

    async def test_least_and_most_of_a_day(self, counter: Counter) -> None:
        """P-67, B24: a failed one does not count, and the day is the business zone's."""
        counter.under(LIMITS)
        await counter.account(fund=50_000_00)
        view = await counter.submit(99_99)
        assert [reason.code for reason in view.refused] == [Code.BELOW_MIN_WITHDRAWAL]
        assert not (await counter.submit(2_900_00, "W2")).refused
        assert not (await counter.submit(100_00, "W3")).refused
        view = await counter.submit(100_00, "W4")
        assert [reason.code for reason in view.refused] == [Code.ABOVE_DAILY_WITHDRAWAL]
        await counter.cancel("W3")
        assert not (await counter.submit(100_00, "W5")).refused
        midnight = datetime.fromisoformat("2026-11-20T16:00:00+00:00")
        view = await counter.submit(3_000_00, "W6", at=midnight - timedelta(seconds=1))
        assert [reason.code for reason in view.refused] == [Code.ABOVE_DAILY_WITHDRAWAL]
        assert not (await counter.submit(3_000_00, "W7", at=midnight)).refused

    async def test_the_same_id_with_another_body(self, counter: Counter) -> None:
        """C-02: also in another currency, whose account has another lock."""
        await counter.account()
        await counter.submit()
        assert await refusal(counter.submit(1)) == (Code.KEY_REUSED,)
        assert await refusal(counter.submit(currency="EUR")) == (Code.KEY_REUSED,)
        assert await refusal(counter.submit(requested_by="u2")) == (Code.KEY_REUSED,)
        assert await counter.figures() == (3_000_00, 0, 2_000_00, 0)

    async def test_eight_connections_reserve_once(self, counter: Counter) -> None:
        """C-02, C-04: one request sent by eight at once, and eight requests for the same money."""
        await counter.account()
        views = await asyncio.gather(*(counter.submit() for _ in range(8)))
        assert all(view == views[0] for view in views)
        others = await asyncio.gather(
            *(counter.submit(1_000_00, f"X{n}", accept_suspension=True) for n in range(8))
        )
        assert [view.state for view in others].count(State.WAITING_APPROVAL) == 3
        assert await counter.figures() == (0, 0, 5_000_00, 0)

    async def test_the_policy_approves_by_itself_and_says_why(self, counter: Counter) -> None:
        """P-68, C-08: reserved, approved and recorded for payment in one transaction."""
        await adopt(counter, AUTO)
        await counter.account()
        view = await counter.submit()
        assert (view.state, view.auto_reason) == (State.REMITTING, "小额免审")
        assert (view.policy, view.levels, view.attempts) == ("policy/P1", (), 1)
        assert view.payment is not None
        assert (view.payment.state, view.payment.rail) == (PaymentState.RECORDED, Rail.HTTP)
        assert (view.payment.subject, view.payment.merchant) == ("withdrawal/M1/W1/pay/1", "M1")
        assert await counter.actions("withdrawal/M1/W1") == [
            ("request_withdrawal", "u1"), ("approve_withdrawal", "tillkeeper"),
        ]  # fmt: skip
        assert await counter.submit() == view

    async def test_with_a_grace_period_it_waits_approved(self, counter: Counter) -> None:
        """P-68: approved by the policy, on its way after two hours, not before."""
        counter.under(GRACE)
        await adopt(counter, AUTO)
        await counter.account()
        view = await counter.submit()
        assert (view.state, view.remit_at) == (State.APPROVED, AT + 2 * HOUR)
        assert await counter.remit(at=AT + 2 * HOUR - timedelta(seconds=1)) == view
        assert (await counter.remit(at=AT + 2 * HOUR)).state is State.REMITTING

    async def test_a_policy_of_tomorrow_changes_nothing_today(self, counter: Counter) -> None:
        """C-08: the policy is the one in force at the request, for the request's whole life."""
        await adopt(counter, AUTO, AT + DAY)
        await counter.account()
        view = await counter.submit()
        assert view.policy == "default@2026-11"
        assert (await counter.read(at=AT + 2 * DAY)).levels == view.levels
        assert (await counter.submit(1_00, "W2", at=AT + DAY)).policy == "policy/P1"

    async def test_killed_in_between_leaves_nothing(self, counter: Counter) -> None:
        """P-66: the transaction that is not committed has reserved and recorded nothing."""
        await adopt(counter, AUTO)
        await counter.account()
        body = WithdrawalRequest(
            merchant="M1", request="W1", amount_minor=2_000_00, requested_by="u1"
        )
        command = WithdrawalCommand(merchant="M1", request="W1", at=AT, body=body)

        async def killed(connection: AsyncConnection) -> None:
            view = await counter.withdrawals.submit(connection, command)
            assert view.state is State.REMITTING
            raise Rejected(Code.UNAVAILABLE, detail="killed")

        assert await refusal(counter.run(killed)) == (Code.UNAVAILABLE,)
        assert await counter.figures() == (5_000_00, 0, 0, 0)
        for table in ("withdrawals", "payments", "notices"):
            assert await counter.count(table) == 0
        assert (await counter.submit()).state is State.REMITTING


class TestCancel:
    async def test_the_money_is_back_and_dues_are_paid_first(self, counter: Counter) -> None:
        """P-73, P-46: dues of 3,500.00 take 2,000.00 of it, the order being open."""
        await counter.account()
        await counter.submit()
        await counter.owe(3_500_00)
        view = await counter.cancel()
        assert (view.state, view.reason) == (State.CANCELLED_BY_MERCHANT, "不需要了")
        assert await counter.figures() == (3_000_00, 2_000_00, 0, 1_500_00)
        assert [s.name for s in view.steps] == ["submitted", "cancelled_by_merchant"]
        again = await counter.cancel(at=AT + DAY)
        assert again == view
        assert await counter.figures() == (3_000_00, 2_000_00, 0, 1_500_00)

    async def test_it_comes_too_late_once_approved(self, counter: Counter) -> None:
        """P-73: allowed before the approval only; a refused request cannot be cancelled."""
        counter.under(GRACE)
        await counter.account()
        await counter.approve(await counter.submit())
        assert await refusal(counter.cancel()) == (Code.REQUEST_DECIDED,)
        await counter.submit(9_000_00, "W2")
        assert await refusal(counter.cancel("W2")) == (Code.REQUEST_DECIDED,)
        assert await refusal(counter.cancel("W3")) == (Code.REQUEST_UNKNOWN,)


class TestReject:
    async def test_the_money_is_back_with_a_notice(self, counter: Counter, ring: KeyRing) -> None:
        """P-70, T9: 2,000.00 back to available, the reason sealed at rest, the merchant told."""
        await counter.account()
        view = await counter.reject(await counter.submit())
        assert (view.state, view.reason, view.ended_at) == (State.REJECTED, "资料不符", AT)
        assert await counter.figures() == (5_000_00, 0, 0, 0)
        kinds = await counter.rows("SELECT kind, subject FROM transfers ORDER BY id DESC LIMIT 2")
        assert {row.kind for row in kinds} == {"withdrawal", "withdrawal_returned"}
        notice = (await counter.rows("SELECT * FROM notices"))[0]
        assert (notice.code, notice.event, notice.amount) == ("PM-8", "rejected", 2_000_00)
        assert ring.open_text(notice.reason_sealed, purpose=REASON) == "资料不符"
        for table in ("notices", "withdrawals", "decisions", "audit"):
            rows = await counter.rows(f"SELECT t::text FROM {table} t")  # noqa: S608
            assert "资料不符" not in str(rows)

    async def test_dues_are_paid_first(self, counter: Counter) -> None:
        """P-70, P-46, T11: the order is completed, so its dues become income."""
        await counter.account()
        view = await counter.submit()
        await counter.owe(3_500_00)
        await counter.orders(settle("M1", "A1", at=AT))
        await counter.reject(view)
        assert await counter.figures() == (3_000_00, 0, 0, 1_500_00)


class TestRemit:
    async def test_the_frozen_payee_is_paid_after_the_grace_period(
        self, counter: Counter, ring: KeyRing
    ) -> None:
        """P-69: the account was changed after the approval; the approved one is paid."""
        counter.under(GRACE)
        await counter.account()
        approved = await counter.approve(await counter.submit())
        assert (approved.state, approved.remit_at) == (State.APPROVED, AT + 2 * HOUR)
        await counter.change(bank=bank(OTHER_ACCOUNT))
        view = await counter.remit(at=AT + 2 * HOUR)
        assert view.account == "****1234"
        assert view.payee_digest == approved.payee_digest
        payment = await counter.run(lambda c: payment_of(c, "withdrawal/M1/W1/pay/1"))
        assert payment is not None
        terms = opened_terms(ring, payment)
        assert (terms.creditor.account, terms.creditor.name) == (ACCOUNT, NAME)
        assert (terms.amount_minor, terms.remittance) == (2_000_00, "WITHDRAWAL W1")

    async def test_dues_and_the_state_block_it_until_they_are_gone(self, counter: Counter) -> None:
        """P-45, P-72: re-checked at the remittance."""
        counter.under(GRACE)
        await counter.account()
        await counter.approve(await counter.submit())
        await counter.owe(3_000_01)
        late = AT + 3 * HOUR
        assert (await counter.remit(at=late)).blocked == (Code.DUES_OUTSTANDING,)
        await top_up(counter.engine, "M1", 9_000_00, number=2)
        await counter.change(state=AccountState.ABNORMAL)
        view = await counter.remit(at=late)
        assert (view.state, view.blocked) == (State.APPROVED, (Code.ACCOUNT_ABNORMAL,))
        assert await counter.count("payments") == 0
        await counter.change(state=AccountState.ACTIVE)
        view = await counter.remit(at=late)
        assert (view.state, view.blocked) == (State.REMITTING, ())

    async def test_eight_clocks_record_one_payment(self, counter: Counter) -> None:
        """C-06, B1: due once, whoever comes."""
        counter.under(GRACE)
        await counter.account()
        await counter.approve(await counter.submit())
        late = AT + 3 * HOUR
        views = await asyncio.gather(*(counter.remit(at=late) for _ in range(8)))
        assert all(view == views[0] for view in views)
        assert await counter.count("payments") == 1
        assert views[0].attempts == 1

    async def test_what_waits_or_ended_is_left_alone(self, counter: Counter) -> None:
        """C-06: a timer that comes for nothing changes nothing."""
        await counter.account()
        view = await counter.submit()
        assert await counter.remit() == view
        ended = await counter.cancel()
        assert await counter.remit() == ended


class TestRemind:
    async def test_every_day_and_after_three_days_a_person_is_told(self, counter: Counter) -> None:
        """P-68: at 24 h and 48 h a reminder, at 72 h the escalation too; each once."""
        await counter.account()
        view = await counter.submit()
        assert view.remind_at == AT + DAY
        assert await counter.remind(at=AT + DAY - timedelta(seconds=1)) == view
        for _ in range(2):
            view = await counter.remind(at=AT + DAY)
            assert (view.reminders, view.remind_at) == (1, AT + 2 * DAY)
        await counter.remind(at=AT + 2 * DAY)
        assert await counter.count("work_items") == 0
        for _ in range(2):
            view = await counter.remind(at=AT + 3 * DAY)
            assert (view.reminders, view.escalated) == (3, True)
        item = (await counter.rows("SELECT kind, subject, amount, state FROM work_items"))[0]
        assert tuple(item) == ("WITHDRAWAL_OVERDUE", "withdrawal/M1/W1", 2_000_00, "OPEN")
        assert view.remind_at == AT + 4 * DAY

    async def test_missed_days_are_one_reminder_and_it_is_still_approvable(
        self, counter: Counter
    ) -> None:
        """P-68, C-06: forty days without anybody; the decision settles the item."""
        await counter.account()
        shown = await counter.submit()
        late = AT + 40 * DAY
        view = await counter.remind(at=late)
        assert (view.reminders, view.escalated) == (40, True)
        view = await counter.approve(shown, at=late + HOUR)
        assert view.state is State.REMITTING

    @pytest.mark.parametrize("ending", ["cancel", "reject", "approve"])
    async def test_the_decision_settles_the_item(self, counter: Counter, ending: str) -> None:
        """C-05: nobody has to close it by hand."""
        await counter.account()
        shown = await counter.submit()
        late = AT + 3 * DAY
        await counter.remind(at=late)
        if ending == "cancel":
            await counter.cancel(at=late)
        else:
            await getattr(counter, ending)(shown, at=late)
        item = (await counter.rows("SELECT state, outcome FROM work_items"))[0]
        assert tuple(item) == ("CLOSED", "RESOLVED")


class TestRead:
    async def test_personal_data_is_sealed_and_masked(self, counter: Counter) -> None:
        """C-11: at rest and in views, before and after the approval."""
        await counter.account()
        shown = await counter.submit()
        view = await counter.approve(shown)
        stored = await counter.rows(
            "SELECT w::text FROM withdrawals w UNION ALL SELECT p::text FROM payments p"
            " UNION ALL SELECT a::text FROM audit a"
        )
        for text in (str(shown), str(view), str(stored)):
            assert NAME not in text
            assert ACCOUNT not in text

    async def test_an_unknown_one(self, counter: Counter) -> None:
        """4.5 No. 36, S2: another merchant's request id is no request."""
        await counter.account()
        await counter.submit()
        assert await refusal(counter.read("W2")) == (Code.REQUEST_UNKNOWN,)
        assert await refusal(counter.read(merchant="M2")) == (Code.REQUEST_UNKNOWN,)

    @pytest.mark.parametrize(
        ("subject", "found"),
        [
            ("withdrawal/M1/W1", ("M1", "W1")),
            ("withdrawal/M1/W1/pay/2", ("M1", "W1")),
            ("withdrawal/M1", None),
            ("receipt/aa/return/1", None),
        ],
    )
    def test_what_a_payment_pays(self, subject: str, found: tuple[str, str] | None) -> None:
        """C-12: a payment's subject names its withdrawal."""
        assert withdrawal_of(subject) == found
