"""The bank's door: only a definite answer is told as one, from the simulator and from liars."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateways.bank.http import ANSWER_BYTES_MAX, Answer, Hearing, HttpBankDoor, door_address
from tests.gateways.bank.simulator.support import NAME, OTHER, OURS, OWNER, Simulator, running
from tests.workflows.support import refused
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentInstruction, PaymentParty

NOTHING = Answer(Hearing.NOTHING)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Simulator]:
    """A running simulator with 10,000.00 CNY of ours."""
    with running(tmp_path) as made:
        yield made


def instruction(name: str = "P1", minor: int = 100_00) -> PaymentInstruction:
    """A payment of ours to a company elsewhere."""
    return PaymentInstruction(
        creditor=PaymentParty(name=NAME, account=OTHER, bank_name="中国工商银行"),
        amount_minor=minor, currency="CNY", remittance="提现 W1", end_to_end_id=name,
        debtor=PaymentParty(name=OWNER, account=OURS), requested_on=date(2026, 3, 2),
    )  # fmt: skip


def door(bank: Simulator, within_s: float = 5) -> HttpBankDoor:
    """The door of a running simulator."""
    return HttpBankDoor(str(bank.http.base_url).rstrip("/"), within_s=within_s)


def heard(answer: Answer) -> tuple[Hearing, list[tuple[str, tuple[str, ...]]]]:
    """What was heard, and each status with its reasons."""
    return answer.hearing, [(one.status, one.reasons) for one in answer.said]


class TestSubmit:
    async def test_a_payment_is_accepted_once_under_its_id(self, bank: Simulator) -> None:
        """C-02, C-12: known again it is the same one; the bank's book has one debit."""
        first = await door(bank).submit(instruction())
        assert heard(first) == (Hearing.SAID, [("ACSC", ())])
        assert first.source.startswith("http:")
        assert heard(await door(bank).submit(instruction())) == heard(first)
        [moved] = bank.movements()
        assert (moved["amount_minor"], moved["end_to_end_id"]) == (100_00, "P1")
        assert (moved["counterparty_name"], moved["remittance"]) == (NAME, "提现 W1")

    @pytest.mark.parametrize("code", ["AC04", "AM14", "AM04"])
    async def test_a_stated_refusal_is_a_no_with_its_code(self, bank: Simulator, code: str) -> None:
        """S-44."""
        bank.plan({"fault": "reject", "code": code})
        found = await door(bank).submit(instruction())
        assert heard(found) == (Hearing.SAID, [("RJCT", (code,))])
        assert bank.movements() == []

    @pytest.mark.parametrize("fault", ["cut", "error", "unavailable"])
    async def test_what_is_no_answer_is_nothing(self, bank: Simulator, fault: str) -> None:
        """C-12, F06: whether it was paid nobody knows from that."""
        bank.plan({"fault": fault})
        assert await door(bank).submit(instruction()) == NOTHING
        assert len(bank.movements()) == (0 if fault == "unavailable" else 1)

    async def test_silence_is_nothing_after_a_while(self, bank: Simulator) -> None:
        """F06: the bank has it all the same."""
        bank.plan({"fault": "silence", "seconds": 30})
        assert await door(bank, 0.5).submit(instruction()) == NOTHING
        assert heard(await door(bank).ask(instruction())) == (Hearing.SAID, [("ACSC", ())])

    async def test_an_id_of_another_payment_is_nothing(self, bank: Simulator) -> None:
        """B4: 409 says nothing about ours."""
        assert bank.pay("P1", 1).status_code == 201
        assert await door(bank).submit(instruction()) == NOTHING

    async def test_a_bank_that_is_gone_is_nothing(self, bank: Simulator) -> None:
        """C-12: not even "it was refused" is believed of a connection."""
        found = door(bank)
        bank.stop()
        assert await found.submit(instruction()) == NOTHING
        assert await found.ask(instruction()) == NOTHING

    def test_what_was_frozen_past_its_limit_sends_nothing(self, bank: Simulator) -> None:
        """C-12: its payment may be asked for meanwhile, or paid by another way."""

        async def frozen() -> Answer:
            busy = ThreadPoolExecutor(max_workers=1)
            asyncio.get_running_loop().set_default_executor(busy)
            busy.submit(time.sleep, 0.4)
            call = asyncio.create_task(door(bank, within_s=0.2).submit(instruction()))
            await asyncio.sleep(0.05)
            # Neither the loop's own limit nor its hanging up is heard while the thread goes on.
            time.sleep(0.8)  # noqa: ASYNC251
            return await call

        assert asyncio.run(frozen()) == NOTHING
        assert asyncio.run(door(bank).ask(instruction())).hearing is Hearing.NOT_FOUND


