"""Dues and the account's state are asked again whenever a withdrawal is paid again (P-45, 1.9)."""

from __future__ import annotations

import pytest

from tests.ledger.payout_support import Cashier
from tests.ledger.withdrawal_support import AT, DAY, OTHER_ACCOUNT
from tests.workflows.support import refused
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction, ReturnTo

FAILED = "WITHDRAWAL_FAILED"
OTHER = ReturnTo(account=OTHER_ACCOUNT, bank_name="中国建设银行")
ALL_OF_IT = 3_000_00
"""What is available beside the withdrawal."""


async def refused_by_bank(cashier: Cashier, code: str) -> str:
    """A withdrawal of 2,000.00 whose first attempt the bank refused."""
    name = await cashier.remitting()
    await cashier.sending(name)
    await cashier.says(name, "RJCT", code)
    return name


class TestByAPerson:
    async def test_dues_of_a_fen_forbid_it_and_their_payment_allows_it(
        self, cashier: Cashier
    ) -> None:
        """P-45: at 0.00 of dues it is paid again, at 0.01 it is not, whoever presses."""
        await refused_by_bank(cashier, "AC04")
        item = await cashier.item(FAILED)
        await cashier.counter.owe(ALL_OF_IT, "A1")
        await cashier.counter.owe(1, "A2")
        assert await cashier.counter.figures() == (0, ALL_OF_IT, 2_000_00, 1)
        with refused(Code.DUES_OUTSTANDING):
            await cashier.choose(item, ItemAction.RETRY)
        with refused(Code.DUES_OUTSTANDING):
            await cashier.choose(item, ItemAction.RETRY_CORRECTED, return_to=OTHER)
        assert await cashier.stands() == ("FAILED_MANUAL", "AC04", 1)
        assert await cashier.counter.count("payments") == 1
        await cashier.counter.fund(1)
        assert (await cashier.counter.figures())[3] == 0
        assert (await cashier.choose(item, ItemAction.RETRY)).outcome == "RETRIED"
        assert (await cashier.stands())[0] == "REMITTING"
        await cashier.verified()

    @pytest.mark.parametrize(
        ("state", "code"),
        [
            (AccountState.ABNORMAL, Code.ACCOUNT_ABNORMAL),
            (AccountState.CLOSED, Code.ACCOUNT_CLOSED),
        ],
    )
    async def test_an_account_that_may_not_withdraw_is_not_paid_again(
        self, cashier: Cashier, state: AccountState, code: Code
    ) -> None:
        """Matrix 1.9."""
        await refused_by_bank(cashier, "AC04")
        await cashier.counter.change(state=state)
        with refused(code):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETRY)
        assert (await cashier.stands())[0] == "FAILED_MANUAL"

    async def test_dues_after_the_proposal_forbid_the_approval(self, cashier: Cashier) -> None:
        """P-45: asked under the lock, when the second person agrees."""
        await refused_by_bank(cashier, "AC04")
        item = await cashier.item(FAILED)
        shown = await cashier.choose(item, ItemAction.RETRY_CORRECTED, return_to=OTHER)
        await cashier.counter.owe(ALL_OF_IT + 1)
        with refused(Code.DUES_OUTSTANDING):
            await cashier.confirm(shown)
        assert await cashier.items() == [(FAILED, "PROPOSED")]
        assert await cashier.counter.count("payments") == 1

    async def test_the_money_is_given_back_in_spite_of_dues(self, cashier: Cashier) -> None:
        """P-46, P-71: it pays them, and is nowhere stuck."""
        await refused_by_bank(cashier, "AC04")
        await cashier.counter.owe(ALL_OF_IT, "A1")
        await cashier.counter.owe(500_00, "A2")
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        assert await cashier.counter.figures() == (1_500_00, 3_500_00, 0, 0)
        await cashier.verified()


class TestByItself:
    async def test_dues_on_the_next_morning_make_it_a_persons(self, cashier: Cashier) -> None:
        """P-45: nothing is recorded, the item says why; once they are paid it goes on."""
        name = await refused_by_bank(cashier, "AM14")
        assert await cashier.stands() == ("REMITTING", None, 1)
        await cashier.counter.owe(ALL_OF_IT, "A1")
        await cashier.counter.owe(1, "A2")
        for _ in range(2):
            assert await cashier.following(name, AT + DAY) == name
        row = await cashier.payment(name)
        assert (row.state, row.reason, row.retry_at) == (PaymentState.REJECTED, "AM14", None)
        assert await cashier.stands() == ("FAILED_MANUAL", "DUES_OUTSTANDING", 1)
        assert await cashier.items() == [(FAILED, "OPEN")]
        await cashier.verified()
        await cashier.counter.fund(1)
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETRY)
        assert (await cashier.stands())[0] == "REMITTING"

    async def test_all_of_it_held_is_no_dues(self, cashier: Cashier) -> None:
        """P-44: equality holds, and blocks nothing."""
        name = await refused_by_bank(cashier, "AM14")
        await cashier.counter.owe(ALL_OF_IT)
        assert await cashier.following(name, AT + DAY) != name

    async def test_an_abnormal_account_is_a_persons(self, cashier: Cashier) -> None:
        """Matrix 1.9."""
        name = await refused_by_bank(cashier, "AB07")
        await cashier.counter.change(state=AccountState.ABNORMAL)
        assert await cashier.following(name) == name
        assert await cashier.stands() == ("FAILED_MANUAL", "ACCOUNT_ABNORMAL", 1)
