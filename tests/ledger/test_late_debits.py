"""A debit of an attempt that counts as refused, told when a later attempt is under way (C-12)."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_asyncio

from ledger import attempts
from tests.ledger.payout_support import VISIBLE, Cashier
from tests.ledger.withdrawal_support import AT
from tests.workflows.support import refused
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction

FAILED = "WITHDRAWAL_FAILED"


@pytest_asyncio.fixture(loop_scope="session")
async def both(cashier: Cashier) -> tuple[str, str]:
    """The first attempt, not found by the bank, and the second one, recorded."""
    first = await cashier.remitting()
    await cashier.sending(first)
    await cashier.absent(first, AT + VISIBLE)
    return first, await cashier.following(first, AT + VISIBLE)


class TestEarlierAttempt:
    @pytest.mark.parametrize("action", [ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE])
    async def test_paid_by_the_first_nothing_is_given_back_after_the_seconds_no(
        self, cashier: Cashier, both: tuple[str, str], action: ItemAction
    ) -> None:
        """The first was debited late, the second refused: one person must not pay it twice."""
        first, second = both
        await cashier.debited(first)
        await cashier.says(second, "RJCT", "AC04")
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), action)
        await cashier.verified()

    async def test_paid_by_the_first_a_third_is_never_recorded(
        self, cashier: Cashier, both: tuple[str, str]
    ) -> None:
        """The second may be tried again, but the first was debited."""
        first, second = both
        await cashier.debited(first)
        await cashier.says(second, "RJCT", "AB05")
        assert await cashier.following(second) == second
        assert await cashier.stands() == ("FAILED_MANUAL", "AB05", 2)
        await cashier.verified()

    async def test_the_firsts_debit_settles_the_withdrawal(
        self, cashier: Cashier, both: tuple[str, str]
    ) -> None:
        """T8: two people say what paid it, and nothing is reserved any more."""
        first, second = both
        await cashier.debited(first)
        debit = await cashier.item("UNKNOWN_DEBIT")
        shown = await cashier.choose(debit, ItemAction.PAYMENT, target=first)
        with refused(Code.REQUEST_DECIDED):  # the second may still be paid
            await cashier.confirm(shown)
        await cashier.says(second, "RJCT", "AC04")
        await cashier.confirm(shown)
        assert await cashier.stands() == ("PAID", None, 2)
        assert (await cashier.payment(first)).state is PaymentState.PAID
        seen = await cashier.counter.read()
        assert (seen.reason, seen.attempts) == ("", 2)
        assert seen.payment is not None
        assert (seen.payment.end_to_end_id, seen.payment.state) == (first, PaymentState.PAID)
        assert await cashier.counter.figures() == (3_000_00, 0, 0, 0)
        await cashier.verified()
        await cashier.sent_back(first)
        assert (await cashier.stands())[0] == "RETURNED"
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        await cashier.verified()

    async def test_a_second_that_has_not_left_leaves_no_more(
        self, cashier: Cashier, both: tuple[str, str]
    ) -> None:
        """The bank's worker was away while the first one's debit came."""
        first, second = both
        await cashier.debited(first)
        row = await cashier.payment(second)
        assert await cashier.counter.run(lambda c: attempts.stop_if_paid(c, row, AT))
        row = await cashier.payment(second)
        assert (row.state, row.reason, row.retry_at) == (PaymentState.REJECTED, "NOTPAID", None)
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        await cashier.verified()

    async def test_what_was_not_paid_before_leaves(
        self, cashier: Cashier, both: tuple[str, str]
    ) -> None:
        """A charge is no payment: the second goes on once people have said so."""
        first, second = both
        await cashier.debited(first)
        shown = await cashier.choose(await cashier.item("UNKNOWN_DEBIT"), ItemAction.CHARGE)
        await cashier.confirm(shown)
        row = await cashier.payment(second)
        assert not await cashier.counter.run(lambda c: attempts.stop_if_paid(c, row, AT))
        assert (await cashier.payment(second)).state is PaymentState.RECORDED
        await cashier.verified()


class TestTakenBackWord:
    async def test_an_acceptance_that_the_bank_took_back_holds_nothing(
        self, cashier: Cashier
    ) -> None:
        """Not found, then accepted, then refused: no debit will ever come to settle it with."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.absent(name, AT + VISIBLE)
        await cashier.says(name, "ACSP", at=AT + timedelta(minutes=6))
        assert await cashier.following(name, AT + timedelta(minutes=7)) == name
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        await cashier.says(name, "RJCT", "AC04", at=AT + timedelta(minutes=8))
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        assert (await cashier.stands())[0] == "RETURNED"
        await cashier.verified()
