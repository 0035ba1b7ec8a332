"""What banks tell, made for tests: statements and notifications as readers give them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.accounts import AccountRows
from ledger.bank.files import Arrival, receive_file
from ledger.bank.staging import Staged, StatementBook, ready_file, stage_file
from ledger.engine import fetch, in_transaction
from tillkeeper.contracts.bank import (
    BankFile,
    BankStatement,
    BankTransaction,
    BookingStatus,
    FileKind,
    Finding,
    Side,
    StatementBalance,
)
from tillkeeper.sealing import KeyRing

OURS: Final = "6222000011112222"
AT: Final = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)
DAY: Final = date(2024, 5, 6)


@dataclass(frozen=True)
class Line:
    """An entry as a file tells it; signed minor units. ``parts`` are amounts of its payers."""

    signed: int
    reference: str | None = None
    day: date | None = DAY
    payer: str | None = None
    parts: tuple[tuple[str, int], ...] = ()
    status: BookingStatus = BookingStatus.BOOKED
    end_to_end_id: str | None = None
    remittance: str = ""
    reversal: bool = False
    currency: str = "CNY"


@dataclass(frozen=True)
class Balances:
    """Opening and closing in signed minor units, and their days."""

    opening: int
    closing: int
    on: date = DAY
    opening_on: date | None = None
    number: str | None = None
    identifier: str | None = None


def statement_file(
    lines: Sequence[Line],
    balances: Balances | None,
    *,
    kind: FileKind = FileKind.CAMT_053,
    account: str = OURS,
    problems: tuple[Finding, ...] = (),
) -> BankFile:
    """A file of one statement; without balances it is a notification."""
    return bank_file([(lines, balances)], kind=kind, account=account, problems=problems)


def bank_file(
    statements: Sequence[tuple[Sequence[Line], Balances | None]],
    *,
    kind: FileKind = FileKind.CAMT_053,
    account: str = OURS,
    problems: tuple[Finding, ...] = (),
) -> BankFile:
    """A file of several statements of one account."""
    told = repr((statements, kind, account, problems))
    transactions: list[BankTransaction] = []
    said = []
    for index, (lines, balances) in enumerate(statements, start=1):
        for entry, line in enumerate(lines, start=1):
            transactions.extend(_parts(line, index, entry, account))
        said.append(_statement(index, lines, balances, account))
    return BankFile(
        kind=kind,
        digest=hashlib.sha256(told.encode()).hexdigest(),
        created_at=AT,
        statements=tuple(said),
        transactions=tuple(transactions),
        problems=problems,
    )


def _statement(
    index: int, lines: Sequence[Line], balances: Balances | None, account: str
) -> BankStatement:
    stated: tuple[StatementBalance, ...] = ()
    if balances is not None:
        opening_on = balances.opening_on or balances.on
        stated = (
            _balance("OPBD", balances.opening, opening_on),
            _balance("CLBD", balances.closing, balances.on),
        )
    return BankStatement(
        index=index,
        identifier=None if balances is None else balances.identifier,
        number=None if balances is None else balances.number,
        account=account,
        currency="CNY",
        entries=len(lines),
        balances=stated,
    )


def _balance(kind: str, signed: int, on: date) -> StatementBalance:
    return StatementBalance(
        kind=kind, amount_minor=abs(signed), currency="CNY", side=_side(signed), on=on
    )


def _side(signed: int) -> Side:
    return Side.CREDIT if signed >= 0 else Side.DEBIT


def _parts(line: Line, statement: int, entry: int, account: str) -> list[BankTransaction]:
    said: list[tuple[str | None, int]] = [*line.parts] or [(line.payer, abs(line.signed))]
    common: dict[str, Any] = {
        "statement": statement,
        "entry": entry,
        "parts": len(said),
        "account": account,
        "side": _side(line.signed),
        "status": line.status,
        "reversal": line.reversal,
        "entry_amount_minor": abs(line.signed),
        "entry_currency": line.currency,
        "currency": line.currency,
        "entry_side": _side(line.signed),
        "adds_up": sum(amount for _, amount in said) == abs(line.signed),
        "booking_date": line.day,
        "entry_bank_reference": line.reference,
        "bank_reference": line.reference,
        "end_to_end_id": line.end_to_end_id,
        "remittance": line.remittance,
    }
    return [
        BankTransaction(part=part, debtor_name=name, amount_minor=amount, **common)
        for part, (name, amount) in enumerate(said, start=1)
    ]


def book(ring: KeyRing, *numbers: str) -> StatementBook:
    """A statement book of these accounts of ours, or of the usual one."""
    known = numbers or (OURS,)
    return StatementBook(ring, lambda number, _: number if number in known else None,
                         AccountRows(ring))  # fmt: skip


async def stage(
    engine: AsyncEngine, statements: StatementBook, *files: BankFile, at: datetime = AT
) -> list[Staged]:
    """Receive and stage files, each in a transaction of its own."""
    staged = []
    for found in files:
        body = found.digest.encode()

        async def work(connection: Any, found: BankFile = found, body: bytes = body) -> Staged:
            arrival = Arrival("file", "import", None, at)
            digest = await receive_file(connection, statements.ring, body, arrival)
            ready = ready_file(statements, found, at)
            return await stage_file(connection, statements, digest, ready, at=at)

        staged.append(await in_transaction(engine, work))
    return staged


async def rows(engine: AsyncEngine, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Rows of a look-up."""

    async def work(connection: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await fetch(connection, sql, parameters)]

    return await in_transaction(engine, work)


async def entries(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    """(signed, day, stated?, parts) of all entries, sorted."""
    return sorted(
        await rows(
            engine,
            "SELECT CASE side WHEN 'C' THEN amount ELSE -amount END, day,"
            " statement IS NOT NULL, parts FROM bank_entries",
        )
    )


async def open_items_of(engine: AsyncEngine, kind: str) -> list[tuple[Any, ...]]:
    """(subject, amount) of the open items of a kind, sorted."""
    return sorted(
        await rows(
            engine,
            "SELECT subject, amount FROM work_items WHERE kind = $1 AND state <> 'CLOSED'",
            kind,
        )
    )
