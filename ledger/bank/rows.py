"""The rows of statements, entries and their parts: read for one account, written set by set.

Promises that what a file says of people is sealed before it is stored (C-11). Callers hold the
account's row, so nothing is told twice at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows
from ledger.bank.naming import payment_in, payments_in
from ledger.bank.shelf import Entry, Shelf, Statement
from ledger.bank.told import (
    Telling,
    likeness_of,
    likeness_of_part,
    part_reference,
)
from ledger.engine import copy_rows, execute, fetch
from ledger.payments import OTHER_REASON
from tillkeeper.contracts.bank import BankTransaction, Side
from tillkeeper.rules.codes import codes_in
from tillkeeper.rules.names import normalised_name
from tillkeeper.rules.sameness import DAYS_APART_MAX, Identity, Movement, first_day
from tillkeeper.sealing import KeyRing

_CODE: Final = re.compile(r"[A-Z0-9]{1,4}", re.ASCII)

_BIGINT_MAX: Final = 2**63 - 1

_PERIOD_MAX: Final = timedelta(days=400)
"""No statement that does not say when it begins tells of more."""

# What closes in the period told, and longer ones that tell something near it.
_STATEMENTS: Final = """
SELECT id, kind, identifier, number, opening, opening_on, closing, closing_on, file
  FROM bank_statements
 WHERE account = $1 AND (closing_on BETWEEN $2 AND $3 OR id IN (
       SELECT s.id FROM bank_statements s JOIN bank_entries e ON e.statement = s.id
        WHERE e.account = $1 AND e.day BETWEEN $4 AND $5 AND s.closing_on > $3)
       OR closing_on > $3 AND opening_on <= $3)
 ORDER BY id"""

_COLUMNS: Final = """
SELECT id, side, amount, day, dated, reference_digest, parts, adds_up, statement, file
  FROM bank_entries"""

_STATED: Final = f"{_COLUMNS} WHERE statement = ANY($1::bigint[])"

_UNSTATED: Final = f"""{_COLUMNS}
 WHERE account = $1 AND statement IS NULL AND ($2::boolean OR NOT dated OR day BETWEEN $3 AND $4)"""

_REFERRED: Final = f"""{_COLUMNS}
 WHERE account = $1 AND reference_digest = ANY($5::text[])
   AND ($2::boolean OR NOT dated OR day BETWEEN $3 AND $4)"""

_BARE: Final = f"""{_COLUMNS}
 WHERE account = $1 AND day = ANY($2::date[]) AND reference_digest IS NULL"""

# May be what a notification tells under another reference.
_LIKELY: Final = f"""{_COLUMNS}
 WHERE account = $1 AND day BETWEEN $2 AND $3 AND amount = ANY($4::bigint[])"""

# Batches that a notification may tell payer by payer.
_BATCHES: Final = f"""{_COLUMNS} e
 WHERE account = $1 AND day BETWEEN $2 AND $3 AND parts > 1 AND EXISTS (
       SELECT FROM bank_transactions t WHERE t.entry = e.id AND t.amount = ANY($4::bigint[]))"""

_PIECES: Final = """
SELECT t.entry, t.part, t.amount, t.said_sealed, a.number, f.kind
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
  JOIN bank_accounts a ON a.id = e.account JOIN bank_files f ON f.digest = t.file
 WHERE t.entry = ANY($1::bigint[]) AND t.amount = ANY($2::bigint[])
   AND (t.side, t.currency) = (e.side, a.currency) AND e.adds_up
 ORDER BY t.entry, t.part"""

_SAID: Final = """
SELECT DISTINCT ON (t.entry) t.entry, t.part, t.said_sealed, a.number, f.kind
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
  JOIN bank_accounts a ON a.id = e.account JOIN bank_files f ON f.digest = e.file
 WHERE t.entry = ANY($1::bigint[]) ORDER BY t.entry, t.part"""

_NEW_STATEMENTS: Final = """
INSERT INTO bank_statements (account, file, place, kind, identifier, number, opening, opening_on,
                             closing, closing_on, entries, total)
