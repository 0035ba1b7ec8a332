"""A merchant's account statement: what changed available + frozen, between two balances (P-77).

Opening + the lines = closing, always, on one unchanging view of the book. Nothing here writes to
the book. PostgreSQL adds up and orders; lines pass in pieces, so that memory stays flat (P-79).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import driver, execute, fetch
from ledger.snapshot import snapshot
from tillkeeper.contracts.base import EARLIEST, LATEST
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import BookBroken, Code, Rejected
from tillkeeper.contracts.money import exponent, format_amount
from tillkeeper.rules.days import BUSINESS_ZONE, day_bounds, zone
from tillkeeper.rules.postings import STATEMENT_KINDS

LINES_AT_ONCE: Final = 5_000

OPENING: Final = "opening"
NOT_SHOWN: Final = "not_shown"
CLOSING: Final = "closing"

HEADER: Final = (
    "time", "recorded_at", "kind", "direction", "amount", "total", "currency", "transfer",
    "reference",
)  # fmt: skip

_LEADS: Final = "=+-@\t\r\n＝＋－＠"
"""With one of these a spreadsheet takes a text for a formula."""


class StatementTime(StrEnum):
    """By which time a line falls into a period: the business's own, or when it was booked.

    What came late changes a past period by ``effective``, never one by ``booked``.
    """

    EFFECTIVE = "effective"
    BOOKED = "booked"


class Direction(StrEnum):
    """Income or expense of the merchant (P-78)."""

    IN = "IN"
    OUT = "OUT"


COLOURS: Final = {Direction.IN: "#00803C", Direction.OUT: "#C00000"}
"""Income green, expense red, in every rendering and every country (P-78)."""


@dataclass(frozen=True, slots=True)
class StatementWanted:
    """Which statement: days of ``zone`` from ``first`` up to, not including, ``until``."""

    merchant: str
    currency: str
    first: date
    until: date
    by: StatementTime = StatementTime.EFFECTIVE
    kinds: frozenset[TransferKind] = frozenset(STATEMENT_KINDS)
    zone: str = BUSINESS_ZONE


@dataclass(frozen=True, slots=True)
class StatementFigures:
    """What a statement adds up to, in minor units: opening + shown + not_shown = closing.

    Totals are available + frozen. ``not_shown`` is the sum of the lines that the filter leaves out.
    """

    opening: int
    income: int
    expense: int
    not_shown: int
    closing: int
    lines: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line: ``amount`` is signed, ``total`` is the balance after it, both in minor units.

    The lines ``opening``, ``not_shown`` and ``closing`` carry no transfer, time or direction.
    """

    kind: str
    total: int
    amount: int | None = None
    direction: Direction | None = None
    time: datetime | None = None
    recorded_at: datetime | None = None
    transfer: int | None = None
    reference: str = ""


_OUT: Final = [kind.value for kind, income in STATEMENT_KINDS.items() if not income]
_IN: Final = [kind.value for kind, income in STATEMENT_KINDS.items() if income]

_FIND: Final = """
SELECT p.available, p.frozen, a.balance + f.balance
  FROM prepaid_accounts p
  JOIN accounts a ON a.id = p.available JOIN accounts f ON f.id = p.frozen
 WHERE p.merchant = $1 AND p.currency = $2"""

_FIGURES: Final = """
WITH moves AS (
    SELECT -amount AS amount, kind, {time} AS time FROM transfers
     WHERE debit_account = ANY($1::bigint[]) AND kind = ANY($2::text[])
    UNION ALL
    SELECT amount, kind, {time} FROM transfers
     WHERE credit_account = ANY($1::bigint[]) AND kind = ANY($3::text[])),
parts AS (
    SELECT amount, time < $4 AS before, time >= $4 AND time < $5 AS within,
           kind = ANY($6::text[]) AS shown FROM moves)
SELECT coalesce(sum(amount) FILTER (WHERE before), 0)::bigint,
       coalesce(sum(amount) FILTER (WHERE within AND shown AND amount > 0), 0)::bigint,
       coalesce(sum(amount) FILTER (WHERE within AND shown AND amount < 0), 0)::bigint,
       coalesce(sum(amount) FILTER (WHERE within AND NOT shown), 0)::bigint,
       coalesce(sum(amount) FILTER (WHERE before OR within), 0)::bigint,
       count(*) FILTER (WHERE within AND shown), coalesce(sum(amount), 0)::bigint
  FROM parts"""

