"""The door to the folder that a bank and we share: what arrives is kept, then moved away.

Bytes are in the database before a file is moved, so a kill in between only means that the same
bytes are brought again; two workers on one folder keep and move each file once.
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
from ledger.bank.overview import file_view, unfinished_files
from ledger.engine import in_transaction
from ledger.workitems import NewItem, open_items
from tillkeeper.contracts.bank_file import (
    Arrived,
    BankExchangeDoor,
    BankFileView,
    FileSource,
    WatchCommand,
)
from tillkeeper.contracts.errors import Broken, Rejected, Unavailable
from tillkeeper.contracts.workitem import ItemKind

LOOK_S: Final = 1.0
"""Pause between two looks into the inbox."""

ANSWER_MAX: Final = 50
"""Files named by one answer; the next one names the rest."""

_log = logging.getLogger(__name__)


class BankExchangeActivities(BankExchangeDoor):
    """BankExchangeDoor on a folder and PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._skipped: set[Path] = set()

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
        return await in_transaction(self._house.engine, lambda c: unfinished_files(c, ANSWER_MAX))

    async def _look(self, exchange: FolderExchange) -> list[str]:
        """Keep and move away what is ready; answers the digests that are to be worked off."""
        try:
            ready = await asyncio.to_thread(exchange.ready)
        except OSError as error:
            raise Unavailable(f"the inbox cannot be read: {type(error).__name__}") from error
        arrived = []
        for path in ready[:ANSWER_MAX]:
            try:
                digest = await self._take(exchange, path)
            except OSError as error:
                self._skip(path, error)
                continue
            self._skipped.discard(path)
            arrived += [] if digest is None else [digest]
        return arrived

    async def _take(self, exchange: FolderExchange, path: Path) -> str | None:
        """Keep the bytes, move the file; the digest where it is still to be worked off."""
        try:
            body = await asyncio.to_thread(exchange.read, path)
        except Rejected as refused:
            await self._refuse(exchange, path, refused)
            return None
        view = await in_transaction(self._house.engine, lambda c: self._keep(c, path, body))
        if view.refused is not None:
            await asyncio.to_thread(exchange.refuse, path, view.refused.value)
        elif not await asyncio.to_thread(exchange.done, path, view.digest):
            _log.warning("a file in the inbox was changed while it was kept; it is read again")
        return None if view.state.ended else view.digest

    async def _keep(self, connection: AsyncConnection, path: Path, body: bytes) -> BankFileView:
        name = path.name.encode("utf-8", "replace").decode()
        encoding = self._house.exchange_encoding
        arrival = Arrival(name, FileSource.EXCHANGE.value, encoding, datetime.now(UTC))
        digest = await receive_file(connection, self._house.ring, body, arrival)
        view = await file_view(connection, digest)
        if view is None:
            raise Broken("a file that was kept cannot be read")
        return view

    async def _refuse(self, exchange: FolderExchange, path: Path, refused: Rejected) -> None:
        """A file too large to be kept: a person is told, then it is moved."""
        subject = file_subject(await asyncio.to_thread(digest_of, path))
        code, now = refused.codes[0].value, datetime.now(UTC)
        item = NewItem(ItemKind.BANK_FILE_REFUSED, subject, reason=code)
        await in_transaction(self._house.engine, lambda c: open_items(c, [item], at=now))
        await asyncio.to_thread(exchange.refuse, path, code)

    def _skip(self, path: Path, error: OSError) -> None:
        """Say once that a file cannot be taken now; its name stays out of the log."""
        if path not in self._skipped:
            self._skipped.add(path)
            _log.warning("a file in the inbox cannot be taken now: %s", type(error).__name__)
