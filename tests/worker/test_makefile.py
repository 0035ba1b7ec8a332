"""The Makefile hands on what it is given as it was given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that print their arguments, one a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "tillkeeper", "pytest"):
        program = folder / name
        program.write_text("#!/bin/sh\nfor given; do printf '<%s>\\n' \"$given\"; done\n")
        program.chmod(0o755)
    return folder


def made(programs: Path, *arguments: str) -> list[str]:
    """What `make` prints with these programs."""
    line = ["make", "--no-print-directory", f"BIN={programs}", "READY=", *arguments]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()


class TestDemo:
    def test_path_with_spaces_and_quotes_arrives_whole(self, programs: Path) -> None:
        """Issue 2: ORDERS=path chooses real input."""
        said = made(programs, "demo", 'ORDERS=my orders/it\'s "real".csv', "MERCHANTS=5")
        tail = said[said.index("<demo>") :]
        assert tail == [
            *("<demo>", "<--seed>", "<7>", "<--orders>", '<my orders/it\'s "real".csv>'),
            *("<--merchants>", "<5>"),
        ]

    def test_without_input_nothing_is_handed_on(self, programs: Path) -> None:
        said = made(programs, "demo")
        assert said[said.index("<demo>") :] == ["<demo>", "<--seed>", "<7>"]


class TestEveryTarget:
    @pytest.mark.parametrize("target", ["demo", "up", "test", "bench", "bench-growth"])
    def test_target_says_what_it_does(self, programs: Path, target: str) -> None:
        assert made(programs, target)[0].startswith("==> ")
