"""Attempts at the bank's door: marked before they leave, answered after, followed by the next one.

Promises that a payment is sent at most once for life, that what nobody answered stays UNCLEAR until
the bank or people prove what became of it (C-12), and that a new attempt is recorded only after a
proven no, once (design §4).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import withdrawal_rows
from ledger.audit import Act, Audit
from ledger.engine import execute
from ledger.named import DESK, files_to_come, is_contradicted, note_refused, was_had
from ledger.payment_rows import PaymentRow, locked_payment, opened_terms, payment_of, read_payment
from ledger.payments import (
    NewPayment,
    apply_statuses,
    audit_payment,
    deciding_sheet,
    payment_refused,
    record_no,
    record_payment,
)
from ledger.purposes import Ending, Withdrawal, payment_item, purpose_of
from ledger.reserves import blocks_of
from ledger.withdrawal_rows import WithdrawalRow
from ledger.workitems import open_items
from tillkeeper.contracts.bank import PaymentStatus
from tillkeeper.contracts.errors import Code, Rejected, Unavailable
from tillkeeper.contracts.payment import PaymentState, Rail
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.contracts.workitem import ItemKind
from tillkeeper.rules.payments import RULES
from tillkeeper.rules.payouts import NOT_FOUND, NOT_PAID, is_proven_absent, next_rail
from tillkeeper.sealing import KeyRing

SEVERAL: Final = "SEVERAL"
"""Why a person looks at a payment of which the bank has more than one."""

_SENDING: Final = "UPDATE payments SET sending_at = $2, state = 'UNCLEAR' WHERE id = $1"

_LEFT: Final = """
UPDATE payments SET sent_at = coalesce(sent_at, $2) WHERE end_to_end_id = $1"""

_SILENT: Final = """
UPDATE payments SET sending_at = $2 WHERE end_to_end_id = $1 AND state = 'UNCLEAR'"""

_ASKED: Final = """
UPDATE payments SET asked_at = $2, asked = asked + 1
 WHERE end_to_end_id = $1 AND asked_at IS DISTINCT FROM $2"""

_NO_RETRY: Final = "UPDATE payments SET retry_at = NULL WHERE id = $1"


async def mark_sending(
    connection: AsyncConnection, row: PaymentRow, at: datetime, gone_by: datetime
) -> bool:
    """Mark that a payment leaves by the door now; False where it must not be sent.

    Only a RECORDED one that was never marked is; from now on it is UNCLEAR until it is answered.
    Should nobody live to tell how the call ended, the bank's delay runs from ``gone_by``, when it
    has ended at the latest (E-09).
    """
    if await stop_if_paid(connection, row, at):
        return False
    row = await locked_payment(connection, row.id)
    if row.rail is not Rail.HTTP:
        raise Rejected(Code.REQUEST_DECIDED, detail="this payment leaves by a file")
    if row.state is not PaymentState.RECORDED or row.sending_at is not None:
        return False
    await execute(connection, _SENDING, (row.id, gone_by))
    await audit_payment(connection, row, "send_payment", at, {"state": PaymentState.UNCLEAR.value})
    return True


async def stop_if_paid(connection: AsyncConnection, row: PaymentRow, at: datetime) -> bool:
    """Whether an attempt that nobody has marked must not leave: an earlier one was paid after all.

    It is refused then, and a person chooses. ``row`` may be older than the lock that is taken here.
    """
    if row.attempt == 1 or row.state is not PaymentState.RECORDED:
        return False
    sheet = await deciding_sheet(connection, [row])
    row = await locked_payment(connection, row.id)
    marked = row.sending_at is not None or row.sent_at is not None
    if marked or row.state is not PaymentState.RECORDED:
        return False
    if not await is_contradicted(connection, row):
        return False
    await payment_refused(connection, sheet, row, Ending(at, NOT_PAID))
    await sheet.write()
    return True


async def record_answer(
    connection: AsyncConnection, name: str, said: Sequence[PaymentStatus], source: str, at: datetime
) -> None:
    """Take what the bank's door said, like a file's word; ``source`` names the answer's body."""
    await apply_statuses(connection, said, source, at)
    await execute(connection, _LEFT, (name, at))


async def record_silence(connection: AsyncConnection, name: str, at: datetime) -> None:
    """The call ended ``at`` without a word: from then on the bank's stated delay runs (E-09).

    The payment may have reached the bank with the call's last moment.
    """
    await execute(connection, _SILENT, (name, at))


