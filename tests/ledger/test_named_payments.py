"""C-12: the bank names a payment in a line that is no money yet; nobody takes it for unpaid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from ledger import attempts
from ledger.bank.files import Arrival, receive_file
from ledger.engine import in_transaction
from ledger.payments import mark_sent
from tests.ledger.bank.telling import Line, statement_file
from tests.ledger.payout_support import AMOUNT, DAY, VISIBLE, Cashier
from tests.ledger.withdrawal_support import AT, OTHER_ACCOUNT
from tests.workflows.bank_support import Moved, camt053
from tests.workflows.support import OUR_NUMBER, refused
from tillkeeper.contracts.bank import BankFile, BookingStatus, FileKind
from tillkeeper.contracts.errors import Code, Unavailable
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction, ReturnTo

FAILED = "WITHDRAWAL_FAILED"
OVERDUE = "PAYMENT_OVERDUE"


def notified(name: str, *, reference: str | None = None, **more: Any) -> BankFile:
    """A notification of one debit."""
    line = Line(-AMOUNT, reference, DAY, end_to_end_id=name, **more)
    return statement_file([line], None, kind=FileKind.CAMT_054, account=OUR_NUMBER)


def by_instruction(name: str) -> BankFile:
    """The bank writes that there is no end-to-end id, and tells the instruction's."""
    found = notified("NOTPROVIDED", reference="B1")
    [line] = found.transactions
    line = line.model_copy(update={"instruction_id": name})
    return found.model_copy(update={"transactions": (line,)})


NAMES = pytest.mark.parametrize(
    "line",
    [
        {},
        {"status": BookingStatus.PENDING, "reference": "B77"},
        {"status": BookingStatus.INFORMATION},
    ],
    ids=["without a reference", "pending", "information"],
)


class TestNotFound:
    @NAMES
    async def test_what_the_bank_names_is_not_absent(
        self, cashier: Cashier, line: dict[str, Any]
    ) -> None:
        """E-09: it stays unclear, and its debit pays it; nothing was sent again."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.bring(notified(name, **line))
        await cashier.absent(name, AT + VISIBLE)
        assert (await cashier.payment(name)).state is PaymentState.UNCLEAR
        assert await cashier.following(name, AT + VISIBLE + timedelta(minutes=1)) == name
        await cashier.debited(name)
        assert (await cashier.payment(name)).state is PaymentState.PAID
        assert await cashier.stands() == ("PAID", None, 1)
        await cashier.verified()

    @NAMES
    async def test_what_is_named_after_its_no_is_not_paid_again(
        self, cashier: Cashier, line: dict[str, Any]
    ) -> None:
        """The next attempt was due already: a person decides, and has an item for each doubt."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.absent(name, AT + VISIBLE)
        await cashier.bring(notified(name, **line))
        assert await cashier.following(name, AT + VISIBLE + timedelta(minutes=1)) == name
        assert await cashier.stands() == ("FAILED_MANUAL", "NOTFOUND", 1)
        assert await cashier.items() == [(OVERDUE, "OPEN"), (FAILED, "OPEN")]
        await cashier.verified()

    async def test_a_second_that_has_not_left_leaves_no_more(self, cashier: Cashier) -> None:
        """The first is named while the second waits for the bank's worker."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.absent(name, AT + VISIBLE)
        second = await cashier.following(name, AT + VISIBLE + timedelta(minutes=1))
        await cashier.bring(notified(name))
        row = await cashier.payment(second)
        assert await cashier.counter.run(lambda c: attempts.stop_if_paid(c, row, AT))
        assert (await cashier.stands())[0] == "FAILED_MANUAL"


class TestInstruction:
    async def test_a_debit_that_names_the_instruction_alone_pays(self, cashier: Cashier) -> None:
        """Our files give both one value, as what is read in a pain.002 says already."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.bring(by_instruction(name))
        assert await cashier.stands() == ("PAID", None, 1)
        assert await cashier.items() == []
        await cashier.verified()


@pytest_asyncio.fixture(loop_scope="session")
async def doubted(cashier: Cashier) -> str:
    """A payment that the bank refused and names as debited."""
    name = await cashier.remitting()
    await cashier.sending(name)
    await cashier.says(name, "RJCT", "AC04")
    await cashier.bring(notified(name))
    return name


