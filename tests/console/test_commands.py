"""Every command of ``tillkeeper`` against the real stack's parts, and how each of them ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from console.account import EXAMPLE as OPENING
from console.app import main
from console.receipt import EXAMPLE as RECEIPT
from tests.console.support import CommandLine, Till
from tests.ledger.support import open_account
from tests.stack import Database, engine_on
from tests.workflows.support import OUR_NUMBER

NAME = "甲乙贸易有限公司"
NUMBER = "6225000000001234"


def opening(merchant: str, /, **changes: Any) -> dict[str, Any]:
    """The printed example, for another merchant."""
    return OPENING | {"merchant": merchant} | changes


ALERTS = {"warning": "1000.00", "contacts": [{"email": "wang@example.cn"}]}


class TestLifecycle:
    async def test_account_from_opening_to_statement(self, till: Till) -> None:
        """P-01 … P-28: open, configure, request, receive; every figure is text with decimals."""
        opened = await till.said("account", "open", "--from", "-", given=opening("C1"))
        assert (opened["state"], opened["next_action"]) == ("OPENED", "CONFIGURE_ALERTS")
        configured = await till.said("account", "configure", "C1", "--from", "-", given=ALERTS)
        assert configured["warning"] == "1000.00"
        asked = await till.said("topup", "request", "C1", "R1", "5000.00")
        assert (asked["state"], asked["amount"]) == ("WAITING_REMITTANCE", "5000.00")
        assert asked["receiving_account"]["number"] == OUR_NUMBER
        report = RECEIPT | {"receiving_account": OUR_NUMBER, "bank_reference": "C1/B1"}
        for _ in range(2):
            credited = await till.said("receipt", "report", "--from", "-", given=report)
            assert (credited["state"], credited["merchant"]) == ("CREDITED", "C1")
        account = await till.said("account", "show", "C1")
        assert account["state"] == "ACTIVE"
        assert account["balances"] == {
            "available": "5000.00", "frozen": "0.00", "withdrawing": "0.00", "dues": "0.00",
        }  # fmt: skip
        statement = await till.said("statement", "C1")
        assert (statement["opening"], statement["closing"]) == ("0.00", "5000.00")
        assert [line["amount"] for line in statement["entries"]] == ["5000.00"]
        assert (await till.said("verify"))["ok"] is True

    async def test_names_and_numbers_are_shown_masked(self, till: Till) -> None:
        """C-11: no command prints a name or an account number in full."""
        await till.said("account", "open", "--from", "-", given=opening("C2"))
        await till.said("account", "configure", "C2", "--from", "-", given=ALERTS)
        for options in ([], ["--json"]):
            answer = await till.run("account", "show", "C2", *options)
            assert "****1234" in answer.out
            for secret in (NAME, NUMBER, "wang@example.cn"):
                assert secret not in answer.out + answer.err

    async def test_refusals_name_every_reason_and_end_with_2(self, till: Till) -> None:
        """P-06, P-24: all failing reasons at once; the second time they are the same."""
        await till.said("account", "open", "--from", "-", given=opening("C3"))
        for _ in range(2):
            answer = await till.run("topup", "request", "C3", "R1", "2999.99", "--json")
            assert answer.code == 2
            assert answer.codes == ["ALERT_NOT_CONFIGURED", "BELOW_MIN_TOPUP"]
        other = await till.run("topup", "request", "C3", "R1", "5000.00")
        assert (other.code, other.err[:10]) == (2, "KEY_REUSED")
        assert "Traceback" not in other.err

    async def test_contacts_standing_bank_and_closing(self, till: Till) -> None:
        """P-03 … P-08, 1.9: each command once, and the limit of three contacts."""
        pending = OPENING["bank_details"] | {"state": "PENDING"}  # type: ignore[operator]
        waits = opening("C4", bank_details=pending)
        view = await till.said("account", "open", "--from", "-", given=waits)
        assert view["state"] == "WAITING_BANK_INFO"
        details = OPENING["bank_details"]
        view = await till.said("account", "bank", "C4", "--from", "-", given=details)
        assert view["state"] == "OPENED"
        await till.said("account", "configure", "C4", "--from", "-", given=ALERTS)
        mobile = {"mobile": "13800000000"}
        await till.said("account", "contact", "add", "C4", "--from", "-", given=mobile)
        third = {"name": "Li", "email": "li@example.cn"}
        await till.said("account", "contact", "replace", "C4", "2", "--from", "-", given=third)
        await till.said("account", "contact", "add", "C4", "--from", "-", given=mobile)
        fourth = {"mobile": "13900000000"}
        full = await till.run("account", "contact", "add", "C4", "--from", "-", given=fourth)
        assert (full.code, full.err.split(":")[0]) == (2, "CONTACT_LIMIT_3")
        early = await till.run("account", "standing", "C4", "--abnormal", "--reason", "x", "--json")
        assert (early.code, early.codes) == (2, ["ACCOUNT_NOT_ACTIVE"])
        await till.said("topup", "request", "C4", "R1", "3000.00")
        open_request = await till.run("account", "close", "C4", "--reason", "moved", "--json")
        assert open_request.codes == ["OPEN_TOPUP_REQUEST"]
        cancelled = await till.said("topup", "cancel", "C4", "R1", "--reason", "moved")
        assert cancelled["state"] == (await till.said("topup", "show", "C4", "R1"))["state"]
        closed = await till.said("account", "close", "C4", "--reason", "moved")
        assert closed["state"] == "CLOSED"

    async def test_home_prompts_the_eligible(self, till: Till) -> None:
        """P-02."""
        assert await till.said("account", "home", "C5") == {
            "should_prompt_open": True, "account": None,
        }  # fmt: skip
        for options in (["--not-eligible"], ["--type", "POP"]):
            page = await till.said("account", "home", "C5", *options)
            assert page["should_prompt_open"] is False

    async def test_home_shows_the_figures_of_the_account(self, till: Till) -> None:
        """P-11; and an account in another currency is not this one."""
        await till.said("account", "open", "--from", "-", given=opening("C6"))
        summary = (await till.said("account", "home", "C6"))["summary"]
        figures = ("available", "frozen", "dues", "pending_withdrawals")
        assert [summary[name] for name in figures] == ["0.00"] * 4
        assert (summary["state"], summary["suspended"]) == ("OPENED", False)
        answer = await till.run("account", "show", "C6", "--currency", "USD", "--json")
        assert answer.code == 2
        assert "USD" in answer.out

    async def test_demo_without_a_bank_simulator_is_one_sentence(self, till: Till) -> None:
        """P-26: money comes from a bank, and by hand the demonstration books none."""
        answer = await till.run("demo", "--merchants", "1", "--json")
        assert answer.code == 3
        [reason] = answer.json["unavailable"]
        assert "bank simulator" in reason["detail"]
        assert "Opening" not in answer.out

    def test_demo_refuses_a_pipe(self, command: CommandLine) -> None:
        """C-03: it reads its orders twice."""
        answer = command.shell("$T demo --json --orders <(echo)")
        assert (answer.code, answer.codes) == (2, ["FILE_UNREADABLE"])


class TestBadInput:
    @pytest.mark.parametrize(
        ("amount", "code"),
        [
            ("0", "AMOUNT_NOT_POSITIVE"),
            ("-5.00", "AMOUNT_NOT_POSITIVE"),
            ("5000.001", "AMOUNT_TOO_PRECISE"),
            ("5,000.00", "AMOUNT_MALFORMED"),
            ("1e4", "AMOUNT_MALFORMED"),
            ("５０００", "AMOUNT_MALFORMED"),
            ("NaN", "AMOUNT_MALFORMED"),
            (str(2**63), "AMOUNT_MALFORMED"),
            ("10000000000000.01", "AMOUNT_TOO_LARGE"),
        ],
    )
    def test_amount_is_text_with_the_currencys_decimals(
        self, capsys: pytest.CaptureFixture[str], amount: str, code: str
    ) -> None:
        """C-01."""
        assert main(["topup", "request", "M2", "R1", amount, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["refused"][0]["code"] == code

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ("", "INPUT_NOT_UNDERSTOOD"),
            ("[]", "INPUT_NOT_UNDERSTOOD"),
            ("[" * 50_000, "INPUT_NOT_UNDERSTOOD"),
            ('{"a": 1, "a": 2}', "INPUT_NOT_UNDERSTOOD"),
            ('"\ufffe', "INPUT_NOT_UNDERSTOOD"),
            ("{" + " " * 70_000 + "}", "INPUT_NOT_UNDERSTOOD"),
            ("{}", "FIELD_MISSING"),
            ('{"amount": 5000.0}', "AMOUNT_MALFORMED"),
            ('{"amount": "5000.00", "currency": 7}', "CURRENCY_UNKNOWN"),
            ('{"amount": "5000.00", "currency": "XXX"}', "CURRENCY_UNKNOWN"),
        ],
    )
    def test_receipt_that_cannot_be_read_is_refused(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, body: str, code: str
    ) -> None:
        """C-01, C-03: strict at the door; a float is no money."""
        (tmp_path / "r.json").write_text(body)
        source = str(tmp_path / "r.json")
        assert main(["receipt", "report", "--from", source, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["refused"][0]["code"] == code

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"legal_name": ""}, "TEXT_EMPTY"),
            ({"legal_name": "x" * 10_240}, "TEXT_TOO_LONG"),
            ({"legal_name": "a\u0007b"}, "TEXT_NOT_PRINTABLE"),
            ({"merchant": "a/b"}, "ID_MALFORMED"),
            ({"currency": "cny"}, "CURRENCY_UNKNOWN"),
            ({"prepaid_eligible": "yes"}, "FIELD_INVALID"),
            ({"surprise": 1}, "FIELD_UNKNOWN"),
            ({"billing_from": "2024-05-06T10:00:00"}, "TIME_NAIVE"),
            ({"billing_from": "1969-12-31T23:59:59Z"}, "TIME_OUT_OF_RANGE"),
        ],
    )
    def test_opening_that_cannot_be_read_is_refused_without_repeating_it(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, changes: Any, code: str
    ) -> None:
        """C-03, C-11."""
        (tmp_path / "a.json").write_text(json.dumps(opening("M2", **changes)))
        assert main(["account", "open", "--from", str(tmp_path / "a.json"), "--json"]) == 2
        out = capsys.readouterr().out
        assert [r["code"] for r in json.loads(out)["refused"]] == [code]
        assert NUMBER not in out

    @pytest.mark.parametrize(
        "line",
        [["nonsense"], ["topup", "request"], ["verify", "--bogus"], ["statement", "M2", "x"]],
    )
    def test_command_line_that_is_not_understood_ends_with_2(
        self, capsys: pytest.CaptureFixture[str], line: list[str]
    ) -> None:
        """C-03: one JSON object even then."""
        assert main([*line, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["refused"][0]["code"] == "FIELD_INVALID"

    def test_missing_input_file_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        """C-03."""
        assert main(["account", "open", "--from", "/nowhere/a.json"]) == 2
        assert "FILE_UNREADABLE" in capsys.readouterr().err


class TestExitCodes:
    def test_every_command_without_a_stack_says_make_up_and_ends_with_3(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Design §6."""
        for name in [name for name in os.environ if name.startswith("TILLKEEPER_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("TILLKEEPER_HOME", str(tmp_path))
        for line in (["verify"], ["statement", "M2"], ["account", "show", "M2"]):
            assert main(line) == 3
            assert "make up" in capsys.readouterr().err

    def test_file_of_a_killed_stack_is_not_believed(self, tmp_path: Path) -> None:
        """Design §6: ``stack.json`` survives a kill -9, its process does not."""
        command = CommandLine(tmp_path, {})
        (tmp_path / "home").mkdir()
        stack = {
            "pid": 2**22 + 1, "database_url": "postgresql://x@/x?host=/nowhere", "namespace": "x",
            "temporal_address": "127.0.0.1:1", "key_ring_path": "/nowhere",
        }  # fmt: skip
        (tmp_path / "home" / "stack.json").write_text(json.dumps(stack))
        answer = command("verify", "--json")
        assert answer.code == 3
        assert "make up" in answer.json["unavailable"][0]["detail"]

    @pytest.mark.parametrize(
        ("url", "code"), [("nonsense", 2), ("postgresql://who:secret@127.0.0.1:1/x", 3)]
    )
    def test_database_that_does_not_answer_is_one_sentence(
        self, tmp_path: Path, url: str, code: int
    ) -> None:
        """Settings fail closed; nothing of the URL is repeated."""
        answer = CommandLine(tmp_path, {"TILLKEEPER_DATABASE_URL": url})("verify")
        assert answer.code == code
        assert "Traceback" not in answer.err
        assert "secret" not in answer.err

    async def test_broken_books_end_with_1_and_name_the_row(
        self, database: Database, engine: AsyncEngine, command: CommandLine
    ) -> None:
        """C-04: the first offending row is named."""
        await open_account(engine, "M2", fund=5_000_00)
        async with engine_on(database.owner_url) as owner, owner.begin() as connection:
            await connection.exec_driver_sql(
                "UPDATE accounts SET balance = balance + 1 "
                "WHERE holder = 'merchant/M2' AND bucket = 'available'"
            )
        answer = command("verify", "--json")
        assert answer.code == 1
        assert answer.json["ok"] is False
        assert answer.json["broken"]["table"] == "accounts"
        words = command("verify")
        assert (words.code, "BROKEN: accounts" in words.out) == (1, True)


class TestStatement:
    async def test_files_are_written_once(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: CSV and workbook; an existing file is not replaced unasked."""
        await open_account(engine, "M2", fund=5_000_00)
        for name in ("s.csv", "s.xlsx"):
            first = command("statement", "M2", "--out", name, "--json")
            assert (first.code, first.json["closing"]) == (0, "5000.00")
            assert (tmp_path / name).stat().st_size > 100
            again = command("statement", "M2", "--out", name, "--json")
            assert (again.code, again.codes) == (2, ["FILE_EXISTS"])
            assert command("statement", "M2", "--out", name, "--overwrite").code == 0

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            (["M9"], "ACCOUNT_NOT_OPENED"),
            (["M2", "--currency", "XXX"], "CURRENCY_UNKNOWN"),
            (["M2", "--from", "1.5.2024"], "FIELD_INVALID"),
            (["M2", "--from", "2024-05-02", "--to", "2024-05-01"], "FIELD_INVALID"),
            (["M2", "--kind", "hold"], "FIELD_INVALID"),
            (["M2", "--out", "s.pdf"], "FIELD_INVALID"),
        ],
    )
    def test_statement_of_nothing_is_refused(
        self, command: CommandLine, options: list[str], code: str
    ) -> None:
        """C-03."""
        answer = command("statement", *options, "--json")
        assert (answer.code, answer.codes) == (2, [code])
