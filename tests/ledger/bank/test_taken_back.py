"""What banks take back and what was reported too: every movement once (P-26, C-09, C-12, C-13)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.bank.early import DEBIT_AWAITED_S
from ledger.engine import in_transaction
from ledger.payments import apply_statuses
from tests.ledger.bank.full_book import PAYEE, STRANGER, FullBook
from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.bank.till import ASKED, CAME, COMPANY, Till
from tests.ledger.payment_support import said
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.workitem import ItemAction
from tillkeeper.sealing import KeyRing

LATER = timedelta(hours=1)
UNKNOWN_OPEN = ("UNKNOWN_DEBIT", "", "OPEN", None)
UNKNOWN_RESOLVED = ("UNKNOWN_DEBIT", "", "CLOSED", "RESOLVED")
TAKEN_OPEN = ("CREDIT_REVERSED", "", "OPEN", None)


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def notified(*lines: Line) -> BankFile:
    """A camt.054."""
    return statement_file(lines, None, kind=FileKind.CAMT_054)


def stated(*lines: Line) -> BankFile:
    """A camt.053 from 0 on."""
    return statement_file(lines, Balances(0, sum(line.signed for line in lines), number="1"))


def paid(amount: int = 500_000, *, reversal: bool = False, remittance: str = "") -> Line:
    return Line(amount, "B1", payer=COMPANY, reversal=reversal, remittance=remittance)


async def returning(till: Till) -> str:
    """A receipt of 5,000.00 is to be paid back: its end-to-end id."""
    await till.bring(notified(Line(500_000, "S1", payer=STRANGER)))
    await FullBook(till.engine, till.ring).decide(
        "UNMATCHED_RECEIPT", 500_000, ItemAction.RETURN, return_to=PAYEE
    )
    found: str = (await till.rows("SELECT end_to_end_id FROM payments"))[0][0]
    return found


async def payment_state(till: Till) -> str:
    state: str = (await till.rows("SELECT state FROM payments"))[0][0]
    return state


class TestReportedToo:
    """P-26: what was reported and what a file tells is one movement, also where none pays in."""

    async def test_returned_payment_is_answered_by_what_it_was_paid_for(self, till: Till) -> None:
        """P-26, C-13: the file first: one receipt of 5,000.00, and R1 gets nothing."""
        name = await returning(till)
        await till.bring(notified(Line(-500_000, "D1", end_to_end_id=name)))
        await till.ask("M1", "R1", 500_000)
        await till.bring(notified(Line(500_000, "C1", payer=COMPANY, end_to_end_id=name)))
        view = await till.report(500_000, "C1", at=CAME + LATER)
        assert (view.state, view.request) == (ReceiptState.UNMATCHED, None)
        assert view == await till.report(500_000, "C1", at=CAME + LATER)
        assert [row[:3] for row in await till.receipts()] == [
            ("UNMATCHED", "NO_OPEN_REQUEST", 500_000)
        ]
        assert await till.balances() == {"bank": 500_000, "unmatched_receipts": 500_000}
        assert await till.sound()

    async def test_reported_return_that_was_credited_is_work(self, till: Till) -> None:
        """P-26, C-13: the report first: booked once, the merchant keeps it, people decide."""
        name = await returning(till)
        await till.bring(notified(Line(-500_000, "D1", end_to_end_id=name)))
        await till.ask("M1", "R1", 500_000)
        assert (await till.report(500_000, "C1")).state is ReceiptState.CREDITED
        await till.bring(notified(Line(500_000, "C1", payer=COMPANY, end_to_end_id=name)))
        assert await till.balances() == {"bank": 500_000}
        assert await till.available("M1") == 500_000
        assert (await till.items())[-1] == TAKEN_OPEN
        assert await till.sound()

    async def test_debit_taken_back_and_reported_after(self, till: Till) -> None:
        """P-26: the credit took the unknown debit back; the report books nothing."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(
            notified(Line(-500_000, "D1")), notified(Line(500_000, "D1", reversal=True))
        )
        view = await till.report(500_000, "D1")
        assert (view.state, view.amount_minor) == (ReceiptState.REVERSED, 500_000)
        assert (await till.balances(), await till.available("M1")) == ({}, 0)
        assert await till.items() == [UNKNOWN_RESOLVED]
        assert await till.sound()

    async def test_debit_taken_back_and_reported_before(self, till: Till) -> None:
        """P-26: a report under the reference of a debit in suspense credits nobody."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(notified(Line(-500_000, "D1")))
        assert (await till.report(500_000, "D1")).state is ReceiptState.UNMATCHED
        await till.bring(notified(Line(500_000, "D1", reversal=True)))
        assert await till.available("M1") == 0
        assert await till.balances() == {
            "unmatched_payments": 500_000, "unmatched_receipts": 500_000
        }  # fmt: skip
        assert await till.sound()

    async def test_another_amount_under_the_reference_is_refused(self, till: Till) -> None:
        """C-02: one reference, another body; also where the file's credit made no receipt."""
        await till.bring(
            notified(Line(-500_000, "D1")), notified(Line(500_000, "D1", reversal=True))
        )
        with pytest.raises(Exception, match="KEY_REUSED"):
            await till.report(500_001, "D1")
        assert await till.balances() == {}