class TestPeople:
    @pytest.mark.parametrize("action", [ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE])
    async def test_nobody_pays_again_or_gives_back(
        self, cashier: Cashier, doubted: str, action: ItemAction
    ) -> None:
        """P-71: the debit comes with the statement, and people settle it."""
        item = await cashier.item(FAILED)
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(item, action)
        other = ReturnTo(account=OTHER_ACCOUNT)
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(item, ItemAction.RETRY_CORRECTED, return_to=other)
        await cashier.debited(doubted)
        debit = await cashier.item("UNKNOWN_DEBIT")
        shown = await cashier.choose(debit, ItemAction.PAYMENT, target=doubted)
        await cashier.confirm(shown)
        assert (await cashier.stands())[0] == "PAID"
        assert {end for _, end in await cashier.items()} == {"PAID", "RESOLVED"}
        await cashier.verified()

    async def test_two_people_who_say_so_end_it(self, cashier: Cashier, doubted: str) -> None:
        """C-07: they name what the bank names; a name that is told again contradicts them anew."""
        item = await cashier.item(OVERDUE)
        with refused(Code.PAYMENT_NAMED):
            await cashier.choose(item, ItemAction.NOT_PAID)
        shown = await cashier.choose(item, ItemAction.NOT_PAID, target=doubted)
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        assert (await cashier.confirm(shown)).outcome == "NOT_PAID"
        await cashier.bring(notified(doubted, remittance="again"))
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        again = await cashier.item(OVERDUE)
        assert again != item
        await cashier.confirm(await cashier.choose(again, ItemAction.NOT_PAID, target=doubted))
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        assert await cashier.stands() == ("RETURNED", "AC04", 1)
        await cashier.verified()

    async def test_an_open_one_is_not_proven_unpaid_in_silence(self, cashier: Cashier) -> None:
        """Who does not say that he knows of the bank's line is refused; a name that is none too."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.counter.run(lambda c: attempts.record_several(c, name, AT))
        item = await cashier.item(OVERDUE)
        with refused(Code.PAYMENT_NAMED):
            await cashier.choose(item, ItemAction.NOT_PAID, target=name)
        shown = await cashier.choose(item, ItemAction.NOT_PAID)
        await cashier.bring(notified(name))
        with refused(Code.PAYMENT_NAMED):
            await cashier.confirm(shown)
        assert (await cashier.payment(name)).state is PaymentState.UNCLEAR

    async def test_a_pending_debit_that_the_bank_refuses_then_holds_nothing(
        self, cashier: Cashier
    ) -> None:
        """A pending one may go away; a booked one without a reference is not undone by a word."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.bring(notified(name, status=BookingStatus.PENDING))
        await cashier.says(name, "RJCT", "AC04")
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        assert (await cashier.stands())[0] == "RETURNED"

    async def test_a_booked_one_that_is_refused_then_is_a_doubt(self, cashier: Cashier) -> None:
        """Whichever came first: the same item, and nothing is given back (C-09)."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.bring(notified(name))
        await cashier.says(name, "RJCT", "AC04")
        assert sorted(await cashier.items()) == [(OVERDUE, "OPEN"), (FAILED, "OPEN")]
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)

    async def test_the_second_attempt_is_proven_unpaid_though_the_first_was_debited(
        self, cashier: Cashier
    ) -> None:
        """Each proof is about one attempt; what follows still minds them all."""
        first = await cashier.remitting()
        await cashier.sending(first)
        await cashier.absent(first, AT + VISIBLE)
        second = await cashier.following(first, AT + VISIBLE + timedelta(minutes=1))
        row = await cashier.payment(second)
        await cashier.counter.run(lambda c: mark_sent(c, row.id, "M2", AT))
        await cashier.debited(first)
        await cashier.counter.run(lambda c: attempts.record_several(c, second, AT))
        shown = await cashier.choose(await cashier.item(OVERDUE), ItemAction.NOT_PAID)
        await cashier.confirm(shown)
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        debit = await cashier.item("UNKNOWN_DEBIT")
        await cashier.confirm(await cashier.choose(debit, ItemAction.PAYMENT, target=first))
        assert (await cashier.stands())[0] == "PAID"
        await cashier.verified()


class TestFileToCome:
    async def _kept(self, cashier: Cashier, name: str, at: datetime) -> None:
        """A statement with the debit has come, and is not read."""
        body = camt053([Moved(-AMOUNT, "D1", end_to_end_id=name)], opening=0, day=DAY)
        arrival = Arrival("s.xml", "exchange", None, at)
        await in_transaction(cashier.engine, lambda c: receive_file(c, cashier.ring, body, arrival))

    @pytest.mark.parametrize("action", [ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE])
    async def test_people_are_asked_to_try_again_in_a_moment(
        self, cashier: Cashier, action: ItemAction
    ) -> None:
        """P-71: what stands in the file may be the debit."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AC04")
        await self._kept(cashier, name, AT + timedelta(minutes=59))
        with refused(Code.FILES_UNREAD):
            await cashier.choose(await cashier.item(FAILED), action)

    async def test_a_file_that_is_not_read_for_an_hour_holds_nobody(self, cashier: Cashier) -> None:
        """Somebody else has work with it; the decision is made an hour after 02:00."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "RJCT", "AC04")
        await self._kept(cashier, name, AT - timedelta(seconds=1))
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)

    async def test_two_people_prove_nothing_before_it_is_read(self, cashier: Cashier) -> None:
        """C-12: it came between proposal and approval."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.counter.run(lambda c: attempts.record_several(c, name, AT))
        shown = await cashier.choose(await cashier.item(OVERDUE), ItemAction.NOT_PAID)
        await self._kept(cashier, name, AT + timedelta(hours=2))
        with refused(Code.FILES_UNREAD):
            await cashier.confirm(shown)

    async def test_the_next_attempt_waits_for_what_came_before_it(self, cashier: Cashier) -> None:
        """The activity is retried; a file that came after it was due holds it no more."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.absent(name, AT + VISIBLE)
        now = datetime.now(UTC)
        await self._kept(cashier, name, now)
        with pytest.raises(Unavailable):
            await cashier.following(name, now)
        assert await cashier.following(name, now - timedelta(seconds=1)) != name
