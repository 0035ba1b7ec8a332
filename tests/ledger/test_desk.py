"""What an approval moves: match, return, charge, each in one transaction (P-29, P-46, C-07)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import remedies, workitems
from ledger import unmatched as unmatched_reads
from ledger.orders import OrderBook
from ledger.payment_rows import payment_of
from ledger.payments import apply_statuses
from ledger.sheet import Effect, Sheet
from ledger.unmatched import Unmatched
from ledger.verify import verify
from ledger.workitems import NewItem
from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.bank.till import Till
from tests.ledger.desk_support import AT, BANK, NAME, OTHER, Office
from tests.ledger.support import hold
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.workitem import (
    Hint,
    ItemAction,
    ItemKind,
    ItemState,
    ItemView,
    Outcome,
    ReturnTo,
)
from tillkeeper.rules.codes import reference_code
from tillkeeper.sealing import KeyRing


@pytest.fixture
def office(engine: AsyncEngine, ring: KeyRing) -> Office:
    return Office(engine, ring)


async def unmatched(office: Office, amount: int = 5_000_00, reference: str = "B1") -> int:
    receipt = await office.receipt(amount, reference)
    return await office.item(f"receipt/{receipt.digest}")


def codes(answer: Any) -> tuple[Code, ...]:
    assert isinstance(answer, Rejected), answer
    return answer.codes


async def refusal(work: Any) -> tuple[Code, ...]:
    with pytest.raises(Rejected) as caught:
        await work
    return caught.value.codes


class TestMatch:
    async def test_dues_are_paid_first_and_the_account_becomes_active(self, office: Office) -> None:
        """P-46, P-09: 5,000.00 pays 36.00 of dues, 4,964.00 stay available."""
        await office.account()
        await office.ask()
        await office.stand("M1", AccountState.ACTIVE)
        await office.rows("UPDATE prepaid_accounts SET billing_from = $1 RETURNING id", AT)
        await OrderBook(office.engine).apply([hold("M1", "A1", 36_00, at=AT)])
        assert await office.bucket("dues") == 36_00
        item = await unmatched(office)
        done = await office.approve(await office.propose(item, ItemAction.MATCH, "M1/T1"))
        assert (done.credited, done.activated) == ("M1/T1", False)
        assert await office.bucket("dues") == 0
        assert await office.bucket("available") == 4_964_00
        names = await office.rows("SELECT subject FROM transfers WHERE kind = 'topup'")
        assert [row.subject for row in names] == ["topup/T1"]
        receipt = (await office.rows("SELECT * FROM receipts"))[0]
        assert (receipt.state, receipt.reason, receipt.matched_by) == (
            "CREDITED", None, f"item/{item}",
        )  # fmt: skip

    async def test_the_first_credit_activates(self, office: Office) -> None:
        """P-09, P-10: by hand as by rule."""
        await office.account()
        await office.ask()
        item = await unmatched(office)
        done = await office.approve(await office.propose(item, ItemAction.MATCH, "M1/T1"))
        assert done.activated
        row = (await office.rows("SELECT state, billing_from FROM prepaid_accounts"))[0]
        assert tuple(row) == ("ACTIVE", AT)

    async def test_a_closed_account_gets_nothing(self, office: Office) -> None:
        """P-29: refused when proposed, and when it was closed in between."""
        await office.account()
        await office.ask()
        item = await unmatched(office)
        shown = await office.propose(item, ItemAction.MATCH, "M1/T1")
        await office.stand("M1", AccountState.CLOSED)
        assert await refusal(office.approve(shown)) == (Code.ACCOUNT_CLOSED,)
        assert await office.bucket("unmatched_receipts") == 5_000_00
        assert (await office.rows("SELECT state FROM work_items"))[0].state == "PROPOSED"

    async def test_a_receipt_that_went_meanwhile_is_refused(self, office: Office) -> None:
        """P-26: taken back by the bank between proposal and approval."""
        await office.account()
        await office.ask()
        item = await unmatched(office)
        shown = await office.propose(item, ItemAction.MATCH, "M1/T1")
        await office.rows("UPDATE receipts SET state = 'REVERSED' RETURNING digest")
        assert await refusal(office.approve(shown)) == (Code.RECEIPT_DECIDED,)

    async def test_sixteen_approvals_of_two_receipts_credit_once(self, office: Office) -> None:
        """P-23, C-10: exactly one credit, every other told why."""
        await office.account()
        await office.ask()
        shown = [
            await office.propose(await unmatched(office, reference=b), ItemAction.MATCH, "M1/T1")
            for b in ("B1", "B2")
        ]
        answers = await asyncio.gather(
            *(office.approve(shown[n % 2], f"P{n}") for n in range(16)), return_exceptions=True
        )
        won = [one for one in answers if isinstance(one, ItemView)]
        assert len({one.item for one in won}) == 1
        assert len(won) == 8
        assert {codes(e) for e in answers if isinstance(e, Exception)} == {(Code.REQUEST_DECIDED,)}
        assert await office.bucket("available") == 5_000_00
        assert await office.bucket("unmatched_receipts") == 5_000_00


class TestReturn:
    async def test_a_return_moves_the_money_and_records_the_payment_once(
        self, office: Office, ring: KeyRing
    ) -> None:
        """P-29, C-12, C-07: to the sender, sealed, masked, one end-to-end id."""
        item = await unmatched(office)
        shown = await office.propose(item, ItemAction.RETURN, return_to=BANK)
        assert shown.proposal is not None
        assert (shown.proposal.payee, shown.proposal.payee_account) == ("丙***", "****9999")
        answers = await asyncio.gather(*(office.approve(shown) for _ in range(4)))
        assert len({str(one) for one in answers}) == 1
        done = answers[0]
        assert done.outcome is Outcome.RETURNED
        assert done.payment
        assert await office.bucket("unmatched_receipts") == 0
        assert await office.bucket("returning_receipts") == 5_000_00
        rows = await office.rows("SELECT subject, state, end_to_end_id FROM payments")
        digest = (await office.rows("SELECT digest FROM receipts"))[0].digest
        assert [tuple(r) for r in rows] == [
            (f"receipt/{digest}/return/1", "RECORDED", done.payment)
        ]
        told = await office.rows("SELECT state, payment FROM receipts")
        assert told[0].state == "RETURNING"
        text = str(await office.rows("SELECT p::text, i::text FROM payments p, work_items i"))
        assert OTHER not in text
        assert "6225880299999999" not in text

    async def test_the_yes_is_bound_to_the_payee(self, office: Office) -> None:
        """C-07: what differs from the bank's word is told; another payee's yes is stale."""
        item = await unmatched(office)
        shown = await office.propose(item, ItemAction.RETURN, return_to=BANK)
        await office.reject(shown)
        swapped = ReturnTo(account="6225880288889999", bank_name=BANK.bank_name)
        other = await office.propose(item, ItemAction.RETURN, return_to=swapped)
        first, second = shown.proposal, other.proposal
        assert first is not None
        assert second is not None
        assert (first.payee, first.payee_account) == (second.payee, second.payee_account)
        assert first.payee_digest != second.payee_digest
        assert (first.payee_differs, second.payee_differs) == (
            ("bank_name",), ("account", "bank_name"),
        )  # fmt: skip
        for digest in (first.payee_digest, None):
            wrong = second.model_copy(update={"payee_digest": digest})
            stale = other.model_copy(update={"proposal": wrong})
            assert await refusal(office.approve(stale)) == (Code.PROPOSAL_STALE,)
        await office.approve(other)
        told = await office.rows(
            "SELECT after->>'payee' AS payee FROM audit WHERE subject = $1 ORDER BY id",
            f"item/{item}",
        )
        assert told[-1].payee == second.payee_digest

    async def test_a_refused_return_may_be_decided_again(self, office: Office) -> None:
        """C-12: RJCT brings the money back as a new item; the second return is another payment."""
        item = await unmatched(office)
        first = await office.approve(await office.propose(item, ItemAction.RETURN, return_to=BANK))
        said = PaymentStatus(
            level=StatusLevel.TRANSACTION, stated_at=StatusLevel.TRANSACTION, status="RJCT",
            end_to_end_id=first.payment, reasons=("AC04",),
        )  # fmt: skip
        await office.run(lambda c: apply_statuses(c, [said], "f" * 64, AT))
        assert await office.bucket("unmatched_receipts") == 5_000_00
        digest = (await office.rows("SELECT digest FROM receipts"))[0].digest
        again = await office.item(f"receipt/{digest}")
        assert again != item
        shown = await office.propose(
            again, ItemAction.RETURN, return_to=ReturnTo(account="123456789", bank_name="工商银行")
        )
        second = await office.approve(shown)
        assert second.payment != first.payment
        named = await office.run(lambda c: payment_of(c, f"receipt/{digest}/return/2"))
        assert named is not None
        assert named.end_to_end_id == second.payment
        assert await office.bucket("returning_receipts") == 5_000_00

    async def test_what_cannot_be_paid_back_is_refused(self, office: Office) -> None:
        """P-29: no bank, no exchange for the currency; nothing changes."""
        item = await unmatched(office)
        assert await refusal(office.propose(item, ItemAction.RETURN)) == (
            Code.PAYMENT_DATA_MISSING,
        )
        office.can_pay = lambda _currency: False
        answer = await refusal(office.propose(item, ItemAction.RETURN, return_to=BANK))
        assert answer == (Code.BANK_EXCHANGE_MISSING,)
        assert (await office.rows("SELECT state FROM work_items"))[0].state == "OPEN"

    async def test_a_payer_that_nobody_named_must_be_given(
        self, office: Office, ring: KeyRing
    ) -> None:
        """P-21, P-29: PAYER_UNKNOWN, until the proposal says whom and where."""
        item = await unmatched(office)
        digest = (await office.rows("SELECT digest FROM receipts"))[0].digest
        bare = ring.seal_text('{"payer_name": null}', purpose=f"receipt/{digest}/payer")
        await office.rows("UPDATE receipts SET payer_sealed = $1 RETURNING digest", bare)
        answer = await refusal(office.propose(item, ItemAction.RETURN, return_to=BANK))
        assert answer == (Code.PAYER_UNKNOWN,)
        whom = ReturnTo(name=NAME, account="123456789", bank_name="工商银行")
        done = await office.approve(await office.propose(item, ItemAction.RETURN, return_to=whom))
        assert done.outcome is Outcome.RETURNED


class TestCharge:
    async def test_an_unknown_debit_becomes_a_charge_with_two_people(self, office: Office) -> None:
        """C-07: 12.50 from suspense to bank charges, once."""

        async def debit(connection: Any) -> None:
            sheet = await Sheet.open(
                connection, merchants=(),
                platform=[(Bucket.BANK, "CNY"), (Bucket.UNMATCHED_PAYMENTS, "CNY")],
            )  # fmt: skip
            effect = Effect("entry/7/booked", "entry/7", AT)
            sheet.post(TransferKind.BANK_DEBIT, None, currency="CNY", amount=12_50, effect=effect)
            await sheet.write()

        await office.run(debit)
        item = await office.open(NewItem(ItemKind.UNKNOWN_DEBIT, "entry/7", "", 12_50, "CNY"))
        shown = await office.propose(item, ItemAction.CHARGE)
        assert await refusal(office.approve(shown, "O1")) == (Code.OWN_PROPOSAL,)
        done = await asyncio.gather(*(office.approve(shown) for _ in range(4)))
        assert {one.outcome for one in done} == {Outcome.CHARGED}
        assert await office.bucket("bank_charges") == 12_50
        assert await office.bucket("unmatched_payments") == 0


class TestSettle:
    """A debit that the bank told without the payment's id, with its fee on top."""

    async def debited(self, office: Office, ring: KeyRing, amount: int) -> tuple[str, int]:
        """A return of 5,000.00 on its way, and an unknown debit; its id and the debit's item."""
        till = Till(office.engine, ring)
        line = Line(5_000_00, "B1", payer=OTHER)
        await till.bring(statement_file([line], Balances(0, 5_000_00)))
        digest = (await office.rows("SELECT digest FROM receipts"))[0].digest
        item = await office.item(f"receipt/{digest}")
        payee = ReturnTo(account="123456789", bank_name="工商银行")
        done = await office.approve(await office.propose(item, ItemAction.RETURN, return_to=payee))
        assert done.payment is not None
        left = Line(-amount, "B2")
        await till.bring(statement_file([left], Balances(5_000_00, 5_000_00 - amount)))
        sql = "SELECT id FROM work_items WHERE kind = 'UNKNOWN_DEBIT'"
        return done.payment, int((await office.rows(sql))[0][0])

    async def test_two_people_say_which_payment_it_was(
        self, office: Office, ring: KeyRing, engine: AsyncEngine
    ) -> None:
        """C-07, C-12: 5,012.50 pays 5,000.00 back, 12.50 is the bank's charge; once, verified."""
        payment, item = await self.debited(office, ring, 5_012_50)
        assert await refusal(office.propose(item, ItemAction.PAYMENT)) == (Code.TARGET_MISSING,)
        unknown = await refusal(office.propose(item, ItemAction.PAYMENT, "P404"))
        assert unknown == (Code.PAYMENT_UNKNOWN,)
        shown = await office.propose(item, ItemAction.PAYMENT, payment)
        assert await refusal(office.approve(shown, "O1")) == (Code.OWN_PROPOSAL,)
        done = await asyncio.gather(*(office.approve(shown) for _ in range(4)))
        assert {(one.outcome, one.payment) for one in done} == {(Outcome.PAID, payment)}
        for bucket in ("returning_receipts", "unmatched_payments", "unmatched_receipts"):
            assert await office.bucket(bucket) == 0
        assert await office.bucket("bank_charges") == 12_50
        row = (await office.rows("SELECT p.state, r.state AS of FROM payments p, receipts r"))[0]
        assert tuple(row) == ("PAID", "RETURNED")
        found = await verify(engine)
        assert found.broken is None

    async def test_a_debit_of_less_is_another_one(self, office: Office, ring: KeyRing) -> None:
        """C-12: a cent less; the payment waits on."""
        payment, item = await self.debited(office, ring, 4_999_99)
        answer = await refusal(office.propose(item, ItemAction.PAYMENT, payment))
        assert answer == (Code.AMOUNT_MISMATCH,)

    async def test_a_payment_that_ended_meanwhile_is_refused(
        self, office: Office, ring: KeyRing
    ) -> None:
        """C-12: between proposal and approval the bank refused it; nothing changes."""
        payment, item = await self.debited(office, ring, 5_000_00)
        shown = await office.propose(item, ItemAction.PAYMENT, payment)
        said = PaymentStatus(
            level=StatusLevel.TRANSACTION, stated_at=StatusLevel.TRANSACTION, status="RJCT",
            instruction_id=payment, reasons=("AC04",),
        )  # fmt: skip
        assert await office.run(lambda c: apply_statuses(c, [said], "f" * 64, AT)) == (payment,)
        assert await refusal(office.approve(shown)) == (Code.REQUEST_DECIDED,)
        assert await office.bucket("unmatched_payments") == 5_000_00


