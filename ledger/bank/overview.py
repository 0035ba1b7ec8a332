"""What became of banks' files and statements, for people; it opens nothing that is sealed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.files import file_subject
from ledger.engine import fetch
from tillkeeper.contracts.bank import FileKind
from tillkeeper.contracts.bank_file import BankFileState, BankFileView
from tillkeeper.contracts.base import EARLIEST
from tillkeeper.contracts.errors import Code
from tillkeeper.rules.continuity import Gap, Stated, chain, difference, gaps
from tillkeeper.sealing import KeyRing

_COLUMNS: Final = """
       f.digest, f.state, f.kind, f.size, f.refused, f.entries, f.new_entries, f.notices,
       f.foreign_statements, jsonb_array_length(f.problems) AS losses,
       jsonb_array_length(f.warnings) AS warnings, f.received_at,
       f.told_at IS NOT NULL AS told"""

_FILE: Final = f"SELECT {_COLUMNS} FROM bank_files f WHERE f.digest = $1"

_FILES: Final = f"""
SELECT {_COLUMNS}, f.name_sealed, f.source
  FROM bank_files f ORDER BY f.received_at DESC, f.digest LIMIT $1"""

_LOCKED: Final = "SELECT state FROM bank_files WHERE digest = $1 FOR NO KEY UPDATE"

_RECEIPTS: Final = """
SELECT count(*) FILTER (WHERE r.state = 'CREDITED') AS credited,
       count(*) FILTER (WHERE r.state = 'UNMATCHED') AS unmatched
  FROM bank_entries e JOIN receipts r ON r.entry = e.id WHERE e.file = $1"""

_WAITING: Final = "SELECT count(*) FROM bank_entries WHERE file = $1 AND booked_as IS NULL"

_UNFINISHED: Final = """
SELECT digest, received_at FROM bank_files
 WHERE told_at IS NULL AND state <> 'REFUSED' AND (received_at, digest) > ($1, $2)
 ORDER BY received_at, digest LIMIT $3"""

Place = tuple[datetime, str]
"""Where a list of files goes on: when the last one came, and its digest."""

FIRST: Final[Place] = (EARLIEST, "")

# Of a lump in question the pieces count, as the check of statements has it.
_STATEMENTS: Final = """
WITH moved (statement, signed) AS (
    SELECT statement, CASE side WHEN 'C' THEN amount ELSE -amount END
      FROM bank_entries WHERE statement IS NOT NULL
    UNION ALL
    SELECT l.statement, CASE e.side WHEN 'C' THEN e.amount ELSE -e.amount END
      FROM bank_lumps l JOIN bank_entries e ON e.lump = l.id WHERE e.statement IS NULL),
told AS (SELECT statement, sum(signed) AS total FROM moved GROUP BY statement)
SELECT a.id AS account, a.number AS ours, a.currency, s.id, s.closing_on, s.opening, s.closing,
       coalesce(t.total, 0) AS total, coalesce(s.number, '') AS number
  FROM bank_statements s JOIN bank_accounts a ON a.id = s.account
  LEFT JOIN told t ON t.statement = s.id
 ORDER BY a.number, a.currency, s.closing_on, s.id"""


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file in a list; its name may hold personal data and stays sealed."""

    view: BankFileView
    source: str
    name_sealed: bytes

    def name(self, ring: KeyRing) -> str:
        """The name as it came."""
        purpose = f"{file_subject(self.view.digest)}/name"
        return ring.open_text(self.name_sealed, purpose=purpose)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """The statements of one account of ours: whether each adds up and each follows another.

    ``statements`` stand in their order; ``broken`` are those that do not add up.
    """

    account: int
    number: str
    currency: str
    statements: tuple[Stated, ...]
    broken: tuple[Stated, ...]
    gaps: tuple[Gap, ...]

    @property
    def continuous(self) -> bool:
        """Whether opening + entries = closing = next opening, for all of them."""
        return not self.broken and not self.gaps


async def file_view(connection: AsyncConnection, digest: str) -> BankFileView | None:
    """The file as it stands, with what became of its money; None: it is not kept."""
    rows = await fetch(connection, _FILE, (digest,))
    if not rows:
        return None
    receipts = (await fetch(connection, _RECEIPTS, (digest,)))[0]
    waiting = (await fetch(connection, _WAITING, (digest,)))[0]
    more = {"credited": receipts[0], "unmatched": receipts[1], "waiting": waiting[0]}
    return _view(rows[0]).model_copy(update=more)


async def locked_state(connection: AsyncConnection, digest: str) -> BankFileState | None:
    """How far the file has come, which stays so until the transaction ends."""
    rows = await fetch(connection, _LOCKED, (digest,))
    return BankFileState(rows[0][0]) if rows else None


async def newest_files(connection: AsyncConnection, limit: int) -> list[FileLine]:
    """The files that came last, newest first; needs a snapshot, for it reads the whole table."""
    rows = await fetch(connection, _FILES, (limit,))
    return [FileLine(_view(row), row.source, row.name_sealed) for row in rows]


async def statement_lines(connection: AsyncConnection) -> list[StatementLine]:
    """The statements of all our accounts; needs a snapshot, for it reads the whole table."""
    told: dict[tuple[int, str, str], list[tuple[Stated, int]]] = defaultdict(list)
    for row in await fetch(connection, _STATEMENTS, ()):
        one = Stated(row.id, row.closing_on, row.opening, row.closing, row.number)
        told[row.account, row.ours, row.currency].append((one, int(row.total)))
    found = []
    for account, statements in told.items():
        all_of = [one for one, _ in statements]
        broken = [o for o, total in statements if difference(o.opening, total, o.closing)]
        found.append(StatementLine(*account, tuple(chain(all_of)), tuple(broken), gaps(all_of)))
    return found


async def unfinished_files(
    connection: AsyncConnection, limit: int, *, after: Place = FIRST
) -> list[Place]:
    """Files that are kept and not read, booked or told, oldest first, beyond ``after``."""
    rows = await fetch(connection, _UNFINISHED, (*after, limit))
    return [(row.received_at, row.digest) for row in rows]


def _view(row: Any) -> BankFileView:
    return BankFileView(
        digest=row.digest,
        state=BankFileState(row.state),
        kind=None if row.kind is None else FileKind(row.kind),
        size=row.size,
        refused=None if row.refused is None else Code(row.refused),
        entries=row.entries,
        new_entries=row.new_entries,
        notices=row.notices,
        foreign_statements=row.foreign_statements,
        losses=row.losses,
        warnings=row.warnings,
        received_at=row.received_at,
        told=row.told,
    )
