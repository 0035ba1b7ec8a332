"""Lumps in question as rows: kept with all that they said until it is sure what they are (P-26).

Promises that what a file says of people is sealed before it is stored (C-11), and that a lump is
booked once. Callers hold the account's row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.kept import Entry, Question, Statement, Word
from ledger.bank.shelf import Shelf
from ledger.bank.told import likeness_kept
from ledger.engine import execute, fetch
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.sealing import KeyRing

_LUMPS: Final = """
SELECT l.id, l.statement, l.file, l.place, l.side, l.amount, l.day, l.reference_digest, l.adds_up,
       l.said_sealed, l.word, a.number
  FROM bank_lumps l JOIN bank_accounts a ON a.id = l.account
 WHERE l.account = $1 AND l.state <> 'BOOKED'
   AND (l.statement = ANY($2::bigint[]) OR l.day = ANY($3::date[]) OR l.day BETWEEN $4 AND $5)
 ORDER BY l.id"""

_NEW: Final = """
INSERT INTO bank_lumps (account, file, statement, place, side, amount, day, reference_digest,
                        adds_up, said_sealed, state, word)
SELECT $1, $2, l.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::date[],
                               $8::text[], $9::boolean[], $10::bytea[], $11::text[], $12::text[]) l
RETURNING id, place"""

_WEIGHED: Final = """
UPDATE bank_lumps l SET state = c.state, word = c.word, entry = c.entry
  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) AS c (id, state, word, entry)
 WHERE l.id = c.id AND (l.state, l.word) IS DISTINCT FROM (c.state, c.word)"""

_RETOLD: Final = """
UPDATE bank_lumps l SET adds_up = r.adds_up, said_sealed = r.said
  FROM unnest($1::bigint[], $2::boolean[], $3::bytea[]) AS r (id, adds_up, said)
 WHERE l.id = r.id"""

_STAND: Final = """
UPDATE bank_entries e SET statement = s.statement, lump = s.lump
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS s (id, statement, lump)
 WHERE e.id = s.id AND (e.statement, e.lump) IS DISTINCT FROM (s.statement, s.lump)"""


async def lumps_near(
    connection: AsyncConnection,
    account: int,
    statements: Iterable[int],
    span: tuple[date, date],
) -> list[Any]:
    """The lumps of these statements and days, and all that have a statement or a day in common."""
    known, booked_on = set(statements), set[date]()
    while True:
        asked = (account, list(known), list(booked_on), *span)
        rows = await fetch(connection, _LUMPS, asked)
        more = {row.statement for row in rows} - known, {row.day for row in rows} - booked_on
        if not any(more):
            return rows
        known |= more[0]
        booked_on |= more[1]


def lumps_of(
    ring: KeyRing, rows: Iterable[Any], statements: Mapping[int, Statement]
) -> dict[int, Entry]:
    """The lumps by number, each with its statement."""
    found: dict[int, Entry] = {}
    for row in rows:
        name = f"{row.file}/{row.place}"
        text = ring.open_text(row.said_sealed, purpose=_purpose(name))
        details = tuple(map(BankTransaction.model_validate_json, json.loads(text)))
        lump = Entry(
            id=None,
            signed=row.amount if row.side == "C" else -row.amount,
            day=row.day,
            dated=True,
            reference=row.reference_digest,
            parts=len(details),
            adds_up=row.adds_up,
            place=f"lump/{row.id}",
            statement=statements[row.statement],
            details=details,
            nameless=True,
            question=Question(row.id, name, Word(row.word) if row.word else None),
        )
        if details:
            lump.likeness = likeness_kept(row.number, details, lump.reference)
        statements[row.statement].entries.append(lump)
        found[row.id] = lump
    return found


def within(entry: Entry, lump: Entry) -> None:
    """Let an entry stand in a lump as its row says; no statement tells it, unless a file did so."""
    entry.within = lump
    if lump.question is not None:
        lump.question.pieces.append(entry)
        entry.statement = lump.statement if lump.question.word is Word.TOLD else None


async def write_questions(
    connection: AsyncConnection, ring: KeyRing, digest: str, shelf: Shelf
) -> None:
    """What is in question by now, what is not any more, and which entries stand in lumps."""
    asked = [(lump, lump.question) for lump in shelf.questions if lump.question is not None]
    new = [(lump, question) for lump, question in asked if question.id is None]
    for lump, question in new:
        question.name = f"{digest}/{lump.place}"
    retold = [(lump, question) for lump, question in asked if question.id and question.retold]
    if retold:
        columns = (
            [question.id for _, question in retold], [lump.adds_up for lump, _ in retold],
            [_said(ring, lump, question) for lump, question in retold],
        )  # fmt: skip
        await execute(connection, _RETOLD, columns)
    old: list[tuple[int, str, str | None, int | None]] = [
        (question.id, _state(question), question.word, None)
        for _, question in asked if question.id
    ]  # fmt: skip
    old += [(number, "BOOKED", word, lump.id) for number, (lump, word) in shelf.answered.items()]
    if old:
        await execute(connection, _WEIGHED, tuple(map(list, zip(*old, strict=True))))
    await _insert(connection, ring, (shelf.account, digest), new)
    stands = [(one.id, *_stands(one)) for one in shelf.tentative]
    if stands:
        await execute(connection, _STAND, tuple(map(list, zip(*stands, strict=True))))


async def _insert(
    connection: AsyncConnection,
    ring: KeyRing,
    told_by: tuple[int, str],
    new: Sequence[tuple[Entry, Question]],
) -> None:
    if not new:
        return
    columns = (
        [lump.statement.id if lump.statement else None for lump, _ in new],
        [lump.place for lump, _ in new], ["C" if lump.signed > 0 else "D" for lump, _ in new],
        [abs(lump.signed) for lump, _ in new], [lump.day for lump, _ in new],
        [lump.reference for lump, _ in new], [lump.adds_up for lump, _ in new],
        [_said(ring, *one) for one in new], [_state(question) for _, question in new],
        [question.word for _, question in new],
    )  # fmt: skip
    rows = await fetch(connection, _NEW, (*told_by, *columns))
    ids = {row.place: row.id for row in rows}
    for lump, question in new:
        question.id = ids[lump.place]


def _stands(entry: Entry) -> tuple[int | None, int | None]:
    """The statement of an entry, and the lump that it stands in."""
    lump = entry.within
    home = entry.statement if lump is None else lump.statement
    question = None if lump is None else lump.question
    return None if home is None else home.id, None if question is None else question.id


def _state(question: Question) -> str:
    return "HELD" if question.held else "EXPLAINED"


def _said(ring: KeyRing, lump: Entry, question: Question) -> bytes:
    text = json.dumps([part.model_dump_json() for part in lump.details], ensure_ascii=False)
    return ring.seal_text(text, purpose=_purpose(question.name))


def _purpose(name: str) -> str:
    """What the words of a lump are sealed for: the file and the place that told it first."""
    return f"lump/{name}/said"