class TestOwnReversal:
    """C-09, C-13: a credit never explains its own reversal."""

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_reported_then_stated_with_its_reversal(
        self, till: Till, newest_first: bool
    ) -> None:
        """C-13: 5,000.00 came and went: the bank has 0, the merchant what it had, people work."""
        await till.ask("M1", "R1", 500_000)
        await till.report(500_000, "B1")
        lines = [paid(-500_000, reversal=True), paid()]
        await till.bring(stated(*(lines if newest_first else lines[::-1])))
        assert await till.balances() == {"unmatched_payments": 500_000}
        assert await till.available("M1") == 500_000
        assert await till.items() == [TAKEN_OPEN]
        assert await till.sound()

    async def test_reported_then_reversal_then_statement(self, till: Till) -> None:
        """C-09: the reversal is notified before any file tells the credit."""
        await till.ask("M1", "R1", 500_000)
        await till.report(500_000, "B1")
        await till.bring(notified(paid(-500_000, reversal=True)))
        await till.bring(stated(paid(), paid(-500_000, reversal=True)))
        assert await till.balances() == {"unmatched_payments": 500_000}
        assert await till.items() == [TAKEN_OPEN]
        assert await till.sound()

    async def test_reversal_then_report_then_statement(self, till: Till) -> None:
        """C-09: what the bank took back before it was reported credits nobody."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(notified(paid(-500_000, reversal=True)))
        assert (await till.report(500_000, "B1")).state is ReceiptState.UNMATCHED
        await till.bring(stated(paid(), paid(-500_000, reversal=True)))
        assert await till.available("M1") == 0
        assert await till.balances() == {
            "unmatched_payments": 500_000, "unmatched_receipts": 500_000
        }  # fmt: skip
        assert await till.sound()


class TestPaymentTwice:
    """C-12: what was paid out once is never paid out again."""

    async def test_second_debit_is_taken_back_and_the_payment_stays_paid(self, till: Till) -> None:
        """C-12, C-13: debited twice; the first that comes back is the debit too many."""
        name = await returning(till)
        debits = [Line(-500_000, one, end_to_end_id=name) for one in ("D1", "D2")]
        await till.bring(notified(*debits))
        assert (await till.items())[-1] == UNKNOWN_OPEN
        back = Line(500_000, "D2", end_to_end_id=name, reversal=True)
        await till.bring(notified(back))
        assert await payment_state(till) == "PAID"
        assert [row[0] for row in await till.receipts()] == ["RETURNED"]
        assert (await till.balances(), (await till.items())[-1]) == ({}, UNKNOWN_RESOLVED)
        assert await till.sound()
        await till.bring(stated(*debits, back, Line(500_000, "C9", end_to_end_id=name)))
        assert await payment_state(till) == "RETURNED"
        assert await till.balances() == {"bank": 500_000, "unmatched_receipts": 500_000}
        assert await till.sound()

    async def test_refused_yet_debited_and_brought_back(self, till: Till) -> None:
        """C-12: the return names our end-to-end id: it takes back the debit that does, once."""
        name = await returning(till)
        at = datetime(2024, 5, 7, tzinfo=UTC)
        refusal = [said("RJCT", name, "AC04")]
        await in_transaction(till.engine, lambda c: apply_statuses(c, refusal, "s1", at))
        await till.bring(
            notified(Line(-500_000, "D1", end_to_end_id=name)),
            notified(Line(500_000, "C1", payer=STRANGER, end_to_end_id=name)),
        )
        assert [row[:3] for row in await till.receipts()] == [
            ("UNMATCHED", "NO_OPEN_REQUEST", 500_000)
        ]
        assert await till.balances() == {"bank": 500_000, "unmatched_receipts": 500_000}
        assert (await till.items())[-1] == UNKNOWN_RESOLVED
        assert await till.sound()

    async def test_debit_of_another_amount_is_not_taken_back(self, till: Till) -> None:
        """C-12: 0.01 less under our end-to-end id explains nothing."""
        name = await returning(till)
        await till.bring(
            notified(Line(-500_001, "D1", end_to_end_id=name)),
            notified(Line(500_000, "C1", end_to_end_id=name)),
        )
        assert UNKNOWN_OPEN in await till.items()
        assert await till.sound()


class TestCodeOfAnother:
    """P-25, P-32: money that names another request than name and amount do is for people."""

    async def test_paid_request_named_again(self, till: Till) -> None:
        """P-32: M2's code twice; the second is not credited to M1 of the same company."""
        await till.ask("M1", "R1", 500_000)
        code = await till.ask("M2", "R2", 500_000)
        await till.bring(notified(paid(remittance=code)))
        again = Line(500_000, "B2", payer=COMPANY, remittance=code)
        await till.bring(notified(again))
        assert (await till.available("M1"), await till.available("M2")) == (0, 500_000)
        assert await till.receipts() == [
            ("CREDITED", None, 500_000, "R2", None),
            ("UNMATCHED", "AMBIGUOUS", 500_000, None, None),
        ]
        assert await till.sound()

    async def test_open_request_of_another_amount_named(self, till: Till) -> None:
        """P-23, P-32: the code says M2's 6,000.00, the amount M1's 5,000.00."""
        await till.ask("M1", "R1", 500_000)
        code = await till.ask("M2", "R2", 600_000, at=ASKED + LATER)
        await till.bring(notified(paid(remittance=code)))
        assert (await till.available("M1"), await till.available("M2")) == (0, 0)
        assert await till.receipts() == [("UNMATCHED", "AMBIGUOUS", 500_000, None, "R2")]
        assert await till.sound()


