"""A batch told as one entry here and payer by payer there is one money (P-26, C-09)."""

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
PARTS: Final = ((COMPANY, 500_000), (OTHER, 300_000))
BATCH: Final = Line(800_000, parts=PARTS)
ENTRY: Final = (("E1", "P1"), ("E1", "P2"))
NAMELESS: Final = (("E1", None), ("E1", None))


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def at_levels(found: BankFile, *references: tuple[str | None, str | None]) -> BankFile:
    """The same with the references of each transaction's entry and of its own."""
    changed = tuple(
        one.model_copy(update={"entry_bank_reference": entry, "bank_reference": part})
        for one, (entry, part) in zip(found.transactions, references, strict=True)
    )
    return found.model_copy(update={"transactions": changed, "digest": found.digest[::-1]})


def stated(*lines: Line, kind: FileKind = FileKind.CAMT_053) -> BankFile:
    total = sum(line.signed for line in lines)
    return statement_file(lines, Balances(0, total), kind=kind)


def noticed(*lines: Line, kind: FileKind = FileKind.CAMT_054) -> BankFile:
    return statement_file(lines, None, kind=kind)


def alone(*references: str, on: object = DAY) -> list[Line]:
    """The batch's payers, each with an entry of its own."""
    return [
        Line(amount, reference, day=on, payer=payer)  # type: ignore[arg-type]
        for reference, (payer, amount) in zip(references, PARTS, strict=False)
    ]


WHOLE: Final = at_levels(stated(BATCH), *ENTRY)
NOTICE: Final = at_levels(noticed(BATCH), *ENTRY)
PIECES: Final = noticed(*alone("P1", "P2"))
FIRST: Final = noticed(*alone("P1"), kind=FileKind.CAMT_052)

TOLD: Final = {
    "pieces, batch": (PIECES, WHOLE),
    "batch, pieces": (WHOLE, PIECES),
    "batch, pieces a day off": (WHOLE, noticed(*alone("P1", "P2", on=NEXT))),
    "one piece, batch": (noticed(*alone("P1")), WHOLE),
    "batch, one piece": (WHOLE, noticed(*alone("P1"))),
    "one piece, notified batch, batch": (FIRST, NOTICE, WHOLE),
    "notified batch, one piece, batch": (NOTICE, FIRST, WHOLE),
    "notified batch, stated pieces": (NOTICE, stated(*alone("P1", "P2"), kind=FileKind.MT940)),
    "stated pieces, notified batch": (stated(*alone("P1", "P2")), NOTICE),
    "pieces under other references, batch": (
        noticed(*alone("X1", "X2")), at_levels(stated(BATCH), *NAMELESS),
    ),
    "batch, pieces under other references": (
        at_levels(stated(BATCH), *NAMELESS), noticed(*alone("X1", "X2")),
    ),
    "piece under the batch's reference, batch": (noticed(*alone("E1")), WHOLE),
    "batch, piece under the batch's reference": (WHOLE, noticed(*alone("E1"))),
    "pieces, batch, all again": (
        PIECES, WHOLE, stated(Line(800_000, "E1"), kind=FileKind.MT940), PIECES,
    ),
}  # fmt: skip


class TestToldApart:
    @pytest.mark.parametrize("words", TOLD)
    async def test_one_credit_and_the_money_once(self, till: Till, words: str) -> None:
        """P-26: a second request of the amount waits after the first file."""
        first, *others = TOLD[words]
        await till.ask("M1", "R1", 500_000)
        await till.bring(first)
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        await till.bring(*others)
        assert (await till.balances())["bank"] == 800_000
        assert await till.available("M1") == 500_000
        assert await till.sound()

    async def test_details_of_a_lump_whose_pieces_are_known_credit_nobody(self, till: Till) -> None:
        """P-26: which of the two is the double, people decide; no request is paid by it."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(PIECES)
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        await till.bring(stated(Line(800_000, "E1")), NOTICE)
        assert await till.available("M1") == 500_000
        assert await till.sound()

    async def test_next_days_batch_of_the_same_payers_is_new(self, till: Till) -> None:
        """P-26: the payers may well pay the same again."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(WHOLE)
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        again = statement_file(
            [Line(800_000, parts=PARTS, day=NEXT)], Balances(800_000, 1_600_000, on=NEXT)
        )
        await till.bring(at_levels(again, ("E2", "Q1"), ("E2", "Q2")))
        assert (await till.balances())["bank"] == 1_600_000
        assert await till.available("M1") == 1_000_000

    async def test_pieces_of_other_batches_do_not_state_them(self, till: Till) -> None:
        """C-09: one payer's equal amount is no proof of a whole batch."""
        other = at_levels(noticed(Line(800_000, parts=PARTS, day=NEXT)), *ENTRY)
        await till.bring(other, stated(*alone("X1"), kind=FileKind.MT940))
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NOT NULL") == [
            (500_000,)
        ]
