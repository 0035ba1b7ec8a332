"""The demonstration on a real stack: PostgreSQL, Temporal, worker, a bank simulator, its files."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from console.generator import generate
from ledger.engine import fetch, in_transaction
from tests.console.support import DATA, CommandLine
from tests.home import Home
from tests.stack import engine_on
from tillkeeper.contracts.receipt import reference_digest
from worker.embedded.discovery import find_stack

pytestmark = pytest.mark.xdist_group("demo")
"""Side by side with others, but in one process: they share one stack."""

ENTRIES: Final = """
SELECT CASE side WHEN 'C' THEN 'credit' ELSE 'debit' END, amount, day::text, reference_digest,
       statement IS NOT NULL AND booked_as IS NOT NULL
  FROM bank_entries"""
BALANCE: Final = """
SELECT sum(balance)::bigint FROM accounts WHERE bucket = 'bank' AND currency = 'CNY'"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line on a stack of its own."""
    place = tmp_path_factory.mktemp("demo")
    home = Home(place / "home")
    started = home.run("up", "--detach")
    try:
        assert started.returncode == 0, started.stderr
        yield CommandLine(place, {"TILLKEEPER_HOME": str(home.path)})
        assert home.run("down").stdout == "Stopped.\n"
    finally:
        home.clear()


def said(command: CommandLine, *arguments: str) -> Any:
    """The JSON of a demonstration that succeeds."""
    answer = command("demo", *arguments, "--json")
    assert answer.code == 0, answer
    return answer.json


def _of_the_bank(movement: dict[str, Any]) -> tuple[Any, ...]:
    digest = reference_digest(movement["account"], movement["bank_reference"])
    return movement["side"], movement["amount_minor"], movement["day"], digest, True


async def _rows(engine: AsyncEngine, sql: str) -> list[Any]:
    return list(await in_transaction(engine, lambda connection: fetch(connection, sql, ())))


class TestDemo:
    def test_twice_changes_nothing_the_second_time(self, command: CommandLine) -> None:
        """P-21 … P-26: opened, funded by the bank's camt files, imported, verified; then found."""
        first = said(command, "--merchants", "3", "--seed", "9")
        assert first["orders"].startswith("GENERATED, not real: seed 9")
        accounts = first["accounts"]
        assert accounts["opened"] == accounts["topped_up"] == 3
        assert float(accounts["funded_in"]) < 60
        assert first["import"]["changed"] > 1_000
        assert first["verification"]["ok"] is True
        done = command.folder / "home" / "exchange" / "done"
        assert [path.name.split("-")[1] for path in done.iterdir()] == ["camt.054"]

        again = said(command, "--merchants", "3", "--seed", "9")
        assert again["changed"] is False
        assert again["merchants"] == first["merchants"]
        words = command("demo", "--merchants", "3", "--seed", "9")
        assert "Nothing new" in words.out
        assert "GENERATED" in words.out
        assert len(list(done.iterdir())) == 1

    async def test_what_the_bank_moved_is_what_we_booked_one_to_one(
        self, command: CommandLine
    ) -> None:
        """C-14, P-26: told by camt.054 and the day's camt.053, each movement is booked once."""
        said(command, "--merchants", "3", "--seed", "9")
        stack = find_stack(command.folder / "home")
        assert stack is not None
        assert stack.bank is not None
        async with httpx.AsyncClient(base_url=stack.bank, timeout=30) as bank:
            assert (await bank.post("/days/close", json={})).status_code == 200
            lines = (await bank.get("/movements")).text.splitlines()
            accounts = (await bank.get("/accounts")).json()
        moved = Counter(_of_the_bank(json.loads(line)) for line in lines)
        async with engine_on(stack.migration_url) as engine:
            for _ in range(240):
                entries = await _rows(engine, ENTRIES)
                if entries and all(stated for *_, stated in entries):
                    break
                await asyncio.sleep(0.25)
            [booked] = await _rows(engine, BALANCE)
        assert Counter(tuple(entry) for entry in entries) == moved
        assert [one["balance_minor"] for one in accounts if one["currency"] == "CNY"] == [booked[0]]

    def test_truncated_file_ends_with_2(self, command: CommandLine, tmp_path: Path) -> None:
        """C-03: like the import of such a file; the books verify all the same."""
        generate(tmp_path / "whole", seed=4, merchants=2, orders=300)
        cut = tmp_path / "cut.csv.gz"
        cut.write_bytes((tmp_path / "whole").read_bytes()[:5_000])
        answer = command("demo", "--orders", str(cut), "--merchants", "1", "--json")
        assert (answer.code, answer.codes) == (2, ["FILE_TRUNCATED"])
        assert answer.json["verification"]["ok"] is True
        words = command("demo", "--orders", str(cut), "--merchants", "1")
        assert (words.code, "The file ended early: FILE_TRUNCATED" in words.out) == (2, True)
        assert "wires arrived" not in words.out

    @pytest.mark.parametrize("name", ["olist", "uci"])
    def test_on_real_orders_verifies(self, command: CommandLine, name: str) -> None:
        """The main job on real orders of the busiest merchants."""
        file = DATA / f"{name}_events.csv.gz"
        if not file.exists():
            pytest.skip(f"real orders are not here: ../shared/data/events/{file.name}")
        first = said(command, "--orders", str(file), "--merchants", "5")
        assert first["accounts"]["opened"] == first["accounts"]["topped_up"] == 5
        assert first["verification"]["ok"] is True
        again = said(command, "--orders", str(file), "--merchants", "5")
        assert (again["changed"], again["merchants"]) == (False, first["merchants"])
