"""Booking what files tell: one credit, whoever tells it; the rest to people (P-21 … P-32)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.full_book import PAYEE, FullBook
from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.bank.till import ASKED, COMPANY, Till
from tests.ledger.desk_support import Office
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.receipt import ReceiptState, ReceiptView
from tillkeeper.contracts.workitem import ItemAction
from tillkeeper.sealing import KeyRing


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def stated(*lines: Line, number: str = "1") -> BankFile:
    """A camt.053 from 0 on."""
    total = sum(line.signed for line in lines)
    return statement_file(lines, Balances(0, total, number=number))


def notified(*lines: Line) -> BankFile:
    """A camt.054."""
    return statement_file(lines, None, kind=FileKind.CAMT_054)


def paid(amount: int = 500_000, reference: str = "B1", **more: object) -> Line:
    return Line(amount, reference, payer=COMPANY, **more)  # type: ignore[arg-type]


class TestCredit:
    async def test_name_and_amount_credit_the_request(self, till: Till) -> None:
        """P-21, P-23, P-26, P-28: 5,000.00 by the company's own name, with no human action."""
        await till.ask("M1", "R1", 500_000)
        [[booked]] = await till.bring(stated(paid()))
        assert (booked.entries, booked.more, len(booked.days)) == (1, False, 1)
        assert [(c.merchant, c.currency, c.request) for c in booked.credited] == [
            ("M1", "CNY", "R1")
        ]
        assert await till.available("M1") == 500_000
        assert await till.balances() == {"bank": 500_000}
        assert await till.receipts() == [("CREDITED", None, 500_000, "R1", None)]
        assert await till.items() == []
        assert await till.rows("SELECT booked_as = 'entry/' || id FROM bank_entries") == [(True,)]
        audited = await till.rows("SELECT subject, after->>'state' FROM audit")
        assert audited == [("topup/M1/R1", "CREDITED")]
        assert await till.sound()

    async def test_money_is_in_the_book_whatever_comes_of_it(self, till: Till) -> None:
        """P-21, P-29: 5,000.00 from 丙丁商贸有限公司 stays unmatched, with an item."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(Line(500_000, "B1", payer="丙丁商贸有限公司")))
        assert await till.balances() == {"bank": 500_000, "unmatched_receipts": 500_000}
        assert await till.receipts() == [("UNMATCHED", "PAYER_NAME_MISMATCH", 500_000, None, "R1")]
        assert await till.items() == [("UNMATCHED_RECEIPT", "PAYER_NAME_MISMATCH", "OPEN", None)]
        assert await till.rows("SELECT context->>'suggests' FROM work_items") == [("M1/R1",)]
        assert await till.sound()

    @pytest.mark.parametrize("amounts", [(499_999,), (500_001,), (250_000, 250_000)])
    async def test_another_amount_is_no_credit(self, till: Till, amounts: tuple[int, ...]) -> None:
        """P-23: to the fen, no parts."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(*(paid(a, f"B{n}") for n, a in enumerate(amounts))))
        assert await till.receipts() == [
            ("UNMATCHED", "AMOUNT_MISMATCH", amount, None, "R1") for amount in amounts
        ]
        assert await till.available("M1") == 0

    async def test_requests_of_similar_names_and_equal_amounts(self, till: Till) -> None:
        """P-21, P-32: two merchants, one letter apart; each is credited by its own payer."""
        await till.ask("M1", "R1", 500_000, company="甲乙贸易有限公司")
        await till.ask("M2", "R2", 500_000, company="甲乙贸易(上海)有限公司")
        await till.bring(stated(Line(500_000, "B1", payer="甲乙贸易（上海）有限公司")))
        assert (await till.available("M1"), await till.available("M2")) == (0, 500_000)
        await till.bring(stated(Line(500_000, "B2", payer="甲乙贸易有限公司"), number="2"))
        assert (await till.available("M1"), await till.available("M2")) == (500_000, 500_000)
        assert await till.sound()

    async def test_merchants_of_one_company_need_the_code(self, till: Till) -> None:
        """P-21, P-25, P-32: one legal name, equal amounts: AMBIGUOUS, or the code decides."""
        await till.ask("M1", "R1", 500_000)
        code = await till.ask("M2", "R2", 500_000)
        await till.bring(stated(paid(reference="B1")))
        assert await till.receipts() == [("UNMATCHED", "AMBIGUOUS", 500_000, None, None)]
        text = f"货款 {code[:4].lower()} {code[4:]}"
        await till.bring(stated(paid(reference="B2", remittance=text), number="2"))
        assert (await till.available("M1"), await till.available("M2")) == (0, 500_000)
        assert await till.sound()

    async def test_first_of_two_receipts_credits(self, till: Till) -> None:
        """P-23, P-26: one receipt pays one request; the second in order is unmatched."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(paid(reference="B1"), paid(reference="B2")))
        assert await till.receipts() == [
            ("CREDITED", None, 500_000, "R1", None),
            ("UNMATCHED", "NO_OPEN_REQUEST", 500_000, None, None),
        ]
        assert await till.available("M1") == 500_000
        assert await till.sound()

    @pytest.mark.parametrize(
        ("late", "state"),
        [
            (timedelta(0), "CREDITED"),
            (timedelta(microseconds=1), "UNMATCHED"),
            (timedelta(days=1), "UNMATCHED"),
        ],
    )
    async def test_day_sixteen_is_too_late(self, till: Till, late: timedelta, state: str) -> None:
        """P-31: TTL 15 days, by when the file came; the expired request is suggested."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(paid()), at=ASKED + timedelta(days=15) + late)
        suggested = None if state == "CREDITED" else "R1"
        credited = "R1" if state == "CREDITED" else None
        reason = None if state == "CREDITED" else "REQUEST_EXPIRED"
        assert await till.receipts() == [(state, reason, 500_000, credited, suggested)]

    async def test_request_after_the_file_is_not_meant(self, till: Till) -> None:
        """P-25: request first, then transfer."""
        digest = await till.stage(stated(paid()))
        await till.ask("M1", "R1", 500_000, at=ASKED + timedelta(days=1))
        await till.book(digest, at=ASKED + timedelta(days=2))
        assert await till.receipts() == [("UNMATCHED", "NO_OPEN_REQUEST", 500_000, None, None)]

    async def test_no_payer_is_no_credit(self, till: Till) -> None:
        """P-21: a lump of 5,000.00 without a word; the one request of that amount is suggested."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(Line(500_000, "B1")))
        assert await till.receipts() == [("UNMATCHED", "PAYER_UNKNOWN", 500_000, None, "R1")]

    async def test_parts_are_receipts_of_their_own(self, till: Till) -> None:
        """P-23: one entry of 8,000.00 in two parts pays 5,000.00 and leaves 3,000.00."""
        await till.ask("M1", "R1", 500_000)
        parts = ((COMPANY, 500_000), ("丙丁商贸有限公司", 300_000))
        await till.bring(stated(Line(800_000, "B1", parts=parts)))
        assert [row[0] for row in await till.receipts()] == ["CREDITED", "UNMATCHED"]
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}
        assert await till.sound()

    async def test_parts_that_do_not_add_up_are_one_receipt(self, till: Till) -> None:
        """P-23: what moved is the entry; nobody is credited on parts that contradict it."""
        await till.ask("M1", "R1", 500_000)
        parts = ((COMPANY, 500_000), ("丙丁商贸有限公司", 300_001))
        await till.bring(stated(Line(800_000, "B1", parts=parts)))
        assert await till.receipts() == [("UNMATCHED", "PAYER_UNKNOWN", 800_000, None, None)]
        assert await till.sound()


class TestSameReceipt:
    """P-26: the same receipt, told by several files and doors, in any order: one credit."""

    async def told(self, till: Till) -> None:
        assert await till.available("M1") == 500_000
        assert await till.balances() == {"bank": 500_000}
        assert len(await till.receipts()) == 1
        assert await till.sound()

    @pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0, 1, 1), (1, 0, 1, 0)])
    async def test_notification_and_statement(self, till: Till, order: tuple[int, ...]) -> None:
        """P-26: camt.054 then camt.053, and the other way round."""
        await till.ask("M1", "R1", 500_000)
        files = (notified(paid()), stated(paid()))
        for place in order:
            await till.bring(files[place])
        await self.told(till)

    async def test_report_then_file(self, till: Till) -> None:
        """P-26: the entry names the receipt that was reported, and posts nothing."""
        await till.ask("M1", "R1", 500_000)
        view = await till.report(500_000, "B1")
        assert view.state is ReceiptState.CREDITED
        await till.bring(stated(paid()), notified(paid()))
        assert await till.rows("SELECT booked_as FROM bank_entries") == [
            (f"receipt/{view.digest}",)
        ]
        assert await till.report(500_000, "B1") == view
        await self.told(till)

    async def test_file_then_report(self, till: Till) -> None:
        """P-26: the report is answered from the file's receipt."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(paid()))
        view = await till.report(500_000, " B1")
        assert (view.state, view.merchant, view.request) == (ReceiptState.CREDITED, "M1", "R1")
        await self.told(till)

    async def test_report_of_another_amount_under_the_reference(self, till: Till) -> None:
        """C-02: one reference, another body: refused, and nothing is booked."""
        await till.bring(stated(paid()))
        with pytest.raises(Exception, match="KEY_REUSED"):
            await till.report(500_001, "B1")
        assert await till.balances() == {"bank": 500_000, "unmatched_receipts": 500_000}

    async def test_lump_then_details(self, till: Till) -> None:
        """P-26: a lump in the camt.053, its parts in a camt.054 later: no new posting."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(Line(800_000, "B1")))
        parts = ((COMPANY, 500_000), ("丙丁商贸有限公司", 300_000))
        details = notified(Line(800_000, "B1", parts=parts))
        await till.bring(details, details)
        assert [row[:3] for row in await till.receipts()] == [
            ("DETAILED", "PAYER_UNKNOWN", 800_000),
            ("CREDITED", None, 500_000),
            ("UNMATCHED", "NO_OPEN_REQUEST", 300_000),
        ]
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}
        assert [row[2:] for row in await till.items()] == [("CLOSED", "RESOLVED"), ("OPEN", None)]
        assert await till.sound()

    async def test_details_then_lump(self, till: Till) -> None:
        """P-26: the other way round."""
        await till.ask("M1", "R1", 500_000)
        parts = ((COMPANY, 500_000), ("丙丁商贸有限公司", 300_000))
        await till.bring(notified(Line(800_000, "B1", parts=parts)), stated(Line(800_000, "B1")))
        assert [row[0] for row in await till.receipts()] == ["CREDITED", "UNMATCHED"]
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}


class TestDebit:
    async def test_unknown_debit_is_suspense_and_work(self, till: Till) -> None:
        """P-29: 30.00 left, and no payment of ours says why."""
        await till.bring(stated(Line(-3_000, "D1")))
        assert await till.balances() == {"bank": -3_000, "unmatched_payments": 3_000}
        assert await till.items() == [("UNKNOWN_DEBIT", "", "OPEN", None)]
        assert await till.sound()

    async def test_reversed_debit_comes_back(self, till: Till) -> None:
        """P-29: the item comes right by itself."""
        await till.bring(stated(Line(-3_000, "D1"), Line(3_000, "D1", reversal=True)))
        assert await till.balances() == {}
        assert await till.items() == [("UNKNOWN_DEBIT", "", "CLOSED", "RESOLVED")]
        assert await till.receipts() == []
        assert await till.sound()

    async def test_reversal_without_its_debit_is_a_receipt(self, till: Till) -> None:
        """P-29: and never a top-up, whatever name and amount say."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(paid(reversal=True)))
        assert await till.receipts() == [("UNMATCHED", "NO_OPEN_REQUEST", 500_000, None, None)]
        assert await till.sound()

    @pytest.mark.parametrize("together", [True, False])
    async def test_reversed_unmatched_receipt_goes(self, till: Till, together: bool) -> None:
        """P-26: RvslInd on what is nobody's, in the same file or later."""
        first, second = paid(), paid(-500_000, reversal=True)
        if together:
            await till.bring(stated(first, second))
        else:
            await till.bring(stated(first), stated(second, number="2"))
        assert await till.balances() == {}
        assert [row[0] for row in await till.receipts()] == ["REVERSED"]
        assert await till.items() == [
            ("UNMATCHED_RECEIPT", "NO_OPEN_REQUEST", "CLOSED", "RESOLVED")
        ]
        assert await till.sound()

    async def test_reversed_credit_stays_the_merchants(self, till: Till) -> None:
        """C-13: merchants' money is never taken automatically; people decide."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(paid()), stated(paid(-500_000, reversal=True), number="2"))
        assert await till.available("M1") == 500_000
        assert await till.balances() == {"unmatched_payments": 500_000}
        assert [row[0] for row in await till.receipts()] == ["CREDITED"]
        assert [row[0] for row in await till.items()] == ["CREDIT_REVERSED"]
        assert await till.sound()

    async def test_reversal_told_before_its_receipt(self, till: Till) -> None:
        """C-09, P-21: money that the bank took back already credits nobody."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(paid(-500_000, reversal=True)), stated(paid(), number="2"))
        assert await till.balances() == {}
        assert await till.available("M1") == 0
        assert await till.items() == [("UNKNOWN_DEBIT", "", "CLOSED", "RESOLVED")]
        assert await till.sound()

    async def test_reversed_lump_takes_all_its_parts(self, till: Till) -> None:
        """P-26."""
        parts = ((COMPANY, 500_000), ("丙丁商贸有限公司", 300_000))
        lump = Line(800_000, "B1", parts=parts)
        await till.bring(stated(lump, Line(-800_000, "B1", reversal=True)))
        assert {row[0] for row in await till.receipts()} == {"REVERSED"}
        assert await till.balances() == {}
        assert await till.sound()


