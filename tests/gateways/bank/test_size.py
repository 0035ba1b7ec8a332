"""Large files: memory stays flat (speed is measured by ``python -m bench bank``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bench.bank import large_statement

ROOT: Final = Path(__file__).resolve().parents[3]
TRANSACTIONS: Final = 10_000
MEMORY_MB_MAX: Final = 150

_MEASURE: Final = """
import re, sys
from pathlib import Path
from gateways.bank.reading import read_bank_file
found = read_bank_file(Path(sys.argv[1]))
counted = sum(one.counts for one in found.transactions)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(counted, int(peak[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read in /proc")
class TestMemory:
    @pytest.mark.parametrize("batch", [1, TRANSACTIONS])
    def test_ten_thousand_transactions_stay_below_150_mb(self, tmp_path: Path, batch: int) -> None:
        path = large_statement(tmp_path / "big.xml", transactions=TRANSACTIONS, batch=batch)
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path)], cwd=ROOT, capture_output=True, check=True
        )
        counted, megabytes = map(int, done.stdout.split())
        assert counted == TRANSACTIONS
        assert megabytes <= MEMORY_MB_MAX
