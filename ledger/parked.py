"""How many order messages wait for another one: each may be refused once that comes. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import fetch
from ledger.snapshot import snapshot

_PARKED: Final = """
WITH touched AS (
    SELECT p.id FROM prepaid_accounts p
      JOIN unnest($1::text[], $2::text[]) AS k (merchant, currency) USING (merchant, currency))
SELECT (SELECT count(*) FROM hold_returns r JOIN touched t ON t.id = r.account
         WHERE r.result = 'parked')
     + (SELECT count(*) FROM holds h JOIN touched t ON t.id = h.account
         WHERE h.state = 'parked' AND h.completed_at IS NOT NULL)"""


async def parked_messages(engine: AsyncEngine, accounts: Collection[tuple[str, str]]) -> int:
    """Returns and settlements of these (merchant, currency) that wait for their order's hold.

    A refund that waits for its settlement counts too. Raises Unavailable.
    """
    names = ([merchant for merchant, _ in accounts], [currency for _, currency in accounts])
    async with snapshot(engine) as connection:
        return int((await fetch(connection, _PARKED, names))[0][0])
