"""Health and metrics over HTTP: is the process alive, can it work, what does it measure. No
business data.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Check = Callable[[], Awaitable[None]]
_CHECK_TIMEOUT_S = 2


def health_app(
    checks: Mapping[str, Check], registry: CollectorRegistry, *, sdk_metrics: str | None
) -> Starlette:
    """`/health/live`, `/health/ready` (503 while a check fails) and `/metrics` with the SDK's
    merged in.
    """

    async def live(_request: Request) -> Response:
        return JSONResponse({"live": "ok"})

    async def ready(_request: Request) -> Response:
        answers = await asyncio.gather(*(_ask(check) for check in checks.values()))
        report = dict(zip(checks, answers, strict=True))
        good = all(answer == "ok" for answer in answers)
        return JSONResponse(report, status_code=200 if good else 503)

    async def metrics(_request: Request) -> Response:
        body = generate_latest(registry)
        if sdk_metrics is not None:
            body += await asyncio.to_thread(_fetch, f"http://{sdk_metrics}/metrics")
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", metrics),
        ]
    )


async def _ask(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return "no answer"
    except Exception as error:
        return type(error).__name__
    return "ok"


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_CHECK_TIMEOUT_S) as answer:  # noqa: S310
            body: bytes = answer.read()
            return body
    except OSError:
        return b""
