"""A lump without details and the pieces that were notified are one money (P-26, C-09)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.telling import DAY, Balances, Line, statement_file
from tests.ledger.bank.till import ASKED, COMPANY, Till
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.sealing import KeyRing

OTHER: Final = "丙丁商贸有限公司"
NEXT: Final = DAY + timedelta(days=1)
FEE: Final = Line(-100, "FEE1")
LUMP: Final = Line(800_000, "E1")
OVERLAP: Final = ("STATEMENT_OVERLAP", "LUMP_HELD", "OPEN", None)


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def stated(*lines: Line, kind: FileKind = FileKind.CAMT_053, opening: int = 0) -> BankFile:
    total = opening + sum(line.signed for line in lines)
    return statement_file(lines, Balances(opening, total, on=lines[0].day or DAY), kind=kind)


def noticed(*lines: Line, kind: FileKind = FileKind.CAMT_054) -> BankFile:
    return statement_file(lines, None, kind=kind)


def piece(amount: int, reference: str, payer: str = OTHER) -> Line:
    return Line(amount, reference, payer=payer)


FIRST: Final = piece(500_000, "P1", COMPANY)
SECOND: Final = piece(300_000, "P2")
PIECES: Final = noticed(FIRST, SECOND)

LUMPS: Final = {
    "camt": stated(LUMP),
    "MT940": stated(LUMP, kind=FileKind.MT940),
    "without a reference": stated(Line(800_000), FEE),
    "with a text": stated(Line(800_000, "E1", remittance="SAMMLER 2")),
    "two lumps": stated(Line(500_000, "E1"), Line(300_000, "E2")),
    "beside a lump of its own": stated(LUMP, Line(712, "E9")),
}


async def overlaps(till: Till) -> list[tuple[object, ...]]:
    return [one for one in await till.items() if one[0] == "STATEMENT_OVERLAP"]


class TestPiecesFirst:
    @pytest.mark.parametrize("words", LUMPS)
    async def test_lump_of_notified_pieces_is_booked_once(self, till: Till, words: str) -> None:
        """P-26: the statement proves the money once; a second request of the amount waits."""
        lump = LUMPS[words]
        await till.ask("M1", "R1", 500_000)
        await till.bring(PIECES)
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        await till.bring(lump, lump.model_copy(update={"digest": lump.digest[::-1]}), PIECES)
        closing = lump.statements[0].closing
        assert closing is not None
        assert (await till.balances())["bank"] == closing.signed_minor
        assert await till.available("M1") == 500_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []
        assert {one[0] for one in await till.items()} <= {"UNMATCHED_RECEIPT", "UNKNOWN_DEBIT"}
        assert await till.sound()

    async def test_payments_that_one_debit_sums_up_are_debited_once(self, till: Till) -> None:
        """C-09: the same for money that left."""
        pieces = [Line(-70_000, "D1", payer=OTHER), Line(-30_000, "D2", payer=OTHER)]
        await till.bring(noticed(*pieces), stated(Line(-100_000, "E1")))
        assert await till.balances() == {"bank": -100_000, "unmatched_payments": 100_000}

    async def test_equal_lump_of_the_day_before_is_another(self, till: Till) -> None:
        """C-09: without references the day tells them apart."""
        on = DAY - timedelta(days=1)
        before = statement_file([Line(800_000, day=on)], Balances(-800_000, 0, on=on))
        await till.bring(before, PIECES, stated(Line(800_000)))
        assert (await till.balances())["bank"] == 1_600_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []

    async def test_hundreds_of_pieces_are_one_lump(self, till: Till) -> None:
        """P-26: more than can be tried in all choices: the total decides."""
        pieces = [piece(100_000 + 7 * n, f"P{n}") for n in range(60)]
        total = sum(one.signed for one in pieces)
        await till.bring(noticed(*pieces), stated(Line(total, "E1")))
        assert (await till.balances())["bank"] == total

    async def test_pieces_that_the_statement_tells_itself_are_in_no_lump(self, till: Till) -> None:
        """C-09: a statement that tells lump and pieces tells two."""
        await till.bring(PIECES, stated(FIRST, SECOND, LUMP))
        assert (await till.balances())["bank"] == 1_600_000

    async def test_lump_of_another_sum_is_new(self, till: Till) -> None:
        await till.bring(PIECES, stated(FIRST, SECOND, Line(700_000, "E1")))
        assert (await till.balances())["bank"] == 1_500_000

    async def test_piece_left_over_does_not_hide_the_only_choice(self, till: Till) -> None:
        """C-09: the third piece is told by the next day's statement."""
        third = piece(70_000, "P3")
        late = Line(70_000, "P3", day=NEXT, payer=OTHER)
        await till.bring(PIECES, noticed(third), stated(LUMP), stated(late, opening=800_000))
        assert (await till.balances())["bank"] == 870_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []


class TestDoubt:
    PIECES: Final = noticed(*(piece(300_000, f"P{n}") for n in range(3)))

    async def test_lump_of_more_than_one_choice_moves_no_money_and_is_work(
        self, till: Till
    ) -> None:
        """P-26: 6,000.00 are two of three pieces: which is not known, that it is in the book is."""
        lump = stated(Line(600_000, "E1"))
        again = lump.model_copy(update={"digest": lump.digest[::-1]})
        await till.bring(self.PIECES, lump, again)
        assert await till.balances() == {"bank": 900_000, "unmatched_receipts": 900_000}
        assert await overlaps(till) == [OVERLAP]
        broken = await till.rows("SELECT amount FROM work_items WHERE kind = 'STATEMENT_BREAK'")
        assert broken == [(600_000,)]
        assert await till.sound()

    async def test_statement_told_again_is_whole_when_one_choice_is_left(self, till: Till) -> None:
        """C-09: the third piece is stated the day after; then the two others are the lump."""
        lump = stated(Line(600_000, "E1"))
        late = Line(300_000, "P2", day=NEXT, payer=OTHER)
        await till.bring(self.PIECES, lump, stated(late, opening=600_000))
        await till.bring(stated(Line(600_000, "E1"), kind=FileKind.MT940))
        assert await till.balances() == {"bank": 900_000, "unmatched_receipts": 900_000}
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []
        assert [one[2:] for one in await till.items() if one[0] == "STATEMENT_BREAK"] == [
            ("CLOSED", "RESOLVED")
        ]

    async def test_statement_that_is_not_whole_proves_nothing(self, till: Till) -> None:
        """C-09: a line is missing: the pieces may be in it."""
        await till.bring(PIECES, statement_file([LUMP], Balances(0, 1_600_000)))
        assert (await till.balances())["bank"] == 800_000
        assert await overlaps(till) == [OVERLAP]


class TestLumpFirst:
    @pytest.mark.parametrize("kind", [FileKind.CAMT_054, FileKind.CAMT_052])
    async def test_piece_of_a_stated_lump_waits(self, till: Till, kind: FileKind) -> None:
        """P-26: a notification is not sure to be new where a lump of the day may hold it."""
        await till.bring(stated(LUMP), noticed(FIRST, kind=kind), noticed(SECOND, kind=kind))
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 800_000}

    async def test_pieces_of_one_file_that_make_it_up_are_its_details(self, till: Till) -> None:
        """P-26, C-09: who paid is credited as when the pieces come first; once."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(stated(LUMP), PIECES)
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        again = noticed(FIRST, SECOND, kind=FileKind.CAMT_052)
        await till.bring(again, noticed(FIRST), stated(LUMP, kind=FileKind.MT940))
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}
        assert await till.available("M1") == 500_000
        assert [row[0] for row in await till.receipts()] == ["DETAILED", "CREDITED", "UNMATCHED"]
        assert await till.sound()

    async def test_pieces_that_make_up_no_whole_statement_detail_nothing(self, till: Till) -> None:
        """C-09: they may stand in the lines that are missing."""
        await till.bring(statement_file([LUMP], Balances(0, 1_600_000)), PIECES)
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 800_000}
        assert [row[0] for row in await till.receipts()] == ["UNMATCHED"]

    async def test_piece_of_a_lump_with_a_text_waits(self, till: Till) -> None:
        await till.bring(stated(Line(800_000, "E1", remittance="SAMMLER 2")), PIECES)
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 800_000}

    async def test_what_waited_is_booked_by_the_statement_that_tells_it(self, till: Till) -> None:
        """C-02: it was money of its own."""
        late = Line(500_000, "P1", day=NEXT, payer=COMPANY)
        await till.bring(stated(LUMP), noticed(FIRST), stated(late, opening=800_000))
        assert (await till.balances())["bank"] == 1_300_000

    async def test_larger_and_later_money_does_not_wait(self, till: Till) -> None:
        """P-26: what no lump of its day can hold is credited at once."""
        await till.bring(stated(LUMP), noticed(piece(900_000, "P1")))
        await till.bring(noticed(Line(500_000, "P2", day=NEXT, payer=OTHER)))
        assert (await till.balances())["bank"] == 2_200_000

    async def test_notified_lump_of_what_is_known_waits(self, till: Till) -> None:
        """P-26: an intraday report sums up what was notified."""
        await till.bring(PIECES, noticed(LUMP, kind=FileKind.CAMT_052))
        assert (await till.balances())["bank"] == 800_000
        await till.bring(stated(LUMP))
        assert (await till.balances())["bank"] == 800_000