_LINES: Final = """
SELECT effective_at, recorded_at, kind, amount, id, subject,
       ($6::bigint + sum(amount) OVER (ORDER BY {time}, id ROWS UNBOUNDED PRECEDING))::bigint
           AS total
  FROM (SELECT id, kind, -amount AS amount, subject, effective_at, recorded_at FROM transfers
         WHERE debit_account = ANY($1::bigint[]) AND kind = ANY($2::text[])
           AND {time} >= $4::timestamptz AND {time} < $5::timestamptz
        UNION ALL
        SELECT id, kind, amount, subject, effective_at, recorded_at FROM transfers
         WHERE credit_account = ANY($1::bigint[]) AND kind = ANY($3::text[])
           AND {time} >= $4::timestamptz AND {time} < $5::timestamptz) moves
 ORDER BY {time}, id"""

_COPIED: Final = """
SELECT effective_at, recorded_at, kind, CASE WHEN amount > 0 THEN 'IN' ELSE 'OUT' END,
       {amount}, {total}, '{currency}', id,
       CASE WHEN strpos({leads}, left(subject, 1)) > 0 THEN '''' || subject ELSE subject END
  FROM ({lines}) l"""

Write = Callable[[bytes], Coroutine[Any, Any, None]]
"""Takes the next piece of a file."""


class Statement:
    """One statement on an open snapshot; ``open_statement`` makes it."""

    def __init__(
        self,
        connection: AsyncConnection,
        wanted: StatementWanted,
        figures: StatementFigures,
        bounds: tuple[list[int], datetime, datetime],
    ) -> None:
        self._connection = connection
        self._accounts, self._after, self._before = bounds
        self.wanted = wanted
        self.figures = figures

    def _parameters(self) -> tuple[Any, ...]:
        kinds = ([k for k in part if k in self.wanted.kinds] for part in (_OUT, _IN))
        return (self._accounts, *kinds, self._after, self._before, self.figures.opening)

    async def pages(self) -> AsyncGenerator[list[StatementLine]]:
        """All lines in order, the opening and closing ones too, some thousands at once."""
        yield [StatementLine(OPENING, self.figures.opening)]
        raw = driver(self._connection)
        cursor = await raw.cursor(_by(_LINES, self.wanted), *self._parameters())
        while rows := await cursor.fetch(LINES_AT_ONCE):
            yield [_line(row) for row in rows]
        yield self.last_lines()

    def last_lines(self) -> list[StatementLine]:
        """What stands below the lines: the sum of those not shown, if any, and the closing."""
        figures = self.figures
        hidden = StatementLine(NOT_SHOWN, figures.closing, figures.not_shown)
        return [
            *([hidden] if self.wanted.kinds != frozenset(STATEMENT_KINDS) else []),
            StatementLine(CLOSING, figures.closing),
        ]

    async def copy(self, write: Write) -> None:
        """Everything as CSV; PostgreSQL writes the lines. Raises BookBroken."""
        currency = self.wanted.currency
        await write((",".join(HEADER) + "\n").encode())
        await write(_csv(StatementLine(OPENING, self.figures.opening), currency))
        statement = _COPIED.format(
            lines=_by(_LINES, self.wanted), currency=currency, leads=_sql_text(_LEADS),
            amount=_decimal("amount", currency), total=_decimal("total", currency),
        )  # fmt: skip
        # The session's zone makes PostgreSQL write business time, five times faster than to_char.
        await execute(self._connection, f"SET LOCAL timezone = '{self.wanted.zone}'", ())
        raw = driver(self._connection)
        said = await raw.copy_from_query(statement, *self._parameters(), output=write, format="csv")
        if said != f"COPY {self.figures.lines}":
            raise BookBroken("a statement has other lines than it added up")
        for line in self.last_lines():
            await write(_csv(line, currency))


