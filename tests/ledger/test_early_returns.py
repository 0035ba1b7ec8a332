"""C-13: a payment comes back in a file that is booked before the one that tells its debit."""

from __future__ import annotations

import pytest

from tests.ledger.payout_support import AMOUNT, Cashier
from tests.workflows.support import refused
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction, ReturnTo

UNMATCHED = "UNMATCHED_RECEIPT"
SENDER = ReturnTo(name="某公司", account="6225880200000001", bank_name="工商银行")


async def receipts(cashier: Cashier) -> list[str]:
    """The states of what came back."""
    rows = await cashier.counter.rows("SELECT state FROM receipts WHERE entry IS NOT NULL")
    return [row.state for row in rows]


class TestEarlyReturn:
    async def test_the_debit_makes_it_the_return_that_it_is(self, cashier: Cashier) -> None:
        """The merchant has the money again, once, and nobody is asked any more."""
        name = await cashier.remitting()
        await cashier.sent_back(name)
        assert await cashier.stands() == ("REMITTING", None, 1)
        assert await receipts(cashier) == ["UNMATCHED"]
        assert await cashier.counter.figures() == (3_000_00, 0, 2_000_00, 0)
        await cashier.verified()
        await cashier.debited(name)
        assert (await cashier.stands())[0] == "RETURNED"
        assert (await cashier.payment(name)).state is PaymentState.RETURNED
        assert await receipts(cashier) == ["SENT_BACK"]
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        assert (UNMATCHED, "RESOLVED") in await cashier.items()
        events = await cashier.counter.rows("SELECT event FROM notices ORDER BY id")
        assert [row.event for row in events][-2:] == ["paid", "returned"]
        await cashier.verified()

    async def test_dues_are_paid_first(self, cashier: Cashier) -> None:
        """P-46: 700.00 of dues leave 1,300.00 of 2,000.00, beside 100.00 before."""
        name = await cashier.remitting()
        await cashier.sent_back(name)
        await cashier.counter.owe(2_900_00, "A1")
        await cashier.counter.owe(700_00, "A2")
        await cashier.debited(name)
        assert await cashier.counter.figures() == (1_400_00, 3_600_00, 0, 0)
        await cashier.verified()

    async def test_another_amount_stays_with_people(self, cashier: Cashier) -> None:
        """A fen less came back: paid is paid, and what came is a receipt."""
        name = await cashier.remitting()
        await cashier.sent_back(name, AMOUNT - 1)
        await cashier.debited(name)
        assert await cashier.stands() == ("PAID", None, 1)
        assert await receipts(cashier) == ["UNMATCHED"]
        await cashier.verified()

    async def test_two_of_them_are_one_return(self, cashier: Cashier) -> None:
        """The second is nobody's money, and stays visible."""
        name = await cashier.remitting()
        await cashier.sent_back(name)
        await cashier.sent_back(name)
        await cashier.debited(name)
        assert sorted(await receipts(cashier)) == ["SENT_BACK", "UNMATCHED"]
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        await cashier.verified()

    @pytest.mark.parametrize("told", ["before", "after"])
    async def test_what_people_began_with_it_ends(self, cashier: Cashier, told: str) -> None:
        """C-07: a return to the sender that was proposed is not approved any more."""
        name = await cashier.remitting()
        await cashier.sent_back(name)
        item = await cashier.item(UNMATCHED)
        if told == "before":
            await cashier.debited(name)
            with refused(Code.ITEM_CLOSED):
                await cashier.choose(item, ItemAction.RETURN, return_to=SENDER)
        else:
            shown = await cashier.choose(item, ItemAction.RETURN, return_to=SENDER)
            await cashier.debited(name)
            with refused(Code.ITEM_CLOSED):
                await cashier.confirm(shown)
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        await cashier.verified()
