"""One transaction per activity, every error turned into its failure (tillkeeper.failures).

It never lets an unknown error be retried in silence: that becomes work for a person. Of such an
error the kind and the stack travel on, never its text, which may repeat personal data.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import in_transaction
from tillkeeper.contracts.errors import Rejected, Unavailable
from tillkeeper.failures import as_failure

T = TypeVar("T")

Work = Callable[[AsyncConnection], Awaitable[T]]
Note = Callable[[AsyncConnection, Rejected], Awaitable[None]]

_log = logging.getLogger(__name__)


@asynccontextmanager
async def failing_typed() -> AsyncIterator[None]:
    """Let nothing but ApplicationError leave the block."""
    try:
        yield
    except (Rejected, Unavailable) as error:
        raise as_failure(error) from None
    except Exception as error:
        failure = as_failure(error)
        _log.error("activity broken: %s (%s)", failure.type, type(error).__name__)
        raise failure.with_traceback(error.__traceback__) from None


async def one_transaction(engine: AsyncEngine, work: Work[T]) -> T:
    """Run ``work`` in one transaction; raises ApplicationError only."""
    async with failing_typed():
        return await in_transaction(engine, work)


async def one_decision(engine: AsyncEngine, work: Work[T], note: Note) -> T:
    """As ``one_transaction``; a refusal, undone by then, is noted in a transaction of its own."""
    async with failing_typed():
        try:
            return await in_transaction(engine, work)
        except Rejected as refusal:
            told = refusal
            await in_transaction(engine, lambda c: note(c, told))
            raise