class TestDecide:
    async def test_approve_and_reject_at_once_have_one_outcome(self, office: Office) -> None:
        """C-07, C-10: eight callers; all are told the same."""
        await office.account()
        await office.ask()
        shown = await office.propose(await unmatched(office), ItemAction.MATCH, "M1/T1")
        answers = await asyncio.gather(
            *((office.approve if n % 2 else office.reject)(shown, f"P{n}") for n in range(8)),
            return_exceptions=True,
        )
        row = (await office.rows("SELECT state, outcome FROM work_items"))[0]
        matched = row.outcome == "MATCHED"
        winners, losers = (
            (answers[1::2], answers[::2]) if matched else (answers[::2], answers[1::2])
        )
        assert {one.state for one in winners if isinstance(one, ItemView)} == {
            ItemState.CLOSED if matched else ItemState.CLAIMED
        }
        code = Code.ITEM_CLOSED if matched else Code.PROPOSAL_STALE
        assert [codes(e) for e in losers] == [(code,)] * 4
        assert await office.bucket("available") == (5_000_00 if matched else 0)


class TestUnmatched:
    async def test_the_desk_sees_what_a_receipt_was_perhaps_for(
        self, office: Office, ring: KeyRing
    ) -> None:
        """P-29, P-31, C-11: masked in the list, named for the desk, each request with reasons."""
        await office.account()
        await office.ask(5_000_00, "T1")
        await office.account("M2", OTHER)
        await office.ask(5_000_01, "T2", "M2", OTHER)
        receipt = await office.receipt(5_000_00)
        desk = Unmatched(office.engine, ring)
        (listed,) = await desk.oldest(10)
        assert (listed.payer, listed.payer_account) == ("丙***", "****9999")
        assert listed.item == await office.item(f"receipt/{receipt.digest}")
        assert [one.request for one in listed.suggestions] == ["M2/T2"]
        shown = await desk.one(receipt.digest)
        assert shown.payer == OTHER
        assert [one.request for one in shown.suggestions] == ["M2/T2", "M1/T1"]
        first = {why.hint for why in shown.suggestions[0].why}
        assert first == {Hint.SAME_NAME, Hint.NEAR_AMOUNT, Hint.OPEN, Hint.IN_TIME}
        assert await office.bucket("available") == 0

    async def test_what_is_decided_is_no_longer_unmatched(
        self, office: Office, ring: KeyRing
    ) -> None:
        """P-29: and a request that a receipt paid is not suggested again."""
        await office.account()
        await office.ask()
        first = await office.receipt(reference="B1")
        second = await office.receipt(reference="B2")
        item = await office.item(f"receipt/{first.digest}")
        await office.approve(await office.propose(item, ItemAction.MATCH, "M1/T1"))
        desk = Unmatched(office.engine, ring)
        assert await refusal(desk.one(first.digest)) == (Code.RECEIPT_DECIDED,)
        assert await refusal(desk.one("0" * 32)) == (Code.RECEIPT_UNKNOWN,)
        assert [one.digest for one in await desk.oldest(10)] == [second.digest]
        assert (await desk.one(second.digest)).suggestions == ()

    async def test_a_file_tells_code_account_and_bank_of_the_payer(
        self, office: Office, ring: KeyRing
    ) -> None:
        """P-25, P-29: the code names the request; a return needs nothing but the decision."""
        await office.account()
        await office.ask(6_000_00, "T1")
        code = reference_code("M1", "T1")
        line = Line(5_000_00, "B1", payer=OTHER, remittance=f"货款 {code}")
        file = statement_file([line], Balances(0, 5_000_00))
        (said,) = file.transactions
        bank = {"debtor_account": "622588 0299999999", "debtor_bank": "招商银行", "debtor_bic": "x"}
        told = file.model_copy(update={"transactions": (said.model_copy(update=bank),)})
        await Till(office.engine, ring).bring(told)
        (listed,) = await Unmatched(office.engine, ring).oldest(10)
        assert listed.suggestions[0].request == "M1/T1"
        hints = {why.hint for why in listed.suggestions[0].why}
        assert hints == {Hint.REFERENCE_CODE, Hint.OPEN, Hint.IN_TIME}
        assert listed.item is not None
        shown = await office.propose(listed.item, ItemAction.RETURN)
        assert shown.proposal is not None
        assert shown.proposal.payee_account == "****9999"
        assert (await office.approve(shown)).outcome is Outcome.RETURNED

    async def test_requests_that_ran_out_are_listed_until_money_is_matched_to_them(
        self, office: Office, ring: KeyRing
    ) -> None:
        """P-29: with the items of what may be their money; a decided one of 30 days ago is not."""
        await office.account()
        for number in (1, 2, 3, 4):
            await office.ask(5_000_00 + number, f"T{number}")
        late = (
            "UPDATE topup_requests SET state = $2, decided_at = $3 WHERE request = $1 RETURNING 1"
        )
        await office.rows(late, "T1", "EXPIRED", AT)
        await office.rows(late, "T2", "EXPIRED", AT + timedelta(microseconds=1))
        await office.rows(late, "T3", "EXPIRED", AT - timedelta(microseconds=1))
        await office.rows(late, "T4", "CANCELLED", AT)
        receipt = await office.receipt(5_000_02)
        item = await office.item(f"receipt/{receipt.digest}")
        desk = Unmatched(office.engine, ring)
        found = await desk.overdue(AT, 10)
        assert [(one.request, one.receipts) for one in found] == [("M1/T1", ()), ("M1/T2", (item,))]
        assert [one.request for one in await desk.overdue(AT, 1)] == ["M1/T1"]
        own = await office.receipt(1_00, "B2", payer_name=NAME)
        mine = await office.item(f"receipt/{own.digest}")
        assert [one.receipts for one in await desk.overdue(AT, 10)] == [(mine,), (item, mine)]
        await office.approve(await office.propose(item, ItemAction.MATCH, "M1/T2"))
        assert [one.request for one in await desk.overdue(AT, 10)] == ["M1/T1"]

    async def test_everything_is_found_by_index(self, office: Office, ring: KeyRing) -> None:
        """Whole tables are never read: 20,000 requests, of which one is near."""
        await office.account()
        await office.ask()
        many = """
INSERT INTO topup_requests (merchant, request, account, currency, amount, state, fingerprint,
                            method, entry_point, profile, requested_at, expires_at)
SELECT 'M1', 'X' || n, p.id, 'CNY', 10000000 + n, 'WAITING_REMITTANCE', '', 'wire', 'api', '',
       $1::timestamptz, $1
  FROM prepaid_accounts p, generate_series(1, 20000) n RETURNING 1"""
        await office.rows(many, AT)
        receipt = await office.receipt()
        shown = await Unmatched(office.engine, ring).one(receipt.digest)
        assert [one.request for one in shown.suggestions] == ["M1/T1"]
        looked_up = {
            unmatched_reads._CANDIDATES: (b"", "CNY", 5_000_00, ["TK1"], 1, 100),
            unmatched_reads._LIST: (10,),
            unmatched_reads._ONE: ("d",),
            unmatched_reads._OVERDUE: (AT, 50, 5),
            workitems._READ: (1,),
            workitems._LIST_OPEN: (None, 10),
            workitems._LIST_ALL: (None, 10),
            workitems._OPEN_OF: ("UNMATCHED_RECEIPT", ["receipt/d"]),
            remedies._PAID_BY: (1,),
            remedies._RETURNED_BEFORE: (["receipt/d/return/1"],),
        }
        for statement, parameters in looked_up.items():
            plan = await office.rows(f"EXPLAIN {statement}", *parameters)
            assert "Seq Scan" not in str(plan), (statement, plan)