PARTS = ((COMPANY, 500_000), (STRANGER, 300_000))


class TestReportOfPart:
    """P-26: one part was reported under the batch's reference before the bank told the batch."""

    @pytest.mark.parametrize("lump_first", [False, True])
    async def test_credited_part_stays_and_the_rest_is_booked(
        self, till: Till, lump_first: bool
    ) -> None:
        """P-26, C-09: 8,000.00 of which 5,000.00 were reported: R1 once, 3,000.00 unmatched."""
        await till.ask("M1", "R1", 500_000)
        first = await till.report(500_000, "B1")
        await till.ask("M1", "R2", 500_000, at=ASKED + LATER)
        lump = [notified(Line(800_000, "B1"))] if lump_first else []
        await till.bring(*lump, notified(Line(800_000, "B1", parts=PARTS)))
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}
        assert await till.available("M1") == 500_000
        again = await till.report(500_000, "B1")
        assert (again.state, again.request) == (first.state, "R1")
        assert await till.sound()

    async def test_unmatched_part_is_received_from_the_file(self, till: Till) -> None:
        """P-26: 3,000.00 of a stranger were reported: one receipt of them, one open item."""
        await till.report(300_000, "B1", company=STRANGER)
        await till.bring(notified(Line(800_000, "B1", parts=PARTS)))
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 800_000}
        assert sorted(row[0] for row in await till.receipts()) == [
            "REVERSED", "UNMATCHED", "UNMATCHED"
        ]  # fmt: skip
        assert [row[2] for row in await till.items()] == ["CLOSED", "OPEN", "OPEN"]
        view = await till.report(300_000, "B1", company=STRANGER)
        assert view.state is ReceiptState.UNMATCHED
        assert await till.sound()

    async def test_another_entry_is_not_taken_for_the_report(self, till: Till) -> None:
        """P-26: one statement tells the reference again for 5,000.00: it tells other money."""
        await till.ask("M1", "R1", 500_000)
        await till.report(500_000, "B1")
        await till.bring(notified(Line(800_000, "B1", parts=PARTS)))
        await till.bring(stated(Line(800_000, "B1", parts=PARTS), paid()))
        assert await till.balances() == {"bank": 1_300_000, "unmatched_receipts": 800_000}
        assert await till.sound()


class TestReturnBeforeItsDebit:
    """C-13: a payment comes back before the file that tells its debit is booked."""

    async def test_a_return_waits_for_the_file_that_may_tell_its_debit(self, till: Till) -> None:
        """C-13: files are booked side by side; the later one may be ready first."""
        name = await returning(till)
        debit = notified(Line(-500_000, "D1", end_to_end_id=name))
        back = notified(Line(500_000, "C9", end_to_end_id=name))
        now = datetime.now(UTC)
        first, second = [await till.stage(one, at=now) for one in (debit, back)]
        with pytest.raises(Unavailable):
            await till.book(second)
        await till.book(first)
        assert await payment_state(till) == "PAID"
        await till.book(second)
        assert await payment_state(till) == "RETURNED"
        assert await till.sound()

    async def test_a_return_waits_five_minutes_and_no_longer(self, till: Till) -> None:
        """C-13: what no file explains by then is a receipt, and a person's."""
        name = await returning(till)
        past = datetime.now(UTC) - timedelta(seconds=DEBIT_AWAITED_S)
        await till.stage(notified(Line(-1, "D1")), at=past)
        second = await till.stage(notified(Line(500_000, "C9", end_to_end_id=name)))
        await till.book(second)
        assert await payment_state(till) == "RECORDED"
        assert [row[0] for row in await till.receipts()] == ["RETURNING", "UNMATCHED"]
