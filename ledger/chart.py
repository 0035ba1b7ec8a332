"""The chart of accounts: makes bucket rows, and finds their ids.

Ids never change once made, so they are remembered per process; balances never are. An id that the
present transaction itself wrote is not remembered: the transaction may still be rolled back.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from weakref import WeakKeyDictionary
from zlib import crc32

from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute, fetch
from tillkeeper.contracts.book import Bucket
from tillkeeper.rules.postings import CHART

PLATFORM: Final = "platform"

_MAKE: Final = """
INSERT INTO accounts (holder, bucket, currency, shard, side, floored, lock_rank)
SELECT $1, b.bucket, $2, b.shard, b.side, b.floored, b.rank
  FROM unnest($3::text[], $4::smallint[], $5::text[], $6::boolean[], $7::smallint[])
       AS b (bucket, shard, side, floored, rank)
ON CONFLICT (holder, currency, bucket, shard) DO NOTHING"""

_FIND_MERCHANTS: Final = """
SELECT p.merchant, p.currency, p.id, p.available,
       coalesce(p.xmin = pg_current_xact_id_if_assigned()::xid, false)
  FROM prepaid_accounts p
  JOIN unnest($1::text[], $2::text[]) AS k (merchant, currency) USING (merchant, currency)"""

_FIND: Final = """
SELECT bucket, shard, id, coalesce(xmin = pg_current_xact_id_if_assigned()::xid, false)
  FROM accounts WHERE holder = $1 AND currency = $2"""

MerchantIds = dict[tuple[str, str], tuple[int, int]]
"""(merchant, currency) -> (prepaid account id, id of its ``available`` row)."""


class _Known:
    """Ids learnt from one database."""

    def __init__(self) -> None:
        self.merchants: MerchantIds = {}
        self.platform: dict[tuple[Bucket, str, int], int] = {}


_known: WeakKeyDictionary[Engine, _Known] = WeakKeyDictionary()


def _learnt(connection: AsyncConnection) -> _Known:
    return _known.setdefault(connection.sync_engine, _Known())


async def find_accounts(
    connection: AsyncConnection, wanted: Collection[tuple[str, str]]
) -> MerchantIds:
    """Ids of the prepaid accounts of (merchant, currency) that exist."""
    known = _learnt(connection).merchants
    found = {key: known[key] for key in wanted if key in known}
    missing = [key for key in wanted if key not in known]
    if missing:
        names = ([m for m, _ in missing], [c for _, c in missing])
        for merchant, currency, account, available, own in await fetch(
            connection, _FIND_MERCHANTS, names
        ):
            found[merchant, currency] = (account, available)
            if not own:
                known[merchant, currency] = (account, available)
    return found


async def make_accounts(
    connection: AsyncConnection, holder: str, currency: str, buckets: Collection[Bucket]
) -> None:
    """Make the bucket rows of ``holder`` that do not exist yet, all shards."""
    rows = [(b, shard, CHART[b]) for b in buckets for shard in range(CHART[b].shards)]
    columns = (
        [b.value for b, _, _ in rows],
        [shard for _, shard, _ in rows],
        [rule.side.value for _, _, rule in rows],
        [rule.floored for _, _, rule in rows],
        [(1 if rule.shards == 1 else 2) if rule.platform else 0 for _, _, rule in rows],
    )
    await execute(connection, _MAKE, (holder, currency, *columns))


async def make_merchant_accounts(
    connection: AsyncConnection, merchant: str, currency: str
) -> dict[Bucket, int]:
    """Make a merchant's buckets, and the platform's of that currency; ids of all it posts to.

    The merchant's shard of a platform bucket is fixed by its name.
    """
    own = [bucket for bucket, rule in CHART.items() if not rule.platform]
    shared = [bucket for bucket, rule in CHART.items() if rule.platform]
    holder = f"merchant/{merchant}"
    await make_accounts(connection, PLATFORM, currency, shared)
    await make_accounts(connection, holder, currency, own)
    found = {Bucket(r[0]): r[2] for r in await fetch(connection, _FIND, (holder, currency))}
    for bucket in shared:
        if CHART[bucket].shards > 1:
            shard = crc32(merchant.encode()) % CHART[bucket].shards
            found[bucket] = await platform_account(connection, bucket, currency, shard)
    return found


async def platform_account(
    connection: AsyncConnection, bucket: Bucket, currency: str, shard: int = 0
) -> int:
    """Id of a platform account, made with all of its currency's on first use."""
    known = _learnt(connection).platform
    if (bucket, currency, shard) in known:
        return known[bucket, currency, shard]
    shared = [b for b, rule in CHART.items() if rule.platform]
    await make_accounts(connection, PLATFORM, currency, shared)
    found: dict[tuple[Bucket, str, int], int] = {}
    for name, number, account, own in await fetch(connection, _FIND, (PLATFORM, currency)):
        found[Bucket(name), currency, number] = account
        if not own:
            known[Bucket(name), currency, number] = account
    return found[bucket, currency, shard]
