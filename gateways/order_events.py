"""Reads order-event files (CSV, plain or gzip; a pipe too) row by row, in bounded memory.

A bad row is answered with its line and reason and reading goes on; a file that cannot be read on is
refused after the rows before the damage. Never repeats what a row holds, never trusts a length.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from tillkeeper.contracts.errors import Code, Reason, Rejected, rejected_from
from tillkeeper.rules.days import zone
from tillkeeper.rules.order_events import EventRow, FileEvent, OrderKey

LINE_BYTES_MAX: Final = 64 * 1024
SKIPPED_BYTES_MAX: Final = 1024 * 1024 * 1024
CHUNK_BYTES: Final = 128 * 1024
BAD_ROWS_RUNNING_MAX: Final = 10_000

REQUIRED: Final = ("event_time", "merchant_id", "order_id", "event", "gross_minor", "currency")
OPTIONAL: Final = ("installments", "ref_order_id")

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_WHOLE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_SIGNED: Final = re.compile(r"-[0-9]+(\.[0-9]*)?", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]*\.[0-9]*|[0-9.]+[eE][+-]?[0-9]+", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]{1,4}", re.ASCII)
_TIME_CHARS: Final = range(16, 41)


class _Stored(io.RawIOBase):
    """The stored bytes: counts them, and knows the first ones without going back in a pipe."""

    def __init__(self, raw: BufferedReader) -> None:
        self._raw = raw
        self.head = self._rest_of_head = raw.read(len(_GZIP))
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        head = self._rest_of_head[: len(buffer)]
        if head:
            buffer[: len(head)] = head
            self._rest_of_head = self._rest_of_head[len(head) :]
        count = len(head) or self._raw.readinto1(buffer)
        self.position += count
        return count


_Readable: TypeAlias = "BufferedReader[_Stored] | gzip.GzipFile"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; ``line`` is 1-based, the header included.

    ``purchase`` is the (merchant, currency, order) of a purchase whose other values are bad.
    """

    line: int
    reason: Reason
    purchase: OrderKey | None = None


