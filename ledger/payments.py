"""Payments out and what became of them: each told once, decided once, in the book at once.

Promises that a subject has one payment with one end-to-end id for life, that only a booked debit
pays it and only the bank's refusal fails it (C-12), and that money which comes back is in the book
again with what it was paid for (C-13). Callers lock accounts (a sheet) before payments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import SYSTEM, Act, record_system_act
from ledger.engine import execute, fetch
from ledger.named import note_refused
from ledger.payment_rows import (
    PAYMENT_FIELDS,
    PaymentRow,
    end_to_end_id,
    locked_payment,
    locked_payments,
    named_payments,
    payment_of,
    payment_row,
    sealed_terms,
)
from ledger.purposes import PLATFORM, Ending, payment_item, purpose_of, subject_of
from ledger.sheet import Sheet
from ledger.workitems import open_items, settle_items
from tillkeeper.contracts.bank import PaymentStatus
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import canonical
from tillkeeper.contracts.payment import PaymentState, PaymentTerms, Rail
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.rules.days import day_bounds
from tillkeeper.rules.payments import REJECTED, RULES, after_status, is_overdue, said_about
from tillkeeper.rules.payouts import OURS, failure_class, retry_at
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

OTHER_REASON: Final = "OTHER"
"""Stands for a bank's reason that is no code: such a text might name a person."""

_REASON: Final = re.compile(r"[A-Za-z0-9._-]{1,35}", re.ASCII)

_INSERT: Final = f"""
INSERT INTO payments (end_to_end_id, subject, fingerprint, amount, currency, creditor_sealed, state,
                      recorded_at, merchant, rail, run, attempt)
VALUES ($1, $2, $3, $4, $5, $6, 'RECORDED', $7, $8, $9, $10, $11)
ON CONFLICT DO NOTHING RETURNING {PAYMENT_FIELDS}"""

_SENT: Final = """
UPDATE payments SET message_id = $2, sent_at = $3,
       state = CASE state WHEN 'RECORDED' THEN 'SENT' ELSE state END
 WHERE id = $1"""

_DECIDE: Final = """
UPDATE payments SET state = $2, reason = $3, decided_at = $4, failure = $5, retry_at = $6
 WHERE id = $1"""

_SETTLED_BY: Final = "UPDATE payments SET settled_by = $2 WHERE id = $1"

_FIRST: Final = "SELECT attempt FROM payments WHERE end_to_end_id = $1"

_SAID: Final = """
INSERT INTO payment_statuses (payment, file, status, reasons, at)
VALUES ($1, $2, $3, $4::jsonb, $5) ON CONFLICT (payment, file, status) DO NOTHING"""

_ENTRY: Final = """
SELECT e.day, a.currency FROM bank_entries e JOIN bank_accounts a ON a.id = e.account
 WHERE e.id = $1"""


@dataclass(frozen=True, slots=True)
class NewPayment:
    """What ``subject`` is to be paid with, and who decided it.

    The subject is ``receipt/<digest>/return/<n>`` or ``withdrawal/<merchant>/<request>/pay/<n>``.
    ``merchant`` is whose money it is, ``run`` the first attempt's end-to-end id (None: its own).
    """

    subject: str
    terms: PaymentTerms = field(repr=False)
    actor: str = SYSTEM
    merchant: str | None = None
    rail: Rail = Rail.FILE
    run: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Moved:
    """What an entry of the bank moved by a payment, in minor units; ``at`` is when we learned it.

    ``reason`` is the bank's code where it came back; ``received``: the entry is in the book
    already, a debit in suspense, or what came back as a receipt.
    """

    entry: int
    amount: int
    at: datetime
    reason: str | None = None
    received: bool = False


async def record_payment(
    connection: AsyncConnection, ring: KeyRing, payment: NewPayment, at: datetime
) -> PaymentRow:
    """Record a payment before anything leaves; recorded again, it is the same one for ever.

    Raises Rejected(KEY_REUSED) where the subject has a payment on other terms.
    """
    name, terms = end_to_end_id(ring, payment.subject), payment.terms
    purpose_of(payment.subject)
    stamp = ring.digest(canonical(terms), purpose="payment/terms").hex()
    row = (
        name, payment.subject, stamp, terms.amount_minor, terms.currency,
        sealed_terms(ring, name, terms), at, payment.merchant, payment.rail.value, payment.run,
        payment.attempt,
    )  # fmt: skip
    if made := await fetch(connection, _INSERT, row):
        act = Act("record_payment", payment.actor, at, RULES)
        after = {"state": PaymentState.RECORDED.value, "subject": payment.subject}
        await record_system_act(connection, act, subject_of(name), before={}, after=after)
        return payment_row(made[0])
    known = await payment_of(connection, payment.subject)
    if known is None or known.fingerprint != stamp:
        raise Rejected(Code.KEY_REUSED, detail="this was to be paid on other terms")
    return known