class TestBatch:
    async def test_batches_end_and_the_file_is_booked(self, till: Till) -> None:
        """C-02: three batches of two; called again, nothing."""
        file = stated(*(paid(1_000 + n, f"B{n}") for n in range(5)))
        [batches] = await till.bring(file, limit=2)
        assert [(b.entries, b.more) for b in batches] == [(2, True), (2, True), (1, False)]
        digest = (await till.rows("SELECT digest FROM bank_files WHERE state = 'BOOKED'"))[0][0]
        assert (await till.book(digest)).entries == 0
        assert (await till.balances())["bank"] == sum(1_000 + n for n in range(5))
        assert await till.sound()


class TestPayment:
    """C-12, C-13: a payment of ours is paid by the bank's booked debit, and may come back."""

    async def returning(self, till: Till) -> str:
        await till.bring(stated(Line(110_000, "B1", payer="丙丁商贸有限公司")))
        await FullBook(till.engine, till.ring).decide(
            "UNMATCHED_RECEIPT", 110_000, ItemAction.RETURN, return_to=PAYEE
        )
        found: str = (await till.rows("SELECT end_to_end_id FROM payments"))[0][0]
        return found

    async def test_booked_debit_pays_it(self, till: Till) -> None:
        """C-12: the entry is in the book as the payment."""
        name = await self.returning(till)
        [[booked]] = await till.bring(stated(Line(-110_000, "P1", end_to_end_id=name), number="2"))
        assert booked.payments == (name,)
        assert await till.balances() == {}
        assert [row[0] for row in await till.receipts()] == ["RETURNED"]
        assert (f"payment/{name}",) in await till.rows("SELECT booked_as FROM bank_entries")
        assert await till.sound()

    async def test_debit_of_another_amount_is_unknown(self, till: Till) -> None:
        """C-12: 0.01 more is no payment of ours."""
        name = await self.returning(till)
        await till.bring(stated(Line(-110_001, "P1", end_to_end_id=name), number="2"))
        assert [row[0] for row in await till.receipts()] == ["RETURNING"]
        assert await till.balances() == {
            "bank": -1, "returning_receipts": 110_000, "unmatched_payments": 110_001
        }  # fmt: skip
        assert await till.sound()

    async def test_paid_payment_comes_back(self, till: Till) -> None:
        """C-13: the money is unmatched again, and work, even if a request of that amount waits."""
        name = await self.returning(till)
        await till.bring(stated(Line(-110_000, "P1", end_to_end_id=name), number="2"))
        await till.ask("M1", "R1", 110_000, company="丙丁商贸有限公司")
        back = Line(110_000, "C1", payer="丙丁商贸有限公司", end_to_end_id=name)
        await till.bring(stated(back, number="3"))
        assert await till.balances() == {"bank": 110_000, "unmatched_receipts": 110_000}
        assert [row[0] for row in await till.receipts()] == ["UNMATCHED"]
        assert (await till.items())[-1][2] == "OPEN"
        assert await till.sound()


