"""Applies an order-event file to the book: in batches, at its own pace, safe to run again.

Every merchant's rows keep their order and no two batches of one merchant are ever in flight. What
was applied before is answered as replayed, so a run that was killed is simply run again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from console.rejects import Rejects
from gateways.order_events import BadRow, OrderEventFile
from ledger.orders import OrderBook
from tillkeeper.contracts.errors import Code, Reason, Rejected, Unavailable
from tillkeeper.contracts.order import OrderMessage, OrderOutcome, OrderResult
from tillkeeper.rules.order_events import Decided, EventMapping, EventRow

BATCH_DEFAULT: Final = 500
LANES: Final = 2
QUEUED_BATCHES_MAX: Final = 2
ROWS_PER_REPORT: Final = 500
PAUSES_S: Final = (0.2, 0.5, 1, 2, 4, 8)
"""Pauses before a batch is sent again when the database does not answer; then the run ends."""

_Batch = list[tuple[int, OrderMessage]]


@dataclass(slots=True)
class Tally:
    """What became of a file's rows. ``changed`` counts messages that changed the books now.

    ``waiting`` counts rows whose purchase had not come when the file broke off; ``touched`` holds
    the (merchant, currency) of all messages.
    """

    rows: int = 0
    noted: int = 0
    skipped: int = 0
    messages: int = 0
    changed: int = 0
    replayed: int = 0
    applied: int = 0
    dues: int = 0
    parked: int = 0
    waiting: int = 0
    touched: set[tuple[str, str]] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    ended_by: Reason | None = None

    @property
    def rows_per_second(self) -> int:
        """Rows read per second of this run."""
        return round(self.rows / self.seconds) if self.seconds else 0


Progress = Callable[[Tally, int], None]
"""Called now and then with the tally so far and the position in the file in bytes."""


class OrderImport:
    """One run over one file."""

    def __init__(
        self,
        book: OrderBook,
        mapping: EventMapping,
        rejects: Rejects,
        *,
        only: Collection[str] | None = None,
        batch: int = BATCH_DEFAULT,
    ) -> None:
        """With ``only``, rows of other merchants are counted as skipped and not looked at."""
        self._book = book
        self._mapping = mapping
        self._rejects = rejects
        self._only = None if only is None else frozenset(only)
        self._batch = batch
        self._queues: list[asyncio.Queue[_Batch]] = []
        self._open: list[_Batch] = []
        self._tally = Tally()

    async def run(self, file: OrderEventFile, progress: Progress | None = None) -> Tally:
        """Apply the file; what stopped it before its end stands in ``ended_by``.

        Raises Rejected for a file without a usable first line, Unavailable when the book does not
        answer any more (running again continues), BookBroken.
        """
        began = time.monotonic()
        self._queues = [asyncio.Queue(QUEUED_BATCHES_MAX) for _ in range(LANES)]
        self._open = [[] for _ in range(LANES)]
        try:
            async with asyncio.TaskGroup() as lanes:
                workers = [lanes.create_task(self._work(queue)) for queue in self._queues]
                await self._feed(file, progress)
                for lane in range(LANES):
                    await self._send(lane)
                for queue in self._queues:
                    await queue.join()
                for worker in workers:
                    worker.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._tally.seconds = time.monotonic() - began
        if progress is not None:
            progress(self._tally, file.size_bytes())
        return self._tally

    async def _feed(self, file: OrderEventFile, progress: Progress | None) -> None:
        tally = self._tally
        try:
            for row in file.rows():
                tally.rows += 1
                await self._take(row)
                if tally.rows % ROWS_PER_REPORT == 0:
                    if progress is not None:
                        progress(tally, file.position_bytes)
                    await asyncio.sleep(0)
        except Rejected as ending:
            if not tally.rows:
                raise
            # What waits for its purchase keeps waiting: the whole file may hold it.
            tally.ended_by, tally.waiting = ending.reasons[0], self._mapping.waiting
        else:
            for decided in self._mapping.rest():
                await self._act(decided)

    async def _take(self, row: EventRow | BadRow) -> None:
        if isinstance(row, BadRow):
            if row.purchase is not None:
                await self._act(self._mapping.refuse(row.purchase))
            self._reject(row.line, row.reason)
            return
        if self._only is not None and row.merchant not in self._only:
            self._tally.skipped += 1
            return
        await self._act(self._mapping.read(row))

    async def _act(self, decided: Sequence[Decided]) -> None:
        for line, decision in decided:
            if decision is None:
                self._tally.noted += 1
            elif isinstance(decision, Reason):
                self._reject(line, decision)
            else:
                self._tally.touched.add((decision.merchant, decision.currency))
                lane = crc32(decision.merchant.encode()) % LANES
                self._open[lane].append((line, decision))
                if len(self._open[lane]) >= self._batch:
                    await self._send(lane)

    async def _send(self, lane: int) -> None:
        batch, self._open[lane] = self._open[lane], []
        if batch:
            await self._queues[lane].put(batch)

    async def _work(self, queue: asyncio.Queue[_Batch]) -> None:
        while True:
            batch = await queue.get()
            outcomes = await patiently(self._apply, [message for _, message in batch])
            for (line, _), outcome in zip(batch, outcomes, strict=True):
                self._count(line, outcome)
            queue.task_done()

    async def _apply(self, messages: Sequence[OrderMessage]) -> list[OrderOutcome]:
        return await self._book.apply(messages)

    def _count(self, line: int, outcome: OrderOutcome) -> None:
        tally = self._tally
        tally.messages += 1
        if outcome.result is OrderResult.REFUSED:
            code = outcome.code or Code.ORDER_REFUSED
            self._reject(line, Reason(code=code, detail=outcome.detail or SENTENCES.get(code, "")))
            return
        if outcome.replayed:
            tally.replayed += 1
            return
        tally.changed += 1
        match outcome.result:
            case OrderResult.DUES:
                tally.dues += 1
            case OrderResult.PARKED:
                tally.parked += 1
            case _:
                tally.applied += 1

    def _reject(self, line: int, reason: Reason) -> None:
        self._tally.rejected[reason.code] += 1
        self._rejects.write(line, reason)


async def patiently(
    apply: Callable[[Sequence[OrderMessage]], Awaitable[list[OrderOutcome]]],
    messages: Sequence[OrderMessage],
    pauses_s: Sequence[float] = PAUSES_S,
) -> list[OrderOutcome]:
    """Apply, and again after each pause while the book does not answer. Raises Unavailable."""
    for pause_s in pauses_s:
        try:
            return await apply(messages)
        except Unavailable:
            await asyncio.sleep(pause_s)
    return await apply(messages)


SENTENCES: Final = {
    Code.ACCOUNT_NOT_OPENED: "this merchant has no account in this currency",
    Code.ACCOUNT_NOT_ACTIVE: "the account is not active",
    Code.ACCOUNT_CLOSED: "the account is closed",
    Code.FORMER_BILLING_MODE: "the order was placed before prepaid billing began",
    Code.KEY_REUSED: "another message of this order says something else",
    Code.ORDER_ALREADY_HELD: "the order's fee is held already",
    Code.EXCEEDS_HELD: "more would be given back than is held",
    Code.EXCEEDS_SETTLED: "more would be given back than was settled",
}


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that ended the run, out of the groups that tasks put around it."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
