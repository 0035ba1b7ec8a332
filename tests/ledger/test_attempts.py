"""Attempts of a withdrawal's payment: sent once, unclear until proven, tried again once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import pytest_asyncio

from ledger import attempts
from ledger.payment_rows import opened_terms
from tests.ledger.payout_support import AMOUNT, RAILS, VISIBLE, Cashier
from tests.ledger.withdrawal_support import AT, OTHER_ACCOUNT
from tests.workflows.support import refused
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import FailureClass, PaymentState, Rail
from tillkeeper.contracts.workitem import ItemAction, ReturnTo

SECOND = timedelta(seconds=1)
FAILED = "WITHDRAWAL_FAILED"
ITS_BANK = "中国建设银行上海分行"


class TestMarkSending:
    async def test_eight_callers_send_it_once(self, cashier: Cashier) -> None:
        """C-12, F05: whoever comes second sends nothing."""
        name = await cashier.remitting()
        marked = await asyncio.gather(*(cashier.sending(name) for _ in range(8)))
        assert sorted(marked) == [False] * 7 + [True]
        row = await cashier.payment(name)
        assert (row.state, row.sending_at, row.sent_at) == (PaymentState.UNCLEAR, AT, None)

    async def test_a_booked_debit_before_the_mark_sends_nothing(self, cashier: Cashier) -> None:
        """C-09: the bank has it already, whoever told it."""
        name = await cashier.remitting()
        await cashier.debited(name)
        assert not await cashier.sending(name)
        assert (await cashier.payment(name)).state is PaymentState.PAID


class TestEnding:
    async def test_a_booked_debit_pays_the_withdrawal(self, cashier: Cashier) -> None:
        """T8, P-73: 2,000.00 leave what is in progress, and nothing else."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "ACSC")
        assert await cashier.stands() == ("REMITTING", None, 1)
        await cashier.debited(name)
        assert await cashier.stands() == ("PAID", None, 1)
        assert await cashier.counter.figures() == (3_000_00, 0, 0, 0)
        await cashier.verified()

    async def test_what_was_paid_and_comes_back_is_available_again(self, cashier: Cashier) -> None:
        """C-13: paid on day 1, returned on day 3: +2,000.00, state RETURNED, one notice."""
        name = await cashier.remitting()
        await cashier.debited(name)
        await cashier.sent_back(name)
        assert (await cashier.stands())[0] == "RETURNED"
        assert (await cashier.payment(name)).state is PaymentState.RETURNED
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        events = await cashier.counter.rows("SELECT event FROM notices ORDER BY id")
        assert [row.event for row in events][-2:] == ["paid", "returned"]
        await cashier.verified()

    async def test_dues_are_paid_first_by_what_comes_back(self, cashier: Cashier) -> None:
        """P-46, C-13: 700.00 of dues leave 1,300.00 of 2,000.00, beside 100.00 before."""
        name = await cashier.remitting()
        await cashier.debited(name)
        await cashier.counter.owe(2_900_00, "A1")
        await cashier.counter.owe(700_00, "A2")
        assert await cashier.counter.figures() == (100_00, 2_900_00, 0, 700_00)
        await cashier.sent_back(name)
        assert await cashier.counter.figures() == (1_400_00, 3_600_00, 0, 0)
        await cashier.verified()

    async def test_a_debit_of_another_amount_is_no_payment_of_ours(self, cashier: Cashier) -> None:
        """C-14: 0.01 more is work, and pays nothing."""
        name = await cashier.remitting()
        await cashier.debited(name, AMOUNT + 1)
        assert await cashier.stands() == ("REMITTING", None, 1)
        assert await cashier.items() == [("UNKNOWN_DEBIT", "OPEN")]

    @pytest.mark.parametrize(
        ("code", "failure"),
        [
            ("AC04", FailureClass.NEEDS_PAYEE),
            ("AM04", FailureClass.NEEDS_PAYER),
            ("AG01", FailureClass.NEVER),
            ("XX11", FailureClass.NEVER),
        ],
    )
    async def test_a_no_that_is_not_tried_again_needs_a_person(
        self, cashier: Cashier, code: str, failure: FailureClass
    ) -> None:
        """P-71: work item, available unchanged, money still in progress."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", code)
        row = await cashier.payment(name)
        assert (row.failure, row.retry_at) == (failure, None)
        assert await cashier.stands() == ("FAILED_MANUAL", code, 1)
        assert await cashier.items() == [(FAILED, "OPEN")]
        assert await cashier.counter.figures() == (3_000_00, 0, 2_000_00, 0)
        await cashier.verified()


class TestRecordAbsence:
    async def test_not_found_is_no_answer_before_the_delay_is_over(self, cashier: Cashier) -> None:
        """E-09, C-12: not a second sooner; at the second itself it is a no."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.absent(name, AT + VISIBLE - SECOND)
        assert (await cashier.payment(name)).state is PaymentState.UNCLEAR
        await cashier.absent(name, AT + VISIBLE)
        row = await cashier.payment(name)
        assert (row.state, row.reason) == (PaymentState.REJECTED, "NOTFOUND")
        assert row.failure is FailureClass.RETRY_NOW
        assert await cashier.stands() == ("REMITTING", None, 1)

    async def test_what_was_accepted_is_never_absent(self, cashier: Cashier) -> None:
        """E-12: an acceptance that the bank forgets is for people, when it is overdue."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "ACSP")
        await cashier.absent(name, AT + 2 * VISIBLE)
        assert (await cashier.payment(name)).state is PaymentState.ACCEPTED

    @pytest.mark.parametrize("text", ["NOTFOUND", "NOTPAID"])
    async def test_a_banks_own_text_is_none_of_our_reasons(
        self, cashier: Cashier, text: str
    ) -> None:
        """S-44, P-71: a reason that nobody here knows is a person's, and proves nothing more."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", text)
        row = await cashier.payment(name)
        assert (row.reason, row.failure, row.retry_at) == ("OTHER", FailureClass.NEVER, None)
        assert await cashier.stands() == ("FAILED_MANUAL", "OTHER", 1)
        [word] = await cashier.counter.rows("SELECT reasons::text FROM payment_statuses")
        assert word.reasons == '["OTHER"]'

    async def test_several_payments_are_work_and_no_answer(self, cashier: Cashier) -> None:
        """C-12, F08: the bank forgot the first."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.counter.run(lambda c: attempts.record_several(c, name, AT))
        assert (await cashier.payment(name)).state is PaymentState.UNCLEAR
        assert await cashier.items() == [("PAYMENT_OVERDUE", "OPEN")]

    async def test_a_duplicate_refuses_nothing(self, cashier: Cashier) -> None:
        """C-12, B3: "known already" proves the first one."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AM05")
        assert (await cashier.payment(name)).state is PaymentState.UNCLEAR


