"""What the bank says it has is never proven absent; nobody is paid again for it (E-09, C-12)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.attempts import stop_if_paid
from ledger.payments import deciding_sheet, note_overdue, payment_refused, record_no
from ledger.purposes import Ending
from tests.ledger.payout_support import VISIBLE, Cashier
from tests.ledger.withdrawal_support import AT
from tests.workflows.support import refused
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction
from tillkeeper.rules.payouts import NOT_FOUND
from tillkeeper.rules.profiles import JD_PREPAID_2023_11

FAILED = "WITHDRAWAL_FAILED"
OVERDUE = "PAYMENT_OVERDUE"
PROFILE = JD_PREPAID_2023_11
HAD = [
    ("RCVD",), ("PART",), ("PATC",), ("ACTC",), ("PDNG",), ("XX99",), ("no code at all",),
    ("RJCT", "AM05"), ("RJCT", "DU01"), ("RJCT", "DUPL"),
]  # fmt: skip
"""Words that only a bank says that has the payment."""


class TestNotFound:
    @pytest.mark.parametrize("word", HAD)
    async def test_what_the_bank_once_had_is_a_persons_and_never_absent(
        self, cashier: Cashier, word: tuple[str, ...]
    ) -> None:
        """E-09: long after the delay too; no second rail, one item when it is overdue."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, *word)
        open_as = (await cashier.payment(name)).state
        assert open_as in (PaymentState.UNCLEAR, PaymentState.ACCEPTED)
        for late in (VISIBLE, 100 * VISIBLE):
            await cashier.absent(name, AT + late)
        row = await cashier.payment(name)
        assert (row.state, row.reason) == (open_as, None)
        assert await cashier.following(name, AT + 101 * VISIBLE) == name
        await cashier.counter.run(
            lambda c: note_overdue(c, row.id, AT + timedelta(days=4), PROFILE)
        )
        assert await cashier.items() == [("PAYMENT_OVERDUE", "OPEN")]
        await cashier.debited(name)
        assert (await cashier.stands())[0] == "PAID"
        await cashier.verified()

    async def test_a_no_for_a_reason_is_no_possession(self, cashier: Cashier) -> None:
        """A true no of another payment's kind decides at once, as before."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RCVD")
        await cashier.says(name, "RJCT", "AB07")
        assert (await cashier.payment(name)).state is PaymentState.REJECTED
        assert await cashier.following(name) != name


class TestContradicted:
    @pytest.mark.parametrize("word", HAD)
    async def test_the_bank_has_it_after_it_did_not_find_it(
        self, cashier: Cashier, word: tuple[str, ...]
    ) -> None:
        """C-12: nothing follows by itself, and no person pays or gives back until it is clear."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.absent(name, AT + VISIBLE)
        assert (await cashier.payment(name)).reason == NOT_FOUND
        await cashier.says(name, *word, at=AT + 2 * VISIBLE)
        assert await cashier.following(name, AT + 3 * VISIBLE) == name
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        for action in (ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE):
            with refused(Code.REQUEST_DECIDED):
                await cashier.choose(await cashier.item(FAILED), action)
        await _proven_unpaid(cashier, name)

    async def test_the_bank_has_it_after_people_proved_that_it_was_not_paid(
        self, cashier: Cashier
    ) -> None:
        """C-12: work again, which a note does not end and a second proof does."""
        name = await cashier.remitting()
        await cashier.sending(name)
        row = await cashier.payment(name)
        late = AT + timedelta(days=4)
        await cashier.counter.run(lambda c: note_overdue(c, row.id, late, PROFILE))
        await cashier.confirm(
            await cashier.choose(await cashier.item(OVERDUE), ItemAction.NOT_PAID)
        )
        await cashier.says(name, "ACTC", at=AT + timedelta(days=5))
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETRY)
        await _proven_unpaid(cashier, name)

    async def test_not_found_takes_no_earlier_word_back(self, cashier: Cashier) -> None:
        """Rows of before this rule: "received", then "not found" taken for a no."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RCVD")
        await _decided_not_found(cashier, name)
        assert await cashier.following(name, AT + 2 * VISIBLE) == name
        assert (await cashier.stands())[0] == "FAILED_MANUAL"
        await _proven_unpaid(cashier, name)

    async def test_peoples_proof_takes_it_back(self, cashier: Cashier) -> None:
        """C-12: two people hold the bank's letter; what it said until then holds nothing up."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RCVD")
        row = await cashier.payment(name)
        await cashier.counter.run(
            lambda c: note_overdue(c, row.id, AT + timedelta(days=4), PROFILE)
        )
        shown = await cashier.choose(await cashier.item("PAYMENT_OVERDUE"), ItemAction.NOT_PAID)
        await cashier.confirm(shown)
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        assert (await cashier.stands())[0] == "RETURNED"
        await cashier.verified()


