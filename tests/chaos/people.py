"""Whoever speaks in a chaos run: signs each word anew, and asks again where nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from gateways.identity.issuer import DevelopmentIssuer, Grant
from tillkeeper.contracts.actor import Decision
from tillkeeper.contracts.errors import Unavailable

ASK_AGAIN_S: Final = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class People:
    """Whose tokens decide: one for the first level, one for the second, two at the desk."""

    issuer: DevelopmentIssuer

    def token(self, subject: str, role: str, decision: Decision) -> str:
        """A fresh token for this decision."""
        grant = Grant(subject=subject, roles=(role,), decision=decision)
        return self.issuer.issue(grant, datetime.now(UTC))


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, asked for again and again while nobody is there; a refusal is an answer."""
    while True:
        try:
            async with asyncio.timeout(60):
                return await ask()
        except (Unavailable, TimeoutError, OSError):
            await asyncio.sleep(ASK_AGAIN_S)
