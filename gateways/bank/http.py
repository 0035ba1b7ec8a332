"""The bank's own door over HTTP: give it a payment, ask what became of one (C-12).

Promises that only a definite answer is told as one: our id, our amount, and a state. Whatever else
comes back, or does not, is NOTHING: it neither pays nor fails a payment. It never tries again by
itself, follows no redirect, and goes to loopback only, for what it says is not sealed.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.base import M, Model
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.payment import PaymentInstruction

ANSWER_BYTES_MAX: Final = 256 * 1024
WITHIN_S: Final = 20.0
"""How long a whole call may take; an activity's own limit must be longer."""

_STATUS: Final = MappingProxyType(
    {"ACCEPTED": "ACSP", "SETTLED": "ACSC", "RETURNED": "ACSC", "REJECTED": "RJCT"}
)
"""What the door's states mean in ISO 20022: only the booked debit says that it was paid."""


class Hearing(StrEnum):
    """What was heard at the door."""

    SAID = "SAID"
    """A definite word about the one payment."""
    NOT_FOUND = "NOT_FOUND"
    SEVERAL = "SEVERAL"
    """More than one payment of the id; what is said is about those that were not rejected."""
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the door answered, in the words of a status file; ``source`` names its body."""

    hearing: Hearing
    said: tuple[PaymentStatus, ...] = ()
    source: str = ""


class BankDoor(Protocol):
    """One bank; neither call raises for what the bank does or does not do."""

    async def submit(self, payment: PaymentInstruction) -> Answer:
        """Give the bank one payment, once."""
        ...

    async def ask(self, payment: PaymentInstruction) -> Answer:
        """Ask what the bank knows of it."""
        ...


class HttpBankDoor:
    """The door of the bank simulator, whose contract stands in its ``models``."""

    def __init__(self, address: str, *, within_s: float = WITHIN_S) -> None:
        self._host, self._port = door_address(address)
        self._within_s = within_s

    async def submit(self, payment: PaymentInstruction) -> Answer:
        """``POST /payments`` with our id as the idempotency key."""
        order = {
            "account": payment.debtor.account,
            "end_to_end_id": payment.end_to_end_id,
            "amount_minor": payment.amount_minor,
            "currency": payment.currency,
            "creditor_name": payment.creditor.name,
            "creditor_account": payment.creditor.account,
            "remittance": payment.remittance,
        }
        body = _Order.model_validate(order).model_dump_json().encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": payment.end_to_end_id}
        heard = await self._call("POST", "/payments", body, headers)
        if heard is None:
            return Answer(Hearing.NOTHING)
        status, text = heard
        one = _read(_Said, text)
        definite = one is not None and (
            (status in (200, 201) and one.state != "REJECTED")
            or (400 <= status < 500 and one.state == "REJECTED")
        )
        if one is None or not definite or not one.tells(payment):
            return Answer(Hearing.NOTHING)
        return Answer(Hearing.SAID, (one.status(),), _source(text))

    async def ask(self, payment: PaymentInstruction) -> Answer:
        """``GET /payments/<our id>``."""
        path = f"/payments/{quote(payment.end_to_end_id, safe='')}"
        heard = await self._call("GET", path, None, {})
        if heard is None:
            return Answer(Hearing.NOTHING)
        status, text = heard
        if status == http.client.NOT_FOUND:
            problem = _read(_Problem, text)
            absent = problem is not None and problem.code == "NOT_FOUND"
            return Answer(Hearing.NOT_FOUND if absent else Hearing.NOTHING, (), _source(text))
        found = _read(_Found, text) if status == http.client.OK else None
        if found is None or not found.payments:
            return Answer(Hearing.NOTHING)
        ours = [one for one in found.payments if one.tells(payment)]
        if len(found.payments) > 1:
            alive = tuple(one.status() for one in ours if one.state != "REJECTED")
            return Answer(Hearing.SEVERAL, alive, _source(text))
        if not ours:
            return Answer(Hearing.NOTHING)
        return Answer(Hearing.SAID, (ours[0].status(),), _source(text))

    async def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes] | None:
        """Status and body of one call; None where there is no whole answer in time."""
        call = _Call(self._host, self._port, self._within_s)
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.to_thread(call.exchange, method, path, body, headers)
        except (TimeoutError, OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            call.hang_up()


def door_address(address: str) -> tuple[str, int]:
    """Host and port of a door's address. Raises Rejected(SETTINGS_INVALID) off loopback."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback, host, port = False, "", None
    plain = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if not loopback or port is None or address.rstrip("/") != plain:
        detail = "the bank's door is http://<loopback>:<port>, nothing more"
        raise Rejected(Code.SETTINGS_INVALID, detail=detail)
    return host, port


class _Order(Model):
    account: str
    end_to_end_id: str
    amount_minor: int
    currency: str
    creditor_name: str
    creditor_account: str
    remittance: str


class _Said(Model):
    end_to_end_id: str
    state: str
    reason: str | None = None
    amount_minor: int
    currency: str

    def tells(self, payment: PaymentInstruction) -> bool:
        """Whether it is about this payment and of a state that is known."""
        ours = (payment.end_to_end_id, payment.amount_minor, payment.currency)
        told = (self.end_to_end_id, self.amount_minor, self.currency)
        return told == ours and self.state in _STATUS

    def status(self) -> PaymentStatus:
        """The same, as a status file says it."""
        level = StatusLevel.TRANSACTION
        return PaymentStatus(
            level=level, stated_at=level, status=_STATUS[self.state],
            end_to_end_id=self.end_to_end_id, reasons=(self.reason,) if self.reason else (),
        )  # fmt: skip


class _Found(Model):
    payments: list[_Said]


class _Problem(Model):
    code: str


def _read(model: type[M], text: bytes) -> M | None:
    try:
        return model.model_validate_json(text)
    except ValidationError:
        return None


def _source(text: bytes) -> str:
    return f"http:{hashlib.sha256(text).hexdigest()}"


def running_s() -> float:
    """Seconds of a clock that also runs while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Call:
    """One connection for one request, in a thread that can be left alone."""

    def __init__(self, host: str, port: int, within_s: float) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=within_s)
        self._connection.auto_open = 0
        self._gone = threading.Event()
        self._over_at = running_s() + within_s

    def exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """One answer that is not too long. Raises OSError, HTTPException or ValueError."""
        self._connection.connect()
        if self._gone.is_set() or running_s() > self._over_at:
            self._connection.close()
            raise TimeoutError("nobody waits any more, so nothing is sent")
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read(ANSWER_BYTES_MAX + 1)
        if len(text) > ANSWER_BYTES_MAX:
            raise ValueError("an answer that is too long")
        return answer.status, text

    def hang_up(self) -> None:
        """Close it; a thread that still waits for the answer ends."""
        self._gone.set()
        sock = self._connection.sock
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()
