"""Where many accounts stand at one moment: balances, and orders by state. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import fetch, in_transaction
from ledger.snapshot import snapshot
from tillkeeper.contracts.order import HoldState

_BALANCES: Final = """
SELECT p.id, p.merchant, p.currency, a.balance, f.balance, d.balance
  FROM prepaid_accounts p
  JOIN unnest($1::text[], $2::text[]) AS k (merchant, currency) USING (merchant, currency)
  JOIN accounts a ON a.id = p.available
  JOIN accounts f ON f.id = p.frozen
  JOIN accounts d ON d.id = p.dues"""

_ACTIVE: Final = """
SELECT count(*)
  FROM unnest($1::text[], $2::text[]) AS k (merchant, currency)
  JOIN prepaid_accounts p USING (merchant, currency)
 WHERE p.state = 'ACTIVE'"""

_ORDERS: Final = """
SELECT account, state, count(*), sum(settled)::bigint, sum(refunded)::bigint
  FROM holds WHERE account = ANY($1::bigint[]) GROUP BY account, state"""


@dataclass(slots=True)
class AccountFigures:
    """One account; amounts in minor units, ``orders`` counts orders by where their fee stands."""

    merchant: str
    currency: str
    available: int
    frozen: int
    dues: int
    settled: int = 0
    refunded: int = 0
    orders: dict[HoldState, int] = field(default_factory=dict)


async def account_figures(
    engine: AsyncEngine, accounts: Sequence[tuple[str, str]]
) -> list[AccountFigures]:
    """Figures of the (merchant, currency) that have an account, in the given order.

    Raises Unavailable.
    """
    names = ([merchant for merchant, _ in accounts], [currency for _, currency in accounts])
    async with snapshot(engine) as connection:
        rows = await fetch(connection, _BALANCES, names)
        by_id = {row[0]: AccountFigures(*row[1:]) for row in rows}
        _add_orders(by_id, await fetch(connection, _ORDERS, (list(by_id),)))
    by_name = {(found.merchant, found.currency): found for found in by_id.values()}
    return [by_name[name] for name in accounts if name in by_name]


async def active_accounts(engine: AsyncEngine, accounts: Sequence[tuple[str, str]]) -> int:
    """How many of the (merchant, currency) have an active account (P-09). Raises Unavailable."""
    names = ([merchant for merchant, _ in accounts], [currency for _, currency in accounts])

    async def work(connection: AsyncConnection) -> int:
        [row] = await fetch(connection, _ACTIVE, names)
        return int(row[0])

    return await in_transaction(engine, work)


def _add_orders(by_id: dict[int, AccountFigures], rows: Sequence[Any]) -> None:
    for account, state, count, settled, refunded in rows:
        found = by_id[account]
        found.orders[HoldState(state)] = count
        found.settled += settled
        found.refunded += refunded
