"""Staged entries and their parts as booking reads them, and the marks that booking leaves.

Promises that an entry is taken by one transaction at a time and marked once. Names and account
numbers are opened only to be sealed again with the receipt that they belong to.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.rows import open_said
from ledger.engine import execute, fetch
from ledger.meant import Incoming
from tillkeeper.contracts.bank import BankTransaction
from tillkeeper.contracts.receipt import PayerKind
from tillkeeper.rules.days import day_bounds
from tillkeeper.sealing import KeyRing

LUMP: Final = 0
"""The part of a receipt that stands for its whole entry."""

PARTS_MAX: Final = 2_000
"""Parts taken at once: an entry with more of them is taken alone."""

_ENTRY: Final = """
SELECT e.id, e.account, a.number, a.currency, e.side, e.amount, e.day, e.reference_digest,
       e.reversal, e.adds_up, e.parts, f.received_at, e.statement IS NOT NULL AS stated
  FROM bank_entries e JOIN bank_accounts a ON a.id = e.account
  JOIN bank_files f ON f.digest = e.file"""

_TAKE: Final = f"""{_ENTRY}
 WHERE e.file = $1 AND e.booked_as IS NULL ORDER BY e.id LIMIT $2 FOR NO KEY UPDATE OF e"""

_THESE: Final = f"""{_ENTRY}
 WHERE e.id = ANY($1::bigint[]) AND e.booked_as IS NULL ORDER BY e.id FOR NO KEY UPDATE OF e"""

_LEFT: Final = "SELECT EXISTS (SELECT FROM bank_entries WHERE file = $1 AND booked_as IS NULL)"

# Lumps whose parts came with this file: their money is booked and still nobody's.
_DETAILED: Final = f"""{_ENTRY}
 WHERE e.id IN (SELECT t.entry FROM bank_transactions t
                  JOIN receipts r ON r.entry = t.entry AND r.part = 0 AND r.state = 'UNMATCHED'
                 WHERE t.file = $1)
   AND e.booked_as IS NOT NULL
   AND (e.parts = 1 OR e.adds_up AND NOT EXISTS (
        SELECT FROM bank_transactions t WHERE t.entry = e.id
           AND (t.side <> e.side OR t.currency <> a.currency OR coalesce(t.amount, 0) <= 0)))
 ORDER BY e.id LIMIT $2 FOR NO KEY UPDATE OF e"""

# Debits in suspense, whole, of which this file says that they, or parts, are payments of ours.
_NAMED: Final = f"""{_ENTRY}
 WHERE e.id IN (SELECT t.entry FROM bank_transactions t JOIN bank_entries d ON d.id = t.entry
                  JOIN bank_accounts b ON b.id = d.account JOIN payments p ON p.id = t.payment
                 WHERE t.file = $1 AND p.state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED')
                   AND p.currency = b.currency
                   AND p.amount = CASE d.parts WHEN 1 THEN d.amount ELSE t.amount END)
   AND e.side = 'D' AND NOT e.reversal AND e.booked_as = 'entry/' || e.id
   AND (e.parts = 1 OR e.adds_up AND e.parts = (
        SELECT count(*) FROM bank_transactions t
         WHERE t.entry = e.id AND (t.side, t.currency) = (e.side, a.currency) AND t.amount > 0))
   AND EXISTS (SELECT FROM work_items i WHERE i.subject = e.booked_as
                  AND i.kind = 'UNKNOWN_DEBIT' AND i.state <> 'CLOSED')
   AND NOT EXISTS (SELECT FROM payments s WHERE s.settled_by = e.id)
 ORDER BY e.id LIMIT $2 FOR NO KEY UPDATE OF e"""

_PARTS: Final = """
SELECT t.entry, t.part, t.amount, t.currency, t.side, t.payer_digest, t.payer_kind, t.code,
       t.payment, p.end_to_end_id, t.return_reason, t.said_sealed, t.reference_digest
  FROM bank_transactions t LEFT JOIN payments p ON p.id = t.payment
 WHERE t.entry = ANY($1::bigint[]) ORDER BY t.entry, t.part"""

_MARK: Final = """
UPDATE bank_entries e SET booked_as = m.booked_as, reverses = m.reverses
  FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS m (id, booked_as, reverses)
 WHERE e.id = m.id"""


_PAYERS: Final = """
SELECT DISTINCT merchant, currency FROM payments
 WHERE id = ANY($1::bigint[]) AND merchant IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class Part:
    """One transaction of an entry; the amount in minor units, None where the file states none.

    ``reference_digest`` is its own, where it is another than its entry's.
    """

    entry: int
    part: int
    amount: int | None
    currency: str
    side: str
    payer_digest: bytes | None
    payer_kind: str
    code: str | None
    payment: int | None
    end_to_end_id: str | None
    return_reason: str | None
    said_sealed: bytes
    reference_digest: str | None