class TestActivation:
    async def test_first_credit_activates_once(self, till: Till) -> None:
        """P-09, P-10: two credits of one file; the first makes the account active."""
        office = Office(till.engine, till.ring)
        await office.account("M5")
        for request, amount in (("R1", 300_000), ("R2", 400_000)):
            await till.ask("M5", request, amount)
        [[booked]] = await till.bring(stated(paid(300_000, "B1"), paid(400_000, "B2")))
        assert [c.activated for c in booked.credited] == [True, False]
        assert await till.rows("SELECT state FROM prepaid_accounts") == [("ACTIVE",)]
        assert await till.rows("SELECT activated FROM receipts ORDER BY amount") == [
            (True,), (False,)
        ]  # fmt: skip
        assert await till.sound()


class TestTogether:
    async def test_two_workers_book_a_file_once(self, till: Till) -> None:
        """C-02, C-09: an activity that is run again while its first run goes on."""
        for number in range(8):
            await till.ask("M1", f"R{number}", 300_000 + number)
        file = stated(*(paid(300_000 + n, f"B{n}") for n in range(8)))
        digest = await till.stage(file)
        done = await asyncio.gather(*(till.book(digest, limit=3) for _ in range(4)))
        while (await till.book(digest, limit=3)).more:
            pass
        assert sum(b.entries for b in done) <= 8
        assert await till.balances() == {"bank": sum(300_000 + n for n in range(8))}
        assert {row[0] for row in await till.receipts()} == {"CREDITED"}
        assert await till.sound()

    async def test_report_and_file_at_once(self, till: Till) -> None:
        """P-26: whoever comes first books it; one credit."""
        await till.ask("M1", "R1", 500_000)
        digest = await till.stage(stated(paid()))
        views = await asyncio.gather(
            till.report(500_000, "B1"), till.book(digest), till.report(500_000, "B1")
        )
        assert isinstance(views[0], ReceiptView)
        assert (views[0].state, views[0].request) == (ReceiptState.CREDITED, "R1")
        assert await till.balances() == {"bank": 500_000}
        assert len(await till.receipts()) == 1
        assert await till.sound()