async def mark_sent(
    connection: AsyncConnection, payment: int, message_id: str, at: datetime
) -> None:
    """Remember which file carries a payment and when it left; the first time counts.

    A bank's answer that was faster stays. Raises Rejected(REQUEST_DECIDED) for one of the door's.
    """
    row = await locked_payment(connection, payment)
    if row.rail is not Rail.FILE:
        raise Rejected(Code.REQUEST_DECIDED, detail="this payment leaves by the bank's door")
    if row.sent_at is not None:
        return
    await execute(connection, _SENT, (row.id, message_id, at))
    state = PaymentState.SENT if row.state is PaymentState.RECORDED else row.state
    after = {"state": state.value, "message": message_id}
    await audit_payment(connection, row, "send_payment", at, after)


async def payment_debited(
    connection: AsyncConnection, sheet: Sheet, payment_id: int, moved: Moved
) -> PaymentRow | None:
    """The bank booked the debit of a payment: it is PAID, in the book on the entry's day.

    The entry is booked as ``subject_of``, or the payment is paid out of suspense where it was
    received. Answers the row as it was; None where amount or currency differ, or it is decided
    already: that is another debit. The sheet has PLATFORM and the payment's merchant open, for
    suspense SETTLING too.
    """
    row = await locked_payment(connection, payment_id)
    booked = await _booked_at(connection, row, moved.entry)
    if booked is None or not row.state.open or row.amount != moved.amount:
        return None
    if moved.received:
        await _settle(connection, sheet, row, moved)
        return row
    await _decide(connection, row, PaymentState.PAID, Ending(moved.at))
    await purpose_of(row.subject).paid(sheet, row, booked, moved.at)
    return row


async def payment_settled(
    connection: AsyncConnection, sheet: Sheet, payment_id: int, settled: Moved
) -> None:
    """People say that a debit in suspense, or a part of it, is this payment: PAID.

    Raises Rejected(REQUEST_DECIDED). The sheet has SETTLING open and is not written yet.
    """
    row = await locked_payment(connection, payment_id)
    may_settle(row, row.currency)
    await _settle(connection, sheet, row, settled)


def may_settle(row: PaymentRow, currency: str) -> None:
    """Whether a debit may be this payment. Raises Rejected(AMOUNT_MISMATCH | REQUEST_DECIDED).

    A withdrawal's that the bank refused may be, for banks contradict themselves.
    """
    taken_back = row.state is PaymentState.REJECTED and row.merchant is not None
    if not row.state.open and not taken_back:
        raise Rejected(Code.REQUEST_DECIDED, detail=f"the payment is {row.state} already")
    if row.currency != currency:
        raise Rejected(Code.AMOUNT_MISMATCH, detail="the debit is of another currency")


async def payment_returned(
    connection: AsyncConnection, sheet: Sheet, payment_id: int, moved: Moved
) -> bool:
    """A paid payment came back: the money is with what it was paid for again (C-13).

    The entry is booked as ``returned_subject``. False where it was not paid, or amount or currency
    differ: then it is a receipt like any other. The sheet has PLATFORM open and is not written yet.
    """
    row = await locked_payment(connection, payment_id)
    booked = await _booked_at(connection, row, moved.entry)
    if booked is None or row.state is not PaymentState.PAID or row.amount != moved.amount:
        return False
    ending = Ending(moved.at, _code([moved.reason or ""]), received=moved.received)
    await _decide(connection, row, PaymentState.RETURNED, ending)
    await purpose_of(row.subject).returned(sheet, row, booked, ending)
    return True


async def apply_statuses(
    connection: AsyncConnection, statuses: Sequence[PaymentStatus], digest: str, at: datetime
) -> tuple[str, ...]:
    """Take what file ``digest`` says about payments of ours; answers the ids that changed.

    Everything said is recorded once, also what changes nothing any more. A refusal brings the money
    back and opens work.
    """
    names = {
        name
        for one in statuses
        for name in (one.end_to_end_id, one.instruction_id, one.payment_id, one.message_id)
    }
    named = await named_payments(connection, sorted(name for name in names if name))
    said = {one.id: said_about(one.end_to_end_id, one.message_id, statuses) for one in named}
    refused = [one for one in named if any(word.status == REJECTED for word in said[one.id])]
    sheet = await deciding_sheet(connection, refused)
    changed = []
    for row in await locked_payments(connection, sorted(i for i, words in said.items() if words)):
        await record_said(connection, row, said[row.id], digest, at)
        if await _follow(connection, sheet, row, said[row.id], at):
            changed.append(row.end_to_end_id)
        elif not row.state.open:
            await note_refused(connection, [row], at)
    await sheet.write()
    return tuple(changed)


async def deciding_sheet(
    connection: AsyncConnection, payments: Iterable[PaymentRow | Any]
) -> Sheet:
    """The locks under which payments are decided: PLATFORM and the merchants whose money it is."""
    rows = list(payments)
    return await Sheet.open(
        connection,
        merchants={(row.merchant, row.currency) for row in rows if row.merchant},
        platform=[(b, c) for c in sorted({row.currency for row in rows}) for b in PLATFORM],
    )


