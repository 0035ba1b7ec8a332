"""The statement export against COPY of the same lines, and the memory that its process needs.

The reference reads the same rows and columns out of the transfers, unordered and without running
totals. The export runs in a process of its own, whose clock starts after its imports and whose
peak memory is the kernel's figure for that process alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.loading import load_settled_orders
from bench.posting import FUND, HOT
from bench.stage import CURRENCY, Stage, stage_on
from tillkeeper.rules.postings import STATEMENT_KINDS
from worker.embedded.postgres import EmbeddedPostgres

_REFERENCE = """
SELECT t.effective_at, t.recorded_at, t.kind, 'OUT', t.amount, t.debit_after, t.currency, t.id,
       t.subject
  FROM transfers t WHERE t.debit_account = ANY($1) AND t.kind = ANY($2)
UNION ALL
SELECT t.effective_at, t.recorded_at, t.kind, 'IN', t.amount, t.credit_after, t.currency, t.id,
       t.subject
  FROM transfers t WHERE t.credit_account = ANY($1) AND t.kind = ANY($3)"""

_ACCOUNTS = """
SELECT array[available, frozen] FROM prepaid_accounts WHERE merchant = $1 AND currency = $2"""


async def measure_statement(
    server: EmbeddedPostgres, lines: int, *, rounds: int, say: Callable[[str], None]
) -> dict[str, float]:
    """Ratio, rates per second and peak memory in MiB for one merchant's statement of ``lines``."""
    async with stage_on(server, "statement") as stage:
        await stage.open_accounts((HOT,), fund=FUND)
        # The top-up is a line too.
        await load_settled_orders(
            stage, (HOT,), lines - 1, told=lambda done: say(f"{done:,} statement lines loaded")
        )
        ratios, exported, copied, peaks = [], [], [], []
        with tempfile.TemporaryDirectory(prefix="tk-bench-") as directory:
            for number in range(rounds):
                say(f"statement {number + 1} of {rounds}")
                copied.append(await _copy(stage, lines, Path(directory) / "copy.csv"))
                rate, peak_mib = await _export(stage, lines, Path(directory) / "statement.csv")
                exported.append(rate)
                peaks.append(peak_mib)
                ratios.append(exported[-1] / copied[-1])
    return {
        "statement_over_copy": median(ratios),
        "statement_per_s": median(exported),
        "copy_per_s": median(copied),
        "statement_peak_mib": max(peaks),
        "statement_lines": float(lines),
    }


async def _copy(stage: Stage, lines: int, path: Path) -> float:
    accounts = await stage.owner.fetchval(_ACCOUNTS, HOT, CURRENCY)
    red, green = ([k.value for k, income in STATEMENT_KINDS.items() if income is is_income]
                  for is_income in (False, True))  # fmt: skip
    started = perf_counter()
    said = await stage.owner.copy_from_query(
        _REFERENCE, accounts, red, green, output=path, format="csv"
    )
    took = perf_counter() - started
    if said != f"COPY {lines}":
        raise RuntimeError(f"the reference has other lines than the statement: {said}")
    return lines / took


async def _export(stage: Stage, lines: int, path: Path) -> tuple[float, float]:
    """Lines per second and the process's peak memory in MiB."""
    arguments = ("-m", "bench.export", stage.url, HOT, CURRENCY, str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the export failed")
    answer = json.loads(said)
    if answer["lines"] != lines:
        raise RuntimeError(f"the statement has {answer['lines']} lines instead of {lines}")
    return lines / answer["seconds"], answer["peak_mib"]
