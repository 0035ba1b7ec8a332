"""Killed with -9 anywhere: no payment lost, none doubled, and the files equal the book."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.gateways.bank.simulator.support import (
    WITHIN_S,
    Simulator,
    listed,
    payment_file,
    told,
    wire,
)

PAYMENTS = 200


class TestKill:
    def test_in_the_middle_of_200_payments_each_is_paid_once(self, bank: Simulator) -> None:
        """C-12: three kills; after each, what was sent is sent again by the same id and key."""
        sent = 0
        for moment in (50, 100, 150):
            with contextlib.suppress(httpx.TransportError):
                while sent < PAYMENTS:
                    if sent == moment:
                        threading.Timer(0.01, _kill, [bank]).start()
                    assert bank.pay(f"E{sent}", 1 + sent, key=f"K{sent}").status_code in (200, 201)
                    sent += 1
            assert moment <= sent < PAYMENTS
            bank.kill()
            bank.start()
        for n in range(PAYMENTS):
            assert bank.pay(f"E{n}", 1 + n, key=f"K{n}").status_code in (200, 201)
        movements = bank.movements()
        assert Counter(m["end_to_end_id"] for m in movements) == {
            f"E{n}": 1 for n in range(PAYMENTS)
        }
        assert bank.balance() == 10_000_00 - sum(range(1, PAYMENTS + 1))
        assert bank.stop() == 0
        _files_equal(bank, movements)
        assert bank.printed() == movements

    def test_while_files_come_and_go_nothing_is_lost_or_doubled(self, bank: Simulator) -> None:
        """C-02: files of 40 payments and wires, killed at eight moments; each told once."""
        for n in range(8):
            bank.send(
                f"P{n}.xml", payment_file(f"M{n}", [(f"F{n}.{i}", "0.01") for i in range(40)])
            )
            killer = threading.Timer(0.02 * n, _kill, [bank])
            killer.start()
            with contextlib.suppress(httpx.TransportError):
                bank.http.post("/deposits", json={"deposits": [wire(f"D{n}", 5)]})
            killer.join()
            bank.kill()
            bank.start()
            bank.post("/deposits", deposits=[wire(f"D{n}", 5)])
        bank.wait_for("pain.002", 8)
        deadline = time.monotonic() + WITHIN_S
        while list(bank.inbox.glob("*.xml")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        movements = bank.movements()
        assert len(movements) == 8 * 41
        assert len({m["key"] for m in movements}) == 8 * 41
        assert bank.balance() == 10_000_00 - 8 * 40 + 8 * 5
        assert bank.stop() == 0
        _files_equal(bank, movements)

    @pytest.mark.parametrize(
        "flags",
        [
            ("--receiving", "[]"),
            ("--receiving", '{"CNY": {}}'),
            ("--account", "1/CNY"),
            ("--account", "1/CNY/1.001/Company"),
            ("--account", f"{'1' * 35}/CNY//Company"),
        ],
    )
    def test_account_that_cannot_be_is_one_sentence(
        self, tmp_path: Path, flags: tuple[str, str]
    ) -> None:
        """C-01: nothing is guessed."""
        ended = subprocess.run(
            [*Simulator(tmp_path).line(), *flags], capture_output=True, text=True,
            timeout=WITHIN_S, check=False, cwd=Path(__file__).parents[4],
        )  # fmt: skip
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
        assert ended.stderr.startswith("The bank simulator does not start: ")

    def test_second_process_on_a_book_is_one_sentence(self, bank: Simulator) -> None:
        """C-02: a book has one bank."""
        second = subprocess.run(
            bank.line(), capture_output=True, text=True, timeout=WITHIN_S, check=False,
            cwd=Path(__file__).parents[4],
        )  # fmt: skip
        assert (second.returncode, second.stderr.count("\n")) == (1, 1)
        assert "another one runs on the book" in second.stderr


def _kill(bank: Simulator) -> None:
    assert bank.process is not None
    os.kill(bank.process.pid, signal.SIGKILL)


def _files_equal(bank: Simulator, movements: list[dict[str, object]]) -> None:
    """Every movement stands in exactly one camt.054."""
    notices = bank.wait_for("camt.054", 1)
    found = Counter(told(one) for file in notices for one in file.transactions)
    assert found == Counter(listed(movement) for movement in movements)
