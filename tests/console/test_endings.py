"""How commands end when nobody reads, somebody interrupts, or the command itself is at fault."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from console import app, output
from console.app import main
from console.generator import generate
from ledger.engine import fetch, in_transaction
from ledger.verify import verify
from tests.console.support import CommandLine, event_file
from tests.console.test_orders_import import open_all
from tests.ledger.support import open_account
from tests.stack import Database, engine_on

NAME = "甲乙贸易有限公司"


class TestNobodyReads:
    @pytest.mark.parametrize(
        ("script", "code"),
        [
            ("$T verify | (exec <&-; sleep 3); exit ${PIPESTATUS[0]}", 0),
            ("$T verify --json | (exec <&-; sleep 3); exit ${PIPESTATUS[0]}", 0),
            ("$T --help | (exec <&-; sleep 3); exit ${PIPESTATUS[0]}", 0),
            ("$T verify >&-", 0),
            ("$T verify --json >&-", 0),
            ("$T verify >&- 2>&- <&-", 0),
            ("$T verify --json >/dev/full", 3),
            ("$T verify >/dev/full", 3),
            ("$T statement M9 --json >/dev/full", 2),
            ("$T statement M9 2>/dev/full", 2),
            ("$T statement M9 2>&-", 2),
        ],
    )
    def test_sound_books_never_end_with_1(
        self, command: CommandLine, script: str, code: int
    ) -> None:
        """Design §6: 1 means that the books do not verify, and nothing else."""
        answer = command.shell(script)
        assert answer.code == code, answer.err
        assert "Traceback" not in answer.err
        assert "Exception" not in answer.err

    async def test_broken_books_end_with_1_even_then(
        self, database: Database, engine: AsyncEngine, command: CommandLine
    ) -> None:
        """C-04: the verdict does not depend on who reads it."""
        await open_account(engine, "M2", fund=5_000_00)
        async with engine_on(database.owner_url) as owner, owner.begin() as connection:
            await connection.exec_driver_sql(
                "UPDATE accounts SET balance = balance + 1 "
                "WHERE holder = 'merchant/M2' AND bucket = 'available'"
            )
        for end in ("| (exec <&-; sleep 3); exit ${PIPESTATUS[0]}", ">&-", "--json >/dev/full"):
            assert command.shell(f"$T verify {end}").code == 1


class TestDefect:
    def test_defect_of_the_command_is_one_sentence_and_70(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Design §6, C-11: neither a traceback nor what it worked on."""

        def defective(*_: object, **__: object) -> None:
            raise LookupError(NAME)

        monkeypatch.setattr(app, "app", defective)
        assert main(["verify"]) == output.EXIT_UNEXPECTED == 70
        told = capsys.readouterr().err
        assert told.startswith("UNEXPECTED: LookupError in tests.console.test_endings, line ")
        assert (told.count("\n"), NAME in told) == (1, False)
        assert main(["verify", "--json"]) == 70
        assert json.loads(capsys.readouterr().out)["unexpected"][0]["code"] == "UNEXPECTED"

    def test_damaged_installation_is_one_sentence_and_70(
        self, command: CommandLine, tmp_path: Path
    ) -> None:
        """Design §6: not even then 1."""
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "typer.py").write_text("raise RuntimeError('broken')")
        answer = command.shell("PYTHONPATH=$PWD/broken:$PYTHONPATH $T verify")
        assert (answer.code, answer.err.count("\n")) == (70, 1)
        assert answer.err.startswith("UNEXPECTED: RuntimeError while starting")

    def test_help_says_what_the_codes_mean(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Design §6."""
        assert main(["--help"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        for code in ("0 done", "1 the books do not verify", "2 refused", "70 a defect", "130"):
            assert code in said


class TestInterrupted:
    @pytest.mark.parametrize("options", [["--json"], []])
    async def test_interrupted_import_says_so_and_continues(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path, options: list[str]
    ) -> None:
        """C-02, C-03: 130 and one object or sentence, at any moment; run again, it ends well."""
        file = tmp_path / "e.csv.gz"
        generate(file, seed=8, merchants=4, orders=3_000)
        await open_all(engine, file, fund=1_000_00)
        chance = random.Random(9)  # noqa: S311 - no secret
        for mark in sorted(chance.randrange(50, 1_500) for _ in range(3)):
            out, err = await _interrupt(command, engine, file, options, mark)
            said = json.loads(out)["interrupted"][0] if options else {}
            if options:
                assert (said["code"], out.count("\n")) == ("INTERRUPTED", 1)
                assert "continues" in said["detail"]
            else:
                assert err == "INTERRUPTED: run the same command again: it continues\n"
            assert "Traceback" not in err
        assert command("orders", "import", str(file)).code == 0
        assert (await verify(engine)).ok


async def _interrupt(
    command: CommandLine, engine: AsyncEngine, file: Path, options: list[str], mark: int
) -> tuple[str, str]:
    """Interrupt the import once ``mark`` orders are in the book; what it said."""
    line = ("orders", "import", str(file), "--batch", "5", *options)
    process = command.start(*line, output=subprocess.PIPE)
    try:
        while process.poll() is None:
            seen = await in_transaction(
                engine, lambda c: fetch(c, "SELECT count(*) FROM holds", ())
            )
            if seen[0][0] >= mark:
                break
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(process.communicate, timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    return out.decode(), err.decode()


class TestArguments:
    @pytest.mark.parametrize(
        "line",
        [
            "statement X",
            "account show X",
            "account home X",
            "account bank X --from /dev/null",
            "account configure X --from /dev/null",
            "account contact add X --from /dev/null",
            "account contact replace X 1 --from /dev/null",
            "account standing X --normal --reason r",
            "account close X --reason r",
            "topup request X R1 5000.00",
            "topup request M2 X 5000.00",
            "topup show X R1",
            "topup show M2 X",
            "topup cancel X R1 --reason r",
            "topup cancel M2 X --reason r",
            "orders import /dev/null --only X",
        ],
    )
    def test_malformed_id_is_refused_at_the_door(
        self, capsys: pytest.CaptureFixture[str], line: str
    ) -> None:
        """C-03: bytes that are no text, NUL, blanks, slashes, nothing, too long."""
        for bad in ("\udcff", "a\0b", "a b", "a/b", "", "x" * 65):
            given = [bad if word == "X" else word for word in line.split()]
            assert main([*given, "--json"]) == 2
            refused = json.loads(capsys.readouterr().out)["refused"]
            assert [reason["code"] for reason in refused] == ["ID_MALFORMED"]
            assert bad not in refused[0]["detail"] or bad == ""

    @pytest.mark.parametrize("line", ["statement M2", "account show M2", "topup request M2 R1 5"])
    def test_unknown_currency_is_refused_at_the_door(
        self, capsys: pytest.CaptureFixture[str], line: str
    ) -> None:
        """C-01."""
        for bad in ("\udcff", "cny", "XXX", ""):
            assert main([*line.split(), "--currency", bad, "--json"]) == 2
            refused = json.loads(capsys.readouterr().out)["refused"]
            assert [reason["code"] for reason in refused] == ["CURRENCY_UNKNOWN"]

    def test_bytes_that_are_no_text_reach_no_traceback(self, command: CommandLine) -> None:
        """C-03: as the shell hands them in."""
        for line in ("statement $'\\xff'", "account show $'\\xff'", "orders import $'\\xff'"):
            answer = command.shell(f"$T {line} --json")
            assert (answer.code, len(answer.codes)) == (2, 1)
            assert answer.err == ""

    async def test_file_whose_name_is_no_text_is_imported(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """C-03: its name comes back escaped."""
        await open_account(engine, "M2", fund=100_00)
        rows = ["2024-05-06 10:00:00,M2,O1,PURCHASED,120000,CNY,6,0,"]
        event_file(tmp_path / "\udcff.csv", rows)
        answer = command.shell("$T orders import $'\\xff.csv' --json")
        assert (answer.code, answer.json["file"]) == (0, "\udcff.csv")
