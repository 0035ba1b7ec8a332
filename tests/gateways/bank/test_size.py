"""Large files: memory stays flat, and reading costs little beside walking the elements."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from lxml import etree

from gateways.bank.reading import read_bank_file
from tests.gateways.bank.support import large_statement

ROOT: Final = Path(__file__).resolve().parents[3]
TRANSACTIONS: Final = 10_000
MEMORY_MB_MAX: Final = 150
RATIO_MAX: Final = 2

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


def _best(work: Callable[[], object]) -> float:
    """Processor seconds of the best of three runs."""
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
    return min(seconds)


class TestTime:
    def test_reading_costs_at_most_twice_lxmls_own_stream(self, tmp_path: Path) -> None:
        """The reference visits and clears every element and keeps nothing: flat memory's price."""
        path = large_statement(tmp_path / "big.xml", transactions=TRANSACTIONS, batch=1)

        def stream() -> None:
            for _, element in etree.iterparse(str(path)):
                element.clear()

        assert _best(lambda: read_bank_file(path)) <= RATIO_MAX * _best(stream)
