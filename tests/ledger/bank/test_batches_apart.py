"""Batches of which the bank takes a piece back, or states the pieces on different days."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.telling import DAY, Balances, Line, statement_file
from tests.ledger.bank.test_told_apart import OTHER, PARTS, at_levels
from tests.ledger.bank.till import ASKED, COMPANY, Till
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.sealing import KeyRing

NEXT: Final = DAY + timedelta(days=1)
BACK: Final = Line(-500_000, "P1", payer=COMPANY, reversal=True)
BATCH: Final = Line(800_000, parts=PARTS)
NOTICE: Final = at_levels(
    statement_file([BATCH], None, kind=FileKind.CAMT_054), ("E1", "P1"), ("E1", "P2")
)
WHOLE: Final = at_levels(
    statement_file([BATCH, BACK], Balances(0, 300_000)), ("E1", "P1"), ("E1", "P2"), ("P1", "P1")
)
LUMP: Final = statement_file([Line(800_000, "E1"), BACK], Balances(0, 300_000))


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def noticed(*lines: Line, kind: FileKind = FileKind.CAMT_052) -> BankFile:
    return statement_file(lines, None, kind=kind)


def first(day: object = DAY) -> Line:
    return Line(500_000, "P1", payer=COMPANY, day=day)  # type: ignore[arg-type]


def second(day: object = DAY) -> Line:
    return Line(300_000, "P2", payer=OTHER, day=day)  # type: ignore[arg-type]


TAKEN_BACK: Final = {
    "piece, reversal, batch": (noticed(first()), noticed(BACK), WHOLE),
    "piece and reversal, batch": (noticed(first(), BACK), WHOLE),
    "pieces, reversal, batch": (noticed(first(), second()), noticed(BACK), WHOLE),
    "pieces, reversal, lump": (noticed(first(), second()), noticed(BACK), LUMP),
    "reversal, batch": (noticed(BACK), WHOLE),
    "reversal, piece, batch": (noticed(BACK), noticed(first()), WHOLE),
    "notified batch, reversal, batch": (NOTICE, noticed(BACK), WHOLE),
    "batch, piece, reversal": (WHOLE, noticed(first()), noticed(BACK)),
}  # fmt: skip


class TestTakenBack:
    @pytest.mark.parametrize("asked", [False, True])
    @pytest.mark.parametrize("words", TAKEN_BACK)
    async def test_piece_that_was_taken_back_is_booked_once(
        self, till: Till, words: str, *, asked: bool
    ) -> None:
        """P-26, C-13: the bank has 3,000.00, as the statement says."""
        if asked:
            await till.ask("M1", "R1", 500_000)
        await till.bring(*TAKEN_BACK[words])
        assert (await till.balances())["bank"] == 300_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []
        assert await till.sound()

    async def test_report_that_was_taken_back_stays_so(self, till: Till) -> None:
        """P-26, C-13: a service reported the piece; the bank took it back before any batch."""
        await till.report(500_000, "P1")
        await till.bring(noticed(BACK))
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        await till.bring(WHOLE)
        assert await till.balances() == {"bank": 300_000, "unmatched_receipts": 300_000}
        assert await till.available("M1") == 0
        assert await till.sound()


class TestStatedApart:
    @pytest.mark.parametrize("turned", [False, True])
    async def test_other_piece_on_another_day_is_the_batchs_money(
        self, till: Till, *, turned: bool
    ) -> None:
        """P-26: both are in the book with the batch; that the days differ is work."""
        one = statement_file([first()], Balances(0, 500_000))
        two = statement_file([second(NEXT)], Balances(500_000, 800_000, on=NEXT))
        await till.bring(NOTICE, *((two, one) if turned else (one, two)))
        assert (await till.balances())["bank"] == 800_000
        broken = await till.rows("SELECT amount FROM work_items WHERE kind = 'STATEMENT_BREAK'")
        late = 500_000 if turned else 300_000
        assert sorted(broken) == [(-late,), (late,)]
        assert await till.sound()

    async def test_told_again_it_stays_so(self, till: Till) -> None:
        """C-09."""
        one = statement_file([first()], Balances(0, 500_000))
        two = statement_file([second(NEXT)], Balances(500_000, 800_000, on=NEXT))
        again = [f.model_copy(update={"digest": f.digest[::-1]}) for f in (NOTICE, one, two)]
        await till.bring(NOTICE, one, two, *again)
        assert (await till.balances())["bank"] == 800_000
        assert await till.sound()

    async def test_reference_used_again_is_new_money(self, till: Till) -> None:
        """P-26: the batch was stated whole before."""
        one = statement_file([first(), second()], Balances(0, 800_000))
        two = statement_file([second(NEXT)], Balances(800_000, 1_100_000, on=NEXT))
        await till.bring(NOTICE, one, two)
        assert (await till.balances())["bank"] == 1_100_000
        assert await till.sound()
