"""Makes an order-event file out of a seed: the same seed, the same bytes.

For demonstrations without real input. Cancellations, returns, duplicates and rows out of order are
in it on purpose; whoever shows its figures says that they are generated.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

SEED_DEFAULT: Final = 20231102
MERCHANTS_DEFAULT: Final = 20
ORDERS_DEFAULT: Final = 3_000
FIRST_DAY: Final = datetime(2024, 5, 6, 8, 0)  # noqa: DTZ001 - event files carry naive UTC
DAYS: Final = 60
CURRENCY: Final = "CNY"
COLUMNS: Final = (
    "event_time", "merchant_id", "order_id", "event", "gross_minor", "currency", "installments",
    "time_inferred", "ref_order_id",
)  # fmt: skip
INSTALMENTS: Final = (1, 3, 3, 3, 6, 6, 6, 12, 12, 24)


class _Row(NamedTuple):
    at: datetime
    merchant: str
    order: str
    event: str
    gross: int
    instalments: int
    ref: str = ""


def generate(
    path: Path,
    *,
    seed: int = SEED_DEFAULT,
    merchants: int = MERCHANTS_DEFAULT,
    orders: int = ORDERS_DEFAULT,
) -> int:
    """Write the file (gzip) whole or not at all; returns its number of rows."""
    # Files of other seeds speak of other merchants: they never contradict each other in the book.
    made_of = f"{seed}/{merchants}/{orders}"
    mark = f"G{blake2b(made_of.encode(), digest_size=2).hexdigest()}"
    rows = list(_rows(random.Random(seed), mark, merchants, orders))  # noqa: S311 - no secret
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with (
        fresh.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="ascii", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            stated = row.at.strftime("%Y-%m-%d %H:%M:%S")
            head = (stated, row.merchant, row.order, row.event, row.gross, CURRENCY)
            writer.writerow((*head, row.instalments, 0, row.ref))
    fresh.rename(path)
    return len(rows)


def _rows(rng: random.Random, mark: str, merchants: int, orders: int) -> Iterator[_Row]:
    ids = [f"{mark}-{number:03d}" for number in range(1, merchants + 1)]
    weights = [1 + 3 * merchants // (place + 1) for place in range(merchants)]
    busy = rng.choices(ids, weights, k=orders)
    rows = [row for number, who in enumerate(busy, 1) for row in _order(rng, who, number)]
    rows.sort(key=lambda row: (row.at, row.order))
    rows += rng.sample(rows, k=len(rows) // 100)
    for _ in range(len(rows) // 50):
        left = rng.randrange(len(rows) - 30)
        right = left + rng.randrange(1, 30)
        rows[left], rows[right] = rows[right], rows[left]
    yield from rows


def _order(rng: random.Random, merchant: str, number: int) -> Iterator[_Row]:
    order, gross = f"O{number:07d}", _gross(rng)
    count = rng.choice(INSTALMENTS)
    at = FIRST_DAY + timedelta(seconds=rng.randrange(DAYS * 86_400))
    yield _Row(at, merchant, order, "PURCHASED", gross, count)
    yield _Row(
        at + timedelta(minutes=rng.randrange(1, 600)), merchant, order, "APPROVED", gross, count
    )
    fate = rng.randrange(100)
    if fate < 6:
        at += timedelta(hours=rng.randrange(1, 72))
        yield _Row(at, merchant, order, rng.choice(("CANCELED", "UNAVAILABLE")), gross, count)
        return
    if fate < 12:
        at += timedelta(hours=rng.randrange(2, 40))
        yield _Row(at, merchant, f"R{number:07d}", "RETURNED", gross // 2, count, order)
    at += timedelta(hours=rng.randrange(40, 90))
    yield _Row(at, merchant, order, "SHIPPED", gross, count)
    if fate >= 96:
        return
    at += timedelta(hours=rng.randrange(20, 200))
    yield _Row(at, merchant, order, "DELIVERED", gross, count)
    if fate >= 90:
        at += timedelta(hours=rng.randrange(10, 160))
        back = gross if fate >= 93 else gross // 3
        yield _Row(at, merchant, f"A{number:07d}", "RETURNED", back, count, order)
    elif fate == 89:
        yield _Row(at, merchant, f"U{number:07d}", "RETURN_UNMATCHED", gross, count)


def _gross(rng: random.Random) -> int:
    """Mostly tens to hundreds of yuan, in fen; one in twenty is thousands."""
    return rng.randrange(20_00, 5_000_00 if rng.randrange(20) == 0 else 400_00)
