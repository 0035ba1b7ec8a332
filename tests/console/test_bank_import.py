"""Banks' files into the books: any order, twice, killed in the middle, and always the same book."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.reading import read_bank_file
from ledger.engine import fetch, in_transaction
from ledger.verify import verify
from tests.console.support import CommandLine
from tests.gateways.bank.support import REAL, needs_real_files
from tests.home import Home
from tests.stack import engine_on
from tests.workflows.bank_support import Moved, camt053
from worker.embedded.discovery import StackAddresses

OURS: Final = "LT625883379695428516"
ACCOUNT: Final = {"name": "Platform", "bank": "Bank", "number": OURS}
SETTINGS: Final = {"TILLKEEPER_RECEIVING_ACCOUNTS": json.dumps({"EUR": ACCOUNT, "CNY": ACCOUNT})}
DAYS: Final = "Subite-eu__camt-to-coda__CAMT_053_*.xml"
SEED: Final = 20240307

Entry = tuple[str, int, str]


def daily() -> list[Path]:
    """The 25 daily statements, in random order."""
    files = sorted((REAL / "camt.053").glob(DAYS))
    random.Random(SEED).shuffle(files)  # noqa: S311 - an order, no secret
    return files


def told(files: list[Path]) -> Counter[Entry]:
    """The booked entries of our account: side, amount, and the statement's day, the only one."""
    found: Counter[Entry] = Counter()
    for file in files:
        bank_file = read_bank_file(file)
        days = {one.index: str(one.closing.on) for one in bank_file.statements if one.closing}
        seen = {
            (one.statement, one.entry): (
                "C" if one.entry_side == "credit" else "D",
                one.entry_amount_minor,
                days[one.statement],
            )
            for one in bank_file.transactions
            if one.account == OURS and one.booked
        }
        found.update(seen.values())
    return found


async def _rows(engine: AsyncEngine, sql: str) -> list[Any]:
    return await in_transaction(engine, lambda c: fetch(c, sql, ()))


async def check_book(engine: AsyncEngine, files: list[Path]) -> None:
    """Every entry once, the bank's balance moved by what they come to, and the books verify."""
    entries = await _rows(engine, "SELECT side, amount, day FROM bank_entries")
    assert Counter((row[0], row[1], str(row[2])) for row in entries) == told(files)
    moved = sum(amount if side == "C" else -amount for side, amount, _ in told(files).elements())
    bank = "SELECT sum(balance) FROM accounts WHERE bucket = 'bank' AND currency = 'EUR'"
    assert (await _rows(engine, bank))[0][0] == moved == 1863789531 - 2108122258
    unbooked = "SELECT 1 FROM bank_entries WHERE booked_as IS NULL"
    assert await _rows(engine, unbooked) == []
    assert (await verify(engine)).broken is None


class Stack:
    """A stack that can be killed; its command line."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.command = CommandLine(folder, {"TILLKEEPER_HOME": str(home.path)})
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> StackAddresses:
        """Start, and wait until it serves."""
        self.process = self.home.start(**SETTINGS)
        return self.home.healthy(self.process)

    def kill(self) -> None:
        """kill -9 for all of it at once: PostgreSQL, Temporal and the worker."""
        assert self.process is not None
        for pid in {self.process.pid, *self.home.processes()}:
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack on a home of its own, not started yet."""
    home = Home(tmp_path / "home")
    made = Stack(home, tmp_path)
    yield made
    home.clear()
    if made.process is not None:
        made.process.communicate()


@asynccontextmanager
async def book_of(addresses: StackAddresses) -> AsyncIterator[AsyncEngine]:
    """The database of a running stack."""
    async with engine_on(addresses.database_url) as engine:
        yield engine


