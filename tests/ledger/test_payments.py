"""Payments out in the book: one id for life, decided once, whatever order banks tell it in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import in_transaction
from ledger.payment_rows import opened_terms, payment_view, read_payment
from tests.ledger.payment_support import (
    ACCOUNT,
    AMOUNT,
    AT,
    NAME,
    TERMS,
    Payments,
    said,
    said_of_file,
)
from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.payment import PaymentState, PaymentTerms
from tillkeeper.rules.payments import FIRST_LOOK
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

OUT = (AMOUNT, AMOUNT, 0)
"""The money waits to be paid back."""
GONE = (0, 0, 0)
BACK = (AMOUNT, 0, AMOUNT)


@pytest.fixture
def payments(engine: AsyncEngine, ring: KeyRing) -> Payments:
    return Payments(engine, ring)


class TestRecord:
    async def test_one_subject_has_one_id_for_life(self, payments: Payments) -> None:
        """C-02, C-12: from eight callers at once, and later."""
        names = await asyncio.gather(*(payments.record() for _ in range(8)))
        assert len({*names, await payments.record()}) == 1
        assert names[0].isalnum()
        assert names[0].isupper()
        assert len(names[0]) <= 35
        assert (await payments.rows("SELECT count(*) FROM payments"))[0][0] == 1
        assert await payments.actions(names[0]) == ["record_payment"]

    async def test_another_subject_or_ring_has_another_id(
        self, payments: Payments, engine: AsyncEngine
    ) -> None:
        """Design §4: a second attempt is another payment; nobody guesses an id."""
        first, second = await payments.record(), await payments.record(n=2)
        assert first != second
        elsewhere = Payments(engine, KeyRing.generate("other"))
        assert await elsewhere.record(n=3) != await Payments(
            engine, KeyRing.generate("third")
        ).record(n=4)

    @pytest.mark.parametrize(
        "changes",
        [
            {"amount_minor": AMOUNT + 1},
            {"remittance": "别的"},
            {"creditor": TERMS.creditor.model_copy(update={"account": "1"})},
        ],
    )
    async def test_other_terms_under_the_same_subject_are_refused(
        self, payments: Payments, changes: dict[str, object]
    ) -> None:
        """C-02."""
        await payments.record()
        with pytest.raises(Rejected) as refusal:
            await payments.record(terms=PaymentTerms(**{**dict(TERMS), **changes}))
        assert refusal.value.codes == (Code.KEY_REUSED,)

    async def test_personal_data_is_sealed_and_masked(
        self, payments: Payments, ring: KeyRing
    ) -> None:
        """C-11: at rest, in views, in reprs; whoever has the keys reads it whole."""
        name = await payments.record()
        row = await in_transaction(payments.engine, lambda c: read_payment(c, name))
        stored = str(await payments.rows("SELECT payments::text FROM payments"))
        view = payment_view(ring, row, AT, JD_PREPAID_2023_11)
        for text in (stored, repr(row), str(view), name):
            assert NAME not in text
            assert ACCOUNT not in text
        assert (view.payee, view.account) == ("甲***", "****1234")
        assert opened_terms(ring, row) == TERMS

    async def test_an_unknown_payment(self, payments: Payments) -> None:
        """C-12: nothing is known of it, so nothing is said."""
        with pytest.raises(Rejected) as refusal:
            await in_transaction(payments.engine, lambda c: read_payment(c, "PX"))
        assert refusal.value.codes == (Code.PAYMENT_UNKNOWN,)


class TestSent:
    async def test_it_is_marked_once(self, payments: Payments) -> None:
        """C-02: the first time counts."""
        name = await payments.returning()
        await payments.mark(name)
        await payments.mark(name, "M2", AT + timedelta(days=1))
        row = (await payments.rows("SELECT state, message_id, sent_at FROM payments"))[0]
        assert tuple(row) == ("SENT", name, AT)
        assert await payments.actions(name) == ["record_payment", "send_payment"]

    async def test_an_answer_before_the_mark_stays(self, payments: Payments) -> None:
        """C-09, C-12: banks may be faster than we."""
        name = await payments.returning()
        assert await payments.statuses(said("ACSP", name)) == (name,)
        await payments.mark(name)
        assert await payments.state(name) == ("ACCEPTED", None)


class TestDebited:
    async def test_a_booked_debit_pays_it(self, payments: Payments) -> None:
        """C-12, C-14: in the book on the entry's day, the receipt returned, once."""
        name = await payments.sent()
        assert await payments.figures() == OUT
        assert await payments.debit(name)
        assert await payments.figures() == GONE
        assert (await payments.state(name), await payments.receipt()) == (
            ("PAID", None),
            "RETURNED",
        )
        sql = "SELECT subject, effective_at FROM transfers WHERE kind = 'receipt_return_paid'"
        [moved] = await payments.rows(sql)
        assert moved.subject == f"payment/{name}"
        assert moved.effective_at == datetime(2026, 1, 6, 16, tzinfo=UTC)

    async def test_a_second_debit_is_another_debit(self, payments: Payments) -> None:
        """C-12: the caller makes work of it."""
        name = await payments.sent()
        assert await payments.debit(name)
        assert not await payments.debit(name)
        assert await payments.figures() == GONE

    @pytest.mark.parametrize(("amount", "currency"), [(AMOUNT + 1, "CNY"), (AMOUNT, "EUR")])
    async def test_another_amount_or_currency_is_another_debit(
        self, payments: Payments, amount: int, currency: str
    ) -> None:
        """C-14: 0.01 more is not this payment."""
        name = await payments.sent()
        assert not await payments.debit(name, amount, currency)
        assert await payments.figures() == OUT
        assert await payments.state(name) == ("SENT", None)

    async def test_a_debit_before_the_mark_and_before_any_status(self, payments: Payments) -> None:
        """C-09."""
        name = await payments.returning()
        assert await payments.debit(name)
        await payments.mark(name)
        assert await payments.statuses(said("ACSP", name)) == ()
        assert await payments.state(name) == ("PAID", None)

    async def test_a_debit_after_the_refusal_is_another_debit(self, payments: Payments) -> None:
        """C-12: the money is back already, and was promised to somebody perhaps."""
        name = await payments.sent()
        await payments.statuses(said("RJCT", name, "AC04"))
        assert not await payments.debit(name)
        assert await payments.figures() == BACK


