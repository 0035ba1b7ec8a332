"""C-09: a payment's debit and its return end alike in whichever order files tell and name them."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.payout_support import AMOUNT, DAY, Cashier
from tests.workflows.bank_support import Moved
from tests.workflows.support import OUR_NUMBER, refused
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction

DEBIT, RETURN = "BANKREF0001", "BANKREF0002"


def bare(signed: int, reference: str) -> BankFile:
    """A notification that names nobody."""
    line = Line(signed, reference, DAY)
    return statement_file([line], None, kind=FileKind.CAMT_054, account=OUR_NUMBER)


def stated(signed: int, reference: str, name: str, *, opening: int = 0) -> BankFile:
    """The statement that says whose it is."""
    line = Line(signed, reference, DAY, end_to_end_id=name)
    balances = Balances(opening, opening + signed, DAY, number=reference)
    return statement_file([line], balances, account=OUR_NUMBER)


class TestDebit:
    @pytest.mark.parametrize("detailed_first", [True, False])
    async def test_details_that_come_later_pay_it(
        self, cashier: Cashier, *, detailed_first: bool
    ) -> None:
        """A bare debit is nobody's work any more once the statement names the payment."""
        name = await cashier.remitting()
        await cashier.sending(name)
        files = [stated(-AMOUNT, DEBIT, name), bare(-AMOUNT, DEBIT)]
        await cashier.bring(*(files if detailed_first else files[::-1]))
        assert await cashier.stands() == ("PAID", None, 1)
        assert await cashier.counter.figures() == (3_000_00, 0, 0, 0)
        assert "OPEN" not in {end for _, end in await cashier.items()}
        await cashier.verified()
        await cashier.moved(Moved(AMOUNT, "R", end_to_end_id=name))
        assert (await cashier.stands())[0] == "RETURNED"
        await cashier.verified()

    async def test_another_amount_stays_with_people(self, cashier: Cashier) -> None:
        """A fen more: the payment waits, and the debit is work still."""
        name = await cashier.remitting()
        await cashier.bring(bare(-AMOUNT - 1, DEBIT), stated(-AMOUNT - 1, DEBIT, name))
        assert await cashier.stands() == ("REMITTING", None, 1)
        assert await cashier.items() == [("UNKNOWN_DEBIT", "OPEN")]
        await cashier.verified()

    async def test_what_was_refused_stays_with_people(self, cashier: Cashier) -> None:
        """C-12: only people settle what the bank contradicts."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AC04")
        await cashier.bring(bare(-AMOUNT, DEBIT), stated(-AMOUNT, DEBIT, name))
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        debit = await cashier.item("UNKNOWN_DEBIT")
        await cashier.confirm(await cashier.choose(debit, ItemAction.PAYMENT, target=name))
        assert (await cashier.stands())[0] == "PAID"
        await cashier.verified()

    async def test_what_people_began_with_it_ends(self, cashier: Cashier) -> None:
        """C-07: a charge that was proposed is not approved any more."""
        name = await cashier.remitting()
        await cashier.bring(bare(-AMOUNT, DEBIT))
        debit = await cashier.item("UNKNOWN_DEBIT")
        shown = await cashier.choose(debit, ItemAction.CHARGE)
        await cashier.bring(stated(-AMOUNT, DEBIT, name))
        with refused(Code.ITEM_CLOSED):
            await cashier.confirm(shown)
        assert (await cashier.stands())[0] == "PAID"
        await cashier.verified()

    async def test_what_people_charged_before_stays_so(self, cashier: Cashier) -> None:
        """C-05: nothing is undone; the payment waits for people, who see the bank's word."""
        name = await cashier.remitting()
        await cashier.bring(bare(-AMOUNT, DEBIT))
        debit = await cashier.item("UNKNOWN_DEBIT")
        await cashier.confirm(await cashier.choose(debit, ItemAction.CHARGE))
        await cashier.bring(stated(-AMOUNT, DEBIT, name))
        assert (await cashier.payment(name)).state is PaymentState.RECORDED
        await cashier.verified()


class TestReturn:
    @pytest.mark.parametrize("detailed_first", [True, False])
    async def test_details_that_come_later_bring_it_back(
        self, cashier: Cashier, *, detailed_first: bool
    ) -> None:
        """C-13: the merchant has the money again, once."""
        name = await cashier.remitting()
        await cashier.debited(name)
        files = [stated(AMOUNT, RETURN, name, opening=-AMOUNT), bare(AMOUNT, RETURN)]
        await cashier.bring(*(files if detailed_first else files[::-1]))
        assert await cashier.stands() == ("RETURNED", None, 1)
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        assert "OPEN" not in {end for _, end in await cashier.items()}
        await cashier.verified()

    async def test_all_orders_of_both_end_alike(self, cashier: Cashier) -> None:
        """Debit and return, each bare and detailed: 24 orders, 24 withdrawals, one end."""
        for number, order in enumerate(permutations(range(4))):
            name = await cashier.remitting(100_00, f"W{number}")
            refs = f"DEBIT{number:08}", f"RETURN{number:08}"
            files = [
                bare(-100_00, refs[0]), stated(-100_00, refs[0], name),
                bare(100_00, refs[1]), stated(100_00, refs[1], name, opening=-100_00),
            ]  # fmt: skip
            await cashier.bring(*(files[place] for place in order))
            assert (await cashier.payment(name)).state is PaymentState.RETURNED, order
            await cashier.verified()
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        assert "OPEN" not in {e for k, e in await cashier.items() if "STATEMENT" not in k}

    async def test_one_statement_newest_first(self, cashier: Cashier) -> None:
        """The return stands above its debit, in one batch."""
        name = await cashier.remitting()
        await cashier.moved(
            Moved(AMOUNT, RETURN, end_to_end_id=name), Moved(-AMOUNT, DEBIT, end_to_end_id=name)
        )
        assert (await cashier.stands())[0] == "RETURNED"
        assert await cashier.counter.figures() == (5_000_00, 0, 0, 0)
        assert {end for _, end in await cashier.items()} <= {"RESOLVED"}
        await cashier.verified()