class OrderEventFile:
    """One file; ``rows`` may be called again and starts from the beginning, but for a pipe."""

    def __init__(self, path: Path, *, zone_name: str = "UTC") -> None:
        """Times without a zone are read in ``zone_name``. Raises Rejected(FIELD_INVALID)."""
        self._path = path
        self._zone: tzinfo = UTC if zone_name == "UTC" else zone(zone_name)
        self._stored: _Stored | None = None

    @property
    def position_bytes(self) -> int:
        """How far into the stored file reading has come."""
        return 0 if self._stored is None else self._stored.position

    def size_bytes(self) -> int:
        """Size of the stored file, 0 for a pipe. Raises Rejected(FILE_UNREADABLE)."""
        try:
            return self._path.stat().st_size
        except OSError as error:
            raise _unreadable(error) from None

    def rows(self) -> Iterator[EventRow | BadRow]:
        """Every row in its order.

        Raises Rejected: FILE_UNREADABLE, FIELD_MISSING or FIELD_INVALID before the first row;
        FILE_TRUNCATED or FILE_UNREADABLE after the last row that could be read.
        """
        try:
            with self._path.open("rb") as raw:
                lines = _lines(self._stream(raw))
                columns = _columns(next(lines, (0, b""))[1])
                yield from self._read(lines, columns)
        except OSError as error:
            raise _unreadable(error) from None

    def _stream(self, raw: BufferedReader) -> _Readable:
        self._stored = stored = _Stored(raw)
        stream = BufferedReader(stored, CHUNK_BYTES)
        if stored.head == _GZIP:
            return gzip.GzipFile(fileobj=stream, mode="rb")
        if stored.head and self._path.suffix == ".gz":
            raise Rejected(Code.FILE_UNREADABLE, detail="the file is called .gz but is not gzip")
        return stream

    def _read(
        self, lines: Iterator[tuple[int, bytes | None]], columns: _Columns
    ) -> Iterator[EventRow | BadRow]:
        bad_running = 0
        for number, line in lines:
            if line is not None and not line.strip():
                continue
            try:
                row = self._row(number, line, columns)
            except Rejected as refusal:
                bad_running += 1
                if bad_running > BAD_ROWS_RUNNING_MAX:
                    detail = f"{BAD_ROWS_RUNNING_MAX} unreadable rows in a row up to line {number}"
                    raise Rejected(Code.FILE_UNREADABLE, detail=detail) from None
                yield BadRow(number, refusal.reasons[0], columns.purchase(line))
            else:
                bad_running = 0
                yield row

    def _row(self, number: int, line: bytes | None, columns: _Columns) -> EventRow:
        if line is None:
            detail = f"the line is longer than {LINE_BYTES_MAX} bytes"
            raise Rejected(Code.LINE_TOO_LONG, detail=detail)
        values = _values(line)
        if len(values) != columns.count:
            detail = f"{len(values)} values for {columns.count} columns"
            raise Rejected(Code.ROW_MALFORMED, detail=detail)
        at = columns.at
        try:
            return EventRow(
                line=number,
                at=self._time(values[at["event_time"]]),
                merchant=values[at["merchant_id"]],
                order=values[at["order_id"]],
                event=values[at["event"]],
                gross_minor=_amount(values[at["gross_minor"]]),
                currency=values[at["currency"]],
                instalments=_instalments(columns.optional("installments", values)),
                ref_order=columns.optional("ref_order_id", values) or None,
            )
        except ValidationError as error:
            raise rejected_from(error) from None

    def _time(self, text: str) -> datetime:
        try:
            found = datetime.fromisoformat(text) if len(text) in _TIME_CHARS else None
            if found is not None:
                aware = found if found.tzinfo else found.replace(tzinfo=self._zone)
                return aware.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise Rejected(Code.ROW_MALFORMED, detail="event_time: write 2024-05-06 10:00:00")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where each column stands."""

    at: dict[str, int]
    count: int

    def optional(self, name: str, values: list[str]) -> str:
        place = self.at.get(name)
        return "" if place is None else values[place]

    def purchase(self, line: bytes | None) -> OrderKey | None:
        """Whose purchase an unreadable row is, if it says that much."""
        if line is None:
            return None
        try:
            values = _values(line)
        except Rejected:
            return None
        if len(values) != self.count or values[self.at["event"]] != FileEvent.PURCHASED:
            return None
        merchant, currency, order = (
            values[self.at[name]] for name in ("merchant_id", "currency", "order_id")
        )
        return (merchant, currency, order) if len(merchant + currency + order) < 200 else None


def _columns(header: bytes | None) -> _Columns:
    if not header:
        what = "its first line is too long to be a header" if header is None else "it has no header"
        raise Rejected(Code.FILE_UNREADABLE, detail=f"not an event file: {what}")
    try:
        names = _values(header.removeprefix(_BOM))
    except Rejected:
        detail = "not an event file: its first line is not text"
        raise Rejected(Code.FILE_UNREADABLE, detail=detail) from None
    missing = [name for name in REQUIRED if name not in names]
    twice = [name for name in (*REQUIRED, *OPTIONAL) if names.count(name) > 1]
    if missing or twice:
        raise Rejected(
            *(Reason(code=Code.FIELD_MISSING, detail=f"no column {name}") for name in missing),
            *(Reason(code=Code.FIELD_INVALID, detail=f"column {name} twice") for name in twice),
        )
    return _Columns({name: names.index(name) for name in names}, len(names))


def _lines(stream: _Readable) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines without their ends; None for one that is too long. Holds one chunk at most."""
    number, kept, skipped = 1, b"", 0
    for chunk in _chunks(stream):
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            line = kept + piece
            yield number, None if skipped or len(line) > LINE_BYTES_MAX else line.rstrip(b"\r")
            number, kept, skipped = number + 1, b"", 0
        kept += pieces[-1]
        if skipped or len(kept) > LINE_BYTES_MAX:
            skipped, kept = skipped + len(kept), b""
            if skipped > SKIPPED_BYTES_MAX:
                detail = f"line {number} does not end within {SKIPPED_BYTES_MAX} bytes"
                raise Rejected(Code.FILE_UNREADABLE, detail=detail)
    if skipped:
        yield number, None
    elif kept:
        yield number, kept.rstrip(b"\r")


def _chunks(stream: _Readable) -> Iterator[bytes]:
    try:
        while chunk := stream.read1(CHUNK_BYTES):
            yield chunk
    except EOFError:
        detail = "the file ends in the middle; the rows before were read"
        raise Rejected(Code.FILE_TRUNCATED, detail=detail) from None
    except (gzip.BadGzipFile, zlib.error):
        detail = "the compressed data is damaged; the rows before were read"
        raise Rejected(Code.FILE_UNREADABLE, detail=detail) from None


def _values(line: bytes) -> list[str]:
    if b"\0" in line:
        raise Rejected(Code.ROW_MALFORMED, detail="a NUL byte")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Rejected(Code.ROW_MALFORMED, detail="not UTF-8") from None
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error:
        raise Rejected(Code.ROW_MALFORMED, detail="quotes that do not close") from None


def _amount(text: str) -> int:
    """Minor units as written; the contract judges zero and the upper end."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _SIGNED.fullmatch(text):
        raise Rejected(Code.AMOUNT_NOT_POSITIVE, detail="gross_minor: greater than zero")
    if _DIGITS.fullmatch(text):
        raise Rejected(Code.AMOUNT_TOO_LARGE, detail="gross_minor: at most 10^15 minor units")
    if _NUMBER.fullmatch(text):
        raise Rejected(Code.AMOUNT_NOT_INTEGER, detail="gross_minor: a whole number of minor units")
    raise Rejected(Code.AMOUNT_MALFORMED, detail="gross_minor: a whole number of minor units")


def _instalments(text: str) -> int | None:
    """The count; none and zero both mean that the file does not know."""
    if not text:
        return None
    if not _COUNT.fullmatch(text):
        raise Rejected(Code.ROW_MALFORMED, detail="installments: a whole number")
    return int(text) or None


def _unreadable(error: OSError) -> Rejected:
    reason = (error.strerror or type(error).__name__).lower()
    return Rejected(Code.FILE_UNREADABLE, detail=f"the file cannot be read: {reason}")