async def payment_refused(
    connection: AsyncConnection, sheet: Sheet, row: PaymentRow, ending: Ending
) -> None:
    """The bank proved that an open payment is not paid: REJECTED, and what follows from it.

    It is tried again where its reason allows it (S-44). ``row`` is locked; the sheet has PLATFORM
    and the payment's merchant open and is not written yet.
    """
    purpose = purpose_of(row.subject)
    if purpose.retries:
        first = (await fetch(connection, _FIRST, (row.run,)))[0].attempt
        due = retry_at(
            failure_class(ending.reason), row.attempt - first + 1, ending.at, _jitter(row)
        )
        ending = ending._replace(retry_at=due)
    await _decide(connection, row, PaymentState.REJECTED, ending)
    await purpose.refused(sheet, row, ending)
    await note_refused(connection, [replace(row, state=PaymentState.REJECTED)], ending.at)


async def note_overdue(
    connection: AsyncConnection, payment: int, at: datetime, profile: PrepaidProfile
) -> None:
    """Open work where the bank has been silent beyond the rail's deadline (C-12); one item."""
    row = await locked_payment(connection, payment)
    if is_overdue(row.state, row.waits_since, at, profile.payout_deadline(row.rail)):
        item = payment_item(ItemKind.PAYMENT_OVERDUE, row, row.state.value)
        await open_items(connection, [item], at=at)


async def _booked_at(connection: AsyncConnection, row: PaymentRow, entry: int) -> datetime | None:
    """Start of the entry's day; None where it moved another currency."""
    found = (await fetch(connection, _ENTRY, (entry,)))[0]
    return day_bounds(found.day)[0] if found.currency == row.currency else None


async def record_said(
    connection: AsyncConnection,
    row: PaymentRow,
    said: Sequence[PaymentStatus],
    source: str,
    at: datetime,
) -> None:
    """Keep what a bank said of a payment by ``source``, each saying once."""
    for one in said:
        reasons = json.dumps([_code([reason]) for reason in one.reasons])
        status = one.status if _REASON.fullmatch(one.status) else OTHER_REASON
        await execute(connection, _SAID, (row.id, source, status, reasons, at))


async def record_no(
    connection: AsyncConnection, row: PaymentRow, reason: str, source: str, at: datetime
) -> None:
    """Keep a no of ``OURS`` among what the bank said: what is asked later weighs both."""
    await execute(connection, _SAID, (row.id, source, REJECTED, json.dumps([reason]), at))


async def _follow(
    connection: AsyncConnection,
    sheet: Sheet,
    row: PaymentRow,
    said: Sequence[PaymentStatus],
    at: datetime,
) -> bool:
    state, reason = row.state, row.reason
    for one in said:
        state = after_status(state, one)
        if state is PaymentState.REJECTED and row.state.open:
            reason = _code(one.reasons)
            break
    if state is row.state:
        return False
    if state is PaymentState.REJECTED:
        await payment_refused(connection, sheet, row, Ending(at, reason))
    else:
        await _decide(connection, row, state, Ending(at, reason))
    return True


async def _decide(
    connection: AsyncConnection, row: PaymentRow, state: PaymentState, ending: Ending
) -> None:
    at, reason = ending.at, ending.reason
    failed = failure_class(reason).value if state is PaymentState.REJECTED else None
    decided = None if state.open else at
    decision = (row.id, state.value, reason, decided, failed, ending.retry_at)
    await execute(connection, _DECIDE, decision)
    after = {"state": state.value, "reason": reason}
    await audit_payment(connection, row, f"payment_{state.value.lower()}", at, after)
    if not state.open and not ending.at_desk:
        overdue, subjects = ItemKind.PAYMENT_OVERDUE, [subject_of(row.end_to_end_id)]
        await settle_items(connection, overdue, subjects, outcome=Outcome.RESOLVED, at=at)


async def _settle(
    connection: AsyncConnection, sheet: Sheet, row: PaymentRow, settled: Moved
) -> None:
    """The payment is PAID out of a debit in suspense."""
    await _decide(connection, row, PaymentState.PAID, Ending(settled.at))
    await execute(connection, _SETTLED_BY, (row.id, settled.entry))
    await purpose_of(row.subject).settled(sheet, row, settled.entry, settled.at)


async def audit_payment(
    connection: AsyncConnection,
    row: PaymentRow,
    action: str,
    at: datetime,
    after: Mapping[str, str | None],
) -> None:
    """Write down a change of a payment; ``after`` has the fields that changed."""
    before = {"state": row.state.value, "reason": row.reason, "message": row.message_id}
    act = Act(action, SYSTEM, at, RULES)
    now = {**before, **after}
    await record_system_act(
        connection, act, subject_of(row.end_to_end_id), before=before, after=now
    )


def _jitter(row: PaymentRow) -> int:
    """A number 0 … 1000 of the payment's own: its id is a keyed digest, so payments spread."""
    return int(row.end_to_end_id[1:9], 16) % 1001


def _code(reasons: Sequence[str]) -> str | None:
    """The first reason of a bank that is a code; no text of a bank is one of our reasons."""
    for reason in reasons:
        if reason:
            is_code = _REASON.fullmatch(reason) and reason not in OURS
            return reason if is_code else OTHER_REASON
    return None