async def refused_for_now(cashier: Cashier) -> str:
    """A payment that the bank knows nothing of."""
    name = await cashier.remitting()
    await cashier.sending(name)
    await cashier.absent(name, AT + VISIBLE)
    return name


class TestNextAttempt:
    async def test_eight_callers_make_one(self, cashier: Cashier) -> None:
        """Design §4, C-02: recorded first, by the other rail, in the same run."""
        name = await refused_for_now(cashier)
        made = set(await asyncio.gather(*(cashier.following(name) for _ in range(8))))
        [following] = made
        row = await cashier.payment(following)
        assert (row.attempt, row.run, row.rail) == (2, name, Rail.FILE)
        assert row.state is PaymentState.RECORDED
        assert await cashier.stands() == ("REMITTING", None, 2)
        assert opened_terms(cashier.ring, row) == opened_terms(
            cashier.ring, await cashier.payment(name)
        )
        await cashier.debited(following)
        assert (await cashier.stands())[0] == "PAID"
        await cashier.verified()

    async def test_what_is_not_refused_has_none(self, cashier: Cashier) -> None:
        """Design §4: only a proven no allows another attempt."""
        name = await cashier.remitting()
        assert await cashier.following(name) == name
        await cashier.sending(name)
        assert await cashier.following(name) == name
        assert await cashier.stands() == ("REMITTING", None, 1)

    async def test_the_fifth_no_is_the_last(self, cashier: Cashier) -> None:
        """S-44, P-71: then a person chooses."""
        name = await cashier.remitting()
        for number in range(1, 6):
            assert (await cashier.payment(name)).attempt == number
            await cashier.says(name, "RJCT", "AB07")
            last, name = name, await cashier.following(name)
        assert name == last
        assert await cashier.stands() == ("FAILED_MANUAL", "AB07", 5)

    async def test_a_debit_after_the_no_stops_the_next_one(self, cashier: Cashier) -> None:
        """C-12: the bank contradicts itself, so nobody pays again; people settle it."""
        name = await refused_for_now(cashier)
        await cashier.debited(name)
        assert await cashier.items() == [("UNKNOWN_DEBIT", "OPEN")]
        assert await cashier.following(name) == name
        assert await cashier.stands() == ("FAILED_MANUAL", "NOTFOUND", 1)
        failed = await cashier.item(FAILED)
        for action in (ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE):
            with refused(Code.REQUEST_DECIDED):
                await cashier.choose(failed, action)
        debit = await cashier.item("UNKNOWN_DEBIT")
        shown = await cashier.choose(debit, ItemAction.PAYMENT, target=name)
        done = await cashier.confirm(shown)
        assert (done.payment, done.paid_for) == (name, "withdrawal/M1/W1/pay/1")
        assert await cashier.stands() == ("PAID", None, 1)
        assert await cashier.items() == [("UNKNOWN_DEBIT", "PAID"), (FAILED, "RESOLVED")]
        await cashier.verified()

    async def test_an_acceptance_after_not_found_stops_it_too(self, cashier: Cashier) -> None:
        """C-12: found after all."""
        name = await refused_for_now(cashier)
        await cashier.says(name, "ACSC")
        assert await cashier.following(name) == name
        assert (await cashier.stands())[0] == "FAILED_MANUAL"


