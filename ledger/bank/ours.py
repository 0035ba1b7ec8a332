"""Payments of ours that a batch's entries move: debited, drawn from suspense, come back (C-13).

Promises that each payment is paid once and returned once, in whichever order entries and their
details are told (C-09), and that ``bank`` is touched once for each entry, by whoever books it.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from ledger.accounts import AccountRows
from ledger.audit import SYSTEM, Act
from ledger.bank.early import EarlyReturn, debit_to_come, early_return, lump_return
from ledger.bank.entries import Entry, OurPayment, Part
from ledger.bank.reversals import close_receipts
from ledger.bank.rows import open_said
from ledger.payment_rows import PaymentRow, opened_terms
from ledger.payments import Moved, payment_debited, payment_returned
from ledger.purposes import payment_item, returned_subject, subject_of
from ledger.receiving import Receiver
from ledger.sheet import Sheet
from ledger.workitems import open_items
from tillkeeper.contracts.errors import Broken, Rejected, Unavailable
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.workitem import ItemKind
from tillkeeper.rules.names import compact_number


class OurPayments:
    """One batch's, on its sheet; ``names`` are the end-to-end ids of those that changed."""

    def __init__(self, sheet: Sheet, receiver: Receiver, at: datetime) -> None:
        self._sheet, self._at = sheet, at
        self._connection = sheet.connection
        self._accounts: AccountRows = receiver.accounts
        self._ring = receiver.ring
        self._act = Act("send_receipt_back", SYSTEM, at, receiver.profile.name)
        self.names: list[str] = []

    async def debited(self, entry: Entry) -> str | None:
        """The subject that the debit is booked as, which names a payment of ours; else None."""
        ours = entry.payment
        moved = Moved(entry.id, entry.amount, self._at)
        if ours is None or not await self._paid(entry, ours, moved):
            return None
        return subject_of(ours.end_to_end_id)

    async def drawn(self, entry: Entry) -> int:
        """Pay what a debit in suspense names out of it; what is left there, in minor units (C-09).

        A batch's parts are payments each; what none of them is stays.
        """
        left = entry.amount
        for ours, amount in entry.drawn:
            moved = Moved(entry.id, amount, self._at, received=True)
            if await self._paid(entry, ours, moved):
                left -= amount
        return left

    async def came_back(self, entry: Entry, digest: str) -> str | None:
        """The subject that a credit is booked as which brings back a payment; else None (C-13).

        Raises Unavailable while another file than ``digest`` may tell the debit before it.
        """
        ours = entry.payment
        if ours is None:
            return None
        moved = Moved(entry.id, entry.amount, self._at, ours.reason)
        if not await payment_returned(self._connection, self._sheet, ours.id, moved):
            if await debit_to_come(self._connection, ours, digest):
                raise Unavailable("a return waits for the file that may tell its debit")
            return None
        self.names.append(ours.end_to_end_id)
        return returned_subject(ours.end_to_end_id)

    async def returned_since(self, entry: Entry) -> bool:
        """Whether details say that a bare credit brings back a payment of ours (C-09, C-13)."""
        lump = await lump_return(self._connection, entry, self._at)
        return entry.payment is not None and await self._sent_back(entry.payment, lump)

    async def _paid(self, entry: Entry, ours: OurPayment, moved: Moved) -> bool:
        row = await payment_debited(self._connection, self._sheet, ours.id, moved)
        if row is None:
            return False
        self.names.append(ours.end_to_end_id)
        await self._watch_payee(entry, row)
        # What came back before this debit was told is no receipt but that payment.
        await self._sent_back(ours, await early_return(self._connection, ours, self._at))
        return True

    async def _watch_payee(self, entry: Entry, row: PaymentRow) -> None:
        """The bank's debit pays, whomever it says that it paid; another account is people's work.

        A national number within an IBAN is the same account.
        """
        part = next(one for one in entry.parts if one.payment == row.id)
        if not self._same_account(part, row):
            item = payment_item(ItemKind.PAYEE_DIFFERS, row, None)
            await open_items(self._connection, [item], at=self._at)

    def _same_account(self, part: Part, row: PaymentRow) -> bool:
        """Whether it paid whom it was to pay; what cannot be opened holds no file back."""
        try:
            said = open_said(self._ring, part.entry, part.part, part.said_sealed).creditor_account
            mine = compact_number(opened_terms(self._ring, row).creditor.account).upper()
        except (Rejected, Broken, ValidationError):
            return False
        told = compact_number(said or "").upper()
        return not told or mine.endswith(told) or told.endswith(mine)

    async def _sent_back(self, ours: OurPayment, early: EarlyReturn | None) -> bool:
        if early is None or not await payment_returned(
            self._connection, self._sheet, ours.id, early.moved
        ):
            return False
        self.names.append(ours.end_to_end_id)
        digests = [early.digest]
        state = ReceiptState.SENT_BACK
        await close_receipts(self._connection, self._accounts, digests, state, self._act)
        return True
