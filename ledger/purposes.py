"""What a payment is for, and what its end does there: a receipt's return, or a withdrawal.

Promises that whoever waits for a payment learns its end in the transaction that decides it. The
payment's own row is ``ledger.payments``'; a merchant's money moves only where the sheet holds the
merchant's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import withdrawal_rows
from ledger.audit import SYSTEM, Act, record_system_act
from ledger.engine import fetch
from ledger.notices import record_system_notice, withdrawal_notice
from ledger.payment_rows import PaymentRow
from ledger.reserves import owner_of
from ledger.sheet import Effect, Sheet
from ledger.withdrawal_rows import WithdrawalRow
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.withdrawal import WithdrawalState, withdrawal_of
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.rules.payments import RULES

PLATFORM: Final = (Bucket.BANK, Bucket.RETURNING_RECEIPTS, Bucket.UNMATCHED_RECEIPTS)
"""What a sheet must have open, in the payment's currency, before a payment is decided on it."""

SETTLING: Final = (Bucket.RETURNING_RECEIPTS, Bucket.UNMATCHED_PAYMENTS, Bucket.BANK_CHARGES)
"""The same where people settle a payment with a debit that stands in suspense."""

_RECEIPT: Final = """
UPDATE receipts SET state = $2 WHERE digest = $1 AND state = $3 RETURNING digest, reason"""


class Ending(NamedTuple):
    """How a payment ended: the bank's code, and when we learned it.

    ``retry_at`` is set where a refused payment is tried again. What people
    decide ``at_desk`` is closed there. What came back was ``received`` where it is in the book as
    a receipt already.
    """

    at: datetime
    reason: str | None = None
    retry_at: datetime | None = None
    at_desk: bool = False
    received: bool = False


class Purpose(Protocol):
    """What waits for a payment; ``row`` is the payment as it stood, under its lock."""

    @property
    def retries(self) -> bool:
        """Whether a payment that the bank refused may be tried again by itself."""
        ...

    async def paid(self, sheet: Sheet, row: PaymentRow, booked: datetime, at: datetime) -> None:
        """The bank booked its debit at ``booked``, the start of the entry's day."""
        ...

    async def settled(self, sheet: Sheet, row: PaymentRow, entry: int, at: datetime) -> None:
        """People say that the debit ``entry``, which stands in suspense, is this payment."""
        ...

    async def refused(self, sheet: Sheet, row: PaymentRow, ending: Ending) -> None:
        """The bank proved that it is not paid (C-12)."""
        ...

    async def returned(
        self, sheet: Sheet, row: PaymentRow, booked: datetime, ending: Ending
    ) -> None:
        """It was paid and came back (C-13)."""
        ...


def purpose_of(subject: str) -> Purpose:
    """What the payment with this subject is for. Raises Broken for a kind unknown here."""
    what, _, rest = subject.partition("/")
    if what == "receipt":
        return ReceiptReturn(rest.partition("/")[0])
    found = withdrawal_of(subject)
    if found is None:
        raise Broken("a payment of a kind that is not known here")
    return Withdrawal(*found)


def subject_of(name: str) -> str:
    """How transfers, entries, items and audit rows name the payment with that end-to-end id."""
    return f"payment/{name}"


def returned_subject(name: str) -> str:
    """How the transfer and the entry are named by which a payment came back."""
    return f"payment/{name}/returned"


def payment_item(kind: ItemKind, row: PaymentRow, reason: str | None) -> NewItem:
    """Work about a payment."""
    subject = subject_of(row.end_to_end_id)
    context = {"subject": row.subject}
    return NewItem(kind, subject, reason or "", row.amount, row.currency, context)


