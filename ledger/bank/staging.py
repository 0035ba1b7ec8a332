"""What a bank's file tells is stored: every movement once, whichever files tell it (P-26, C-02).

Promises that one file is staged in one transaction, once, and that any order of files, told any
number of times, gives the same entries (C-09). It books nothing: money moves with ``booking``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows
from ledger.bank.files import file_subject
from ledger.bank.known import read_shelf
from ledger.bank.naming import hear_names
from ledger.bank.ready import Ready
from ledger.bank.rows import Writer
from ledger.bank.shelf import Shelf
from ledger.bank.statements import check_statements, unseen
from ledger.bank.told import Ours, Telling
from ledger.engine import execute, fetch
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.bank import BankFile, Finding
from tillkeeper.contracts.bank_file import BankFileState
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.rules.names import masked_number
from tillkeeper.sealing import KeyRing

FINDINGS_MAX: Final = 1_000
"""Losses and warnings kept by place with a file; the file itself is kept whole."""

PAGES_MAX: Final = 1_000
"""Statements of one account and day in a file: any of them may tell what another tells."""

_LOCK_FILE: Final = """
SELECT state, entries, new_entries, notices, foreign_statements
  FROM bank_files WHERE digest = $1 FOR NO KEY UPDATE"""

_MAKE_ACCOUNTS: Final = """
INSERT INTO bank_accounts (number, currency)
SELECT a.number, a.currency FROM unnest($1::text[], $2::text[]) AS a (number, currency)
 WHERE NOT EXISTS (SELECT FROM bank_accounts b
                    WHERE b.number = a.number AND b.currency = a.currency)
ON CONFLICT (number, currency) DO NOTHING"""

_LOCK_ACCOUNT: Final = """
SELECT id FROM bank_accounts WHERE number = $1 AND currency = $2 FOR NO KEY UPDATE"""

_READ: Final = """
UPDATE bank_files
   SET state = 'READ', kind = $2, problems = $3::jsonb, warnings = $4::jsonb, entries = $5,
       new_entries = $6, notices = $7, foreign_statements = $8, read_at = $9
 WHERE digest = $1"""


@dataclass(frozen=True, slots=True)
class StatementBook:
    """What files are staged with; ``ours`` knows our accounts under every name they have."""

    ring: KeyRing
    ours: Ours
    accounts: AccountRows


@dataclass(frozen=True, slots=True)
class Staged:
    """What a file told. ``new_entries`` were told by no file before; ``notices`` are no money."""

    entries: int
    new_entries: int
    notices: int
    foreign_statements: int


def ready_file(book: StatementBook, found: BankFile, received_at: datetime) -> Ready:
    """What was read, ready to be staged: the work that needs no account, for a thread of its own.

    ``received_at`` is when the file came. Raises Rejected(BANK_FILE_TOO_LARGE) where it has more
    statements of one account and day than can be compared with each other.
    """
    ready = Ready(book.accounts, book.ours, found, received_at)
    pages = Counter(
        (one.number, one.currency, one.identity.closing_on)
        for one in ready.told.tellings if one.identity is not None
    )  # fmt: skip
    if max(pages.values(), default=0) > PAGES_MAX:
        why = f"more than {PAGES_MAX} statements of one account and day"
        raise Rejected(Code.BANK_FILE_TOO_LARGE, detail=why)
    return ready


async def stage_file(
    connection: AsyncConnection, book: StatementBook, digest: str, ready: Ready, *, at: datetime
) -> Staged:
    """Store what the file tells first, and answer the same ever after.

    Raises Broken where the file is not kept, or was refused.
    """
    rows = await fetch(connection, _LOCK_FILE, (digest,))
    if not rows or rows[0].state == BankFileState.REFUSED:
        raise Broken("a bank file that is not kept cannot be staged")
    row = rows[0]
    if row.state != BankFileState.RECEIVED:
        return Staged(row.entries, row.new_entries, row.notices, row.foreign_statements)
    told, found = ready.told, ready.found
    new: int = row.new_entries
    for (number, currency), tellings in sorted(_by_account(told.tellings).items()):
        account = await _account(connection, number, currency)
        shelf = await read_shelf(connection, book.ring, account, tellings)
        # Thousands of entries that are alike take seconds: meanwhile heartbeats go on.
        await asyncio.to_thread(_compare, shelf, tellings)
        await Writer(connection, book.ring, ready, digest).write(shelf)
        await check_statements(connection, shelf, currency, at=at)
        new += len(shelf.new_entries)
    await hear_names(connection, found, digest, {one.index for one in told.tellings}, at)
    staged = Staged(told.entries, new, told.notices, sum(told.foreign.values()))
    lost = [*found.problems, *told.lost]
    items = [_foreign(book.ring, digest, *foreign) for foreign in sorted(told.foreign)]
    await _note(connection, digest, [*items, *_losses(digest, lost)], at=at)
    parameters = (
        digest, found.kind.value, _places(lost), _places(found.warnings),
        staged.entries, staged.new_entries, staged.notices, staged.foreign_statements, at,
    )  # fmt: skip
    await execute(connection, _READ, parameters)
    return staged


def _compare(shelf: Shelf, tellings: Iterable[Telling]) -> None:
    for telling in tellings:
        shelf.take(telling)
    shelf.weigh()


def _by_account(tellings: Iterable[Telling]) -> dict[tuple[str, str], list[Telling]]:
    found: dict[tuple[str, str], list[Telling]] = {}
    for telling in tellings:
        found.setdefault((telling.number, telling.currency), []).append(telling)
    return found


async def _account(connection: AsyncConnection, number: str, currency: str) -> int:
    """The account's row, locked until the transaction ends: nothing is told twice at once."""
    await execute(connection, _MAKE_ACCOUNTS, ([number], [currency]))
    account: int = (await fetch(connection, _LOCK_ACCOUNT, (number, currency)))[0].id
    return account


async def _note(
    connection: AsyncConnection, digest: str, items: Sequence[NewItem], *, at: datetime
) -> None:
    """Tell people of ``items``, and that the file, if it was refused before, is read now."""
    await open_items(connection, await unseen(connection, items), at=at)
    refused, subject = ItemKind.BANK_FILE_REFUSED, file_subject(digest)
    await settle_items(connection, refused, [subject], outcome=Outcome.RESOLVED, at=at)


def _losses(digest: str, lost: Sequence[Finding]) -> list[NewItem]:
    """One item for a file that was read but for something."""
    if not lost:
        return []
    codes = ", ".join(dict.fromkeys(finding.code.value for finding in lost))
    kind, context = ItemKind.BANK_FILE_LOSSES, {"losses": len(lost)}
    return [NewItem(kind, file_subject(digest), reason=codes, context=context)]


def _foreign(ring: KeyRing, digest: str, number: str, currency: str) -> NewItem:
    account = ring.digest(f"{number}/{currency}", purpose="bank-account").hex()
    return NewItem(
        ItemKind.FOREIGN_STATEMENT,
        f"bank-account/{account}",
        currency=currency,
        context={"file": digest, "account": masked_number(number)},
    )


def _places(findings: Sequence[Finding]) -> str:
    """Code and place only: a finding's words may repeat what stood in the file."""
    said: list[dict[str, Any]] = [
        finding.model_dump(mode="json", include={"code", "where", "line"})
        for finding in findings[:FINDINGS_MAX]
    ]
    return json.dumps(said)
