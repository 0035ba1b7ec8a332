"""A receipt that was reported under another reference than the file's is one receipt (P-26)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.bank.reconciling import reconcile_day
from ledger.engine import in_transaction
from tests.ledger.bank.telling import DAY, Line
from tests.ledger.bank.test_told_apart import BATCH, ENTRY, at_levels, noticed, stated
from tests.ledger.bank.till import ASKED, CAME, COMPANY, Till
from tests.ledger.desk_support import BANK, Office
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.reconciliation import ReconciliationState
from tillkeeper.contracts.workitem import ItemAction
from tillkeeper.sealing import KeyRing

LONG: Final = "ABCDEFGHIJKLMNOPQRST"
LATER: Final = timedelta(hours=1)


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def paid(reference: str | None = "B1") -> Line:
    return Line(500_000, reference, payer=COMPANY)


SAID: Final[dict[str, tuple[str, BankFile]]] = {
    "level": ("P1", at_levels(stated(paid()), ("E1", "P1"))),
    "case": ("b1", stated(paid())),
    "zeros": ("00B1", stated(paid())),
    "cut": (LONG, stated(paid(LONG[:16]), kind=FileKind.MT940)),
    "cut zeros": (f"00{LONG}", stated(paid(LONG[:16]), kind=FileKind.MT940)),
    "none": ("P1", stated(paid(None))),
}


class TestReportedOtherwise:
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("words", SAID)
    async def test_one_credit(self, till: Till, words: str, *, turned: bool) -> None:
        """P-26, C-09: in either order, another request of the amount waits in between."""
        reference, told = SAID[words]
        await till.ask("M1", "R1", 500_000)
        if turned:
            await till.bring(told)
        else:
            await till.report(500_000, reference)
        await till.ask("M1", "R2", 500_000, at=ASKED + LATER)
        if not turned:
            await till.bring(told)
        view = await till.report(500_000, reference)
        assert (view.state, view.request) == (ReceiptState.CREDITED, "R1")
        assert (await till.balances())["bank"] == 500_000
        assert await till.available("M1") == 500_000
        assert await till.sound()

    @pytest.mark.parametrize("turned", [False, True])
    async def test_parts_of_a_batch_by_their_own_references(
        self, till: Till, *, turned: bool
    ) -> None:
        """P-26: the batch's day agrees with the bank's (C-14)."""
        told = at_levels(stated(BATCH), *ENTRY)
        await till.ask("M1", "R1", 500_000)
        if turned:
            await till.bring(told)
        await till.report(500_000, "P1")
        await till.ask("M1", "R2", 500_000, at=ASKED + LATER)
        await till.report(300_000, "P2", company="丙丁商贸有限公司")
        if not turned:
            await till.bring(told)
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}
        assert await till.available("M1") == 500_000
        assert await till.sound()
        [(account,)] = await till.rows("SELECT id FROM bank_accounts")
        seen = await in_transaction(till.engine, lambda c: reconcile_day(c, account, DAY, at=CAME))
        assert seen.state is ReconciliationState.CLEAN

    async def test_other_references_are_other_receipts(self, till: Till) -> None:
        """P-26: two reports, then a file that tells both: two credits, whatever the order."""
        for request, reference in (("R1", "B1"), ("R2", "B2")):
            await till.ask("M1", request, 500_000)
            await till.report(500_000, reference)
        await till.bring(stated(paid("B2"), paid("B1")))
        assert (await till.balances())["bank"] == 1_000_000
        assert await till.available("M1") == 1_000_000

    async def test_a_notification_under_another_reference_is_another(self, till: Till) -> None:
        """P-26: it does not tell all that moved; a reference tells receipts apart."""
        await till.report(500_000, "B1")
        await till.bring(noticed(paid("B2")))
        assert (await till.balances())["bank"] == 1_000_000

    async def test_a_part_that_was_sent_back_is_booked_once(self, till: Till) -> None:
        """P-26, C-13: reported, being returned, then told within its batch; then it leaves."""
        office = Office(till.engine, till.ring)
        reported = await till.report(500_000, "E1")
        item = await office.item(f"receipt/{reported.digest}")
        sent = await office.approve(await office.propose(item, ItemAction.RETURN, return_to=BANK))
        await till.bring(at_levels(noticed(BATCH), *ENTRY))
        assert await till.balances() == {
            "bank": 800_000, "returning_receipts": 500_000, "unmatched_receipts": 300_000,
        }  # fmt: skip
        assert await till.sound()
        await till.bring(noticed(Line(-500_000, "D1", end_to_end_id=sent.payment)))
        assert await till.balances() == {"bank": 300_000, "unmatched_receipts": 300_000}
        assert (await till.report(500_000, "E1")).state is ReceiptState.RETURNED
        assert await till.sound()