@pytest_asyncio.fixture(loop_scope="session")
async def failed(cashier: Cashier) -> tuple[str, int]:
    """A payment to a closed account, and its item."""
    name = await cashier.remitting()
    await cashier.sending(name)
    await cashier.says(name, "RJCT", "AC04")
    return name, await cashier.item(FAILED)


class TestChoice:
    async def test_returned_once_however_often_it_is_pressed(
        self, cashier: Cashier, failed: tuple[str, int]
    ) -> None:
        """P-71: T9 once, even if the button is pressed twice, or by eight at once."""
        _, item = failed
        done = await asyncio.gather(
            *(cashier.choose(item, ItemAction.RETURN_TO_AVAILABLE) for _ in range(8))
        )
        assert {view.outcome for view in done} == {"RETURNED"}
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        assert (await cashier.stands())[0] == "RETURNED"
        sql = "SELECT count(*) FROM transfers WHERE kind = 'withdrawal_returned'"
        assert (await cashier.counter.rows(sql))[0][0] == 1
        with refused(Code.ITEM_CLOSED):
            await cashier.choose(item, ItemAction.RETRY)
        await cashier.verified()

    async def test_retried_once_however_often_it_is_pressed(
        self, cashier: Cashier, failed: tuple[str, int]
    ) -> None:
        """P-71: the same payee by a new attempt, in a run of its own."""
        name, item = failed
        done = await asyncio.gather(*(cashier.choose(item, ItemAction.RETRY) for _ in range(8)))
        assert {(view.outcome, view.payment) for view in done} == {("RETRIED", None)}
        assert await cashier.stands() == ("REMITTING", "AC04", 2)
        sql = "SELECT end_to_end_id FROM payments WHERE attempt = 2"
        [made] = await cashier.counter.rows(sql)
        row = await cashier.payment(made.end_to_end_id)
        assert (row.run, row.rail) == (row.end_to_end_id, RAILS[0])
        assert opened_terms(cashier.ring, row) == opened_terms(
            cashier.ring, await cashier.payment(name)
        )
        await cashier.debited(row.end_to_end_id)
        assert await cashier.stands() == ("PAID", None, 2)
        assert (await cashier.counter.read()).reason == ""
        await cashier.verified()

    async def test_a_corrected_account_needs_two_people(
        self, cashier: Cashier, failed: tuple[str, int]
    ) -> None:
        """P-71, C-07: the payee is frozen anew when the second one agrees."""
        _, item = failed
        other = ReturnTo(account=OTHER_ACCOUNT, bank_name=ITS_BANK)
        shown = await cashier.choose(item, ItemAction.RETRY_CORRECTED, return_to=other)
        assert shown.proposal is not None
        assert shown.proposal.payee_differs == ("account", "bank_name")
        assert shown.proposal.payee_account == f"****{OTHER_ACCOUNT[-4:]}"
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        with refused(Code.OWN_PROPOSAL):
            await cashier.confirm(shown, "F1")
        await cashier.confirm(shown)
        [made] = await cashier.counter.rows("SELECT end_to_end_id FROM payments WHERE attempt = 2")
        row = await cashier.payment(made.end_to_end_id)
        assert opened_terms(cashier.ring, row).creditor.account == OTHER_ACCOUNT
        assert (await cashier.counter.read()).account == f"****{OTHER_ACCOUNT[-4:]}"
        await cashier.verified()

    async def test_who_asked_for_the_money_corrects_no_payee(
        self, cashier: Cashier, failed: tuple[str, int]
    ) -> None:
        """C-07: neither proposes nor approves he another account, however he writes himself."""
        _, item = failed
        other = ReturnTo(account=OTHER_ACCOUNT, bank_name=ITS_BANK)
        with refused(Code.OWN_REQUEST):
            await cashier.choose(item, ItemAction.RETRY_CORRECTED, "U1", return_to=other)
        shown = await cashier.choose(item, ItemAction.RETRY_CORRECTED, return_to=other)
        with refused(Code.OWN_REQUEST):
            await cashier.confirm(shown, "U1")
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        await cashier.confirm(shown)
        assert (await cashier.stands())[0] == "REMITTING"

    async def test_a_correction_names_a_payee_and_nothing_else_does(
        self, cashier: Cashier, failed: tuple[str, int]
    ) -> None:
        """P-71."""
        _, item = failed
        with refused(Code.FIELD_MISSING):
            await cashier.choose(item, ItemAction.RETRY_CORRECTED)
        with refused(Code.FIELD_INVALID):
            await cashier.choose(item, ItemAction.RETRY, return_to=ReturnTo(name="甲"))
        with refused(Code.ACTION_NOT_ALLOWED):
            await cashier.choose(item, ItemAction.ACKNOWLEDGE)