class TestStatuses:
    @pytest.mark.parametrize("status", ["ACTC", "ACCP", "ACSP", "ACSC", "ACWC", "PDNG"])
    async def test_no_status_pays_it(self, payments: Payments, status: str) -> None:
        """C-12: not even ACSC; only the booked debit does."""
        name = await payments.sent()
        assert await payments.statuses(said(status, name)) == (name,)
        assert await payments.state(name) == ("ACCEPTED", None)
        assert (await payments.figures(), await payments.receipt()) == (OUT, "RETURNING")

    @pytest.mark.parametrize("status", ["RCVD", "PART", "CANC", "NEWS", "有限公司"])
    async def test_what_says_nothing_final_changes_nothing(
        self, payments: Payments, status: str
    ) -> None:
        """C-12: unknown is never a failure; it is recorded."""
        name = await payments.sent()
        assert await payments.statuses(said(status, name)) == ()
        assert await payments.state(name) == ("SENT", None)
        [row] = await payments.rows("SELECT status FROM payment_statuses")
        assert row.status in (status, "OTHER")
        assert row.status.isascii()

    async def test_a_refusal_brings_the_money_back_as_work(self, payments: Payments) -> None:
        """C-05, C-12: book, receipt and inbox in one transaction, after an acceptance too."""
        name = await payments.sent()
        await payments.statuses(said("ACTC", name))
        assert await payments.statuses(said("RJCT", name, "AC04", "MS03"), file="s2") == (name,)
        assert await payments.state(name) == ("REJECTED", "AC04")
        assert (await payments.figures(), await payments.receipt()) == (BACK, "UNMATCHED")
        assert await payments.items() == [
            ("PAYMENT_REJECTED", f"payment/{name}", "OPEN"),
            ("UNMATCHED_RECEIPT", "receipt/r1", "OPEN"),
        ]
        assert await payments.actions(name) == [
            "record_payment", "send_payment", "payment_accepted", "payment_rejected",
        ]  # fmt: skip

    async def test_a_reason_that_is_no_code_is_not_kept(self, payments: Payments) -> None:
        """C-11: a bank may write a name where a code belongs."""
        name = await payments.sent()
        await payments.statuses(said("RJCT", name, f"户名不符 {NAME}"))
        assert await payments.state(name) == ("REJECTED", "OTHER")
        told = await payments.rows("SELECT reasons::text AS reasons FROM payment_statuses")
        assert NAME not in told[0].reasons

    @pytest.mark.parametrize("code", ["AM05", "DU01", "DUPL"])
    async def test_refused_as_a_duplicate_refuses_nothing(
        self, payments: Payments, code: str
    ) -> None:
        """C-12: it proves that the bank has the first one; paying again would pay twice."""
        name = await payments.sent()
        assert await payments.statuses(said_of_file("RJCT", name, code)) == ()
        assert (await payments.state(name), await payments.figures()) == (("SENT", None), OUT)

    async def test_the_same_file_twice_is_told_once(self, payments: Payments) -> None:
        """C-02: the second time changes nothing."""
        name = await payments.sent()
        assert await payments.statuses(said("RJCT", name, "AC04")) == (name,)
        assert await payments.statuses(said("RJCT", name, "AC04")) == ()
        assert await payments.figures() == BACK
        assert len(await payments.items()) == 2
        assert len(await payments.rows("SELECT 1 FROM payment_statuses")) == 1

    async def test_after_the_end_a_status_is_recorded_only(self, payments: Payments) -> None:
        """C-12: paid is paid, until its money comes back."""
        name = await payments.sent()
        await payments.debit(name)
        assert await payments.statuses(said("RJCT", name, "AC04")) == ()
        assert (await payments.state(name), await payments.figures()) == (("PAID", None), GONE)
        [row] = await payments.rows("SELECT status FROM payment_statuses")
        assert row.status == "RJCT"

    async def test_any_order_of_statuses_ends_alike(self, payments: Payments) -> None:
        """C-09: 24 orders of four statuses, each told twice."""
        words = ("ACTC", "ACSP", "RCVD", "RJCT")
        for number, order in enumerate(permutations(words)):
            name = await payments.sent(f"r{number}")
            for place, word in enumerate((*order, *order)):
                reasons = ("AC04",) if word == "RJCT" else ()
                await payments.statuses(said(word, name, *reasons), file=f"s{number}-{place % 4}")
            assert await payments.state(name) == ("REJECTED", "AC04")
            assert await payments.receipt(f"r{number}") == "UNMATCHED"
        assert await payments.figures() == (24 * AMOUNT, 0, 24 * AMOUNT)

    async def test_a_file_speaks_of_many(self, payments: Payments) -> None:
        """C-09: a partial batch; names that are not ours are nobody's business."""
        names = [await payments.sent(f"r{number}") for number in range(3)]
        words = [
            said("ACSP", names[0]), said("RJCT", names[1], "AC01"), said("RJCT", "ELSE", "AC01"),
        ]  # fmt: skip
        assert set(await payments.statuses(*words)) == set(names[:2])
        states = [(await payments.state(name))[0] for name in names]
        assert states == ["ACCEPTED", "REJECTED", "SENT"]

    @pytest.mark.parametrize(
        ("lowest", "end"), [("ACSP", PaymentState.ACCEPTED), ("RJCT", PaymentState.REJECTED)]
    )
    async def test_the_lowest_level_that_names_it_wins(
        self, payments: Payments, lowest: str, end: PaymentState
    ) -> None:
        """C-12: a group's status never overrules the transaction's in one file."""
        name = await payments.sent()
        higher = "RJCT" if lowest == "ACSP" else "ACCP"
        group = said_of_file(higher, name, "FF01")
        payment = said(
            higher, name, level=StatusLevel.PAYMENT, stated_at=StatusLevel.PAYMENT,
            payment_id=name, end_to_end_id=None,
        )  # fmt: skip
        await payments.statuses(group, payment, said(lowest, name, "AC04"))
        assert (await payments.state(name))[0] == end.value

    @pytest.mark.parametrize("marked", [True, False])
    async def test_the_whole_file_may_be_refused(self, payments: Payments, marked: bool) -> None:
        """C-12: found by the file's name, before it was marked sent too."""
        name = await payments.returning()
        if marked:
            await payments.mark(name, "BATCH1")
        word = said_of_file("RJCT", "BATCH1" if marked else name, "FF01")
        assert await payments.statuses(word) == (name,)
        assert await payments.state(name) == ("REJECTED", "FF01")

    async def test_a_debit_and_a_refusal_at_once_end_in_one_of_both(
        self, payments: Payments
    ) -> None:
        """C-09: ten times; money is never both gone and back."""
        for number in range(10):
            name = await payments.sent(f"r{number}")
            paid, refused = await asyncio.gather(
                payments.debit(name),
                payments.statuses(said("RJCT", name, "AC04"), file=f"s{number}"),
            )
            assert paid is not bool(refused)
        bank, returning, unmatched = await payments.figures()
        assert (returning, bank) == (0, unmatched)

    async def test_empty_and_unnamed_statuses(self, payments: Payments) -> None:
        """C-12: no answer is no answer."""
        unnamed = PaymentStatus(level=StatusLevel.GROUP, stated_at=StatusLevel.GROUP, status="RJCT")
        await payments.sent()
        assert await payments.statuses(unnamed) == ()
        assert await payments.statuses() == ()


