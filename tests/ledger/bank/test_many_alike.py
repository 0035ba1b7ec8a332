"""Files of thousands that are alike are compared in seconds, while the worker goes on (C-02)."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.bank.files import Arrival, receive_file
from ledger.bank.staging import PAGES_MAX, ready_file, stage_file
from ledger.engine import in_transaction
from tests.ledger.bank.telling import AT, DAY, Balances, Line, bank_file, book, statement_file
from tests.ledger.bank.till import Till
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.sameness import Likeness
from tillkeeper.sealing import KeyRing

NEXT = DAY + timedelta(days=1)
PAYER = "丙丁商贸有限公司"


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def pages(number: int) -> BankFile:
    return bank_file(
        [
            ([Line(100, f"R{n}", payer=PAYER)], Balances(100 * n, 100 * n + 100))
            for n in range(number)
        ],
        kind=FileKind.MT940,
    )


def equal(number: int, prefix: str, balances: Balances | None, kind: FileKind) -> BankFile:
    lines = [Line(10_000, f"{prefix}{n}", payer=PAYER) for n in range(number)]
    return statement_file(lines, balances, kind=kind)


class TestManyAlike:
    @pytest.mark.timeout(60)
    async def test_month_over_days_of_equal_entries(self, till: Till) -> None:
        """C-09: pairing each with each would take minutes."""
        for day, opening in ((DAY, 0), (NEXT, 50_000_000)):
            lines = [Line(10_000, f"N{n}", day=day) for n in range(5_000)]
            said = Balances(opening, opening + 50_000_000, on=day)
            await till.stage(statement_file(lines, said, kind=FileKind.MT940))
        lines = [
            Line(10_000, f"Q{day}{n}", day=day, payer=PAYER)
            for day in (DAY, NEXT) for n in range(5_000)
        ]  # fmt: skip
        await till.stage(statement_file(lines, Balances(0, 100_000_000, on=NEXT, opening_on=DAY)))
        assert await till.rows("SELECT count(*) FROM bank_entries") == [(10_000,)]

    @pytest.mark.timeout(60)
    async def test_notified_after_two_statements_of_the_day(self, till: Till) -> None:
        """C-09: one payer, and each file with references of its own."""
        said = Balances(0, 40_000_000)
        await till.stage(equal(4_000, "N", said, FileKind.MT940))
        await till.stage(equal(4_000, "Q", said, FileKind.CAMT_053))
        await till.stage(equal(4_000, "Z", None, FileKind.CAMT_054))
        assert await till.rows("SELECT count(*) FROM bank_entries") == [(4_000,)]

    async def test_is_compared_in_a_thread_of_its_own(self, till: Till) -> None:
        """C-02: a worker whose loop is silent for long loses its work to another."""
        threads: set[int] = set()
        found = statement_file([Line(10_000, "Q", payer=PAYER)], None, kind=FileKind.CAMT_052)
        ready = ready_file(book(till.ring), found, AT)
        [telling], [entry] = ready.told.tellings, ready.told.tellings[0].entries

        def asked() -> Likeness:
            threads.add(threading.get_ident())
            return Likeness()

        spied = replace(entry, movement=replace(entry.movement, likeness=asked))
        ready.told.tellings[:] = [replace(telling, entries=(spied,))]
        await till.stage(equal(1, "N", None, FileKind.CAMT_054))

        async def work(connection: AsyncConnection) -> None:
            digest = await receive_file(
                connection, till.ring, b"Q", Arrival("file", "import", None, AT)
            )
            await stage_file(connection, book(till.ring), digest, ready, at=AT)

        await in_transaction(till.engine, work)
        assert threads
        assert threading.get_ident() not in threads

    def test_more_pages_of_a_day_are_refused(self, ring: KeyRing) -> None:
        """C-02: what would be compared for hours is a person's."""
        with pytest.raises(Rejected) as refused:
            ready_file(book(ring), pages(PAGES_MAX + 1), AT)
        assert refused.value.codes == (Code.BANK_FILE_TOO_LARGE,)
