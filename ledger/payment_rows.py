"""The rows of payments out: recorded before the first byte leaves, found again for ever (C-11).

Payee, account and text are sealed; the end-to-end id tells nothing about them and cannot be
guessed. It moves no money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import fetch
from tillkeeper.contracts.base import Step
from tillkeeper.contracts.errors import Code, Rejected, rejected_from
from tillkeeper.contracts.payment import FailureClass, PaymentState, PaymentTerms, PayoutView, Rail
from tillkeeper.rules.names import masked_name, masked_number
from tillkeeper.rules.payments import is_overdue
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

PAYMENT_FIELDS: Final = """
       id, end_to_end_id, subject, fingerprint, amount, currency, creditor_sealed, state, reason,
       message_id, recorded_at, sent_at, decided_at, merchant, rail,
       coalesce(run, end_to_end_id) AS run, attempt, failure, retry_at, sending_at, asked_at,
       asked"""

_COLUMNS: Final = f"SELECT {PAYMENT_FIELDS} FROM payments"

_READ: Final = f"{_COLUMNS} WHERE end_to_end_id = $1"

_READ_ID: Final = f"{_COLUMNS} WHERE id = $1"

_READ_SUBJECT: Final = f"{_COLUMNS} WHERE subject = $1"

_LOCK: Final = f"{_COLUMNS} WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"

# A refused attempt is on its way where the next one is due; an older one has been followed.
_OPEN: Final = f"""
SELECT * FROM (
{_COLUMNS} WHERE state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED')
 UNION ALL
{_COLUMNS} WHERE state = 'REJECTED' AND retry_at IS NOT NULL
   AND id IN (SELECT payment FROM withdrawals WHERE state = 'REMITTING')) p
 ORDER BY recorded_at, id LIMIT $1"""

_GOES_ON: Final = """
SELECT EXISTS (SELECT FROM payments p
                WHERE (p.run = $1 OR p.end_to_end_id = $1)
                  AND (p.state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED')
                       OR (p.state = 'REJECTED' AND p.retry_at IS NOT NULL
                           AND EXISTS (SELECT FROM withdrawals w
                                        WHERE w.payment = p.id AND w.state = 'REMITTING'))))"""

_LATEST: Final = f"{_COLUMNS} ORDER BY id DESC LIMIT $1"

_NAMED: Final = """
SELECT id, end_to_end_id, message_id, currency, merchant FROM payments
 WHERE end_to_end_id = ANY($1::text[])
 UNION
SELECT id, end_to_end_id, message_id, currency, merchant FROM payments
 WHERE message_id = ANY($1::text[])
 ORDER BY id"""


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One payment as it stands; the amount in minor units, the payee still sealed.

    ``merchant`` is whose money it is, None the platform's. ``run`` is the end-to-end id of the
    first attempt, ``attempt`` counts from 1. ``sending_at`` is marked before a door is called.
    """

    id: int
    end_to_end_id: str
    subject: str
    fingerprint: str
    amount: int
    currency: str
    creditor_sealed: bytes = field(repr=False)
    state: PaymentState
    reason: str | None
    message_id: str | None
    recorded_at: datetime
    sent_at: datetime | None
    decided_at: datetime | None
    merchant: str | None
    rail: Rail
    run: str
    attempt: int
    failure: FailureClass | None
    retry_at: datetime | None
    sending_at: datetime | None
    asked_at: datetime | None
    asked: int

    @property
    def waits_since(self) -> datetime:
        """Since when the bank has it; one that never left waits since it was recorded."""
        return self.sent_at or self.sending_at or self.recorded_at


def end_to_end_id(ring: KeyRing, subject: str) -> str:
    """The id for life of what ``subject`` names: 33 characters, a keyed digest.

    Of hexadecimal digits, so that no other code of ours can be read out of it.
    """
    return f"P{ring.digest(subject, purpose='payment/end-to-end-id').hex().upper()}"


def sealed_terms(ring: KeyRing, name: str, terms: PaymentTerms) -> bytes:
    """The terms of payment ``name``, closed. Raises Rejected for what no payment can carry."""
    text = valid_terms(terms.model_dump()).model_dump_json()
    return ring.seal_text(text, purpose=_purpose(name))


def valid_terms(fields: Mapping[str, Any]) -> PaymentTerms:
    """Terms of these fields, checked: a changed copy is not. Raises Rejected with every reason."""
    try:
        return PaymentTerms.model_validate(dict(fields))
    except ValidationError as error:
        raise rejected_from(error) from None


