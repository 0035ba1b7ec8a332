"""Every movement is one entry, whichever files tell it, in any order (P-26, C-02, C-09)."""

from __future__ import annotations

import asyncio
import random
from datetime import date, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.accounts import AccountRows
from ledger.bank.files import Arrival, receive_file
from ledger.bank.rows import open_said
from ledger.bank.staging import Staged, ready_file, stage_file
from ledger.engine import in_transaction
from tests.ledger.bank.telling import (
    AT,
    DAY,
    Balances,
    Line,
    bank_file,
    book,
    entries,
    open_items_of,
    rows,
    stage,
    statement_file,
)
from tillkeeper.contracts.bank import BankTransaction, BookingStatus, FileKind, Finding
from tillkeeper.contracts.errors import Broken, Code
from tillkeeper.rules.codes import reference_code
from tillkeeper.sealing import KeyRing

NOTICE = FileKind.CAMT_054
NEXT = DAY + timedelta(days=1)


class TestStatement:
    async def test_each_entry_is_stored_once_however_often_the_file_is_staged(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-02: and the answer is the same."""
        found = statement_file([Line(500_00), Line(500_00), Line(-1_00)], Balances(0, 999_00))
        first = await stage(engine, book(ring), found, found)
        assert first == [Staged(3, 3, 0, 0)] * 2
        assert await entries(engine) == [
            (-1_00, DAY, True, 0), (500_00, DAY, True, 0), (500_00, DAY, True, 0),
        ]  # fmt: skip

    async def test_the_same_statement_in_another_file_tells_nothing_new(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: as camt.053 and as MT940, with and without references and days."""
        balances = Balances(0, 300_00, number="1", identifier="A")
        camt = statement_file([Line(100_00, "R1"), Line(200_00, "R2", NEXT)], balances)
        swift = statement_file(
            [Line(200_00), Line(100_00, None, None)],
            Balances(0, 300_00, number="00007", identifier="STARTUMS"),
            kind=FileKind.MT940,
        )
        staged = await stage(engine, book(ring), camt, swift)
        assert [one.new_entries for one in staged] == [2, 0]
        assert await rows(engine, "SELECT count(*) FROM bank_statements") == [(1,)]

    async def test_a_batch_told_one_by_one_is_the_same_money(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: formats cut a statement's entries differently."""
        whole = statement_file([Line(300_00, "R1")], Balances(0, 300_00))
        cut = [Line(100_00, "X1"), Line(200_00, "X2")]
        other = statement_file(cut, Balances(0, 300_00), kind=FileKind.MT940)
        staged = await stage(engine, book(ring), whole, other)
        assert [one.new_entries for one in staged] == [1, 0]

    async def test_what_a_lossy_file_left_out_is_told_later(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: only what was missing is new; the break of the statement is settled."""
        balances = Balances(0, 300_00, number="1")
        lossy = statement_file([Line(100_00)], balances)
        full = statement_file([Line(200_00), Line(100_00)], balances)
        await stage(engine, book(ring), lossy)
        [(subject, missing)] = await open_items_of(engine, "STATEMENT_BREAK")
        assert (subject.startswith("statement/"), missing) == (True, 200_00)
        [staged] = await stage(engine, book(ring), full)
        assert staged.new_entries == 1
        assert await open_items_of(engine, "STATEMENT_BREAK") == []

    async def test_what_was_left_out_and_notified_meanwhile_is_one_entry(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: a lossy statement, the notification, the statement again."""
        balances = Balances(0, 300_00, number="1")
        lossy = statement_file([Line(100_00, "R1")], balances)
        notice = statement_file([Line(200_00, "R2")], None, kind=NOTICE)
        full = statement_file([Line(100_00, "R1"), Line(200_00, "R2")], balances)
        staged = await stage(engine, book(ring), lossy, notice, full)
        assert [one.new_entries for one in staged] == [1, 1, 0]
        assert await open_items_of(engine, "STATEMENT_BREAK") == []

    async def test_equal_statements_under_other_numbers_are_others(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: there and back and there again on one day."""
        there = [Line(100_00)]
        found = bank_file(
            [
                (there, Balances(0, 100_00, number="1")),
                ([Line(-100_00)], Balances(100_00, 0, number="2")),
                (there, Balances(0, 100_00, number="3")),
            ]
        )
        [staged] = await stage(engine, book(ring), found)
        assert staged.new_entries == 3
        assert await open_items_of(engine, "STATEMENT_GAP") == []

    async def test_equal_statements_without_numbers_are_others_by_their_references(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: the MT940 of a bank that numbers nothing; the whole file again is nothing new."""
        walk = [(0, 100_00, "A"), (100_00, 0, "B"), (0, 100_00, "C")]
        statements = [
            ([Line(after - before, reference)], Balances(before, after, identifier="STARTUMS"))
            for before, after, reference in walk
        ]
        found = bank_file(statements, kind=FileKind.MT940)
        again = bank_file(statements[::-1], kind=FileKind.MT940)
        staged = await stage(engine, book(ring), found, again)
        assert [one.new_entries for one in staged] == [3, 0]
        assert await open_items_of(engine, "STATEMENT_GAP") == []

    async def test_a_statement_issued_again_under_another_name_is_the_same(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: every reference is known, so the money is."""
        lines = [Line(100_00, "R1"), Line(200_00, "R2")]
        first = statement_file(lines, Balances(0, 300_00, identifier="MSG1"))
        again = statement_file(lines, Balances(0, 300_00, identifier="MSG2"))
        staged = await stage(engine, book(ring), first, again)
        assert [one.new_entries for one in staged] == [2, 0]

    async def test_a_reference_used_again_is_another_movement(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: a statement tells each of its entries once."""
        first = statement_file([Line(100_00, "STANDING")], Balances(0, 100_00))
        second = statement_file([Line(100_00, "STANDING", NEXT)], Balances(100_00, 200_00, on=NEXT))
        staged = await stage(engine, book(ring), first, second)
        assert [one.new_entries for one in staged] == [1, 1]


class TestNotification:
    async def test_notified_then_stated_is_one_entry(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: the same receipt by camt.054 and camt.053, in either order, and again."""
        notice = statement_file([Line(500_00, "R1", payer="甲")], None, kind=NOTICE)
        other = statement_file([Line(500_00, "R 1")], None, kind=FileKind.CAMT_052)
        stated = statement_file([Line(500_00, "R1", NEXT)], Balances(0, 500_00, on=NEXT))
        staged = await stage(engine, book(ring), notice, stated, other)
        assert [one.new_entries for one in staged] == [1, 0, 0]
        assert await entries(engine) == [(500_00, DAY, True, 1)]

    async def test_stated_then_notified_is_one_entry(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26, C-09; the details, which the statement had not, are taken."""
        stated = statement_file([Line(500_00, "R1", NEXT)], Balances(0, 500_00, on=NEXT))
        notice = statement_file([Line(500_00, "R1", payer="甲")], None, kind=NOTICE)
        staged = await stage(engine, book(ring), stated, notice)
        assert [one.new_entries for one in staged] == [1, 0]
        assert await entries(engine) == [(500_00, NEXT, True, 1)]

    async def test_days_too_far_apart_are_two_entries(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: five days are the same movement, six are not."""
        notice = statement_file([Line(5_00, "R1"), Line(6_00, "R2")], None, kind=NOTICE)
        five, six = DAY + timedelta(days=5), DAY + timedelta(days=6)
        stated = statement_file(
            [Line(5_00, "R1", five), Line(6_00, "R2", six)], Balances(0, 11_00, on=six)
        )
        staged = await stage(engine, book(ring), notice, stated)
        assert [one.new_entries for one in staged] == [2, 1]

    async def test_without_a_reference_it_is_a_notice(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: the statement will tell it."""
        lines = [Line(500_00), Line(1_00, "NOTPROVIDED"), Line(2_00, " ")]
        [staged] = await stage(engine, book(ring), statement_file(lines, None, kind=NOTICE))
        assert staged == Staged(0, 0, 3, 0)
        assert await entries(engine) == []

    async def test_a_statement_without_references_is_recognised_by_the_day(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: the notification gave a reference, the MT940 says NONREF."""
        notice = statement_file([Line(500_00, "R1")], None, kind=NOTICE)
        stated = statement_file(
            [Line(500_00, "NONREF"), Line(500_00, "NONREF")],
            Balances(0, 1_000_00),
            kind=FileKind.MT940,
        )
        staged = await stage(engine, book(ring), notice, stated)
        assert [one.new_entries for one in staged] == [1, 1]

    @pytest.mark.parametrize("status", [BookingStatus.PENDING, BookingStatus.INFORMATION])
    async def test_what_is_not_booked_is_no_money(
        self, engine: AsyncEngine, ring: KeyRing, status: BookingStatus
    ) -> None:
        """Issue 3: INFO and PDNG never are, in a statement neither."""
        notice = statement_file([Line(500_00, "R1", status=status)], None, kind=NOTICE)
        stated = statement_file([Line(500_00, "R1", status=status), Line(0)], Balances(0, 0))
        staged = await stage(engine, book(ring), notice, stated)
        assert [one.notices for one in staged] == [1, 2]
        assert await entries(engine) == []


class TestParts:
    async def test_parts_are_sealed_and_found_by_payer_code_and_payment(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-11, P-21: what the file says of people stands nowhere in clear."""
        code = reference_code("M1", "T1")
        line = Line(
            300_00, "R1", parts=(("甲乙贸易有限公司", 100_00), ("甲乙貿易", 200_00)),
            remittance=f"货款 {code}", end_to_end_id="E2E",
        )  # fmt: skip
        payment = await rows(
            engine,
            "INSERT INTO payments (end_to_end_id, subject, fingerprint, amount, currency,"
            " creditor_sealed, state, recorded_at) VALUES ('E2E', 's', '', 1, 'CNY', '', 'SENT',"
            " now()) RETURNING id",
        )
        await stage(engine, book(ring), statement_file([line], Balances(0, 300_00)))
        found = await rows(
            engine,
            "SELECT entry, part, amount, payer_digest, payer_kind, code, payment, said_sealed"
            " FROM bank_transactions ORDER BY part",
        )
        digest = AccountRows(ring).company_digest("甲乙贸易有限公司")
        assert found[0][1:7] == (1, 100_00, digest, "unknown", code, payment[0][0])
        assert found[1][2] == 200_00
        assert "甲乙".encode() not in found[0][7]
        assert open_said(ring, found[0][0], 1, found[0][7]).debtor_name == "甲乙贸易有限公司"

    async def test_a_lump_is_detailed_by_a_later_file_once(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """Issue 3: the parts come when a file tells them; they are not told twice."""
        lump = statement_file([Line(300_00, "R1")], Balances(0, 300_00))
        parts = Line(300_00, "R1", parts=(("甲", 100_00), ("乙", 200_00)))
        detail = statement_file([parts], None, kind=NOTICE)
        more = statement_file([parts], None, kind=FileKind.CAMT_052)
        await stage(engine, book(ring), lump)
        assert await entries(engine) == [(300_00, DAY, True, 0)]
        staged = await stage(engine, book(ring), detail, more)
        assert [one.new_entries for one in staged] == [0, 0]
        assert await entries(engine) == [(300_00, DAY, True, 2)]
        assert await rows(engine, "SELECT count(*) FROM bank_transactions") == [(2,)]


class TestItems:
    async def test_a_foreign_account_is_an_item_and_nothing_else(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-11: the item names a digest, never the number."""
        found = statement_file([Line(500_00, "R1")], Balances(0, 500_00), account="999988887777")
        [staged] = await stage(engine, book(ring), found)
        assert staged == Staged(0, 0, 0, 1)
        assert await entries(engine) == []
        [(subject, _)] = await open_items_of(engine, "FOREIGN_STATEMENT")
        said = await rows(engine, "SELECT subject || context::text FROM work_items")
        assert subject.startswith("bank-account/")
        assert "999988887777" not in said[0][0]

    async def test_a_foreign_account_that_was_acknowledged_is_no_item_again(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-05: its bank sends a statement each day."""
        other = "999988887777"
        first = statement_file([], Balances(0, 0), account=other)
        second = statement_file([], Balances(0, 0, on=NEXT), account=other)
        await stage(engine, book(ring), first)
        await rows(
            engine,
            "UPDATE work_items SET state = 'CLOSED', outcome = 'ACKNOWLEDGED', closed_at = now()"
            " RETURNING id",
        )
        await stage(engine, book(ring), second)
        assert await open_items_of(engine, "FOREIGN_STATEMENT") == []

    async def test_a_file_of_an_account_that_is_ours_now_is_taken_when_it_comes_again(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-25: the number, or an alias of it, was not configured."""
        found = statement_file([Line(500_00, "R1")], Balances(0, 500_00))
        await stage(engine, book(ring, "another"), found)
        await rows(engine, "UPDATE bank_files SET state = 'BOOKED' RETURNING digest")
        staged = await stage(engine, book(ring), found, found)
        assert staged == [Staged(1, 1, 0, 0)] * 2

    async def test_losses_are_one_item_without_the_file_s_words(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-05, C-11."""
        lost = Finding(code=Code.BANK_FILE_AMOUNT, where="statement 1, entry 2", detail="“甲”")
        found = statement_file([Line(1)], Balances(0, 1), problems=(lost,))
        await stage(engine, book(ring), found)
        assert len(await open_items_of(engine, "BANK_FILE_LOSSES")) == 1
        [(problems,)] = await rows(engine, "SELECT problems::text FROM bank_files")
        assert "statement 1, entry 2" in problems
        assert "甲" not in problems

    async def test_an_entry_that_no_book_can_hold_is_a_loss(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-01: too large, or of another currency than its account."""
        found = statement_file(
            [Line(10**16), Line(5_00, currency="EUR"), Line(1)], Balances(0, 10**18)
        )
        [staged] = await stage(engine, book(ring), found)
        assert staged.entries == 1
        assert len(await open_items_of(engine, "BANK_FILE_LOSSES")) == 1

    async def test_a_day_that_no_book_can_hold_is_the_statement_s(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-09."""
        lines = [Line(1, day=date(1, 1, 1)), Line(2, "R", day=date(9999, 12, 31))]
        await stage(engine, book(ring), statement_file(lines, Balances(0, 3)))
        assert [row[1] for row in await entries(engine)] == [DAY, DAY]


class TestStageFile:
    async def test_under_the_accounts_row_nothing_is_read_out_of_the_file(
        self, engine: AsyncEngine, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-09: other files of the account wait for look-ups and writing only."""
        lines = [Line(100, "B1", payer="A"), Line(300, parts=(("A", 100), ("B", 200)))]
        found, statements = statement_file(lines, Balances(0, 400)), book(ring)
        arrival = Arrival("file", "import", None, AT)
        digest = await in_transaction(engine, lambda c: receive_file(c, ring, b"1", arrival))
        ready = ready_file(statements, found, AT)

        def late(*_: object, **__: object) -> None:
            raise AssertionError("in the transaction")

        monkeypatch.setattr(BankTransaction, "model_dump_json", late)
        monkeypatch.setattr(AccountRows, "company_digest", late)
        monkeypatch.setattr("ledger.bank.ready.codes_in", late)
        monkeypatch.setattr("ledger.bank.ready.told_by", late)
        staged = await in_transaction(
            engine, lambda c: stage_file(c, statements, digest, ready, at=AT)
        )
        assert staged.new_entries == 2
        assert await rows(engine, "SELECT count(*) FROM bank_transactions") == [(3,)]

    async def test_a_file_that_is_not_kept_is_refused(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-02."""
        found = statement_file([], None)
        with pytest.raises(Broken):
            await in_transaction(
                engine,
                lambda c: stage_file(
                    c, book(ring), found.digest, ready_file(book(ring), found, AT), at=AT
                ),
            )

    async def test_files_staged_at_once_tell_each_movement_once(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26, C-09: six files, one account, one lock."""
        lines = [Line(n, f"R{n}") for n in range(1, 21)]
        files = [
            statement_file(lines[:n], None, kind=NOTICE) for n in (20, 15, 10, 5)
        ] + [
            statement_file(lines, Balances(0, 210), kind=kind)
            for kind in (FileKind.CAMT_053, FileKind.MT940)
        ]  # fmt: skip
        random.Random(7).shuffle(files)  # noqa: S311 - an order, not a secret
        statements = book(ring)
        await asyncio.gather(*(stage(engine, statements, one) for one in files))
        assert [row[0] for row in await entries(engine)] == list(range(1, 21))

    async def test_ten_thousand_entries_are_staged_at_once(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """Issue 3: batches of thousands."""
        lines = [Line(n, f"R{n}", payer=f"P{n % 700}") for n in range(1, 10_001)]
        found = statement_file(lines, Balances(0, sum(range(1, 10_001))))
        [staged] = await stage(engine, book(ring), found)
        assert staged.new_entries == 10_000
