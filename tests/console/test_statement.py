"""``tillkeeper statement``: it adds up while others post, and says what is wrong with a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.orders import OrderBook
from ledger.statements import statement_page
from tests.console.support import CommandLine
from tests.ledger.statement_support import ALWAYS
from tests.ledger.support import hold, open_account, settle


class TestWhilePosting:
    async def test_figures_and_lines_are_of_one_moment(self, engine: AsyncEngine) -> None:
        """P-79: opening + Σ lines = closing while settlements are booked."""
        await open_account(engine, "M1", fund=10**9)
        done = asyncio.Event()

        async def post() -> int:
            count = 0
            while not done.is_set():
                order = f"O{count}"
                await OrderBook(engine).apply([hold("M1", order, 7), settle("M1", order)])
                count += 1
            return count

        posting = asyncio.create_task(post())
        seen = set()
        try:
            for _ in range(40):
                figures, lines = await statement_page(engine, ALWAYS, limit=100_000)
                assert figures.opening + sum(line.amount or 0 for line in lines) == figures.closing
                assert len(lines) == figures.lines
                seen.add(figures.lines)
        finally:
            done.set()
        assert await posting > 5
        assert len(seen) > 5

    async def test_limit_cuts_lines_and_not_figures(self, engine: AsyncEngine) -> None:
        """P-77, P-79."""
        await open_account(engine, "M1", fund=1_000)
        book = OrderBook(engine)
        await book.apply([hold("M1", n, 7) for n in "ABC"] + [settle("M1", n) for n in "ABC"])
        figures, lines = await statement_page(engine, ALWAYS, limit=2)
        assert (figures.lines, figures.closing, len(lines)) == (4, 979, 2)


class TestRefused:
    @pytest.mark.parametrize(
        "options",
        [["--to", "9999-12-31"], ["--to", "2200-01-01"], ["--from", "0001-01-01"]],
    )
    def test_day_beyond_the_calendar_is_refused(
        self, command: CommandLine, options: list[str]
    ) -> None:
        """C-03: 1970 to 2199."""
        answer = command("statement", "M2", *options, "--json")
        assert (answer.code, answer.codes) == (2, ["TIME_OUT_OF_RANGE"])

    async def test_last_day_of_the_calendar_is_not(
        self, command: CommandLine, engine: AsyncEngine
    ) -> None:
        """C-03: the equality case."""
        await open_account(engine, "M2", fund=100)
        answer = command("statement", "M2", "--to", "2199-12-31", "--json")
        assert (answer.code, answer.json["closing"]) == (0, "1.00")

    @pytest.mark.parametrize("kind", ["csv", "xlsx"])
    async def test_file_that_cannot_be_written_is_the_callers(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path, kind: str
    ) -> None:
        """P-79: a missing folder, a file as folder, too long a name: 2, and nothing is left."""
        await open_account(engine, "M2", fund=100)
        (tmp_path / "file").write_text("")
        long = "x" * 300
        for name in (f"none/a.{kind}", f"file/a.{kind}", f"{long}.{kind}"):
            answer = command("statement", "M2", "--out", name, "--json")
            assert (answer.code, answer.codes) == (2, ["FILE_UNWRITABLE"])
            assert answer.err == ""
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("kind", ["csv", "xlsx"])
    async def test_longest_name_is_written(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path, kind: str
    ) -> None:
        """P-79: 255 bytes are a name; the temporary one is no longer."""
        await open_account(engine, "M2", fund=100)
        name = "x" * (254 - len(kind)) + f".{kind}"
        assert command("statement", "M2", "--out", name).code == 0
        assert [path.name for path in tmp_path.iterdir()] == [name]
