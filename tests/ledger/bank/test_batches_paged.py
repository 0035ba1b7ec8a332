"""A batch that was notified, whose day is stated payer by payer, in whole and in parts (P-26)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.telling import DAY, Balances, Line, statement_file
from tests.ledger.bank.test_batches_apart import NEXT, NOTICE, first, second
from tests.ledger.bank.test_told_apart import at_levels
from tests.ledger.bank.till import ASKED, COMPANY, Till
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.sealing import KeyRing

OTHERS: Final = Line(100_000, "X1", payer="庚辛制造有限公司")
LATER: Final = Line(100_000, "X2", day=NEXT)


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def stated(*lines: Line, opening: int = 0, kind: FileKind = FileKind.CAMT_053) -> BankFile:
    closing = opening + sum(line.signed for line in lines)
    return statement_file(lines, Balances(opening, closing), kind=kind)


def as_mt940(found: Line, reference: str) -> Line:
    """As a format writes it that names neither the payer nor the same reference."""
    return Line(found.signed, reference, day=found.day)


WHOLE: Final = stated(first(), second())
PAGE: Final = stated(first())
LAST: Final = stated(second(), opening=500_000)
MONTH: Final = statement_file(
    [first(), second(), LATER], Balances(0, 900_000, on=NEXT, opening_on=DAY)
)
DETAILED: Final = at_levels(
    stated(Line(800_000, parts=((COMPANY, 500_000), ("丙丁商贸有限公司", 300_000)))),
    ("E1", "P1"), ("E1", "P2"),
)  # fmt: skip

FILES: Final = {
    "whole, last page": (800_000, NOTICE, WHOLE, LAST),
    "whole, first page": (800_000, NOTICE, WHOLE, PAGE),
    "whole, both pages": (800_000, NOTICE, WHOLE, PAGE, LAST),
    "whole, page with another": (
        900_000, NOTICE, stated(OTHERS, first(), second()), stated(OTHERS, first()),
    ),
    "whole, MT940 page": (800_000, NOTICE, WHOLE, stated(first(), kind=FileKind.MT940)),
    "batch and page": (800_000, NOTICE, DETAILED, PAGE),
    "month, day": (900_000, NOTICE, MONTH, WHOLE),
    "month, page": (900_000, NOTICE, MONTH, PAGE),
}  # fmt: skip


ORDERS: Final = [
    pytest.param(closing, [files[n] for n in order], id=f"{words}-{''.join(map(str, order))}")
    for words, (closing, *files) in FILES.items()
    for order in itertools.permutations(range(len(files)))
]


class TestBatchInPages:
    @pytest.mark.parametrize("twice", ["at once", "in the end"])
    @pytest.mark.parametrize(("closing", "files"), ORDERS)
    async def test_any_order_books_once_and_credits_once(
        self, till: Till, closing: int, files: Sequence[BankFile], twice: str
    ) -> None:
        """P-26, C-09: each file told twice; once it is paid another of the amount is requested."""
        again = [one.model_copy(update={"digest": one.digest[::-1]}) for one in files]
        pairs = zip(files, again, strict=True)
        told = [*files, *again] if twice == "in the end" else list(itertools.chain(*pairs))
        await till.ask("M1", "R1", 500_000)
        asked = False
        for one in told:
            await till.bring(one)
            if not asked and await till.available("M1"):
                asked = True
                await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        assert (await till.balances())["bank"] == closing
        assert await till.available("M1") == 500_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []
        assert await till.sound()
