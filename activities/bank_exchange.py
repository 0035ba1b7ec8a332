"""The door to the folder that a bank and we share: what arrives is kept, then moved away.

Bytes are in the database before a file is moved on, so a kill in between only means that the same
bytes are brought again; two workers on one folder keep and move each file once. What cannot be
taken holds up nobody, and becomes work for a person when it lasts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.failures import failing_typed
from activities.heart import heartbeating
from activities.house import House
from gateways.bank.exchange import FolderExchange, digest_of
from ledger.bank.files import Arrival, file_subject, receive_file
from ledger.bank.overview import FIRST, Place, file_view, unfinished_files
from ledger.engine import in_transaction
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.bank_file import (
    Arrived,
    BankExchangeDoor,
    BankFileView,
    FileSource,
    WatchCommand,
)
from tillkeeper.contracts.errors import Broken, Code, Rejected, Unavailable
from tillkeeper.contracts.workitem import ItemKind, Outcome

LOOK_S: Final = 1.0
"""Pause between two looks into the inbox."""

ANSWER_MAX: Final = 50
"""Files named by one answer; the next one names the rest."""

ASK_AFTER: Final = 5
"""Tries of one file, further and further apart, before a person is asked."""

BLIND_S: Final = 60.0
"""For so long the inbox may be unreadable before a person is asked."""

INBOX: Final = "bank-exchange/inbox"
"""What the work item about files that cannot be taken is about."""

_log = logging.getLogger(__name__)


class BankExchangeActivities(BankExchangeDoor):
    """BankExchangeDoor on a folder and PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._after: Place = FIRST
        self._blind_since: float | None = None
        self._asked = True

    @activity.defn
    async def watch_inbox(self, command: WatchCommand) -> Arrived:
        """Wait for files, keep them, move them away. Safe to run twice, and side by side."""
        async with failing_typed(), heartbeating():
            exchange = self._house.exchange
            if exchange is None:
                raise Unavailable("this worker has no bank exchange")
            return await self._watch(exchange, command)

    async def _watch(self, exchange: FolderExchange, command: WatchCommand) -> Arrived:
        until = time.monotonic() + command.seconds
        # The answer of a try before may have been lost, with the files it named.
        looks_back = command.sweep or activity.info().attempt > 1
        if looks_back and (left := await self._unfinished()):
            return Arrived(digests=left)
        while time.monotonic() < until and not activity.is_worker_shutdown():
            arrived = await self._look(exchange)
            if arrived:
                return Arrived(digests=tuple(dict.fromkeys(arrived)), fresh=True)
            await asyncio.sleep(LOOK_S)
        return Arrived(digests=await self._unfinished())

    async def _unfinished(self) -> tuple[str, ...]:
        """The next files that were left behind; after the last ones the first again."""
        after = self._after
        found = await in_transaction(
            self._house.engine, lambda c: unfinished_files(c, ANSWER_MAX, after=after)
        )
        self._after = found[-1] if len(found) == ANSWER_MAX else FIRST
        if not found and after != FIRST:
            return await self._unfinished()
        return tuple(digest for _, digest in found)

    async def _look(self, exchange: FolderExchange) -> list[str]:
        """Keep and move away what is ready; answers the digests that are to be worked off."""
        ready = await self._ready(exchange)
        arrived = []
        for path in ready[:ANSWER_MAX]:
            digest = await self._try(exchange, path)
            arrived += [] if digest is None else [digest]
        return arrived

    async def _ready(self, exchange: FolderExchange) -> list[Path]:
        try:
            ready = await asyncio.to_thread(exchange.ready)
        except OSError as error:
            now = time.monotonic()
            self._blind_since = now if self._blind_since is None else self._blind_since
            if now - self._blind_since >= BLIND_S:
                await self._ask(Code.UNAVAILABLE)
            raise Unavailable(f"the inbox cannot be read: {type(error).__name__}") from error
        self._blind_since = None
        if self._asked and not exchange.troubled:
            self._asked = False
            await in_transaction(self._house.engine, _settle)
        return ready

    async def _try(self, exchange: FolderExchange, path: Path) -> str | None:
        try:
            path = await asyncio.to_thread(exchange.claim, path)
            return await self._take(exchange, path)
        except (FileNotFoundError, BlockingIOError):
            # Another worker has it, or it is not whole yet: the next look knows.
            return None
        except OSError as error:
            times = exchange.put_off(path)
            if times == 1:
                _log.warning("a file in the inbox cannot be taken now: %s", type(error).__name__)
            if times == ASK_AFTER:
                await self._ask(Code.FILE_UNREADABLE)
            return None

    async def _take(self, exchange: FolderExchange, path: Path) -> str | None:
        """Keep the bytes, move the file; the digest where it is still to be worked off."""
        try:
            body = await asyncio.to_thread(exchange.read, path)
        except Rejected as refused:
            await self._refuse(exchange, path, refused)
            return None
        name = exchange.name_of(path).encode("utf-8", "replace").decode()
        view = await in_transaction(self._house.engine, lambda c: self._keep(c, name, body))
        if view.refused is not None:
            code = view.refused.value
            moved = await asyncio.to_thread(exchange.refuse, path, code, digest=view.digest)
        else:
            moved = await asyncio.to_thread(exchange.done, path, view.digest)
        if not moved:
            _log.warning("a file in the inbox was changed while it was kept; it is read again")
        return None if view.worked_off else view.digest

    async def _keep(self, connection: AsyncConnection, name: str, body: bytes) -> BankFileView:
        encoding = self._house.exchange_encoding
        arrival = Arrival(name, FileSource.EXCHANGE.value, encoding, datetime.now(UTC))
        digest = await receive_file(connection, self._house.ring, body, arrival)
        view = await file_view(connection, digest)
        if view is None:
            raise Broken("a file that was kept cannot be read")
        return view

    async def _refuse(self, exchange: FolderExchange, path: Path, refused: Rejected) -> None:
        """A file too large to be kept: a person is told, then it is moved."""
        digest = await asyncio.to_thread(digest_of, path)
        code = refused.codes[0].value
        await self._open(NewItem(ItemKind.BANK_FILE_REFUSED, file_subject(digest), reason=code))
        await asyncio.to_thread(exchange.refuse, path, code, digest=digest)

    async def _ask(self, code: Code) -> None:
        """Have a person look at the folder; files' names stay out of the item."""
        self._asked = True
        await self._open(NewItem(ItemKind.BANK_FILE_REFUSED, INBOX, reason=code.value))

    async def _open(self, item: NewItem) -> None:
        now = datetime.now(UTC)
        await in_transaction(self._house.engine, lambda c: open_items(c, [item], at=now))


async def _settle(connection: AsyncConnection) -> None:
    kind, now = ItemKind.BANK_FILE_REFUSED, datetime.now(UTC)
    await settle_items(connection, kind, [INBOX], outcome=Outcome.RESOLVED, at=now)
