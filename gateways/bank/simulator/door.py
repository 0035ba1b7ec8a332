"""The bank's HTTP door: payments, queries, statements, and the levers of a test.

Loopback and without a password: it moves no real money; browsers are turned away, for any page
could ask. An answer comes after the book's commit, and its faults happen to it only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateways.bank.simulator.bank import Bank
from gateways.bank.simulator.faults import Faulty
from gateways.bank.simulator.files import FileDoor
from gateways.bank.simulator.models import (
    Charge,
    Clock,
    Counterparty,
    Deposits,
    Fault,
    FaultPlan,
    Nothing,
    PaymentOrder,
    PaymentState,
    Refused,
    Reversal,
)
from gateways.bank.simulator.payments import answer
from tillkeeper.contracts.base import M, json_at_the_door
from tillkeeper.contracts.errors import Rejected

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
KEY_CHARS_MAX: Final = 200
HOSTS: Final = ("127.0.0.1", "localhost")

Cut = Callable[[Request], None]
Handler = Callable[[Request], Awaitable[Response]]


def door(bank: Bank, files: FileDoor, cut: Cut) -> Starlette:
    """The application; ``cut`` breaks the connection of a request without a word."""
    made = _Door(bank, files, cut)
    routes = [
        ("/health", made.health, "GET"),
        ("/accounts", made.accounts, "GET"),
        ("/payments", made.submit, "POST"),
        ("/payments/{id}", made.query, "GET"),
        ("/movements", made.movements, "GET"),
        ("/statement", made.statement, "GET"),
        ("/deposits", made.deposit, "POST"),
        ("/charges", made.charge, "POST"),
        ("/reversals", made.reverse, "POST"),
        ("/counterparties", made.know, "POST"),
        ("/days/close", made.close_day, "POST"),
        ("/clock", made.advance, "POST"),
        ("/faults", made.plan, "PUT"),
    ]
    return Starlette(
        routes=[Route(path, call, methods=[method]) for path, call, method in routes],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))],
        exception_handlers={Refused: _refused, Rejected: _malformed},
    )


class _Door:
    def __init__(self, bank: Bank, files: FileDoor, cut: Cut) -> None:
        self._bank, self._files, self._cut = bank, files, cut

    async def health(self, _: Request) -> Response:
        book = self._bank.book
        return JSONResponse({"day": book.day.isoformat(), "now": book.now().isoformat()})

    async def accounts(self, _: Request) -> Response:
        """Every account with its balance."""
        names = ("number", "currency", "owner")
        return JSONResponse(
            [
                {**{name: row[name] for name in names}, "balance_minor": row["balance"]}
                for row in self._bank.book.accounts()
            ]
        )

    async def submit(self, request: Request) -> Response:
        """Submit a payment: 201 new, 200 known, 409 another payment's id, 422 rejected."""
        order = await _body(request, PaymentOrder)
        key = request.headers.get("Idempotency-Key")
        if key is not None and not 0 < len(key) <= KEY_CHARS_MAX:
            raise Refused(400, "KEY_MALFORMED", "an idempotency key of 1 to 200 characters")
        with self._bank.store.transaction():
            done = self._bank.payments.submit(order, key=key)
            row = None if done.payment is None else self._bank.payments.row(done.payment)
        if row is None:
            return _problem(503, "UNAVAILABLE", "not accepted")
        return await self._misfortune(request, done.faults) or JSONResponse(
            answer(row, replayed=not done.new).model_dump(mode="json"),
            status_code=_code(row["state"], new=done.new),
        )

    async def query(self, request: Request) -> Response:
        """What the bank knows of an end-to-end id, the newest payment first."""
        found = self._bank.payments.of(request.path_params["id"])
        if not found:
            raise Refused(404, "NOT_FOUND", "no payment of this id")
        return JSONResponse(
            found[0].model_dump(mode="json")
            | {"payments": [one.model_dump(mode="json") for one in found]}
        )

    async def movements(self, request: Request) -> Response:
        """Every movement as a JSON line, in the order of the book."""
        account = request.query_params.get("account")
        lines = (
            movement.model_dump_json() + "\n"
            for _, movement in self._bank.book.movements()
            if account in (None, movement.account)
        )
        return PlainTextResponse("".join(lines), media_type="application/x-ndjson")

    async def statement(self, request: Request) -> Response:
        """One account's day as camt.053 or camt.054."""
        asked = request.query_params
        kind = asked.get("kind", "camt.053")
        account = self._bank.book.account(asked.get("account", ""), asked.get("currency", "CNY"))
        if account is None or kind not in ("camt.053", "camt.054"):
            raise Refused(404, "NOT_FOUND", "no such account, or no such kind")
        try:
            day = date.fromisoformat(asked.get("day", ""))
        except ValueError:
            raise Refused(400, "DAY_MALFORMED", "a day like 2026-03-02") from None
        body = self._bank.statement(account, day, kind)
        return Response(body, media_type="application/xml")

    async def deposit(self, request: Request) -> Response:
        """Book incoming wires and write their camt.054."""
        wires = await _body(request, Deposits)
        references, new = self._bank.deposit(wires.deposits)
        self._files.look()
        return JSONResponse({"references": references, "new": new})

    async def charge(self, request: Request) -> Response:
        """Take money from an account."""
        reference = self._bank.charge(await _body(request, Charge))
        self._files.look()
        return JSONResponse({"reference": reference})

    async def reverse(self, request: Request) -> Response:
        """Undo a movement."""
        reference = self._bank.reverse((await _body(request, Reversal)).reference)
        self._files.look()
        return JSONResponse({"reference": reference})

    async def know(self, request: Request) -> Response:
        """Remember an account elsewhere."""
        self._bank.know(await _body(request, Counterparty))
        return JSONResponse({})

    async def close_day(self, request: Request) -> Response:
        """Close the day; its statements are written when this answers."""
        await _body(request, Nothing)
        self._files.look()
        self._bank.close_day()
        self._files.look()
        return await self.health(request)

    async def advance(self, request: Request) -> Response:
        """Put the clock forward."""
        clock = await _body(request, Clock)
        self._files.look()
        self._bank.advance(clock)
        self._files.look()
        return await self.health(request)

    async def plan(self, request: Request) -> Response:
        """Replace all faults."""
        self._bank.faults.plan(await _body(request, FaultPlan))
        return JSONResponse({})

    async def _misfortune(self, request: Request, faults: Faulty) -> Response | None:
        if Fault.ERROR in faults:
            return _problem(500, "ERROR", "something went wrong")
        if Fault.SILENCE in faults:
            await asyncio.sleep(faults[Fault.SILENCE].seconds)
        elif Fault.CUT not in faults:
            return None
        self._cut(request)
        await asyncio.sleep(0)
        return Response(status_code=500)


async def _body(request: Request, model: type[M]) -> M:
    if "origin" in request.headers:
        raise Refused(403, "BROWSER", "no page of a browser gives orders here")
    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        raise Refused(413, "TOO_LARGE", "at most 8 MiB")
    return json_at_the_door(model, body)


def _code(state: str, *, new: bool) -> int:
    if state == PaymentState.REJECTED:
        return 422
    return 201 if new else 200


def _problem(status: int, code: str, detail: str) -> Response:
    return JSONResponse({"code": code, "detail": detail}, status_code=status)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101
    return _problem(error.status, error.code, error.detail)


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, Rejected)  # noqa: S101
    body: dict[str, Any] = {"code": str(error.codes[0]), "detail": str(error)}
    return JSONResponse(body, status_code=400)
