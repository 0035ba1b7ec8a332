"""Large files: memory stays flat (speed is measured by ``python -m bench bank``)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from bench.bank import TRANSACTIONS, large_statement, peak_of

MEMORY_MB_MAX: Final = 150


class TestMemory:
    @pytest.mark.parametrize("batch", [1, TRANSACTIONS])
    def test_ten_thousand_transactions_stay_below_150_mb(self, tmp_path: Path, batch: int) -> None:
        path = large_statement(tmp_path / "big.xml", transactions=TRANSACTIONS, batch=batch)
        counted, megabytes = peak_of(path)
        assert counted == TRANSACTIONS
        assert megabytes <= MEMORY_MB_MAX