class TestNotPaid:
    async def test_two_people_prove_that_a_silent_bank_did_not_pay(self, cashier: Cashier) -> None:
        """C-12, C-07: the payment is rejected, and what follows is chosen apart from that."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.counter.run(lambda c: attempts.record_several(c, name, AT))
        item = await cashier.item("PAYMENT_OVERDUE")
        shown = await cashier.choose(item, ItemAction.NOT_PAID)
        assert (await cashier.payment(name)).state is PaymentState.UNCLEAR
        done = await cashier.confirm(shown)
        assert (done.outcome, done.payment) == ("NOT_PAID", name)
        row = await cashier.payment(name)
        assert (row.state, row.reason, row.retry_at) == (PaymentState.REJECTED, "NOTPAID", None)
        assert await cashier.stands() == ("FAILED_MANUAL", "NOTPAID", 1)
        await cashier.verified()

    @pytest.mark.parametrize("known", [True, False])
    async def test_what_the_bank_says_after_the_proof_contradicts_it(
        self, cashier: Cashier, *, known: bool
    ) -> None:
        """C-12: heard later, though asked for earlier; also where it had said so before."""
        name = await cashier.remitting()
        await cashier.sending(name)
        if known:
            await cashier.says(name, "ACSP")
        await cashier.counter.run(lambda c: attempts.record_several(c, name, AT))
        shown = await cashier.choose(await cashier.item("PAYMENT_OVERDUE"), ItemAction.NOT_PAID)
        assert (await cashier.confirm(shown)).outcome == "NOT_PAID"
        await cashier.says(name, "ACSP", at=AT + timedelta(seconds=1))
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(
                await cashier.item("WITHDRAWAL_FAILED"), ItemAction.RETURN_TO_AVAILABLE
            )

    async def test_a_payment_that_is_decided_since_is_not_unpaid(self, cashier: Cashier) -> None:
        """C-12: the debit came while people thought."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.counter.run(lambda c: attempts.record_several(c, name, AT))
        shown = await cashier.choose(await cashier.item("PAYMENT_OVERDUE"), ItemAction.NOT_PAID)
        await cashier.debited(name)
        with refused(Code.ITEM_CLOSED):
            await cashier.confirm(shown)
        assert (await cashier.stands())[0] == "PAID"


class TestTogether:
    async def test_a_debit_and_a_choice_at_once_do_one_thing(
        self, cashier: Cashier, failed: tuple[str, int]
    ) -> None:
        """C-12: 2,000.00 are paid or available, never both, and nobody waits for ever."""
        name, item = failed
        results = await asyncio.gather(
            cashier.choose(item, ItemAction.RETURN_TO_AVAILABLE),
            cashier.debited(name),
            return_exceptions=True,
        )
        assert results[1] is None
        available, _, withdrawing, _ = await cashier.counter.figures()
        assert (available, withdrawing) in {(5_000_00, 0), (3_000_00, 2_000_00)}
        await cashier.verified()
