"""One day in two formats that name nothing alike, in any order, is one money (P-26, C-09)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.telling import DAY, Balances, Line, statement_file
from tests.ledger.bank.till import COMPANY, Till
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.sealing import KeyRing

OTHER: Final = "丙丁商贸有限公司"
THIRD: Final = "戊己有限公司"
NEXT: Final = DAY + timedelta(days=1)


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def paid(amount: int, number: int, payer: str, day: date = DAY) -> Line:
    return Line(amount, f"REF0000000000000000{number}", payer=payer, day=day)


LINES: Final = [
    paid(300_000, 1, OTHER), paid(500_000, 2, COMPANY), paid(400_000, 3, OTHER),
    paid(500_000, 4, THIRD), paid(500_000, 5, OTHER, NEXT),
]  # fmt: skip


def stated(lines: list[Line], kind: FileKind = FileKind.CAMT_053) -> BankFile:
    """The lines as a statement that makes its closing balance."""
    total = sum(one.signed for one in lines)
    on = max(one.day or DAY for one in lines)
    return statement_file(lines, Balances(0, total, on=on, opening_on=DAY), kind=kind)


def bare(lines: list[Line], form: str) -> list[Line]:
    """As an MT940 that names nobody writes them, with references cut off, others or none."""
    forms: dict[str, Sequence[str | None]] = {
        "cut": [(one.reference or "")[:16] for one in lines],
        "none": [None] * len(lines),
    }
    written = forms.get(form, [f"N{n}" for n in range(len(lines))])
    return [
        replace(one, reference=reference, payer=None)
        for one, reference in zip(lines, written, strict=True)
    ]


class TestStatements:
    @pytest.mark.parametrize("form", ["cut", "other", "none"])
    @pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
    async def test_each_payer_is_credited_whichever_comes_first(
        self, till: Till, form: str, order: tuple[int, ...]
    ) -> None:
        """P-26, C-09: equal amounts of one day, and of two; told again changes nothing."""
        await till.ask("M1", "R1", 500_000)
        await till.ask("M2", "R2", 500_000, company=THIRD)
        short = stated(bare(LINES, form), FileKind.MT940)
        full = stated(LINES)
        files = short, full, stated(bare(LINES[::-1], form), FileKind.MT940)
        again = [one.model_copy(update={"digest": one.digest[::-1]}) for one in files]
        await till.bring(*(files[n] for n in order), *(again[n] for n in order))
        total = sum(one.signed for one in LINES)
        assert await till.balances() == {"bank": total, "unmatched_receipts": total - 1_000_000}
        assert await till.available("M1") == 500_000
        assert await till.available("M2") == 500_000
        assert await till.sound()

    @pytest.mark.parametrize("turned", [False, True])
    async def test_line_that_one_format_left_out_is_the_only_new_one(
        self, till: Till, *, turned: bool
    ) -> None:
        """C-09: another reference contradicts nothing; what is missing is booked."""
        await till.ask("M1", "R1", 500_000)
        total = sum(one.signed for one in LINES)
        said = Balances(0, total, on=NEXT, opening_on=DAY)
        short = statement_file(bare(LINES[:2] + LINES[3:], "other"), said, kind=FileKind.MT940)
        files = short, stated(LINES)
        await till.bring(*(files[::-1] if turned else files))
        assert (await till.balances())["bank"] == total
        assert await till.available("M1") == 500_000
        assert await till.sound()


NAMED: Final = [replace(one, payer="PINYIN NAME") for one in bare(LINES[:4], "other")]
HELD: Final = ("STATEMENT_OVERLAP", "CREDIT_HELD", "OPEN", None)
BATCH: Final = Line(
    1_700_000, "BATCH", parts=tuple((one.payer or "", one.signed) for one in LINES[:4])
)


def noticed(*lines: Line, kind: FileKind = FileKind.CAMT_054) -> BankFile:
    return statement_file(lines, None, kind=kind)


OTHERWISE: Final = {
    "names": (noticed(*LINES[:4]), stated(NAMED, FileKind.MT940)),
    "a batch": (noticed(BATCH), stated(NAMED, FileKind.MT940)),
    "a batch, nobody named": (noticed(BATCH), stated(bare(LINES[:4], "other"), FileKind.MT940)),
    "MT942": (noticed(*NAMED, kind=FileKind.MT942), stated(LINES[:4])),
}  # fmt: skip


class TestNotified:
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("words", OTHERWISE)
    async def test_what_another_format_told_moves_no_money_and_is_work(
        self, till: Till, words: str, *, turned: bool
    ) -> None:
        """P-26, C-09: of a day in two formats that name nothing alike, the first is booked."""
        files = OTHERWISE[words][::-1] if turned else OTHERWISE[words]
        again = [one.model_copy(update={"digest": one.digest[::-1]}) for one in files]
        await till.bring(*files, *again)
        assert await till.balances() == {"bank": 1_700_000, "unmatched_receipts": 1_700_000}
        overlaps = [one for one in await till.items() if one[0] == "STATEMENT_OVERLAP"]
        assert overlaps == [HELD]
        assert await till.sound()

    @pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
    async def test_the_statement_that_names_it_alike_ends_the_doubt(
        self, till: Till, order: tuple[int, ...]
    ) -> None:
        """P-26, C-09: camt.053 beside MT940: each entry once, and no break is left."""
        files = noticed(*LINES[:4]), stated(NAMED, FileKind.MT940), stated(LINES[:4])
        again = [one.model_copy(update={"digest": one.digest[::-1]}) for one in files]
        await till.bring(*(files[n] for n in order), *again)
        assert (await till.balances())["bank"] == 1_700_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []
        broken = "SELECT state FROM work_items WHERE kind = 'STATEMENT_BREAK'"
        assert {row[0] for row in await till.rows(broken)} <= {"CLOSED"}
        assert await till.sound()

    async def test_statement_whose_entries_were_notified_is_known_when_it_comes_again(
        self, till: Till
    ) -> None:
        """C-09: its own references are nowhere kept; balances that nothing leads back to decide."""
        named = [replace(one, payer=LINES[n].payer) for n, one in enumerate(bare(LINES[:3], "o"))]
        mt940 = stated(named, FileKind.MT940)
        await till.bring(noticed(*LINES[:3]), mt940)
        await till.bring(mt940.model_copy(update={"digest": mt940.digest[::-1]}))
        assert (await till.balances())["bank"] == 1_200_000

    async def test_other_money_does_not_wait(self, till: Till) -> None:
        """P-26: another amount, another day, one format, and whatever leaves the account."""
        await till.bring(stated([*NAMED, Line(-7_000, "D9")], FileKind.MT940))
        await till.bring(noticed(paid(310_000, 7, OTHER)), noticed(paid(500_000, 8, OTHER, NEXT)))
        await till.bring(noticed(Line(-7_000, "D1", payer=OTHER)))
        await till.bring(noticed(Line(500_000, "N9", payer="X"), kind=FileKind.MT942))
        assert (await till.balances())[
            "bank"
        ] == 1_700_000 - 7_000 + 310_000 + 500_000 - 7_000 + 500_000
