"""What the bank's own book says of payments that count as not paid (C-12).

Promises that neither "not found" nor people who do not say so outweigh the bank's word that it
debited a payment: by an entry, or by a line that is no money yet, pending or notified without a
reference. Such a word is kept with the bank's others; it moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute, fetch
from ledger.payment_rows import PaymentRow, locked_payments
from ledger.purposes import payment_item
from ledger.withdrawal_rows import PAY
from ledger.workitems import open_items
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemKind
from tillkeeper.rules.payments import DUPLICATE, REJECTED, SETTLED
from tillkeeper.rules.payouts import NOT_FOUND, NOT_PAID

DEBIT_BOOKED: Final = "DEBIT_BOOKED"
"""The bank's word where a booked line of an account of ours names a payment as debited."""

DEBIT_NOTED: Final = "DEBIT_NOTED"
"""The same of a line that is pending, or information."""

NAMED: Final = "NAMED"
"""Why a person looks at a payment that was refused, and that the bank names as debited."""

DESK: Final = "desk/"
"""How what people prove is told from what banks send."""

FILES_AWAITED_S: Final = 3600.0
"""How long a file that has come and is not read yet may hold back that a payment is paid again, or
its money given back: it may tell its debit. One that cannot be read holds nothing for ever."""

_KEEP: Final = """
INSERT INTO payment_statuses (payment, file, status, at)
SELECT n.payment, $1, n.status, $4 FROM unnest($2::bigint[], $3::text[]) AS n (payment, status)
 WHERE NOT EXISTS (SELECT FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
                    WHERE t.payment = n.payment AND e.side = 'D')
ON CONFLICT (payment, file, status) DO NOTHING"""

# A charge says that a debit was no payment only where it is the whole of it.
_BOOKED: Final = """
EXISTS (SELECT FROM payments p JOIN bank_transactions t ON t.payment = p.id
          JOIN bank_entries e ON e.id = t.entry
         WHERE p.subject = ANY($1::text[]) AND e.side = 'D'
           AND NOT EXISTS (SELECT FROM bank_entries x WHERE x.reverses = e.id)
           AND NOT EXISTS (SELECT FROM transfers c WHERE c.kind = 'bank_charge'
                              AND c.subject = 'entry/' || e.id AND c.amount = e.amount))"""

_TAKEN: Final = f"""
EXISTS (SELECT FROM payment_statuses s JOIN payments p ON p.id = s.payment
         WHERE p.subject = ANY($1::text[]) AND p.state = 'REJECTED'
           AND (p.reason = ANY($3::text[]) OR s.status = ANY($6::text[]))
           AND s.status NOT IN ('{DEBIT_BOOKED}', '{DEBIT_NOTED}')
           AND (s.status <> $4 OR s.reasons ?| $2::text[])
           AND NOT EXISTS (SELECT FROM payment_statuses x
                            WHERE x.payment = s.payment AND x.id > s.id
                              AND x.status = $4 AND NOT x.reasons ?| $5::text[]))"""
"""By a word that it has not taken back since: people's proof is such a word.

Of what it did not find, or people proved unpaid, any word but a no tells that the bank has it, also
a no because it has it already (E-12, B3). Its own no with a reason is contradicted by the word that
the money has moved: what was accepted on the way may only be told late.
"""

# What an entry tells is that entry's to decide. A pending debit ends by the bank's no too.
_NAMED: Final = f"""
EXISTS (SELECT FROM payment_statuses s JOIN payments p ON p.id = s.payment
         WHERE p.subject = ANY($1::text[]) AND p.state NOT IN ('PAID', 'RETURNED')
           AND s.status IN ('{DEBIT_BOOKED}', '{DEBIT_NOTED}')
           AND NOT EXISTS (SELECT FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry
                            WHERE t.payment = s.payment AND e.side = 'D')
           AND NOT EXISTS (SELECT FROM payment_statuses x
                            WHERE x.payment = s.payment AND x.id > s.id AND x.status = $4
                              AND (x.file LIKE '{DESK}%' OR s.status = '{DEBIT_NOTED}'
                                   AND NOT x.reasons ?| $5::text[])))"""