SELECT $1, $2, s.* FROM unnest($3::int[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                               $8::date[], $9::bigint[], $10::date[], $11::int[], $12::bigint[]) s
RETURNING id, place, opening, closing, closing_on"""

_NEW_ENTRIES: Final = """
INSERT INTO bank_entries (account, file, side, amount, day, dated, reference_digest, reversal,
                          adds_up, place, statement, parts)
SELECT $1, $2, e.* FROM unnest($3::text[], $4::bigint[], $5::date[], $6::boolean[], $7::text[],
                               $8::boolean[], $9::boolean[], $10::text[], $11::bigint[],
                               $12::int[]) e
RETURNING id, place"""

_LINK: Final = """
UPDATE bank_entries e SET statement = l.statement
  FROM unnest($1::bigint[], $2::bigint[]) AS l (entry, statement)
 WHERE e.id = l.entry AND e.statement IS NULL"""

_DETAIL: Final = """
UPDATE bank_entries e SET parts = d.parts, adds_up = d.adds_up
  FROM unnest($1::bigint[], $2::int[], $3::boolean[]) AS d (entry, parts, adds_up)
 WHERE e.id = d.entry AND e.parts = 0"""

_PARTS: Final = (
    *("entry", "part", "file", "amount", "currency", "side", "payer_digest", "payer_kind"),
    *("code", "payment", "return_reason", "said_sealed"),
)


def open_said(ring: KeyRing, entry: int, part: int, sealed: bytes) -> BankTransaction:
    """Everything that a file says of one part; personal data."""
    text = ring.open_text(sealed, purpose=said_purpose(entry, part))
    return BankTransaction.model_validate_json(text)


def said_purpose(entry: int, part: int) -> str:
    """What the words of a part are sealed for."""
    return f"entry/{entry}/{part}/said"


async def read_shelf(
    connection: AsyncConnection, ring: KeyRing, account: int, tellings: Sequence[Telling]
) -> Shelf:
    """All of the account that these tellings may tell again."""
    statements: dict[int, Statement] = {}
    files: dict[int, str] = {}
    for period in sorted({p for one in tellings if (p := _period(one)) is not None}):
        for row in await fetch(connection, _STATEMENTS, (account, *period)):
            statements[row.id] = Statement(row.id, Identity(*row[1:8]))
            files[row.id] = row.file
    rows = {row.id: row for row in await fetch(connection, _STATED, (list(statements),))}
    stated = [m for one in tellings if one.identity is not None for m in _movements(one)]
    early = [m for one in tellings if one.identity is None for m in _movements(one)]
    for row in (
        *await _unstated(connection, account, stated),
        *await _told_early(connection, account, early),
    ):
        rows[row.id] = row
    entries = []
    for _, row in sorted(rows.items()):
        entry = _entry(row, statements)
        entry.early = row.file != files.get(row.statement, row.file)
        entries.append(entry)
        if row.statement in statements:
            statements[row.statement].entries.append(entry)
    await _know_likeness(connection, ring, entries, tellings)
    await _know_pieces(connection, ring, entries, tellings)
    return Shelf(account, statements.values(), entries)


def _period(telling: Telling) -> tuple[date, date, date, date] | None:
    """First and last day of what a statement tells, and the same with the days apart allowed."""
    if telling.identity is None:
        return None
    last = telling.identity.closing_on
    told = _movements(telling)
    begin = first_day(telling.identity)
    first = min([last, *(one.day for one in told)])
    if not all(one.dated for one in told):
        first = min(first, begin)
    if telling.identity.opening_on is None:
        begin = last - _PERIOD_MAX
    first = max(first, min(begin, last) - timedelta(days=DAYS_APART_MAX))
    apart = timedelta(days=DAYS_APART_MAX)
    return first, last, first - apart, last + apart


def _movements(telling: Telling) -> list[Movement]:
    """Of all entries, and of their pieces."""
    return [one.movement for entry in telling.entries for one in (entry, *entry.pieces)]


async def _unstated(
    connection: AsyncConnection, account: int, stated: Sequence[Movement]
) -> list[Any]:
    """What was only notified so far and may be what a statement states."""
    if not stated:
        return []
    return await fetch(connection, _UNSTATED, (account, *_window(stated)))


async def _told_early(
    connection: AsyncConnection, account: int, early: Sequence[Movement]
) -> list[Any]:
    """What may be known of what a notification tells."""
    if not early:
        return []
    references = sorted({one.reference for one in early if one.reference is not None})
    days = sorted({one.day for one in early})
    amounts = sorted({abs(one.signed) for one in early})
    _, first, last = _window(early)
    return [
        *await fetch(connection, _LIKELY, (account, first, last, amounts)),
        *await fetch(connection, _BATCHES, (account, first, last, amounts)),
        *await fetch(connection, _REFERRED, (account, *_window(early), references)),
        *await fetch(connection, _BARE, (account, days)),
    ]


async def _know_likeness(
    connection: AsyncConnection, ring: KeyRing, entries: Sequence[Entry], told: Sequence[Telling]
) -> None:
    """What else the entries may be known by, that are told again by no equal reference.

    Messages of one kind name one reference: there the same payer may well pay the same twice.
    """
    movements = [movement for one in told for movement in _movements(one)]
    references = {one.reference for one in movements}
    amounts = {one.signed for one in movements}
    notices = any(one.identity is None for one in told)
    asked = {
        entry.id: entry for entry in entries
        if entry.parts and entry.signed in amounts and entry.reference not in references - {None}
        and (notices or entry.statement is None)
    }  # fmt: skip
    kinds = {one.kind for one in told}
    for row in await fetch(connection, _SAID, (list(asked),)) if asked else ():
        entry, part = asked[row.entry], open_said(ring, row.entry, row.part, row.said_sealed)
        if row.kind in kinds:
            part = part.model_copy(update={"debtor_name": None})
        found = likeness_of(row.number, [part], known=True)
        own = frozenset() if entry.reference is None else frozenset({entry.reference})
        entry.likeness = replace(found, references=found.references | own)


async def _know_pieces(
    connection: AsyncConnection, ring: KeyRing, entries: Sequence[Entry], told: Sequence[Telling]
) -> None:
    """The parts of batches that may be told one by one, as ``_know_likeness`` knows entries."""
    alone = [one.movement for telling in told for one in telling.entries if not one.pieces]
    told_so = {(one.signed, one.reference) for one in alone if one.reference is not None}
    asked = {e.id: e for e in entries if e.parts > 1 and (e.signed, e.reference) not in told_so}
    kinds = {one.kind for one in told}
    given = (list(asked), sorted({abs(one.signed) for one in alone}))
    for row in await fetch(connection, _PIECES, given) if asked and alone else ():
        entry, part = asked[row.entry], open_said(ring, row.entry, row.part, row.said_sealed)
        if row.kind in kinds:
            part = part.model_copy(update={"debtor_name": None})
        movement = replace(
            entry.movement,
            signed=row.amount if entry.signed > 0 else -row.amount,
            reference=part_reference(row.number, part),
            likeness=partial(likeness_of_part, row.number, part, known=True),
        )
        entry.pieces = (*entry.pieces, movement)


def _window(told: Sequence[Movement]) -> tuple[bool, date, date]:
    """Whether any day will do, else the first and the last one that may be meant."""
    apart = timedelta(days=DAYS_APART_MAX)
    days = [one.day for one in told]
    return not all(one.dated for one in told), min(days) - apart, max(days) + apart


def _entry(row: Any, statements: dict[int, Statement]) -> Entry:
    statement = None
    if row.statement is not None:
        # A statement of another day: all that counts of it here is that there is one.
        elsewhere = Statement(row.statement, Identity("", None, None, 0, None, 0, row.day))
        statement = statements.get(row.statement, elsewhere)
    return Entry(
        id=row.id,
        signed=row.amount if row.side == "C" else -row.amount,
        day=row.day,
        dated=row.dated,
        reference=row.reference_digest,
        parts=row.parts,
        adds_up=row.adds_up,
        statement=statement,
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes what one file tells first."""

    connection: AsyncConnection
    ring: KeyRing
    accounts: AccountRows
    digest: str

    async def write(self, shelf: Shelf) -> None:
        """Statements, then entries, then what completes known ones, then the parts of all."""
        linked = [one for one in shelf.linked if one.id is not None]
        detailed = [one for one in shelf.detailed if one.id is not None]
        await self._statements(shelf)
        await self._entries(shelf)
        await self._complete(linked, detailed)
        await self._parts([*shelf.new_entries, *detailed])

    async def _statements(self, shelf: Shelf) -> None:
        new = shelf.new_statements
        if not new:
            return
        said = [one.identity for one in new]
        columns = (
            [one.place for one in new], [one.kind for one in said],
            [one.identifier for one in said], [one.number for one in said],
            [one.opening for one in said], [one.opening_on for one in said],
            [one.closing for one in said], [one.closing_on for one in said],
            [len(one.entries) for one in new], [within_bigint(one.total) for one in new],
        )  # fmt: skip
        rows = await fetch(self.connection, _NEW_STATEMENTS, (shelf.account, self.digest, *columns))
        ids = {tuple(row[1:]): row.id for row in rows}
        for one in new:
            told = one.identity
            one.id = ids[one.place, told.opening, told.closing, told.closing_on]

    async def _entries(self, shelf: Shelf) -> None:
        new = shelf.new_entries
        if not new:
            return
        columns = (
            [_letter(one.signed > 0) for one in new], [abs(one.signed) for one in new],
            [one.day for one in new], [one.dated for one in new],
            [one.reference for one in new], [one.reversal for one in new],
            [one.adds_up for one in new], [one.place for one in new],
            [None if one.statement is None else one.statement.id for one in new],
            [one.parts for one in new],
        )  # fmt: skip
        rows = await fetch(self.connection, _NEW_ENTRIES, (shelf.account, self.digest, *columns))
        ids = {row.place: row.id for row in rows}
        for one in new:
            one.id = ids[one.place]

    async def _complete(self, linked: Sequence[Entry], detailed: Sequence[Entry]) -> None:
        if linked:
            statements = [one.statement.id for one in linked if one.statement is not None]
            await execute(self.connection, _LINK, ([one.id for one in linked], statements))
        if detailed:
            columns = (
                [one.id for one in detailed],
                [one.parts for one in detailed],
                [one.adds_up for one in detailed],
            )
            await execute(self.connection, _DETAIL, columns)

    async def _parts(self, entries: Sequence[Entry]) -> None:
        parts = [(one.id, part) for one in entries for part in one.details]
        if not parts:
            return
        payments = await payments_in(self.connection, (part for _, part in parts))
        payers: dict[str, bytes | None] = {}
        rows = []
        for entry, part in parts:
            name = part.debtor_name or ""
            if name not in payers:
                known = normalised_name(name)
                payers[name] = self.accounts.company_digest(name) if known else None
            rows.append(self._part(entry or 0, part, payers[name], payments))
        await copy_rows(self.connection, "bank_transactions", _PARTS, rows)

    def _part(
        self, entry: int, part: BankTransaction, payer: bytes | None, payments: dict[str, int]
    ) -> tuple[Any, ...]:
        codes = codes_in(part.remittance)
        said = self.ring.seal_text(part.model_dump_json(), purpose=said_purpose(entry, part.part))
        return (
            entry, part.part, self.digest, part.amount_minor, part.currency,
            _letter(part.side is Side.CREDIT), payer, part.payer_kind.value,
            " ".join(codes) or None, payment_in(part, payments),
            return_code(part.return_reason), said,
        )  # fmt: skip


def return_code(reason: str | None) -> str | None:
    """The bank's code; what it wrote in words may name people, and is kept sealed only (C-11)."""
    return reason if not reason or _CODE.fullmatch(reason) else OTHER_REASON


def within_bigint(number: int) -> int:
    """The number, or the nearest that a column holds: hostile files state anything."""
    return max(-_BIGINT_MAX, min(number, _BIGINT_MAX))


def _letter(gained: bool) -> str:
    return "C" if gained else "D"