class OurPayment(NamedTuple):
    """A payment of ours that an entry moves; ``reason`` is the bank's code where it came back."""

    id: int
    end_to_end_id: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What moved on an account; the amount in minor units, credit where the account gained."""

    id: int
    account: int
    number: str
    currency: str
    side: str
    amount: int
    day: date
    reference_digest: str | None
    reversal: bool
    adds_up: bool
    stated_parts: int
    received_at: datetime
    stated: bool
    parts: list[Part] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """How its transfer, its item and its audit rows are named."""
        return f"entry/{self.id}"

    @property
    def at(self) -> datetime:
        """When its transfer takes effect: the start of its day."""
        return day_bounds(self.day)[0]

    @property
    def credit(self) -> bool:
        """Whether the account gained."""
        return self.side == "C"

    @property
    def payment(self) -> OurPayment | None:
        """The payment of ours that its only part names."""
        one = self.parts[0] if len(self.parts) == 1 else None
        if one is None or one.payment is None or one.end_to_end_id is None:
            return None
        return OurPayment(one.payment, one.end_to_end_id, one.return_reason)

    @property
    def drawn(self) -> list[tuple[OurPayment, int]]:
        """Payments of ours that a debit moves, whole or part by part, each with its minor units."""
        if self.payment is not None:
            return [(self.payment, self.amount)]
        return [
            (OurPayment(part.payment, part.end_to_end_id, None), part.amount)
            for part in self.parts
            if self.splits and part.payment and part.end_to_end_id and part.amount
        ]

    @property
    def splits(self) -> bool:
        """Whether several parts make it up, each of them money of its own."""
        return (
            self.adds_up
            and len(self.parts) == self.stated_parts > 1
            and all(
                part.side == self.side and part.currency == self.currency and (part.amount or 0) > 0
                for part in self.parts
            )
        )


async def take_entries(connection: AsyncConnection, digest: str, limit: int) -> list[Entry]:
    """The next entries that the file told first and that are not booked, locked."""
    return await _with_parts(connection, await fetch(connection, _TAKE, (digest, limit)))


async def entries_of(connection: AsyncConnection, ids: Sequence[int]) -> list[Entry]:
    """These entries, locked."""
    return await _with_parts(connection, await fetch(connection, _THESE, (list(ids),)))


async def detailed_entries(connection: AsyncConnection, digest: str, limit: int) -> list[Entry]:
    """Booked lumps that the file has detailed since, locked."""
    return await _with_parts(connection, await fetch(connection, _DETAILED, (digest, limit)))


async def named_entries(connection: AsyncConnection, digest: str, limit: int) -> list[Entry]:
    """Debits in suspense that are payments of ours by what the file details, locked."""
    return await _with_parts(connection, await fetch(connection, _NAMED, (digest, limit)))


async def entries_left(connection: AsyncConnection, digest: str) -> bool:
    """Whether anything of the file is still to be booked."""
    left: bool = (await fetch(connection, _LEFT, (digest,)))[0][0]
    return left


async def payers_of(connection: AsyncConnection, entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """The merchants (id, currency) whose money the payments of ours are that the entries move."""
    ours = sorted({part.payment for entry in entries for part in entry.parts if part.payment})
    rows = await fetch(connection, _PAYERS, (ours,)) if ours else ()
    return {(row.merchant, row.currency) for row in rows}


async def mark_booked(
    connection: AsyncConnection, marks: Sequence[tuple[int, str, int | None]]
) -> None:
    """Remember by which subject each entry is in the book, and which entry it takes back."""
    if marks:
        await execute(connection, _MARK, tuple(list(column) for column in zip(*marks, strict=True)))


async def _with_parts(connection: AsyncConnection, rows: Sequence[Any]) -> list[Entry]:
    entries: list[Entry] = []
    parts = 0
    for row in rows:
        parts += row.parts
        if entries and parts > PARTS_MAX:
            break
        entries.append(Entry(*row))
    by_entry: dict[int, list[Part]] = defaultdict(list)
    for row in await fetch(connection, _PARTS, ([e.id for e in entries],)) if entries else ():
        by_entry[row.entry].append(Part(*row))
    for entry in entries:
        entry.parts.extend(by_entry[entry.id])
    return entries


class Payers:
    """Opens what a file says of a payer and seals it again with the receipt (C-11)."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def alone(self, part: Part) -> bool:
        """Whether the file states no other part: of one that was lost nobody knows the payer."""
        return self._said(part).parts == 1

    def sealed(self, part: Part | None, digest: str) -> bytes:
        """The payer's name and account as a reported receipt has them; null where not told."""
        said = None if part is None else self._said(part)
        payer = {
            "payer_name": None if said is None else said.debtor_name,
            "payer_account": None if said is None else said.debtor_account,
            "bank_reference": None if said is None else said.bank_reference,
        }
        text = json.dumps(payer, ensure_ascii=False)
        return self._ring.seal_text(text, purpose=f"receipt/{digest}/payer")

    def _said(self, part: Part) -> BankTransaction:
        return open_said(self._ring, part.entry, part.part, part.said_sealed)


def incoming_of(entry: Entry, payers: Payers) -> list[Incoming]:
    """The receipts of a credit: one for each part, or one for the entry where parts say less."""
    if entry.splits:
        return [_incoming(entry, p, p, payers, amount=p.amount or 0) for p in entry.parts]
    only = entry.parts[0] if len(entry.parts) == 1 else None
    payer = only if only is not None and payers.alone(only) else None
    return [_incoming(entry, only, payer, payers, amount=entry.amount)]


def part_digest(entry: int, part: int) -> str:
    """The identity of the receipt of an entry's part, for ever."""
    return hashlib.sha256(f"entry/{entry}/{part}".encode()).hexdigest()[:32]


def _incoming(
    entry: Entry, part: Part | None, payer: Part | None, payers: Payers, *, amount: int
) -> Incoming:
    number = LUMP if part is None else part.part
    digest = part_digest(entry.id, number)
    return Incoming(
        digest=digest,
        fingerprint="",
        amount=amount,
        currency=entry.currency,
        payer_sealed=payers.sealed(payer, digest),
        payer_digest=None if payer is None else payer.payer_digest,
        payer_kind=PayerKind.UNKNOWN if payer is None else PayerKind(payer.payer_kind),
        booked_at=entry.at,
        received_at=entry.received_at,
        codes=() if payer is None else tuple((payer.code or "").split()),
        asked_until=entry.received_at,
        entry=entry.id,
        part=number,
        reference_digest=entry.reference_digest,
        for_topup=not (entry.reversal or entry.payment),
        part_reference=None if part is None else part.reference_digest,
    )