class TestReturned:
    async def test_paid_and_later_returned(self, payments: Payments) -> None:
        """C-13: a new entry, the money with its receipt again, and work."""
        name = await payments.sent()
        await payments.debit(name)
        assert await payments.credit(name)
        assert await payments.state(name) == ("RETURNED", "AC04")
        assert (await payments.figures(), await payments.receipt()) == (BACK, "UNMATCHED")
        assert await payments.items() == [("UNMATCHED_RECEIPT", "receipt/r1", "OPEN")]
        sql = "SELECT subject FROM transfers WHERE kind = 'receipt' ORDER BY recorded_at DESC"
        assert (await payments.rows(sql))[0].subject == f"payment/{name}/returned"

    async def test_it_comes_back_once(self, payments: Payments) -> None:
        """C-13: the second time it is a receipt like any other."""
        name = await payments.sent()
        await payments.debit(name)
        assert await payments.credit(name)
        assert not await payments.credit(name)
        assert await payments.figures() == BACK

    async def test_what_was_not_paid_does_not_come_back(self, payments: Payments) -> None:
        """C-13: credit before debit, another amount, another currency."""
        name = await payments.sent()
        assert not await payments.credit(name)
        await payments.debit(name)
        assert not await payments.credit(name, AMOUNT - 1)
        assert not await payments.credit(name, AMOUNT, "EUR")
        assert await payments.state(name) == ("PAID", None)

    async def test_it_may_be_paid_back_again_under_another_id(self, payments: Payments) -> None:
        """Design §4: a new attempt is a new number, recorded first."""
        name = await payments.sent()
        await payments.statuses(said("RJCT", name, "AC04"))
        assert await payments.record(n=2) != name