@needs_real_files
@pytest.mark.timeout(400)
class TestRealStatements:
    def test_any_order_twice_and_killed_in_the_middle_is_the_same_book(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        """C-02, C-06, C-14: 25 days of a real account, continuity proven."""
        files = daily()
        assert len(files) == 25
        folder = tmp_path / "files"
        folder.mkdir()
        for number, file in enumerate(files):
            shutil.copy(file, folder / f"{number:02}.xml")
        stack.start()
        importing = stack.command.start("bank", "import", str(folder), output=subprocess.PIPE)
        assert importing.stdout is not None
        for _ in range(7):
            importing.stdout.readline()
        stack.kill()
        importing.communicate()
        assert importing.returncode == 3
        addresses = stack.start()
        rest = stack.command("bank", "import", str(folder), "--json", timeout_s=200)
        assert rest.code == 0, rest
        again = stack.command("bank", "import", str(folder), "--json", timeout_s=200)
        assert 7 <= rest.json["total"]["known"] < 25
        assert again.json["total"]["known"] == again.json["total"]["files"] == 25
        assert again.json["total"]["entries"] == 0
        [account] = stack.command("bank", "statements", "--json").json["accounts"]
        assert (account["statements"], account["continuous"]) == (25, True)
        assert (account["opening"], account["closing"]) == ("21081222.58", "18637895.31")

        async def check() -> None:
            async with book_of(addresses) as engine:
                await check_book(engine, files)

        asyncio.run(check())

    def test_dropped_into_the_inbox_and_killed_is_the_same_book(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        """C-02, C-06: nobody calls anything; the exchange works it off."""
        files = daily()
        addresses = stack.start()
        inbox = stack.home.path / "exchange" / "inbox"
        for number, file in enumerate(files):
            shutil.copy(file, inbox / f"{number:02}.xml")

        async def booked(addresses: StackAddresses, least: int, within_s: float = 60) -> None:
            async with book_of(addresses) as engine:
                deadline = time.monotonic() + within_s
                states = "SELECT 1 FROM bank_files WHERE state = 'BOOKED'"
                while len(await _rows(engine, states)) < least:
                    assert time.monotonic() < deadline, "they were never booked"
                    await asyncio.sleep(0.05)

        asyncio.run(booked(addresses, 5))
        stack.kill()
        addresses = stack.start()
        for number, file in enumerate(files):
            shutil.copy(file, inbox / f"again-{number:02}.xml")

        async def check() -> None:
            await booked(addresses, 25)
            deadline = time.monotonic() + 60
            while list(inbox.glob("[!.]*")):
                assert time.monotonic() < deadline, "the inbox was never emptied"
                await asyncio.sleep(0.1)
            async with book_of(addresses) as engine:
                await check_book(engine, files)

        asyncio.run(check())
        assert len(list((inbox.parent / "done").iterdir())) == 50
        [account] = stack.command("bank", "statements", "--json").json["accounts"]
        assert (account["statements"], account["continuous"]) == (25, True)


class TestImport:
    def test_files_are_told_one_by_one_with_losses_and_refusals(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        """P-29: what is lost is listed, what is known says so, and nothing is guessed."""
        folder = tmp_path / "files"
        folder.mkdir()
        whole = camt053([Moved(5_000_00, "R1"), Moved(7_00, "R2")], account=OURS)
        (folder / "1.xml").write_bytes(whole)
        (folder / "2.xml").write_bytes(whole[:-30])
        head, line = ":20:A\n:25:1\n:28C:1\n:60F:C240506CNY1,\n", ":61:2405060506C1,005NTRFA//B\n"
        mt940 = f"{head}{line}:62F:C240506CNY1,\n-\n"
        (folder / "3.sta").write_text(mt940)
        (folder / ".hidden").write_text("x")
        (folder / "4.part").write_text("x")
        stack.start()
        first = stack.command("bank", "import", str(folder), "--json")
        assert first.code == 2
        names = [(one["file"], one["state"], one["known"]) for one in first.json["files"]]
        assert names == [
            ("1.xml", "BOOKED", False), ("2.xml", "REFUSED", False), ("3.sta", "BOOKED", False),
        ]  # fmt: skip
        good, truncated, lossy = first.json["files"]
        assert (good["new_entries"], good["unmatched"], good["lost"]) == (2, 2, [])
        assert truncated["refused"] == "BANK_FILE_TRUNCATED"
        assert [loss["code"] for loss in lossy["lost"]] == ["AMOUNT_TOO_PRECISE"]
        again = stack.command("bank", "import", str(folder / "1.xml"))
        assert (again.code, again.out) == (0, "1.xml: known already, nothing changed\n")
        listed = stack.command("bank", "files", "--json").json["files"]
        assert sorted(one["state"] for one in listed) == ["BOOKED", "BOOKED", "REFUSED"]

    def test_nothing_there_is_refused(self, command: CommandLine, tmp_path: Path) -> None:
        answer = command("bank", "import", str(tmp_path / "none"), "--json")
        assert (answer.code, answer.codes) == (2, ["FILE_UNREADABLE"])

    def test_numbers_in_names_are_masked_and_dates_stay(self) -> None:
        """C-11: a list is read over shoulders."""
        from console.bank_files import _masked

        name = "camt053_LT625883379695428516_2024-03-07_20240307.xml"
        assert _masked(name) == "camt053_****8516_2024-03-07_20240307.xml"
