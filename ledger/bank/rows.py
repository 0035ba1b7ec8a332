"""The rows of statements, entries and their parts, written set by set.

Promises that what a file says of people is sealed before it is stored (C-11). Callers hold the
account's row, so nothing is told twice at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.kept import Entry
from ledger.bank.naming import payment_in, payments_in
from ledger.bank.questions import write_questions
from ledger.bank.ready import Words
from ledger.bank.shelf import Shelf
from ledger.bank.told import part_reference
from ledger.engine import copy_rows, execute, fetch
from ledger.payments import OTHER_REASON
from tillkeeper.contracts.bank import BankTransaction, Side
from tillkeeper.sealing import KeyRing

_CODE: Final = re.compile(r"[A-Z0-9]{1,4}", re.ASCII)

_BIGINT_MAX: Final = 2**63 - 1

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

_NUMBER: Final = """
SELECT a.number FROM bank_entries e JOIN bank_accounts a ON a.id = e.account WHERE e.id = $1"""

_PARTS: Final = (
    *("entry", "part", "file", "amount", "currency", "side", "payer_digest", "payer_kind"),
    *("code", "payment", "return_reason", "said_sealed", "reference_digest"),
)


def open_said(ring: KeyRing, entry: int, part: int, sealed: bytes) -> BankTransaction:
    """Everything that a file says of one part; personal data."""
    text = ring.open_text(sealed, purpose=said_purpose(entry, part))
    return BankTransaction.model_validate_json(text)


def said_purpose(entry: int, part: int) -> str:
    """What the words of a part are sealed for."""
    return f"entry/{entry}/{part}/said"


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes what one file tells first."""

    connection: AsyncConnection
    ring: KeyRing
    ready: Words
    digest: str

    async def write(self, shelf: Shelf) -> None:
        """Statements, then entries, then what completes known ones, then the parts of all."""
        linked = [one for one in shelf.linked if one.id is not None]
        detailed = [one for one in shelf.detailed if one.id is not None]
        await self._statements(shelf)
        await self._entries(shelf)
        await self._complete(linked, detailed)
        await write_questions(self.connection, self.ring, self.digest, shelf)
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
            [len(one.booked) for one in new], [within_bigint(one.moved) for one in new],
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
        parts = [(one, part) for one in entries for part in one.details]
        if not parts:
            return
        payments = await payments_in(self.connection, (part for _, part in parts))
        number = (await fetch(self.connection, _NUMBER, (parts[0][0].id,)))[0][0]
        rows = await asyncio.to_thread(
            lambda: [
                (*self._part(entry.id or 0, part, payments), own_reference(number, entry, part))
                for entry, part in parts
            ]
        )
        await copy_rows(self.connection, "bank_transactions", _PARTS, rows)

    def _part(self, entry: int, part: BankTransaction, payments: dict[str, int]) -> tuple[Any, ...]:
        said = self.ready.said(part)
        # Sealed for its very entry, which has no number before it is written.
        sealed = self.ring.seal_text(said.text, purpose=said_purpose(entry, part.part))
        return (
            entry, part.part, self.digest, part.amount_minor, part.currency,
            _letter(part.side is Side.CREDIT), said.payer, part.payer_kind.value, said.codes,
            payment_in(part, payments), return_code(part.return_reason), sealed,
        )  # fmt: skip


def own_reference(number: str, entry: Entry, part: BankTransaction) -> str | None:
    """The digest of a part's reference where it is another than its entry's."""
    reference = part_reference(number, part)
    return None if reference == entry.reference else reference


def return_code(reason: str | None) -> str | None:
    """The bank's code; what it wrote in words may name people, and is kept sealed only (C-11)."""
    return reason if not reason or _CODE.fullmatch(reason) else OTHER_REASON


def within_bigint(number: int) -> int:
    """The number, or the nearest that a column holds: hostile files state anything."""
    return max(-_BIGINT_MAX, min(number, _BIGINT_MAX))


def _letter(gained: bool) -> str:
    return "C" if gained else "D"
