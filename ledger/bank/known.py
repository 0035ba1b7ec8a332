"""What is known of one account that a file may tell again, read into a shelf.

Promises to find whatever the rules of sameness may call the same, and no more of a long history.
Callers hold the account's row. It changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.kept import Entry, Statement
from ledger.bank.questions import lumps_near, lumps_of, within
from ledger.bank.rows import open_said
from ledger.bank.shelf import Shelf
from ledger.bank.told import Telling, likeness_kept, likeness_of_part, part_reference
from ledger.engine import fetch
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.rules.sameness import DAYS_APART_MAX, Identity, Movement, first_day
from tillkeeper.sealing import KeyRing

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

# Of lumps that a notification may detail: whether they make their closing balances.
_OF_LUMPS: Final = """
SELECT id, kind, identifier, number, opening, opening_on, closing, closing_on, file
  FROM bank_statements WHERE id = ANY($1::bigint[]) ORDER BY id"""

# That tell less than a batch that was notified: another one may state the rest of it.
_HALF: Final = """
WITH early AS MATERIALIZED (
    SELECT DISTINCT e.statement
      FROM bank_entries e JOIN bank_statements s ON s.id = e.statement
     WHERE e.account = $1 AND e.day BETWEEN $2 AND $3 AND e.parts > 1 AND e.file <> s.file
       AND EXISTS (SELECT FROM bank_transactions t
                    WHERE t.entry = e.id AND t.amount = ANY($4::bigint[])))
SELECT id, kind, identifier, number, opening, opening_on, closing, closing_on, file
  FROM bank_statements s
 WHERE id IN (SELECT statement FROM early) AND closing - opening <> (
       SELECT sum(CASE x.side WHEN 'C' THEN x.amount ELSE -x.amount END)
         FROM bank_entries x WHERE x.statement = s.id)
 ORDER BY id"""

_FORMATS: Final = "SELECT id, kind, file FROM bank_statements WHERE id = ANY($1::bigint[])"

_KINDS: Final = "SELECT digest, kind FROM bank_files WHERE digest = ANY($1::text[])"

_COLUMNS: Final = """
SELECT id, side, amount, day, dated, reference_digest, parts, adds_up, statement, file, lump,
       place LIKE 'lump/%' AS was_lump
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

# Whatever may stand in a lump of these days.
_FREE: Final = f"""{_COLUMNS}
 WHERE account = $1 AND day = ANY($2::date[]) AND (statement IS NULL OR lump IS NOT NULL)"""

# All of these days, where a notification may tell it whole.
_DAYS: Final = f"{_COLUMNS} WHERE account = $1 AND day = ANY($2::date[])"

# Credits that nobody is named in: they may be what a notification tells piece by piece.
_NAMELESS: Final = f"""{_COLUMNS} e
 WHERE account = $1 AND day = ANY($2::date[]) AND side = 'C' AND NOT reversal
   AND (parts = 0 OR parts = 1 AND statement IS NOT NULL AND coalesce((
        SELECT t.payer_digest IS NULL AND t.payment IS NULL FROM bank_transactions t
         WHERE t.entry = e.id LIMIT 1), true))"""

# Batches that a notification may tell payer by payer.
_BATCHES: Final = f"""{_COLUMNS} e
 WHERE account = $1 AND day BETWEEN $2 AND $3 AND parts > 1 AND EXISTS (
       SELECT FROM bank_transactions t WHERE t.entry = e.id AND t.amount = ANY($4::bigint[]))"""

# Of batches of which a part may be told alone; what the others say plays no part.
_PIECES: Final = """
SELECT t.entry, t.part, t.amount, a.number, f.kind,
       CASE WHEN t.amount = ANY($2::bigint[]) THEN t.said_sealed END AS said_sealed
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
  JOIN bank_accounts a ON a.id = e.account JOIN bank_files f ON f.digest = t.file
 WHERE t.entry = ANY($1::bigint[]) AND EXISTS (
       SELECT FROM bank_transactions o WHERE o.entry = e.id AND o.amount = ANY($2::bigint[]))
   AND (t.side, t.currency) = (e.side, a.currency) AND e.adds_up
 ORDER BY t.entry, t.part"""

