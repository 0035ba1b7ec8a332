"""Fills a book faster than posting can and leaves it valid: balances, chains and orders agree.

Orders are held and settled in turn over the merchants. Only keys and fingerprints differ from
real ones: keys start with their effect's time, as real ones do, but end in another digest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bench.posting import FEE
from bench.stage import CURRENCY, Stage

CHUNK: Final = 100_000

_MERCHANTS: Final = """
CREATE TEMP TABLE playing ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY p.id) - 1 AS turn, p.id, p.available, p.frozen, p.fee_income
  FROM prepaid_accounts p WHERE p.merchant = ANY($1) AND p.currency = $2"""

# Order i, of $2 from number $1 on, is its merchant's n-th and takes effect i seconds into 2023.
_ORDERS: Final = """
CREATE TEMP TABLE playing_orders ON COMMIT DROP AS
SELECT i, p.*, a.balance AS available_before, a.seq AS available_seq,
       f.balance AS frozen_before, f.seq AS frozen_seq,
       row_number() OVER (PARTITION BY p.id ORDER BY i) AS n,
       row_number() OVER (PARTITION BY p.fee_income ORDER BY i) AS n_income,
       s.balance AS income_before, s.seq AS income_seq,
       timestamptz '2023-01-01 00:00Z' + i * interval '1 second' AS at
  FROM generate_series($1::bigint, $1 + $2 - 1) AS i
  JOIN playing p ON p.turn = i % (SELECT count(*) FROM playing)
  JOIN accounts a ON a.id = p.available JOIN accounts f ON f.id = p.frozen
  JOIN accounts s ON s.id = p.fee_income"""

_KEY: Final = """
encode(substring(int8send((extract(epoch FROM o.at) * 1000)::bigint) FROM 3)
       || substring(sha256(convert_to(o.i || leg.kind, 'UTF8')) FOR 10), 'hex')::uuid"""

_TRANSFERS: Final = f"""
INSERT INTO transfers (
    key, fingerprint, kind, amount, currency, debit_account, debit_seq, debit_after,
    credit_account, credit_seq, credit_after, subject, effective_at)
SELECT {_KEY}, md5(o.i || leg.kind)::uuid, leg.kind, {FEE}, '{CURRENCY}',
       leg.debit, leg.debit_seq, leg.debit_after, leg.credit, leg.credit_seq, leg.credit_after,
       'order/loaded-' || o.i, o.at
  FROM playing_orders o, LATERAL (VALUES
       ('hold', o.available, available_seq + n, available_before - n * {FEE},
        o.frozen, frozen_seq + 2 * n - 1, frozen_before + {FEE}),
       ('settlement', o.frozen, frozen_seq + 2 * n, frozen_before,
        o.fee_income, income_seq + n_income, income_before + n_income * {FEE}))
       AS leg (kind, debit, debit_seq, debit_after, credit, credit_seq, credit_after)
 ORDER BY o.i, leg.kind"""

_HOLDS: Final = f"""
INSERT INTO holds (account, order_id, fee, fee_version, settled, placed_at, completed_at)
SELECT o.id, 'loaded-' || o.i, {FEE}, 1, {FEE}, o.at, o.at FROM playing_orders o ORDER BY o.i"""

_ACCOUNTS: Final = f"""
UPDATE accounts a SET balance = a.balance + v.delta, seq = a.seq + v.steps
  FROM (SELECT available AS id, -count(*) * {FEE} AS delta, count(*) AS steps
          FROM playing_orders GROUP BY 1
         UNION ALL SELECT frozen, 0, 2 * count(*) FROM playing_orders GROUP BY 1
         UNION ALL SELECT fee_income, count(*) * {FEE}, count(*) FROM playing_orders GROUP BY 1) v
 WHERE a.id = v.id"""


async def load_settled_orders(
    stage: Stage, merchants: Sequence[str], count: int, *, told: Callable[[int], None] | None = None
) -> None:
    """Write ``count`` settled orders (two transfers each); ``told`` hears how many are in."""
    for start in range(0, count, CHUNK):
        async with stage.owner.transaction():
            await stage.owner.execute(_MERCHANTS, list(merchants), CURRENCY)
            await stage.owner.execute(_ORDERS, start, min(CHUNK, count - start))
            await stage.owner.execute("ANALYZE playing_orders")
            for statement in (_TRANSFERS, _HOLDS, _ACCOUNTS):
                await stage.owner.execute(statement)
        if told is not None:
            told(min(start + CHUNK, count))
    await stage.owner.execute("VACUUM ANALYZE")
