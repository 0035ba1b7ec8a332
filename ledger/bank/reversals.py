"""What a bank takes back: which money it was, and whether it may be taken from where it stands.

Promises that merchants' money is never taken automatically: what was credited already becomes work
for people. The caller holds the platform's locks of the currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows
from ledger.audit import Act, Change
from ledger.bank.entries import Entry
from ledger.engine import execute, fetch
from ledger.workitems import settle_items
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.workitem import ItemKind, Outcome

_RECEIPTS: Final = """
SELECT digest, state, amount, entry FROM receipts
 WHERE reference_digest = $1 AND currency = $2 AND state NOT IN ('DETAILED', 'REVERSED')
 ORDER BY entry DESC NULLS LAST, part"""

_OF_PARTS: Final = """
SELECT r.digest, r.state, r.amount, r.entry FROM bank_transactions t
  JOIN receipts r ON r.entry = t.entry AND r.part = t.part
 WHERE t.reference_digest = $1 AND r.currency = $2 AND r.state NOT IN ('DETAILED', 'REVERSED')
 ORDER BY r.entry DESC, r.part"""

IN_SUSPENSE: Final = """d.side = 'D' AND d.booked_as = 'entry/' || d.id
   AND NOT EXISTS (SELECT FROM bank_entries x WHERE x.reverses = d.id)
   AND NOT EXISTS (SELECT FROM payments s WHERE s.settled_by = d.id)"""
"""Of a debit ``d``; it is so only as long as the work that it made is open, too."""

_SUSPENSE: Final = f"""
WITH likely AS MATERIALIZED (
    SELECT id, reference_digest, NULL::bigint AS payment FROM bank_entries
     WHERE account = $1 AND reference_digest = ANY($2::text[])
    UNION ALL
    SELECT e.id, NULL, t.payment FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
     WHERE t.payment = ANY($3::bigint[]) AND e.account = $1 AND e.parts = 1)
SELECT d.id, i.kind, l.reference_digest, l.payment, d.amount FROM likely l
  JOIN bank_entries d ON d.id = l.id
  JOIN work_items i ON i.subject = 'entry/' || d.id
   AND i.kind IN ('UNKNOWN_DEBIT', 'CREDIT_REVERSED') AND i.state <> 'CLOSED'
 WHERE (d.reversal OR NOT $4) AND {IN_SUSPENSE}
 ORDER BY l.reference_digest IS NULL, d.id"""

_STATE: Final = """
UPDATE receipts SET state = $2 WHERE digest = ANY($1::text[]) AND state = 'UNMATCHED'
RETURNING digest"""

_LINK: Final = """
UPDATE receipts r SET entry = l.entry
  FROM unnest($1::text[], $2::bigint[]) AS l (digest, entry) WHERE r.digest = l.digest"""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What a reversal takes back: receipts by digest, and the entry that told them."""

    digests: tuple[str, ...]
    entry: int | None
    credited: bool


@dataclass(frozen=True, slots=True)
class Suspense:
    """A debit that waits in ``unmatched_payments`` for an explanation."""

    entry: int
    kind: ItemKind


async def taken_back(connection: AsyncConnection, entry: Entry) -> TakenBack | None:
    """The receipts whose money a reversal takes: same bank reference, and exactly the amount.

    The reference may be a part's own. None where there are none, or where their money is on its way
    elsewhere.
    """
    for query in (_RECEIPTS, _OF_PARTS) if entry.reference_digest is not None else ():
        rows = await fetch(connection, query, (entry.reference_digest, entry.currency))
        if (found := _exactly(rows, entry)) is not None:
            return found
    return None


def _exactly(rows: Sequence[Any], entry: Entry) -> TakenBack | None:
    for state in (ReceiptState.UNMATCHED, ReceiptState.CREDITED):
        for row in rows:
            if row.state == state and row.amount == entry.amount:
                credited = state is ReceiptState.CREDITED
                return TakenBack((row.digest,), row.entry, credited)
    return _whole(rows, entry.amount)


def _whole(rows: Sequence[Any], amount: int) -> TakenBack | None:
    """All receipts of one entry together."""
    for told_by, group in groupby(rows, key=lambda row: row.entry):
        told = list(group)
        states = {row.state for row in told}
        if told_by is None or sum(row.amount for row in told) != amount:
            continue
        if states <= {ReceiptState.UNMATCHED, ReceiptState.CREDITED}:
            credited = ReceiptState.CREDITED in states
            return TakenBack(tuple(row.digest for row in told), told_by, credited)
    return None


async def debits_in_suspense(
    connection: AsyncConnection, gains: Sequence[Entry], *, reversals_only: bool
) -> dict[int, Suspense]:
    """Which debit each of ``gains`` takes back, if one waits; each debit once.

    It bears the same bank reference or names the same payment of ours. With ``reversals_only`` only
    a reversal counts: the bank told it before what it reverses. What took a merchant's credit back
    is taken back by a reversal alone (C-13).
    """
    found: dict[int, Suspense] = {}
    taken: set[int] = set()
    for account in sorted({entry.account for entry in gains}):
        mine = [e for e in gains if e.account == account]
        digests = [e.reference_digest for e in mine if e.reference_digest is not None]
        payments = [e.payment.id for e in mine if e.payment is not None]
        parameters = (account, digests, payments, reversals_only)
        rows = await fetch(connection, _SUSPENSE, parameters)
        for entry in mine if rows else ():
            row = next((r for r in rows if r.id not in taken and _takes_back(entry, r)), None)
            if row is not None:
                taken.add(row.id)
                found[entry.id] = Suspense(row.id, ItemKind(row.kind))
    return found


def _takes_back(entry: Entry, debit: Any) -> bool:
    if debit.amount != entry.amount:
        return False
    if debit.kind == ItemKind.CREDIT_REVERSED and not entry.reversal:
        return False
    if debit.payment is not None:
        return entry.payment is not None and entry.payment.id == debit.payment
    return bool(debit.reference_digest == entry.reference_digest)


async def close_receipts(
    connection: AsyncConnection,
    accounts: AccountRows,
    digests: Sequence[str],
    state: ReceiptState,
    act: Act,
) -> list[str]:
    """Unmatched receipts become ``state`` and their items are settled; answers which did."""
    if not digests:
        return []
    rows = await fetch(connection, _STATE, (list(digests), state.value))
    changed = sorted(row[0] for row in rows)
    before = {"state": ReceiptState.UNMATCHED.value}
    subjects = [f"receipt/{digest}" for digest in changed]
    changes: list[Change] = [(s, before, {"state": state.value}) for s in subjects]
    await accounts.audit.record_all(connection, act, changes)
    await settle_items(
        connection, ItemKind.UNMATCHED_RECEIPT, subjects, outcome=Outcome.RESOLVED, at=act.at
    )
    return changed


async def link_reported(connection: AsyncConnection, links: Sequence[tuple[str, int]]) -> None:
    """Receipts that were reported are told by entries now: digest and entry id."""
    if links:
        columns = tuple(list(column) for column in zip(*links, strict=True))
        await execute(connection, _LINK, columns)
