"""Statements as files: complete or not there at all (P-79).

A file is written in a temporary directory beside the target, flushed to the disk and only then
given its name. One that exists already is refused unless overwriting was asked for. It reads
the book with the reading role and never changes it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.snapshot import snapshot
from ledger.statements import StatementFigures, StatementWanted, open_statement
from ledger.xlsx import SHEET_ROWS_MAX, Workbook
from tillkeeper.contracts.errors import Code, Rejected, Unavailable

_PIECE: Final = 1 << 20
"""Bytes gathered before a thread writes them."""

_CALLERS: Final = frozenset(
    {
        errno.EACCES, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
        errno.ENOTDIR, errno.EPERM, errno.EROFS,
    }
)  # fmt: skip
"""What the name of a file is to blame for."""


async def export_csv(
    engine: AsyncEngine, wanted: StatementWanted, target: Path, *, overwrite: bool = False
) -> StatementFigures:
    """Write the statement as CSV (UTF-8, times of ``wanted.zone``) to ``target``.

    Raises Rejected(FILE_EXISTS | FILE_UNWRITABLE and as ``open_statement`` does), Unavailable,
    BookBroken.
    """
    async with snapshot(engine) as connection:
        statement = await open_statement(connection, wanted)
        async with published(target, overwrite=overwrite) as path:
            writer = _Writer(path.open("wb"))
            try:
                await statement.copy(writer.write)
                await writer.flush()
            finally:
                writer.close()
    return statement.figures


async def export_xlsx(
    engine: AsyncEngine,
    wanted: StatementWanted,
    target: Path,
    *,
    overwrite: bool = False,
    rows_max: int = SHEET_ROWS_MAX,
) -> StatementFigures:
    """Write the statement as a workbook to ``target``, ``rows_max`` rows a sheet.

    Raises as ``export_csv`` does.
    """
    async with snapshot(engine) as connection:
        statement = await open_statement(connection, wanted)
        async with published(target, overwrite=overwrite) as path:
            book = Workbook(
                path, currency=wanted.currency, zone_name=wanted.zone, rows_max=rows_max
            )
            try:
                async with aclosing(statement.pages()) as pages:
                    async for page in pages:
                        await asyncio.to_thread(book.write, page)
                await asyncio.to_thread(book.close)
            except BaseException:
                book.abandon()
                raise
    return statement.figures


class _Writer:
    """Gathers pieces and writes them in a thread, so that a slow disk holds up nobody else."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces = bytearray()

    async def write(self, piece: bytes) -> None:
        """Take a piece."""
        self._pieces += piece
        if len(self._pieces) >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Hand over what was gathered."""
        pieces, self._pieces = self._pieces, bytearray()
        await asyncio.to_thread(self._file.write, pieces)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@asynccontextmanager
async def published(target: Path, *, overwrite: bool) -> AsyncIterator[Path]:
    """A temporary path that becomes ``target`` when the block succeeds; gone when it does not.

    Raises Rejected(FILE_EXISTS | FILE_UNWRITABLE), Unavailable when the system is short of room.
    """
    room: Path | None = None
    try:
        _refuse_existing(target, overwrite=overwrite)
        room = Path(mkdtemp(prefix=".", suffix=".part", dir=target.parent))
        path = room / f"new{target.suffix}"
        yield path
        await asyncio.to_thread(_publish, path, target, overwrite=overwrite)
    except OSError as error:
        raise _failure(error) from error
    finally:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)


def _failure(error: OSError) -> Rejected | Unavailable:
    """A name that cannot be written is the caller's, a full disk is ours."""
    why = os.strerror(error.errno) if error.errno else type(error).__name__
    detail = f"the file cannot be written: {why}"
    if error.errno in _CALLERS:
        return Rejected(Code.FILE_UNWRITABLE, detail=detail)
    return Unavailable(detail)


def _publish(path: Path, target: Path, *, overwrite: bool) -> None:
    _flush_to_disk(path)
    if overwrite:
        path.replace(target)
    else:
        _link(path, target)
    _flush_to_disk(target.parent)


def _refuse_existing(target: Path, *, overwrite: bool) -> None:
    if target.is_dir() or (not overwrite and os.path.lexists(target)):
        raise Rejected(Code.FILE_EXISTS, detail="the file exists already")


def _link(path: Path, target: Path) -> None:
    """Give ``path`` the name of ``target``, which somebody else may have taken meanwhile."""
    try:
        target.hardlink_to(path)
    except FileExistsError:
        raise Rejected(Code.FILE_EXISTS, detail="the file exists already") from None
    except OSError:
        # Not every file system links files; there the look before has to do.
        _refuse_existing(target, overwrite=False)
        path.replace(target)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