async def open_statement(connection: AsyncConnection, wanted: StatementWanted) -> Statement:
    """Add up the statement on the snapshot of ``connection``.

    Raises Rejected(ACCOUNT_NOT_OPENED | CURRENCY_UNKNOWN | FIELD_INVALID), BookBroken.
    """
    exponent(wanted.currency)
    if not EARLIEST.date() <= wanted.first < wanted.until <= LATEST.date():
        raise Rejected(Code.FIELD_INVALID, detail="a period is one day or more of 1970 to 2199")
    if not wanted.kinds or not wanted.kinds <= STATEMENT_KINDS.keys():
        raise Rejected(Code.FIELD_INVALID, detail=f"a statement knows {', '.join(_IN + _OUT)}")
    zone(wanted.zone)
    after = day_bounds(wanted.first, wanted.zone)[0]
    before = day_bounds(wanted.until, wanted.zone)[0]
    found = await fetch(connection, _FIND, (wanted.merchant, wanted.currency))
    if not found:
        raise Rejected(Code.ACCOUNT_NOT_OPENED, detail="no account of this merchant")
    available, frozen, balance = found[0]
    accounts = [available, frozen]
    kinds = [kind.value for kind in wanted.kinds]
    parameters = (accounts, _OUT, _IN, after, before, kinds)
    row = (await fetch(connection, _by(_FIGURES, wanted), parameters))[0]
    if row[6] != balance:
        raise BookBroken("the statement does not add up to available + frozen")
    figures = StatementFigures(*row[:6])
    return Statement(connection, wanted, figures, (accounts, after, before))


async def statement_figures(engine: AsyncEngine, wanted: StatementWanted) -> StatementFigures:
    """Only what the statement adds up to. Raises as ``open_statement`` does."""
    async with snapshot(engine) as connection:
        return (await open_statement(connection, wanted)).figures


async def statement_page(
    engine: AsyncEngine, wanted: StatementWanted, *, limit: int
) -> tuple[StatementFigures, list[StatementLine]]:
    """What the statement adds up to and its first ``limit`` lines, out of one view of the book.

    Raises as ``open_statement`` does.
    """
    found: list[StatementLine] = []
    async with snapshot(engine) as connection:
        statement = await open_statement(connection, wanted)
        async with aclosing(statement.pages()) as pages:
            async for page in pages:
                found += [line for line in page if line.transfer is not None]
                if len(found) >= limit:
                    break
    return statement.figures, found[:limit]


async def statement_lines(
    engine: AsyncEngine, wanted: StatementWanted
) -> AsyncGenerator[StatementLine]:
    """Every line in order, from opening to closing; close the iterator if you leave early."""
    async with snapshot(engine) as connection:
        statement = await open_statement(connection, wanted)
        async with aclosing(statement.pages()) as pages:
            async for page in pages:
                for line in page:
                    yield line


def guarded(text: str) -> str:
    """``text`` as a spreadsheet shall show it: never a formula."""
    return f"'{text}" if text[:1] and text[0] in _LEADS else text


def _by(statement: str, wanted: StatementWanted) -> str:
    booked = wanted.by is StatementTime.BOOKED
    return statement.replace("{time}", "recorded_at" if booked else "effective_at")


def _line(row: Any) -> StatementLine:
    effective_at, recorded_at, kind, amount, transfer, subject, total = row
    direction = Direction.IN if amount > 0 else Direction.OUT
    return StatementLine(
        kind, total, amount, direction, effective_at, recorded_at, transfer, subject
    )


def _csv(line: StatementLine, currency: str) -> bytes:
    amount = "" if line.amount is None else format_amount(line.amount, currency)
    total = format_amount(line.total, currency)
    return f",,{line.kind},,{amount},{total},{currency},,\n".encode()


def _decimal(column: str, currency: str) -> str:
    """SQL text of an amount with exactly the currency's decimals, without a detour over numeric."""
    decimals = exponent(currency)
    if not decimals:
        return column
    unit = 10**decimals
    return (
        f"CASE WHEN {column} < 0 THEN '-' ELSE '' END || abs({column}) / {unit} || '.'"
        f" || right((abs({column}) % {unit} + {unit})::text, {decimals})"
    )


def _sql_text(text: str) -> str:
    """``text`` as an SQL literal of code points."""
    return "U&'" + "".join(f"\\{ord(letter):04x}" for letter in text) + "'"