_HAD: Final = """
SELECT EXISTS (SELECT FROM payment_statuses
                WHERE payment = $1 AND (status <> $2 OR reasons ?| $3::text[]))"""

_SAYS: Final = f"SELECT {_BOOKED}, {_NAMED}, {_TAKEN}"

_TO_COME: Final = """
SELECT EXISTS (SELECT FROM bank_files
                WHERE state = 'RECEIVED' AND told_at IS NULL
                  AND received_at <= coalesce($1::timestamptz, 'infinity')
                  AND received_at
                      >= coalesce($2::timestamptz, now()) - make_interval(secs => $3))"""


class Word(NamedTuple):
    """What the bank says against a no: it ``booked`` the payment, a line ``named`` it, or it said
    that it has ``taken`` it.

    What was booked is settled with its debit; mere words people may contradict, saying so.
    """

    booked: bool
    named: bool
    taken: bool

    @property
    def doubts(self) -> bool:
        """Whether words, and no entry, speak against the no."""
        return self.named or self.taken


async def keep_names(
    connection: AsyncConnection, digest: str, said: Mapping[int, str], at: datetime
) -> None:
    """Keep what a file's lines say of payments, by row id; each file's word once.

    What an entry names needs none. A payment that was refused and is named by no entry becomes
    work: nobody pays it again.
    """
    await execute(connection, _KEEP, (digest, list(said), list(said.values()), at))
    await note_refused(connection, await locked_payments(connection, sorted(said)), at)


async def note_refused(
    connection: AsyncConnection, rows: Sequence[PaymentRow], at: datetime
) -> None:
    """Open work for each refused payment that the bank has by its word and by no entry.

    ``rows`` are locked.
    """
    for row in rows:
        if row.state is PaymentState.REJECTED and (await word_of(connection, row)).doubts:
            item = payment_item(ItemKind.PAYMENT_OVERDUE, row, NAMED)
            await open_items(connection, [item], at=at)


async def is_contradicted(connection: AsyncConnection, row: PaymentRow) -> bool:
    """Whether the bank booked, took or named a payment that counts as not paid: nobody pays again.

    Every attempt up to this one counts: a debit of the first may come after the second's no.
    """
    return any(await _word(connection, _attempts(row)))


async def was_had(connection: AsyncConnection, row: PaymentRow) -> bool:
    """Whether the bank ever said that it has a payment; our own "not found" is a no."""
    asked = (row.id, REJECTED, sorted(DUPLICATE))
    return bool((await fetch(connection, _HAD, asked))[0][0])


async def word_of(connection: AsyncConnection, row: PaymentRow) -> Word:
    """What the bank says of this very attempt against a no."""
    return await _word(connection, [row.subject])


async def files_to_come(
    connection: AsyncConnection, *, before: datetime | None = None, at: datetime | None = None
) -> bool:
    """Whether a file that has come is still to be read: it may tell a debit.

    ``before``: only what had come by then counts, so that whoever tries again waits for no later
    one; ``at`` is the time of a decision, now where nothing is said. What is read and not booked
    yet is known already, by its names and its entries.
    """
    return bool((await fetch(connection, _TO_COME, (before, at, FILES_AWAITED_S)))[0][0])


async def _word(connection: AsyncConnection, subjects: Sequence[str]) -> Word:
    # That the bank does not find it takes back nothing that it said before.
    takes_nothing_back = sorted({*DUPLICATE, NOT_FOUND})
    told = (
        list(subjects), sorted(DUPLICATE), [NOT_FOUND, NOT_PAID], REJECTED, takes_nothing_back,
        sorted(SETTLED),
    )  # fmt: skip
    return Word(*(await fetch(connection, _SAYS, told))[0])


def _attempts(row: PaymentRow) -> list[str]:
    """The subjects of a withdrawal's attempts up to this one; of anything else, its own."""
    whole, pay, _ = row.subject.rpartition(PAY)
    if not pay:
        return [row.subject]
    return [f"{whole}{pay}{number}" for number in range(1, row.attempt + 1)]