def opened_terms(ring: KeyRing, row: PaymentRow) -> PaymentTerms:
    """What is paid to whom; personal data, so never logged."""
    text = ring.open_text(row.creditor_sealed, purpose=_purpose(row.end_to_end_id))
    return PaymentTerms.model_validate_json(text)


async def read_payment(connection: AsyncConnection, name: str) -> PaymentRow:
    """The payment with that end-to-end id. Raises Rejected(PAYMENT_UNKNOWN)."""
    rows = await fetch(connection, _READ, (name,))
    if not rows:
        raise _unknown()
    return payment_row(rows[0])


async def payment_by_id(connection: AsyncConnection, payment: int) -> PaymentRow:
    """The payment with that row id. Raises Rejected(PAYMENT_UNKNOWN)."""
    rows = await fetch(connection, _READ_ID, (payment,))
    if not rows:
        raise _unknown()
    return payment_row(rows[0])


async def payment_of(connection: AsyncConnection, subject: str) -> PaymentRow | None:
    """The payment that ``subject`` has, or None."""
    rows = await fetch(connection, _READ_SUBJECT, (subject,))
    return payment_row(rows[0]) if rows else None


async def open_payments(connection: AsyncConnection, limit: int) -> list[PaymentRow]:
    """Payments whose end is still to come, the oldest first: each must have its run.

    A refused one that is to be tried again is on its way, too.
    """
    return [payment_row(row) for row in await fetch(connection, _OPEN, (limit,))]


async def goes_on(connection: AsyncConnection, run: str) -> bool:
    """Whether any attempt of the run with that first end-to-end id is still on its way."""
    return bool((await fetch(connection, _GOES_ON, (run,)))[0][0])


async def latest_payments(connection: AsyncConnection, limit: int) -> list[PaymentRow]:
    """Payments in any state, the newest first."""
    return [payment_row(row) for row in await fetch(connection, _LATEST, (limit,))]


async def locked_payments(connection: AsyncConnection, ids: list[int]) -> list[PaymentRow]:
    """Payments under their locks, in one order for all; accounts are locked before them."""
    return [payment_row(row) for row in await fetch(connection, _LOCK, (ids,))]


async def locked_payment(connection: AsyncConnection, payment: int) -> PaymentRow:
    """One payment under its lock. Raises Rejected(PAYMENT_UNKNOWN)."""
    rows = await locked_payments(connection, [payment])
    if not rows:
        raise _unknown()
    return rows[0]


async def named_payments(connection: AsyncConnection, names: list[str]) -> list[Any]:
    """What is told of the payments that a bank's file may name: ids, currency, merchant."""
    return await fetch(connection, _NAMED, (names,))


def payment_view(
    ring: KeyRing, row: PaymentRow, at: datetime, profile: PrepaidProfile
) -> PayoutView:
    """What people see at ``at``; the payee is masked (C-11)."""
    creditor = opened_terms(ring, row).creditor
    return PayoutView(
        end_to_end_id=row.end_to_end_id,
        subject=row.subject,
        state=row.state,
        amount_minor=row.amount,
        currency=row.currency,
        payee=masked_name(creditor.name),
        account=masked_number(creditor.account),
        rail=row.rail,
        run=row.run,
        attempt=row.attempt,
        failure=row.failure,
        retry_at=row.retry_at,
        merchant=row.merchant or "",
        reason=row.reason,
        message_id=row.message_id,
        recorded_at=row.recorded_at,
        sent_at=row.sent_at,
        decided_at=row.decided_at,
        overdue=is_overdue(row.state, row.waits_since, at, profile.payout_deadline(row.rail)),
        steps=_steps(row),
    )


def _steps(row: PaymentRow) -> tuple[Step, ...]:
    ended = "paid" if row.state.open else row.state.value.lower()
    return (
        Step(name="recorded", at=row.recorded_at),
        Step(name="sent", at=row.sent_at, current=row.state is PaymentState.RECORDED),
        Step(
            name=ended, at=row.decided_at,
            current=row.state.open and row.state is not PaymentState.RECORDED,
        ),
    )  # fmt: skip


def _unknown() -> Rejected:
    return Rejected(Code.PAYMENT_UNKNOWN, detail="there is no such payment")


def _purpose(name: str) -> str:
    return f"payment/{name}/terms"


def payment_row(row: Any) -> PaymentRow:
    """A row of ``PAYMENT_FIELDS``."""
    fields = dict(row)
    failure = fields["failure"]
    plain = {
        "state": PaymentState(fields["state"]),
        "rail": Rail(fields["rail"]),
        "failure": None if failure is None else FailureClass(failure),
    }
    return PaymentRow(**{**fields, **plain})
