"""Bank files as they came: every file once, by its bytes, kept whole and sealed (C-02, C-11).

Promises that a file delivered again changes nothing, and that what a bank said can be shown for
ever. It never reads what stands in a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute, fetch
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.bank_file import BankFileState
from tillkeeper.contracts.errors import Broken, Rejected
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.sealing import KeyRing

_COMPRESSION: Final = 6

_FIND: Final = "SELECT state, encoding FROM bank_files WHERE digest = $1"

_INSERT: Final = """
INSERT INTO bank_files
    (digest, name_sealed, body_sealed, size, encoding, source, state, received_at)
VALUES ($1, $2, $3, $4, $5, $6, 'RECEIVED', $7)
ON CONFLICT (digest) DO NOTHING"""

_AGAIN: Final = """
UPDATE bank_files
   SET state = 'RECEIVED', refused = NULL, told_at = NULL, encoding = coalesce($2, encoding)
 WHERE digest = $1 AND (state = 'REFUSED' AND $2 <> coalesce(encoding, '')
                        OR state = 'BOOKED' AND foreign_statements > 0
                        OR state = 'BOOKED' AND $2 <> coalesce(encoding, '')
                       AND problems @> '[{"code": "BANK_FILE_ENCODING"}]')
RETURNING digest"""

_BODY: Final = "SELECT body_sealed FROM bank_files WHERE digest = $1"

_ROW: Final = """
SELECT digest, name_sealed, size, encoding, source, state, kind, refused, problems::text,
       warnings::text, entries, new_entries, notices, foreign_statements, received_at, read_at,
       booked_at
  FROM bank_files WHERE digest = $1"""

_REFUSE: Final = """
UPDATE bank_files SET state = 'REFUSED', refused = $2, read_at = $3
 WHERE digest = $1 AND state = 'RECEIVED' RETURNING digest"""

_TOLD: Final = """
UPDATE bank_files SET told_at = $2 WHERE digest = $1 AND state = 'BOOKED' AND told_at IS NULL"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a file came; ``encoding`` declares an MT940's letters, ``at`` is aware."""

    name: str
    source: str
    encoding: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file without its body; the name may hold personal data, so it is sealed."""

    digest: str
    name_sealed: bytes
    size: int
    encoding: str | None
    source: str
    state: BankFileState
    kind: str | None
    refused: str | None
    problems: str
    warnings: str
    entries: int
    new_entries: int
    notices: int
    foreign_statements: int
    received_at: datetime
    read_at: datetime | None
    booked_at: datetime | None

    @property
    def subject(self) -> str:
        """How work items name the file."""
        return file_subject(self.digest)

    def name(self, ring: KeyRing) -> str:
        """The file's name as it came."""
        return ring.open_text(self.name_sealed, purpose=f"{self.subject}/name")


def file_subject(digest: str) -> str:
    """How work items and workflows name a file."""
    return f"bank-file/{digest}"


async def receive_file(
    connection: AsyncConnection, ring: KeyRing, body: bytes, arrival: Arrival
) -> str:
    """Store a file and answer its digest; one that is stored stays as it came.

    It is read again where that may help: one that was refused, or whose letters were lost, and that
    comes with another encoding declared; and one with statements of accounts that were not ours,
    which may be configured now.
    """
    digest = await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
    if await fetch(connection, _FIND, (digest,)):
        again = await fetch(connection, _AGAIN, (digest, arrival.encoding))
        if again and arrival.encoding is not None:
            # what is lost with these letters is told when it is read
            losses, subjects = ItemKind.BANK_FILE_LOSSES, [file_subject(digest)]
            outcome = Outcome.RESOLVED
            await settle_items(connection, losses, subjects, outcome=outcome, at=arrival.at)
        return digest
    subject = file_subject(digest)
    name = ring.seal_text(arrival.name, purpose=f"{subject}/name")
    sealed = await asyncio.to_thread(
        lambda: ring.seal(zlib.compress(body, _COMPRESSION), purpose=f"{subject}/body")
    )
    row = (digest, name, sealed, len(body), arrival.encoding, arrival.source, arrival.at)
    await execute(connection, _INSERT, row)
    return digest


async def file_body(connection: AsyncConnection, ring: KeyRing, digest: str) -> bytes:
    """The file's bytes as they came. Raises Broken where there is no such file."""
    rows = await fetch(connection, _BODY, (digest,))
    if not rows:
        raise Broken("a bank file is not stored")
    sealed: bytes = rows[0].body_sealed
    purpose = f"{file_subject(digest)}/body"
    return await asyncio.to_thread(lambda: zlib.decompress(ring.open(sealed, purpose=purpose)))


async def file_row(connection: AsyncConnection, digest: str) -> FileRow | None:
    """What is known of the file, or None where it never came."""
    rows = await fetch(connection, _ROW, (digest,))
    return _row(rows[0]) if rows else None


async def refuse_file(
    connection: AsyncConnection, digest: str, rejected: Rejected, at: datetime
) -> None:
    """Nothing of the file was taken: say so, and let a person know. A read one stays read."""
    code = rejected.codes[0].value
    if await fetch(connection, _REFUSE, (digest, code, at)):
        item = NewItem(ItemKind.BANK_FILE_REFUSED, file_subject(digest), reason=code)
        await open_items(connection, [item], at=at)


async def file_told(connection: AsyncConnection, digest: str, *, at: datetime) -> None:
    """All whom a booked file concerns know of it; one that is to be read again has more to say."""
    await execute(connection, _TOLD, (digest, at))


def _row(row: Any) -> FileRow:
    return FileRow(
        digest=row.digest,
        name_sealed=row.name_sealed,
        size=row.size,
        encoding=row.encoding,
        source=row.source,
        state=BankFileState(row.state),
        kind=row.kind,
        refused=row.refused,
        problems=row.problems,
        warnings=row.warnings,
        entries=row.entries,
        new_entries=row.new_entries,
        notices=row.notices,
        foreign_statements=row.foreign_statements,
        received_at=row.received_at,
        read_at=row.read_at,
        booked_at=row.booked_at,
    )
