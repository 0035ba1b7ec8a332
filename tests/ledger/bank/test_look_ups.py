"""What booking looks up goes by index, however much stands in the tables (P-26)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import meant, receipts
from ledger.bank import entries, known, reported, reversals
from ledger.engine import fetch

NOW = datetime(2024, 5, 6, tzinfo=UTC)
LOOK_UPS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "find": (meant._FIND, ([b"x"], ["CNY"], [1], ["TK"], 100)),
    "read": (meant._READ, ([1],)),
    "receipt": (receipts._READ, ("d", 1, NOW)),
    "take": (entries._TAKE, ("f", 500)),
    "left": (entries._LEFT, ("f",)),
    "detailed": (entries._DETAILED, ("f", 500)),
    "parts": (entries._PARTS, ([1],)),
    "reported": (reported._UNTOLD, (["d"], ["CNY"], [1], NOW, NOW)),
    "reported later": (reported._TOLD, ("CNY", 1, NOW, NOW, b"x", "1", NOW.date())),
    "batches": (known._BATCHES, (1, NOW.date(), NOW.date(), [1])),
    "half": (known._HALF, (1, NOW.date(), NOW.date(), [1])),
    "days": (known._DAYS, (1, [NOW.date()])),
    "nameless": (known._NAMELESS, (1, [NOW.date()])),
    "pieces": (known._PIECES, ([1], [1])),
    "taken back": (reversals._RECEIPTS, ("d", "CNY")),
    "suspense": (reversals._SUSPENSE, (1, ["d"], [1], False)),
    "told": (receipts._TOLD, ("d", "CNY", 1)),
}


class TestPlans:
    @pytest.mark.parametrize("name", LOOK_UPS)
    async def test_no_table_is_read_whole(self, engine: AsyncEngine, name: str) -> None:
        """P-26: on the worker's own session."""
        statement, parameters = LOOK_UPS[name]
        async with engine.connect() as connection:
            plan = await fetch(connection, f"EXPLAIN (GENERIC_PLAN false) {statement}", parameters)
        scans = [row[0] for row in plan if "Seq Scan" in row[0]]
        assert scans == []
