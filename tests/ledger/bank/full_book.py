"""A book in which the bank has done everything that it can do to us."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import in_transaction
from ledger.payments import apply_statuses
from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.bank.till import COMPANY, Till
from tests.ledger.desk_support import Office
from tests.ledger.payment_support import said
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.workitem import ItemAction, ReturnTo
from tillkeeper.sealing import KeyRing

STRANGER = "丙丁商贸有限公司"
PAYEE = ReturnTo(account="6225880299999999", bank_name="招商银行北京分行")


class FullBook:
    """Credited, unmatched, detailed, reported, matched by hand, reversed, charged, paid back."""

    def __init__(self, engine: AsyncEngine, ring: KeyRing) -> None:
        self.till = Till(engine, ring)
        self.office = Office(engine, ring)
        self.number = 0

    async def make(self) -> FullBook:
        """Let everything happen."""
        till = self.till
        for request, amount in (("R1", 500_000), ("R2", 600_000)):
            await till.ask("M1", request, amount)
        await self.office.account("M5")
        await till.ask("M5", "R5", 333_300, company="五号公司")
        await till.ask("M1", "R9", 987_600)
        parts = ((COMPANY, 300_001), (STRANGER, 500_001))
        await till.report(200_000, "B4")
        await self.state(
            self.got(500_000, "B1", COMPANY), self.got(100_000, "B2"), Line(800_002, "B3"),
            self.got(200_000, "B4"), self.got(333_400, "B5"), self.got(70_000, "B6"),
            self.got(600_000, "B7", COMPANY), self.got(90_000, "B8"), self.got(110_000, "B9"),
            self.got(120_000, "B10"), self.got(130_000, "B11"),
            Line(-3_000, "D1"), Line(-4_000, "D2"), Line(-5_000, "D3"),
        )  # fmt: skip
        await till.bring(statement_file([Line(800_002, "B3", parts=parts)], None,
                                        kind=FileKind.CAMT_054))  # fmt: skip
        await self.state(
            Line(-70_000, "B6", reversal=True), Line(-600_000, "B7", reversal=True),
            Line(5_000, "D3", reversal=True),
        )  # fmt: skip
        await self.decide("UNMATCHED_RECEIPT", 333_400, ItemAction.MATCH, "M5/R5")
        await self.decide("UNKNOWN_DEBIT", 4_000, ItemAction.CHARGE)
        names = {}
        for amount in (90_000, 110_000, 120_000, 130_000):
            await self.decide("UNMATCHED_RECEIPT", amount, ItemAction.RETURN, return_to=PAYEE)
            names[amount] = (
                await till.rows("SELECT end_to_end_id FROM payments WHERE amount = $1", amount)
            )[0][0]
        await self.state(*(self.sent(amount, names[amount]) for amount in (110_000, 130_000)))
        back = Line(130_000, "C1", payer=STRANGER, end_to_end_id=names[130_000])
        await self.state(back)
        at = datetime(2024, 5, 7, tzinfo=UTC)
        refusal = said("RJCT", names[120_000], "AC04")
        await in_transaction(till.engine, lambda c: apply_statuses(c, [refusal], "s1", at))
        return self

    def got(self, amount: int, reference: str, payer: str = STRANGER) -> Line:
        """Money that came."""
        return Line(amount, reference, payer=payer)

    def sent(self, amount: int, name: str) -> Line:
        """The debit of a payment of ours."""
        return Line(-amount, f"P{amount}", end_to_end_id=name)

    async def state(self, *lines: Line) -> None:
        """One more statement."""
        self.number += 1
        total = sum(line.signed for line in lines)
        told: BankFile = statement_file(lines, Balances(0, total, number=str(self.number)))
        await self.till.bring(told)

    async def decide(
        self, kind: str, amount: int, action: ItemAction, target: str | None = None, **more: Any
    ) -> None:
        """Two people decide an item."""
        item = (
            await self.till.rows(
                "SELECT id FROM work_items WHERE kind = $1 AND amount = $2 AND state <> 'CLOSED'",
                kind, amount,
            )
        )[0][0]  # fmt: skip
        await self.office.approve(await self.office.propose(item, action, target, **more))