@dataclass(frozen=True, slots=True)
class ReceiptReturn:
    """A receipt that is paid back; nobody's money until it has left."""

    digest: str

    @property
    def retries(self) -> bool:
        """People decide anew whether and whom it is paid back to."""
        return False

    async def paid(self, sheet: Sheet, row: PaymentRow, booked: datetime, at: datetime) -> None:
        """The receipt is returned."""
        subject = subject_of(row.end_to_end_id)
        effect = Effect(f"{subject}/paid", subject, booked)
        _post(sheet, row, TransferKind.RECEIPT_RETURN_PAID, effect)
        await self._becomes(sheet.connection, row, ReceiptState.RETURNED, at)

    async def settled(self, sheet: Sheet, row: PaymentRow, entry: int, at: datetime) -> None:
        """The receipt is returned, by the debit."""
        effect = Effect(f"{subject_of(row.end_to_end_id)}/settled", f"entry/{entry}", at)
        _post(sheet, row, TransferKind.RETURN_SETTLED, effect)
        await self._becomes(sheet.connection, row, ReceiptState.RETURNED, at)

    async def refused(self, sheet: Sheet, row: PaymentRow, ending: Ending) -> None:
        """The receipt is unmatched money again, and both are work."""
        subject = subject_of(row.end_to_end_id)
        effect = Effect(f"{subject}/rejected", subject, ending.at)
        _post(sheet, row, TransferKind.RECEIPT_RETURN_FAILED, effect)
        item = payment_item(ItemKind.PAYMENT_REJECTED, row, ending.reason)
        await open_items(sheet.connection, [item], at=ending.at)
        await self._unmatched_again(sheet.connection, row, ending.at)

    async def returned(
        self, sheet: Sheet, row: PaymentRow, booked: datetime, ending: Ending
    ) -> None:
        """The receipt is unmatched money again."""
        subject = returned_subject(row.end_to_end_id)
        _post(sheet, row, TransferKind.RECEIPT, Effect(subject, subject, booked))
        await self._unmatched_again(sheet.connection, row, ending.at)

    async def _unmatched_again(
        self, connection: AsyncConnection, row: PaymentRow, at: datetime
    ) -> None:
        reason = await self._becomes(connection, row, ReceiptState.UNMATCHED, at)
        item = NewItem(
            ItemKind.UNMATCHED_RECEIPT, f"receipt/{self.digest}", reason, row.amount, row.currency,
            {"payment": row.end_to_end_id},
        )  # fmt: skip
        await open_items(connection, [item], at=at)

    async def _becomes(
        self, connection: AsyncConnection, row: PaymentRow, state: ReceiptState, at: datetime
    ) -> str:
        """Change the receipt; answers why it was unmatched."""
        was = ReceiptState.RETURNED if row.state is PaymentState.PAID else ReceiptState.RETURNING
        found = await fetch(connection, _RECEIPT, (self.digest, state.value, was.value))
        if not found:
            raise Broken("a payment was decided whose receipt was not to be returned")
        act = Act("return_receipt", SYSTEM, at, RULES)
        before, after = {"state": was.value}, {"state": state.value, "payment": row.end_to_end_id}
        await record_system_act(
            connection, act, f"receipt/{self.digest}", before=before, after=after
        )
        return str(found[0].reason or "")


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A merchant's withdrawal: its money is reserved until it is paid or given back (T8, T9)."""

    merchant: str
    request: str

    @property
    def retries(self) -> bool:
        """It was approved: the same payee is paid the same amount."""
        return True

    async def paid(self, sheet: Sheet, row: PaymentRow, booked: datetime, at: datetime) -> None:
        """The withdrawal is paid (T8)."""
        waiting = await self.locked(sheet.connection, row, WithdrawalState.REMITTING)
        effect = Effect(f"{waiting.subject}/paid", subject_of(row.end_to_end_id), booked)
        _pay(sheet, waiting, TransferKind.WITHDRAWAL_PAID, effect)
        await _note(
            sheet.connection, waiting, "paid", at,
            state=WithdrawalState.PAID, failure=None, ended_at=at,
        )  # fmt: skip

    async def settled(self, sheet: Sheet, row: PaymentRow, entry: int, at: datetime) -> None:
        """The withdrawal is paid, by the debit (T8); an earlier attempt's once none is open."""
        connection = sheet.connection
        waiting = await withdrawal_rows.locked(connection, self.merchant, self.request)
        failed = waiting.state is WithdrawalState.FAILED_MANUAL
        last = waiting.state is WithdrawalState.REMITTING and waiting.payment == row.id
        if not failed and not last:
            raise Rejected(Code.REQUEST_DECIDED, detail="its withdrawal has gone another way")
        effect = Effect(f"{waiting.subject}/settled", f"entry/{entry}", at)
        _pay(sheet, waiting, TransferKind.WITHDRAWAL_SETTLED, effect)
        await _note(
            connection, waiting, "paid", at,
            state=WithdrawalState.PAID, failure=None, payment=row.id, ended_at=at,
        )  # fmt: skip
        await settle_items(
            connection, ItemKind.WITHDRAWAL_FAILED, [waiting.subject],
            outcome=Outcome.RESOLVED, at=at,
        )  # fmt: skip

    async def refused(self, sheet: Sheet, row: PaymentRow, ending: Ending) -> None:
        """Nothing moves: it is tried again, or a person chooses (P-71)."""
        if ending.retry_at is None:
            await self.fail(sheet.connection, row, ending)

    async def fail(self, connection: AsyncConnection, row: PaymentRow, ending: Ending) -> None:
        """The money stays reserved, and a person chooses what becomes of it (P-71)."""
        waiting = await self.locked(connection, row, WithdrawalState.REMITTING)
        await _note(
            connection, waiting, "failed", ending.at,
            state=WithdrawalState.FAILED_MANUAL, failure=ending.reason,
        )  # fmt: skip
        item = NewItem(
            ItemKind.WITHDRAWAL_FAILED, waiting.subject, ending.reason or "", row.amount,
            row.currency, {"payment": row.end_to_end_id, "attempt": row.attempt},
        )  # fmt: skip
        await open_items(connection, [item], at=ending.at)

    async def returned(
        self, sheet: Sheet, row: PaymentRow, booked: datetime, ending: Ending
    ) -> None:
        """The money is available again, dues first (P-46, C-13)."""
        waiting = await self.locked(sheet.connection, row, WithdrawalState.PAID)
        subject = returned_subject(row.end_to_end_id)
        kind = TransferKind.WITHDRAWAL_SENT_BACK
        if ending.received:
            kind = TransferKind.RECEIPT_SENT_BACK
        await sheet.credit(
            kind, owner_of(sheet, waiting), amount=row.amount,
            effect=Effect(subject, subject, booked),
        )  # fmt: skip
        await _note(
            sheet.connection, waiting, "returned", ending.at,
            state=WithdrawalState.RETURNED, failure=ending.reason, ended_at=ending.at,
        )  # fmt: skip

    async def locked(
        self, connection: AsyncConnection, row: PaymentRow, state: WithdrawalState
    ) -> WithdrawalRow:
        """The withdrawal in ``state`` whose last attempt is this payment. Raises Broken."""
        found = await withdrawal_rows.locked(connection, self.merchant, self.request)
        if found.state is not state or found.payment != row.id:
            raise Broken("a payment was decided whose withdrawal did not wait for it")
        return found


def _post(sheet: Sheet, row: PaymentRow, kind: TransferKind, effect: Effect) -> None:
    sheet.post(kind, None, currency=row.currency, amount=row.amount, effect=effect)


def _pay(sheet: Sheet, row: WithdrawalRow, kind: TransferKind, effect: Effect) -> None:
    owner = owner_of(sheet, row)
    sheet.post(kind, owner, currency=row.currency, amount=row.amount, effect=effect)


async def _note(
    connection: AsyncConnection, row: WithdrawalRow, event: str, at: datetime, **changes: Any
) -> None:
    """Change a withdrawal that the bank's word has decided, and have its merchant told."""
    act = Act(f"withdrawal_{event}", SYSTEM, at, RULES)
    await withdrawal_rows.change(connection, row, act, **changes)
    await record_system_notice(connection, withdrawal_notice(row, event), at)