class TestTakenBack:
    """The bank says no with its own reason, then that the money has moved."""

    @pytest.mark.parametrize("word", ["ACSC", "ACCC"])
    async def test_settled_after_the_banks_no_stops_the_next_attempt(
        self, cashier: Cashier, word: str
    ) -> None:
        """C-12: whether that word was late or true, people find out, and nobody pays meanwhile."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AB07")
        await cashier.says(name, word)
        assert ("PAYMENT_OVERDUE", "OPEN") in await cashier.items()
        assert await cashier.following(name) == name
        assert await cashier.stands() == ("FAILED_MANUAL", "AB07", 1)
        for action in (ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE):
            with refused(Code.REQUEST_DECIDED):
                await cashier.choose(await cashier.item(FAILED), action)
        await _proven_unpaid(cashier, name)

    async def test_the_next_attempt_that_has_not_left_does_not_leave(
        self, cashier: Cashier
    ) -> None:
        """C-12: what was recorded before that word is refused before its first byte."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AB07")
        following = await cashier.following(name)
        assert following != name
        await cashier.says(name, "ACSC")
        row = await cashier.payment(following)
        assert await cashier.counter.run(lambda c: stop_if_paid(c, row, AT))
        assert (await cashier.payment(following)).state is PaymentState.REJECTED

    @pytest.mark.parametrize("order", [("ACSC", "RJCT"), ("RJCT", "ACSC", "RJCT")])
    async def test_its_last_word_is_the_no(self, cashier: Cashier, order: tuple[str, ...]) -> None:
        """C-12: an early ACSC that a no takes back holds nothing up."""
        name = await cashier.remitting()
        await cashier.sending(name)
        for hour, word in enumerate(order):
            reasons = ("AB07",) if word == "RJCT" else ()
            await cashier.says(name, word, *reasons, at=AT + timedelta(hours=hour))
        assert await cashier.following(name) != name

    @pytest.mark.parametrize("word", ["ACTC", "ACSP", "PDNG", "RCVD"])
    async def test_on_its_way_may_be_told_late(self, cashier: Cashier, word: str) -> None:
        """C-09: statuses of one payment come in any order."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AB07")
        await cashier.says(name, word)
        assert await cashier.following(name) != name


async def _proven_unpaid(cashier: Cashier, name: str) -> None:
    """People who say that they know of the bank's word end it, and the money is available."""
    item = await cashier.item(OVERDUE)
    for action, target in ((ItemAction.ACKNOWLEDGE, None), (ItemAction.NOT_PAID, None)):
        with refused(Code.PAYMENT_NAMED):
            await cashier.choose(item, action, target=target)
    await cashier.confirm(await cashier.choose(item, ItemAction.NOT_PAID, target=name))
    await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
    assert (await cashier.stands())[0] == "RETURNED"
    await cashier.verified()


async def _decided_not_found(cashier: Cashier, name: str) -> None:
    row = await cashier.payment(name)

    async def work(connection: AsyncConnection) -> None:
        sheet = await deciding_sheet(connection, [row])
        await record_no(connection, row, NOT_FOUND, "h", AT + VISIBLE)
        await payment_refused(connection, sheet, row, Ending(AT + VISIBLE, NOT_FOUND))
        await sheet.write()

    await cashier.counter.run(work)
