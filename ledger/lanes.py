"""Coalesces concurrent single messages into batches, one lane per group of merchants.

A lane has one transaction under way at a time; what arrives meanwhile goes together into the next
one. A message that makes its batch fail is applied alone, so that it fails nobody else's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final
from zlib import crc32

from ledger.orders import BATCH_MAX, OrderBook
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.order import OrderMessage, OrderOutcome

GATHER_S: Final = 0.002
"""How long a lane that was idle waits for company: well below the 5 ms that a caller may lose."""

WAITING_MAX: Final = 20_000

_Entry = tuple[OrderMessage, "asyncio.Future[OrderOutcome]", float]


class Lanes:
    """Concurrent callers' door for order messages; leaving the context finishes what waits."""

    def __init__(self, orders: OrderBook, *, lanes: int = 2) -> None:
        self._lanes = [_Lane(orders) for _ in range(lanes)]

    async def __aenter__(self) -> Lanes:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(lane.stop() for lane in self._lanes))

    async def submit(self, message: OrderMessage) -> OrderOutcome:
        """Apply one message together with its neighbours. Raises Unavailable, BookBroken."""
        lane = self._lanes[crc32(message.merchant.encode()) % len(self._lanes)]
        return await lane.submit(message)

    @property
    def depth(self) -> int:
        """Messages that wait for a transaction."""
        return sum(len(lane.waiting) for lane in self._lanes)

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest waiting message has waited."""
        now = asyncio.get_running_loop().time()
        return max((now - lane.waiting[0][2] for lane in self._lanes if lane.waiting), default=0.0)


class _Lane:
    def __init__(self, orders: OrderBook) -> None:
        self._orders = orders
        self.waiting: deque[_Entry] = deque()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Take nothing more, and finish what waits."""
        self._closed = True
        if self._task is not None:
            # Shielded: a caller that gives up waiting must not take the others' answers with it.
            await asyncio.shield(self._task)

    async def submit(self, message: OrderMessage) -> OrderOutcome:
        if self._closed or len(self.waiting) >= WAITING_MAX:
            raise Unavailable("the lane is closed or full; send it again later")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[OrderOutcome] = loop.create_future()
        self.waiting.append((message, answer, loop.time()))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        """Lives while something waits; an idle lane has no task."""
        try:
            await asyncio.sleep(GATHER_S)
            while self.waiting:
                batch = [self.waiting.popleft() for _ in range(min(BATCH_MAX, len(self.waiting)))]
                await self._apply(batch)
        finally:
            self._task = None
            _give_up(self.waiting)
            self.waiting.clear()

    async def _apply(self, batch: Sequence[_Entry]) -> None:
        try:
            outcomes = await self._orders.apply([message for message, _, _ in batch])
        except Exception as error:
            await self._fail(batch, error)
            return
        except BaseException:
            _give_up(batch)
            raise
        for (_, answer, _), outcome in zip(batch, outcomes, strict=True):
            if not answer.done():
                answer.set_result(outcome)

    async def _fail(self, batch: Sequence[_Entry], error: Exception) -> None:
        if len(batch) == 1 or isinstance(error, Unavailable):
            for _, answer, _ in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        try:
            for entry in batch:
                await self._apply([entry])
        finally:
            _give_up(batch)


def _give_up(entries: Iterable[_Entry]) -> None:
    """Answer what nobody applies any more: whether it was, sending it again will tell."""
    for _, answer, _ in entries:
        if not answer.done():
            answer.set_exception(Unavailable("the lane has ended; send it again"))