async def record_question(connection: AsyncConnection, name: str, at: datetime) -> None:
    """Remember that the bank was asked ``at``; the same question again counts once."""
    await execute(connection, _ASKED, (name, at))


async def record_absence(
    connection: AsyncConnection, name: str, source: str, at: datetime, visibility: timedelta
) -> None:
    """The bank knows no such payment: a no, once its stated delay is over and it is UNCLEAR (E-09).

    Of what it has ever had, by its own word or its accounts' lines, "not found" says nothing: a
    person is told when it is overdue.
    """
    row = await read_payment(connection, name)
    sheet = await deciding_sheet(connection, [row])
    row = await locked_payment(connection, row.id)
    if row.state is not PaymentState.UNCLEAR or row.sending_at is None:
        return
    if await was_had(connection, row):
        return
    if is_proven_absent(row.sending_at, at, visibility):
        await record_no(connection, row, NOT_FOUND, source, at)
        await payment_refused(connection, sheet, row, Ending(at, NOT_FOUND))
        await sheet.write()


async def record_proof(
    connection: AsyncConnection, row: PaymentRow, item: str, at: datetime
) -> None:
    """Keep the proof that people hold as the bank's no, after all that it has said until then.

    What it says afterwards contradicts them, whatever the clocks say. ``row`` is locked, ``item``
    names where they decided it: each proof counts once.
    """
    source = f"{DESK}{item}/{row.end_to_end_id}"
    await record_no(connection, row, NOT_PAID, source, at)


async def record_several(connection: AsyncConnection, name: str, at: datetime) -> None:
    """The bank has several payments of one id: a person's to clear up, and never a no (C-12)."""
    row = await read_payment(connection, name)
    if row.state.open:
        item = payment_item(ItemKind.PAYMENT_OVERDUE, row, SEVERAL)
        await open_items(connection, [item], at=at)


async def next_attempt(
    connection: AsyncConnection, ring: KeyRing, name: str, rails: Sequence[Rail], at: datetime
) -> str:
    """After a no that may be tried again: the next attempt's id; again, the same one.

    Answers ``name`` itself where it is not to be tried again, the bank has booked it in spite of
    its no, or dues or the account's state forbid to pay (P-45): then a person decides. Raises
    Unavailable while a file that came before is to be read.
    """
    row = await read_payment(connection, name)
    purpose = purpose_of(row.subject)
    sheet = await deciding_sheet(connection, [row])
    row = await locked_payment(connection, row.id)
    if not isinstance(purpose, Withdrawal):
        return name
    waiting = await withdrawal_rows.locked(connection, purpose.merchant, purpose.request)
    known = await payment_of(connection, waiting.attempt(row.attempt + 1))
    if known is not None:
        return known.end_to_end_id
    if row.state is not PaymentState.REJECTED or row.retry_at is None:
        return name
    if await files_to_come(connection, before=at):
        raise Unavailable("a payment is paid again once the files that came before are read")
    contradicted, blocks = await is_contradicted(connection, row), blocks_of(sheet, waiting)
    if contradicted or blocks:
        await execute(connection, _NO_RETRY, (row.id,))
        reason = row.reason if contradicted else blocks[0].value
        await purpose.fail(connection, row, Ending(at, reason))
        await note_refused(connection, [row], at)
        return name
    waiting = await purpose.locked(connection, row, WithdrawalState.REMITTING)
    payment = NewPayment(
        waiting.attempt(row.attempt + 1), opened_terms(ring, row), merchant=row.merchant,
        rail=next_rail(rails, row.rail, row.failure), run=row.run, attempt=row.attempt + 1,
    )  # fmt: skip
    act = Act("retry_withdrawal", payment.actor, at, RULES)
    return await pay_by(connection, ring, waiting, payment, act)


async def pay_by(
    connection: AsyncConnection,
    ring: KeyRing,
    waiting: WithdrawalRow,
    payment: NewPayment,
    act: Act,
    **changes: object,
) -> str:
    """Record an attempt as the one that its withdrawal is paid by; its end-to-end id.

    The merchant's account and the withdrawal are locked.
    """
    made = await record_payment(connection, ring, payment, act.at)
    await withdrawal_rows.change(
        connection, waiting, act, Audit(ring), state=WithdrawalState.REMITTING,
        payment=made.id, attempts=payment.attempt, **changes,
    )  # fmt: skip
    return made.end_to_end_id
