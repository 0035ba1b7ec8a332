"""Files in any order, told any number of times, give one book (C-09, P-26)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute, in_transaction
from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.bank.till import COMPANY, Till
from tests.stack import Database, engine_on
from tillkeeper.contracts.bank import FileKind
from tillkeeper.sealing import KeyRing

OTHER = "丙丁商贸有限公司"
PARTS = ((COMPANY, 320_000), (OTHER, 80_000))
DETAILED = Line(400_000, "B3", parts=PARTS)

LINES = (
    Line(500_000, "B1", payer=COMPANY),
    Line(310_000, "B2", payer=OTHER),
    Line(400_000, "B3"),
    Line(-2_500, "D1"),
    Line(450_000, "B4", payer=COMPANY),
    Line(60_000, None, payer=OTHER),
)
TOTAL = sum(line.signed for line in LINES)
FILES = (
    statement_file(LINES[:3], Balances(0, sum(x.signed for x in LINES[:3]), number="1")),
    statement_file(LINES[3:], Balances(sum(x.signed for x in LINES[:3]), TOTAL, number="2")),
    statement_file([LINES[0], DETAILED], None, kind=FileKind.CAMT_054),
    statement_file([LINES[1], LINES[3], LINES[4]], None, kind=FileKind.CAMT_054),
    statement_file(LINES[3:5], None, kind=FileKind.CAMT_052),
)
REPORT = len(FILES)
"""Stands for the client's own report of B4."""

WANTED = [
    ("CREDITED", 320_000, "R3"), ("CREDITED", 450_000, "R4"), ("CREDITED", 500_000, "R1"),
    ("UNMATCHED", 60_000, None), ("UNMATCHED", 80_000, None), ("UNMATCHED", 310_000, None),
]  # fmt: skip


TABLES = (
    "transfers, accounts, prepaid_accounts, topup_requests, receipts, work_items, audit,"
    " bank_accounts, bank_files, bank_statements, bank_entries, bank_transactions, payments, outbox"
)


class Clean:
    """One database that is made empty for every example."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database = database
        self._ring = ring
        self._runner = asyncio.Runner()

    def play(self, order: list[int], limit: int) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
        """Bring the files in ``order`` to an empty book: balances, and receipts by state."""
        return self._runner.run(self._play(order, limit))

    async def _play(
        self, order: list[int], limit: int
    ) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
        async with engine_on(self._database.owner_url) as owner:
            await in_transaction(owner, _empty)
        async with engine_on(self._database.app_url, ring=self._ring) as engine:
            till = Till(engine, self._ring)
            for request, amount in (("R1", 500_000), ("R3", 320_000), ("R4", 450_000)):
                await till.ask("M1", request, amount)
            for place in order:
                if place == REPORT:
                    await till.report(450_000, "B4")
                else:
                    await till.bring(FILES[place], limit=limit)
            assert await till.sound()
            found = await till.rows(
                "SELECT r.state, r.amount, t.request FROM receipts r"
                " LEFT JOIN topup_requests t ON t.id = r.topup WHERE r.state <> 'DETAILED'"
                " ORDER BY r.state, r.amount"
            )
            return await till.balances(), found

    def close(self) -> None:
        """Close the loop."""
        self._runner.close()


async def _empty(connection: AsyncConnection) -> None:
    """Empty the book; run again where the server's own upkeep of the tables was in the way."""
    await execute(connection, "SET LOCAL session_replication_role = replica", ())
    await execute(connection, "ALTER TABLE transfers DISABLE TRIGGER ALL", ())
    await execute(connection, "ALTER TABLE audit DISABLE TRIGGER ALL", ())
    await execute(connection, f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE", ())
    await execute(connection, "ALTER TABLE transfers ENABLE TRIGGER ALL", ())
    await execute(connection, "ALTER TABLE audit ENABLE TRIGGER ALL", ())


@pytest.fixture
def clean(database: Database, ring: KeyRing) -> Iterator[Clean]:
    made = Clean(database, ring)
    yield made
    made.close()


class TestAnyOrder:
    @given(
        order=st.permutations([*range(REPORT + 1)]),
        again=st.lists(st.integers(0, REPORT), max_size=4),
        limit=st.integers(1, 3),
    )
    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_equal_balances_and_receipts(
        self, clean: Clean, order: list[int], again: list[int], limit: int
    ) -> None:
        """C-09, P-26: statements, notifications, details and a report, some of them twice."""
        balances, receipts = clean.play([*order, *again], limit)
        assert balances == {
            "bank": TOTAL,
            "unmatched_receipts": 60_000 + 80_000 + 310_000,
            "unmatched_payments": 2_500,
        }
        assert receipts == WANTED
