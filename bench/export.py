"""``python -m bench.export URL MERCHANT CURRENCY FILE``: one statement as CSV, by its own process.

Prints lines, seconds and peak memory as JSON. It never keeps more of the statement than a piece.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from time import perf_counter

import uvloop

from bench.memory import peak_mib
from ledger.engine import make_engine
from ledger.export import export_csv
from ledger.statements import StatementWanted


async def _export(url: str, merchant: str, currency: str, path: Path) -> dict[str, float]:
    wanted = StatementWanted(merchant, currency, date(2023, 1, 1), date(2199, 12, 31))
    engine = make_engine(url, pool_size=1)
    started = perf_counter()
    figures = await export_csv(engine, wanted, path, overwrite=True)
    seconds = perf_counter() - started
    await engine.dispose()
    return {"lines": figures.lines, "seconds": seconds, "peak_mib": peak_mib()}


if __name__ == "__main__":
    url, merchant, currency, path = sys.argv[1:]
    print(json.dumps(uvloop.run(_export(url, merchant, currency, Path(path)))))
