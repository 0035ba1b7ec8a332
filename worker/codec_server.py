"""Temporal's codec protocol over HTTP, so that the Temporal UI and CLI show sealed payloads.

Promises to answer only the origins and the token it was given, and to return what it cannot open
as it came. It must never keep, cache or log a payload: whoever may call it can read everything,
so it listens on loopback or behind the company's sign-in, never open to a network.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from google.protobuf import json_format
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from tillkeeper.codec import SealingCodec
from tillkeeper.sealing import KeyRing
from worker.addresses import is_origin

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
PREFLIGHT_AGE_S: Final = 600
_HEADERS_ALLOWED: Final = ("Authorization", "Content-Type", "X-Namespace")

_Turn = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


def codec_app(
    ring: KeyRing, *, allowed_origins: Sequence[str], token: SecretStr | None
) -> Starlette:
    """Return the app with POST `/decode` and `/encode`, below any prefix the caller puts before.

    `allowed_origins` are exact addresses of Temporal UIs such as `http://127.0.0.1:8233`; the UI
    passes a token only to an https address. ValueError on a wildcard, a path or an empty token.
    """
    origins = frozenset(allowed_origins)
    if any(not is_origin(origin) for origin in origins):
        raise ValueError("an allowed origin is exactly scheme://host[:port]")
    if token is not None and not token.get_secret_value():
        raise ValueError("an empty codec token protects nothing")
    codec = SealingCodec(ring)
    routes = [
        Route(path, _endpoint(turn, origins=origins, token=token), methods=["POST"])
        for name, turn in (("decode", codec.decode), ("encode", codec.encode))
        for path in (f"/{name}", f"/{{prefix:path}}/{name}")
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=sorted(origins),
        allow_methods=["POST", "OPTIONS"],
        allow_headers=_HEADERS_ALLOWED,
        allow_credentials=True,
        max_age=PREFLIGHT_AGE_S,
    )
    return Starlette(routes=routes, middleware=[cors])


def _endpoint(
    turn: _Turn, *, origins: frozenset[str], token: SecretStr | None
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        # The browser withholds answers from strange pages only if the name was not rebound to
        # this address; a request that names its origin is therefore judged here as well.
        origin = request.headers.get("origin")
        if origin is not None and origin not in origins:
            return _refusal(403, "ORIGIN_NOT_ALLOWED", "this origin may not read payloads")
        if token is not None and not _bears(request, token):
            return _refusal(401, "TOKEN_REQUIRED", "a valid bearer token is required")
        body = await _body(request)
        if body is None:
            return _refusal(413, "BODY_TOO_LARGE", f"more than {BODY_BYTES_MAX} bytes")
        payloads = _parsed(body)
        if payloads is None:
            return _refusal(400, "BODY_NOT_UNDERSTOOD", "not a JSON form of Payloads")
        return _reply({"payloads": [_as_json(p) for p in await turn(payloads.payloads)]})

    return answer


def _bears(request: Request, token: SecretStr) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    expected = token.get_secret_value().encode()
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected)


async def _body(request: Request) -> bytes | None:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > BODY_BYTES_MAX:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _parsed(body: bytes) -> Payloads | None:
    try:
        return json_format.Parse(body, Payloads())
    except (json_format.ParseError, UnicodeDecodeError):
        return None


def _as_json(payload: Payload) -> dict[str, object]:
    fields: dict[str, object] = json_format.MessageToDict(payload)
    # The UI takes an object for a payload only if it has both, even where a field is empty.
    return {"metadata": {}, "data": "", **fields}


def _reply(content: dict[str, object], *, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status_code=status, headers={"Cache-Control": "no-store"})


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    reply = _reply({"code": code, "message": message}, status=status)
    if status == 401:
        reply.headers["WWW-Authenticate"] = "Bearer"
    return reply