class TestOverdue:
    async def test_silence_is_work_after_three_days(self, payments: Payments) -> None:
        """C-05, C-12: at the third day, one item; the answer settles it."""
        name = await payments.sent()
        await payments.overdue(name, AT + FIRST_LOOK - timedelta(seconds=1))
        assert await payments.items() == []
        for day in range(3):
            await payments.overdue(name, AT + FIRST_LOOK + timedelta(days=day))
        assert await payments.items() == [("PAYMENT_OVERDUE", f"payment/{name}", "OPEN")]
        assert await payments.state(name) == ("SENT", None)
        await payments.debit(name)
        assert await payments.items() == [("PAYMENT_OVERDUE", f"payment/{name}", "CLOSED")]
        await payments.overdue(name, AT + timedelta(days=30))
        assert len(await payments.items()) == 1

    async def test_what_never_left_is_work_too(self, payments: Payments) -> None:
        """C-05, C-12: three days after it was recorded, and not a second less."""
        name = await payments.returning()
        await payments.overdue(name, AT + timedelta(days=3, seconds=-1))
        assert await payments.items() == []
        await payments.overdue(name, AT + timedelta(days=3))
        assert await payments.items() == [("PAYMENT_OVERDUE", f"payment/{name}", "OPEN")]
        assert await payments.state(name) == ("RECORDED", None)