_SAID: Final = """
SELECT DISTINCT ON (t.entry) t.entry, t.part, t.said_sealed, a.number, f.kind
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
  JOIN bank_accounts a ON a.id = e.account JOIN bank_files f ON f.digest = e.file
 WHERE t.entry = ANY($1::bigint[]) ORDER BY t.entry, t.part"""


async def read_shelf(
    connection: AsyncConnection,
    ring: KeyRing,
    account: int,
    tellings: Sequence[Telling],
    *,
    on: date | None = None,
) -> Shelf:
    """All of the account that these tellings may tell again; and the lumps of the day ``on``."""
    stated = [m for one in tellings if one.identity is not None for m in _movements(one)]
    early = [m for one in tellings if one.identity is None for m in _movements(one)]
    periods = sorted({p for one in tellings if (p := _period(one)) is not None})
    lumps = await _nameless(connection, account, tellings)
    bare = sorted({row.statement for row in lumps if row.parts == 0 and row.statement is not None})
    near = [
        row
        for period in periods
        for row in await fetch(connection, _STATEMENTS, (account, *period))
    ]
    near += await _half_stated(connection, account, stated)
    movements = [*stated, *early]
    span = _window(movements)[1:] if movements else (on or date.max, on or date.min)
    asked = await lumps_near(connection, account, {*bare, *(row.id for row in near)}, span)
    bare = sorted({*bare, *(row.statement for row in asked)})
    near += await fetch(connection, _OF_LUMPS, (bare,)) if bare else []
    statements = {row.id: Statement(row.id, Identity(*row[1:8])) for row in near}
    files = {row.id: row.file for row in near}
    rows = {row.id: row for row in await fetch(connection, _STATED, (list(statements),))}
    for row in (
        *await _unstated(connection, account, stated),
        *await _told_early(connection, account, early),
        *await _days(connection, account, tellings),
        *await _free(connection, account, {row.day for row in asked}),
        *lumps,
    ):
        rows[row.id] = row
    nameless = {row.id for row in lumps}
    told_by = await _told_by(connection, rows.values(), files)
    questions = lumps_of(ring, asked, statements)
    entries = list(questions.values())
    for _, row in sorted(rows.items()):
        entry = _entry(row, statements, told_by)
        entry.early = row.file != files.get(row.statement, row.file) and not row.was_lump
        entry.nameless = row.id in nameless
        entries.append(entry)
        if row.lump in questions:
            within(entry, questions[row.lump])
        elif row.statement in statements:
            statements[row.statement].entries.append(entry)
    told = [entry for entry in entries if entry.question is None]
    await _know_likeness(connection, ring, told, tellings)
    await _know_pieces(connection, ring, told, tellings)
    return Shelf(account, statements.values(), entries)


async def _told_by(
    connection: AsyncConnection, rows: Collection[Any], files: dict[int, str]
) -> dict[Any, str]:
    """Formats, by the file of what was notified, and by the statement that is not read whole.

    The files of such statements go into ``files``.
    """
    found: dict[Any, str] = {}
    elsewhere = sorted({row.statement for row in rows} - {None, *files})
    for row in await fetch(connection, _FORMATS, (elsewhere,)) if elsewhere else ():
        found[row.id], files[row.id] = row.kind, row.file
    early = sorted({row.file for row in rows if row.file != files.get(row.statement)})
    for row in await fetch(connection, _KINDS, (early,)) if early else ():
        found[row.digest] = row.kind
    return found


async def _free(connection: AsyncConnection, account: int, days: set[date]) -> list[Any]:
    """What was notified of the days of lumps in question."""
    return await fetch(connection, _FREE, (account, sorted(days))) if days else []


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


