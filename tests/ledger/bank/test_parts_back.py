"""One part of a batch is taken back by the part's own reference: it is nobody's any more (C-13)."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.bank.test_batches_apart import BACK, BATCH, LUMP, NOTICE, WHOLE, first, noticed
from tests.ledger.bank.test_batches_apart import second as other
from tests.ledger.bank.test_told_apart import at_levels
from tests.ledger.bank.till import ASKED, COMPANY, Till
from tillkeeper.contracts.bank import BankFile
from tillkeeper.sealing import KeyRing

TOLD: Final = {
    "piece": noticed(first()),
    "pieces": noticed(first(), other()),
    "back": noticed(BACK),
    "batch": WHOLE,
    "notice": NOTICE,
    "lump": LUMP,
}
ORDERS: Final = [
    order
    for words in (
        ("piece", "back", "batch"), ("pieces", "back", "batch"), ("pieces", "back", "lump"),
        ("notice", "back", "batch"), ("notice", "back", "lump"), ("notice", "pieces", "batch"),
        ("notice", "pieces", "lump"),
    )
    for order in itertools.permutations(words)
]  # fmt: skip
BACK_FIRST: Final = at_levels(
    statement_file([BACK, BATCH], Balances(0, 300_000)), ("P1", "P1"), ("E1", "P1"), ("E1", "P2")
)


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def again(told: BankFile) -> BankFile:
    """The same words in another file."""
    return told.model_copy(update={"digest": told.digest[::-1]})


async def payable(till: Till) -> list[int]:
    """The amounts that the desk may pay out or give to a request, in minor units."""
    return [r[0] for r in await till.rows("SELECT amount FROM receipts WHERE state = 'UNMATCHED'")]


class TestPartTakenBack:
    @pytest.mark.parametrize("order", ORDERS, ids="-".join)
    async def test_nobodys_part_is_gone_in_any_order(
        self, till: Till, order: tuple[str, ...]
    ) -> None:
        """C-09, C-13: the bank has 3,000.00, and so much may be paid back."""
        told = [TOLD[word] for word in order]
        await till.bring(*told, *map(again, told))
        assert await till.balances() == {"bank": 300_000, "unmatched_receipts": 300_000}
        assert await payable(till) == [300_000]
        assert [row[0] for row in await till.items() if row[2] != "CLOSED"] == ["UNMATCHED_RECEIPT"]
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []
        assert await till.sound()

    @pytest.mark.parametrize("order", ORDERS, ids="-".join)
    async def test_credited_part_is_peoples_in_any_order(
        self, till: Till, order: tuple[str, ...]
    ) -> None:
        """C-09, C-13: whoever was credited before keeps it; whoever was not gets nothing."""
        await till.ask("M1", "R1", 500_000)
        told = [TOLD[word] for word in order]
        await till.bring(*told)
        credited = await till.available("M1")
        if credited:
            await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        await till.bring(*map(again, told))
        assert credited == await till.available("M1") in (0, 500_000)
        assert await payable(till) == [300_000]
        left = {row[0] for row in await till.items() if row[2] != "CLOSED"}
        assert ("CREDIT_REVERSED" in left) is (credited == 500_000)
        assert left <= {"CREDIT_REVERSED", "UNMATCHED_RECEIPT"}
        assert (await till.balances())["bank"] == 300_000
        assert await till.sound()

    @pytest.mark.parametrize("told", [WHOLE, BACK_FIRST], ids=["batch first", "reversal first"])
    async def test_one_statement_tells_both(self, till: Till, told: BankFile) -> None:
        """C-13: as banks list an entry, oldest or newest first."""
        await till.bring(told, again(told))
        assert await till.balances() == {"bank": 300_000, "unmatched_receipts": 300_000}
        assert await payable(till) == [300_000]
        assert await till.sound()

    @pytest.mark.parametrize("back_first", [False, True])
    @pytest.mark.parametrize("backs", [1, 2])
    async def test_each_reversal_takes_one_part(
        self, till: Till, backs: int, *, back_first: bool
    ) -> None:
        """C-13: two parts of one reference and amount."""
        twins = Line(1_000_000, parts=((COMPANY, 500_000), (COMPANY, 500_000)))
        batch = at_levels(noticed(twins), ("E1", "P1"), ("E1", "P1"))
        back = noticed(*[BACK] * backs)
        await till.bring(*((back, batch) if back_first else (batch, back)))
        assert await payable(till) == [500_000] * (2 - backs)
        assert "unmatched_payments" not in await till.balances()
        assert await till.sound()

    async def test_another_amount_takes_no_part(self, till: Till) -> None:
        """C-13: 0.01 more under the part's reference is work; nothing is taken."""
        await till.bring(NOTICE, noticed(Line(-500_001, "P1", payer=COMPANY, reversal=True)))
        assert sorted(await payable(till)) == [300_000, 500_000]
        assert ("UNKNOWN_DEBIT", "", "OPEN", None) in await till.items()
        assert await till.sound()

    async def test_report_of_a_part_that_was_taken_back(self, till: Till) -> None:
        """P-26, C-13: the reversal, a service's report, the batch: 3,000.00 are left."""
        await till.bring(noticed(BACK))
        await till.report(500_000, "P1")
        await till.bring(WHOLE)
        assert await till.balances() == {"bank": 300_000, "unmatched_receipts": 300_000}
        assert await payable(till) == [300_000]
        assert await till.sound()