class TestAsk:
    async def test_what_was_never_taken_is_not_found(self, bank: Simulator) -> None:
        """E-09: the caller knows when that is a no."""
        assert (await door(bank).ask(instruction())).hearing is Hearing.NOT_FOUND

    async def test_what_was_refused_stays_refused(self, bank: Simulator) -> None:
        """C-12."""
        bank.plan({"fault": "reject", "code": "BE01"})
        await door(bank).submit(instruction())
        assert heard(await door(bank).ask(instruction())) == (Hearing.SAID, [("RJCT", ("BE01",))])

    async def test_another_amount_under_our_id_is_nothing(self, bank: Simulator) -> None:
        """C-12: it is no word about our payment."""
        assert bank.pay("P1", 1).status_code == 201
        assert (await door(bank).ask(instruction())).hearing is Hearing.NOTHING

    async def test_a_bank_that_forgot_has_several(self, bank: Simulator) -> None:
        """F08: paid twice by somebody; never a no."""
        await door(bank).submit(instruction())
        bank.post("/clock", seconds=25 * 3600)
        bank.plan({"fault": "forget"})
        await door(bank).submit(instruction())
        found = await door(bank).ask(instruction())
        assert heard(found) == (Hearing.SEVERAL, [("ACSC", ()), ("ACSC", ())])

    async def test_what_came_back_is_not_taken_for_a_no(self, bank: Simulator) -> None:
        """C-13: the booked return says that, and nothing else does."""
        bank.plan({"fault": "return", "days": 1})
        await door(bank).submit(instruction())
        bank.post("/days/close")
        assert heard(await door(bank).ask(instruction())) == (Hearing.SAID, [("ACSC", ())])


GOOD: dict[str, Any] = {
    "end_to_end_id": "P1", "state": "ACCEPTED", "reason": None, "amount_minor": 100_00,
    "currency": "CNY",
}  # fmt: skip


@contextmanager
def liar(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestLies:
    @pytest.mark.parametrize(
        ("status", "changes"),
        [
            (201, {"amount_minor": 100_01}),
            (201, {"currency": "EUR"}),
            (201, {"end_to_end_id": "P2"}),
            (201, {"state": "REJECTED"}),
            (201, {"state": "PERHAPS"}),
            (202, {}),
            (422, {}),
            (500, {"state": "REJECTED"}),
            (503, {"state": "REJECTED"}),
            (302, {"state": "REJECTED"}),
        ],
    )
    async def test_what_does_not_fit_together_is_nothing(
        self, status: int, changes: dict[str, Any]
    ) -> None:
        """C-12, B3: neither a payment nor a no."""
        body = json.dumps(GOOD | changes).encode()
        with liar(status, body) as address:
            assert await HttpBankDoor(address).submit(instruction()) == NOTHING

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"<html>paid</html>"])
    async def test_an_unreadable_answer_is_nothing(self, body: bytes) -> None:
        """C-12."""
        for status in (200, 404):
            with liar(status, body) as address:
                assert (await HttpBankDoor(address).ask(instruction())).hearing is Hearing.NOTHING
                assert await HttpBankDoor(address).submit(instruction()) == NOTHING

    async def test_a_redirect_is_not_followed(self) -> None:
        """No other place is told of a payment."""
        with (
            liar(201, json.dumps(GOOD).encode()) as other,
            liar(307, b"", Location=f"{other}/payments") as address,
        ):
            assert await HttpBankDoor(address).submit(instruction()) == NOTHING

    async def test_an_answer_without_end_is_nothing(self) -> None:
        """No memory is given to it."""
        body = json.dumps(GOOD | {"more": "x" * ANSWER_BYTES_MAX}).encode()
        with liar(201, body) as address:
            assert await HttpBankDoor(address).submit(instruction()) == NOTHING

    async def test_a_server_that_only_listens_is_given_up(self) -> None:
        """The whole call has one limit."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
            assert await HttpBankDoor(address, within_s=0.3).submit(instruction()) == NOTHING


class TestAddress:
    @pytest.mark.parametrize(
        "address", ["http://127.0.0.1:8236", "http://localhost:1/", "http://[::1]:8236"]
    )
    def test_loopback_is_a_door(self, address: str) -> None:
        """What is said there leaves this machine nowhere."""
        assert door_address(address)[1] in (8236, 1)

    @pytest.mark.parametrize(
        "address",
        [
            *(
                "http://10.0.0.1:80",
                "http://bank.example:80",
                "https://127.0.0.1:80",
                "127.0.0.1:80",
            ),
            *(
                "http://127.0.0.1",
                "http://u:p@127.0.0.1:80",
                "http://127.0.0.1:80/x",
                "",
                "http://[:80",
            ),
            *("http://127.0.0.1:99999", "file:///etc/passwd", "http://127.0.0.1.evil.example:80"),
        ],
    )
    def test_anything_else_is_refused(self, address: str) -> None:
        """Payments are told to no stranger, and not in the clear."""
        with refused(Code.SETTINGS_INVALID):
            door_address(address)