async def _half_stated(
    connection: AsyncConnection, account: int, stated: Sequence[Movement]
) -> list[Any]:
    """Statements near that state a batch in part: what is stated now may be the rest."""
    if not stated:
        return []
    _, first, last = _window(stated)
    amounts = sorted({abs(one.signed) for one in stated})
    return await fetch(connection, _HALF, (account, first, last, amounts))


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


async def _days(
    connection: AsyncConnection, account: int, tellings: Sequence[Telling]
) -> list[Any]:
    """All of the days of which notifications tell what nobody is named in: it may be their sum."""
    told = [entry for one in tellings if one.identity is None for entry in one.entries]
    days = sorted({one.movement.day for one in told if one.nameless and one.movement.dated})
    return await fetch(connection, _DAYS, (account, days)) if days else []


async def _nameless(
    connection: AsyncConnection, account: int, tellings: Sequence[Telling]
) -> list[Any]:
    """Lumps that notifications may tell in pieces."""
    told = [entry.movement for one in tellings if one.identity is None for entry in one.entries]
    days = sorted({one.day for one in told if one.dated and one.signed > 0})
    return await fetch(connection, _NAMELESS, (account, days)) if days else []


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

    def know(rows: Sequence[Any]) -> None:
        for row in rows:
            entry, part = asked[row.entry], _said(ring, row, kinds)
            entry.likeness = likeness_kept(row.number, [part], entry.reference)

    # To open what is sealed takes its time: meanwhile heartbeats go on.
    if asked:
        await asyncio.to_thread(know, await fetch(connection, _SAID, (list(asked),)))


def _said(ring: KeyRing, row: Any, kinds: set[str]) -> BankTransaction:
    """What was said of a part, to be compared with files of these kinds."""
    part = open_said(ring, row.entry, row.part, row.said_sealed)
    return part.model_copy(update={"debtor_name": None}) if row.kind in kinds else part


async def _know_pieces(
    connection: AsyncConnection, ring: KeyRing, entries: Sequence[Entry], told: Sequence[Telling]
) -> None:
    """The parts of batches that may be told one by one, as ``_know_likeness`` knows entries."""
    alone = [one.movement for telling in told for one in telling.entries if not one.pieces]
    told_so = {(one.signed, one.reference) for one in alone if one.reference is not None}
    asked = {e.id: e for e in entries if e.parts > 1 and (e.signed, e.reference) not in told_so}
    kinds = {one.kind for one in told}
    given = (list(asked), sorted({abs(one.signed) for one in alone}))

    def know(rows: Sequence[Any]) -> None:
        pieces: dict[Entry, list[Movement]] = defaultdict(list)
        for row in rows:
            entry = asked[row.entry]
            pieces[entry].append(_piece(ring, entry, row, kinds))
        for entry, some in pieces.items():
            entry.pieces = some

    if asked and alone:
        await asyncio.to_thread(know, await fetch(connection, _PIECES, given))


def _piece(ring: KeyRing, batch: Entry, row: Any, kinds: set[str]) -> Movement:
    """A part of a batch as an entry of its own."""
    signed = row.amount if batch.signed > 0 else -row.amount
    alone = replace(batch.movement, signed=signed, reference=None, likeness=None)
    if row.said_sealed is None:
        return alone
    part = _said(ring, row, kinds)
    return replace(
        alone,
        reference=part_reference(row.number, part),
        likeness=partial(likeness_of_part, row.number, part, known=True),
    )


def _window(told: Sequence[Movement]) -> tuple[bool, date, date]:
    """Whether any day will do, else the first and the last one that may be meant."""
    apart = timedelta(days=DAYS_APART_MAX)
    days = [one.day for one in told]
    return not all(one.dated for one in told), min(days) - apart, max(days) + apart


def _entry(row: Any, statements: dict[int, Statement], told_by: dict[Any, str]) -> Entry:
    statement = None
    if row.statement is not None:
        # A statement of another day: all that counts of it here is that there is one, and its kind.
        kind = told_by.get(row.statement, "")
        elsewhere = Statement(row.statement, Identity(kind, None, None, 0, None, 0, row.day))
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
        kind=told_by.get(row.file, ""),
    )
