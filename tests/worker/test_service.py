"""What the worker does beside its work."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.audit_proof import prove
from tests.ledger.audit_support import write_many
from tests.workflows.support import eventually
from worker import service


class TestChained:
    async def test_new_rows_are_chained_while_the_worker_runs(
        self, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-07: nobody asks for it; each round chains what came."""
        monkeypatch.setattr(service, "CHAINED_EVERY_S", 0.05)
        async with service.chained(engine):
            for rows in (3, 6):
                await write_many(engine, 3)

                async def all_chained(wanted: int = rows) -> bool:
                    return (await prove(engine)).head.rows == wanted

                await eventually(all_chained)
        found = await prove(engine)
        assert (found.ok, found.unchained) == (True, 0)
