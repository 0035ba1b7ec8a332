"""``tillkeeper bank read``: no stack, one form of answer, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
FILES: Final = ROOT / "tests" / "gateways" / "bank" / "files"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console", "bank", "read", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _json(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = _run(*arguments, "--json")
    assert done.stderr == ""
    body: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, body


class TestBankRead:
    @pytest.mark.parametrize(
        ("name", "kind", "transactions", "statuses"),
        [
            ("statement.camt053.xml", "camt.053", 6, 0),
            ("status.pain002.xml", "pain.002", 0, 5),
            ("statements.mt940", "MT940", 5, 0),
        ],
    )
    def test_file_without_loss_ends_with_0(
        self, name: str, kind: str, transactions: int, statuses: int
    ) -> None:
        code, body = _json(str(FILES / name))
        assert (code, body["kind"], body["problems"]) == (0, kind, [])
        assert (len(body["transactions"]), len(body["statuses"])) == (transactions, statuses)

    def test_transaction_has_the_fields_promised(self) -> None:
        """P-21, P-23: name, account and exact minor units of who paid."""
        _, body = _json(str(FILES / "statement.camt053.xml"))
        first = body["transactions"][0]
        promised = {
            "amount_minor": 500000,
            "currency": "CNY",
            "side": "credit",
            "booked": True,
            "reversal": False,
            "debtor_name": "甲乙贸易有限公司",
            "debtor_account": "6225000000001234",
            "end_to_end_id": "TOPUP-1",
            "remittance": "充值\nref A1",
        }
        assert {name: first[name] for name in promised} == promised

    def test_loss_ends_with_2_and_is_listed(self, tmp_path: Path) -> None:
        text = (FILES / "statements.mt940").read_text().replace("C5000,00NTRF", "C5000,001NTRF", 1)
        (tmp_path / "a").write_text(text)
        code, body = _json(str(tmp_path / "a"))
        assert (code, len(body["transactions"])) == (2, 4)
        assert [(one["code"], one["line"]) for one in body["problems"]] == [
            ("AMOUNT_TOO_PRECISE", 6)
        ]

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"", "BANK_FILE_EMPTY"),
            (b"\x00\xff\xfe", "BANK_FILE_KIND_UNKNOWN"),
            (b"<!DOCTYPE a><a/>", "BANK_FILE_DOCTYPE"),
            (b"<Document><BkToCstmrStmt><Stmt>", "BANK_FILE_TRUNCATED"),
        ],
    )
    def test_refused_file_lost_all_and_ends_with_2(
        self, tmp_path: Path, body: bytes, problem: str
    ) -> None:
        (tmp_path / "a").write_bytes(body)
        code, said = _json(str(tmp_path / "a"))
        assert (code, said["transactions"], said["statuses"]) == (2, [], [])
        assert [one["code"] for one in said["problems"]] == [problem]

    def test_people_see_masked_accounts(self) -> None:
        """C-11: a terminal is read over shoulders."""
        done = _run(str(FILES / "statement.camt053.xml"))
        assert done.returncode == 0
        assert "****1234" in done.stdout
        assert "6225000000001234" not in done.stdout
