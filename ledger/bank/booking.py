"""Booking what a file told first: money into the book, receipts to requests, the rest to people.

Promises that an entry moves the book once, whichever files tell it and however often this runs,
and that a batch is one transaction: every entry in it is booked, or none. Merchants' money is
never taken for what a bank takes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import SYSTEM, Act
from ledger.bank.entries import (
    LUMP,
    Entry,
    Payers,
    detailed_entries,
    entries_left,
    entries_of,
    incoming_of,
    mark_booked,
    named_entries,
    part_digest,
    payers_of,
    take_entries,
)
from ledger.bank.ours import OurPayments
from ledger.bank.parts_back import PartsBack
from ledger.bank.reported import Reports, reports_of
from ledger.bank.reversals import (
    Suspense,
    TakenBack,
    close_receipts,
    debits_in_suspense,
    link_reported,
    taken_back,
)
from ledger.bank.shares import take_over
from ledger.engine import execute, fetch
from ledger.meant import Incoming, Requests, find_requests
from ledger.receiving import Credited, Receiver, receive
from ledger.sheet import Effect, Sheet
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Broken
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.workitem import ItemKind, Outcome

_BUCKETS: Final = (
    Bucket.BANK, Bucket.UNMATCHED_RECEIPTS, Bucket.UNMATCHED_PAYMENTS, Bucket.RETURNING_RECEIPTS,
)  # fmt: skip

_FILE: Final = "SELECT state FROM bank_files WHERE digest = $1 FOR NO KEY UPDATE"

_DONE: Final = "UPDATE bank_files SET state = 'BOOKED', booked_at = $2 WHERE digest = $1"

_Told = dict[int, list[Incoming]]
"""The receipts that each credit makes, by entry id."""


@dataclass(frozen=True, slots=True)
class Booker:
    """What entries are booked with."""

    receiver: Receiver


@dataclass(frozen=True, slots=True)
class Booked:
    """What one batch did. ``more``: call again. ``days`` are (account id, day)."""

    entries: int = 0
    more: bool = False
    credited: tuple[Credited, ...] = ()
    payments: tuple[str, ...] = ()
    days: tuple[tuple[int, date], ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """Which file tells it, and when it is booked."""

    digest: str
    at: datetime


async def book_entries(
    connection: AsyncConnection, booker: Booker, digest: str, *, limit: int, at: datetime
) -> Booked:
    """Book the next entries of a file that is read; the file is BOOKED when none is left.

    Expiry is judged by when the file came (P-31); only requests submitted before are meant.
    Raises Broken, and Unavailable where another file must be booked first.
    """
    state = await fetch(connection, _FILE, (digest,))
    if not state or state[0][0] not in ("READ", "BOOKED"):
        raise Broken("a bank's file is to be booked that is not read")
    if state[0][0] == "BOOKED":
        return Booked()
    entries = await take_entries(connection, digest, limit)
    detailed = [] if entries else await detailed_entries(connection, digest, limit)
    named = [] if entries or detailed else await named_entries(connection, digest, limit)
    every = [*entries, *detailed, *named]
    batch = await _Batch.open(connection, booker.receiver, every, _File(digest, at))
    await batch.book(entries)
    await batch.detail(detailed)
    moved = await batch.draw(named)
    await batch.write()
    more = bool(
        await entries_left(connection, digest)
        or await detailed_entries(connection, digest, 1)
        or ((moved or not named) and await named_entries(connection, digest, 1))
    )
    if not more:
        await execute(connection, _DONE, (digest, at))
    return Booked(
        entries=len(entries),
        more=more,
        credited=tuple(batch.credited),
        payments=tuple(batch.payments),
        days=tuple(sorted({(entry.account, entry.day) for entry in entries})),
    )


async def book_these(
    connection: AsyncConnection, receiver: Receiver, ids: Sequence[int], digest: str, at: datetime
) -> None:
    """Book entries of which people said what they are; ``digest`` is the file that told them."""
    entries = await entries_of(connection, ids)
    batch = await _Batch.open(connection, receiver, entries, _File(digest, at))
    await batch.book(entries)
    await batch.write()


class _Batch:
    """One transaction's entries with everything that they are decided by, under the locks."""

    def __init__(
        self, sheet: Sheet, receiver: Receiver, requests: Requests, told: _Told, file: _File
    ) -> None:
        self._digest, self._at = file.digest, file.at
        self._sheet = sheet
        self._connection = sheet.connection
        self._receiver = receiver
        self._requests = requests
        self._told = told
        self._items: list[NewItem] = []
        self._marks: list[tuple[int, str, int | None]] = []
        self._links: list[tuple[str, int]] = []
        self._reports = Reports()
        self.credited: list[Credited] = []
        self._ours = OurPayments(sheet, receiver, file.at)

    @classmethod
    async def open(
        cls,
        connection: AsyncConnection,
        receiver: Receiver,
        entries: Sequence[Entry],
        file: _File,
    ) -> _Batch:
        """Look for what the credits may pay, then lock it and the platform's accounts."""
        payers = Payers(receiver.ring)
        told = {entry.id: incoming_of(entry, payers) for entry in entries if entry.credit}
        asked = await find_requests(connection, [one for every in told.values() for one in every])
        currencies = sorted({entry.currency for entry in entries})
        platform = [(bucket, currency) for currency in currencies for bucket in _BUCKETS]
        merchants = asked.merchants | await payers_of(connection, entries)
        sheet = await Sheet.open(connection, merchants=merchants, platform=platform)
        requests = await Requests.read(connection, asked.ids)
        return cls(sheet, receiver, requests, told, file)

    @property
    def payments(self) -> Sequence[str]:
        """End-to-end ids of the payments of ours that changed."""
        return self._ours.names

    async def book(self, entries: Sequence[Entry]) -> None:
        """Book entries in their order; what is taken back may have come in this very batch."""
        self._reports = await self._look_up_reports(entries)
        for special, run in groupby(entries, key=_is_special):
            if special:
                for entry in run:
                    await self._special(entry)
            else:
                await self._run(list(run))

    async def detail(self, entries: Sequence[Entry]) -> None:
        """Parts of lumps become receipts instead; their money is booked already."""
        self._reports = await self._look_up_reports(entries, parts_only=True)
        plain = [entry for entry in entries if not await self._ours.returned_since(entry)]
        lumps = {part_digest(entry.id, LUMP): entry for entry in plain}
        act = self._act("detail_receipt")
        changed = await close_receipts(
            self._connection, self._receiver.accounts, list(lumps), ReceiptState.DETAILED, act
        )
        details = [lumps[digest] for digest in changed]
        await self._receive(
            [one for e in sorted(details, key=_id) for one in await self._untold(e)]
        )

    async def draw(self, entries: Sequence[Entry]) -> bool:
        """Debits in suspense, payments of ours as their details say by now, are no work.

        Answers whether any was: what nothing moves is not looked at again.
        """
        moved = False
        for entry in entries:
            left = await self._ours.drawn(entry)
            if left == entry.amount:
                continue
            kind, outcome = ItemKind.UNKNOWN_DEBIT, Outcome.RESOLVED
            subjects = [entry.subject]
            await settle_items(self._connection, kind, subjects, outcome=outcome, at=self._at)
            self._left(entry, left)
            moved = True
        await self._flush()
        return moved

    async def write(self) -> None:
        """Write what was decided."""
        await self._flush()
        await self._sheet.write()

    async def _run(self, entries: Sequence[Entry]) -> None:
        """Entries that take nothing back: few statements for all of them."""
        gains = [entry for entry in entries if entry.credit and entry.id not in self._reports.whole]
        taken = await debits_in_suspense(self._connection, gains, reversals_only=True)
        money: list[Incoming] = []
        for entry in entries:
            if not entry.credit:
                await self._debit(entry)
            elif entry.id in self._reports.whole:
                self._link(entry)
            elif entry.id in taken:
                await self._explain(entry, taken[entry.id])
            else:
                self._post(TransferKind.RECEIPT, entry)
                money += await self._untold(entry)
        await self._receive(money)

    async def _special(self, entry: Entry) -> None:
        if not entry.credit:
            await self._reversal(entry)
        elif entry.id in self._reports.whole:
            self._link(entry)
        else:
            await self._gain(entry)
        await self._flush()

    async def _gain(self, entry: Entry) -> None:
        """Money that comes back.

        A debit that nobody could explain goes first: what was paid stays paid while the bank took
        the same payment twice, so that it is not paid out again (C-12).
        """
        taken = await debits_in_suspense(self._connection, [entry], reversals_only=False)
        if entry.id in taken:
            await self._explain(entry, taken[entry.id])
        elif (subject := await self._ours.came_back(entry, self._digest)) is not None:
            self._mark(entry, subject)
        else:
            self._post(TransferKind.RECEIPT, entry)
            await self._receive(self._told[entry.id])

    def _link(self, entry: Entry) -> None:
        """Money that was reported is in the book (P-26).

        Where a merchant has what was no remittance at all, people decide (C-13).
        """
        known = self._reports.whole[entry.id]
        self._links.append((known.digest, entry.id))
        self._mark(entry, f"receipt/{known.digest}")
        if _is_special(entry) and known.state == ReceiptState.CREDITED:
            self._work(entry, ItemKind.CREDIT_REVERSED, known.digest)

    async def _debit(self, entry: Entry) -> None:
        """Money that left: a payment of ours, several in a batch, or nobody knows what (P-29)."""
        subject = await self._ours.debited(entry)
        if subject is not None:
            self._mark(entry, subject)
            return
        self._post(TransferKind.BANK_DEBIT, entry)
        self._left(entry, entry.amount if entry.payment else await self._ours.drawn(entry))

    def _left(self, entry: Entry, left: int) -> None:
        """What of a debit nobody can explain is work, in minor units."""
        if left:
            self._work(entry, ItemKind.UNKNOWN_DEBIT, None, left)

    async def _reversal(self, entry: Entry) -> None:
        """The bank takes money back: what is nobody's goes, what is a merchant's stays (C-13)."""
        back = await taken_back(self._connection, entry)
        if back is None:
            self._suspend(entry, ItemKind.UNKNOWN_DEBIT)
        elif back.credited:
            self._suspend(entry, ItemKind.CREDIT_REVERSED, back)
        else:
            self._post(TransferKind.RECEIPT_REVERSED, entry, reverses=back.entry)
            await close_receipts(
                self._connection, self._receiver.accounts, back.digests, ReceiptState.REVERSED,
                self._act("reverse_receipt"),
            )  # fmt: skip

    async def _explain(self, entry: Entry, debit: Suspense) -> None:
        """A credit that takes back a debit nobody could explain."""
        self._post(TransferKind.BANK_DEBIT_REVERSED, entry, reverses=debit.entry)
        subjects = [f"entry/{debit.entry}"]
        await settle_items(
            self._connection, debit.kind, subjects, outcome=Outcome.RESOLVED, at=self._at
        )

    def _suspend(self, entry: Entry, kind: ItemKind, back: TakenBack | None = None) -> None:
        self._post(TransferKind.BANK_DEBIT, entry, reverses=None if back is None else back.entry)
        self._work(entry, kind, None if back is None else back.digests[0])

    def _work(
        self, entry: Entry, kind: ItemKind, receipt: str | None, amount: int | None = None
    ) -> None:
        context: dict[str, str | int | None] = {
            "account": entry.account, "day": entry.day.isoformat(), "receipt": receipt,
        }  # fmt: skip
        amount = entry.amount if amount is None else amount
        item = NewItem(kind, entry.subject, "", amount, entry.currency, context)
        self._items.append(item)

    async def _receive(self, money: Sequence[Incoming]) -> None:
        back = await PartsBack.look(self._connection, money)
        self.credited += await receive(
            self._sheet, self._receiver, self._requests, back.money, at=self._at
        )
        await self._flush()
        await back.take(self._sheet, self._receiver, self._act("reverse_receipt"))

    async def _flush(self) -> None:
        """Write the rows of what was posted: what comes after may take it back."""
        await open_items(self._connection, self._items, at=self._at)
        await mark_booked(self._connection, self._marks)
        await link_reported(self._connection, self._links)
        for rows in (self._items, self._marks, self._links):
            rows.clear()

    async def _untold(self, entry: Entry) -> list[Incoming]:
        """The receipts of a booked entry but for the parts that reports stand for (P-26).

        What the reports booked is in the book with the entry now.
        """
        told = self._told[entry.id]
        for report, number in self._reports.shares.get(entry.id, ()):
            part = next(one for one in told if one.part == number)
            act = self._act("take_over_report")
            accounts = self._receiver.accounts
            was = await take_over(self._connection, accounts, report.digest, part, act)
            if was is None:
                continue
            subject = f"receipt/{report.digest}"
            self._sheet.post(
                TransferKind.RECEIPT_REVERSED, None, currency=report.currency,
                amount=report.amount,
                effect=Effect(f"{subject}/told", subject, report.booked_at),
            )  # fmt: skip
            if was is not ReceiptState.UNMATCHED:
                told = [one for one in told if one is not part]
        return told

    async def _look_up_reports(
        self, entries: Sequence[Entry], *, parts_only: bool = False
    ) -> Reports:
        ring = self._receiver.ring
        return await reports_of(self._connection, ring, entries, parts_only=parts_only)

    def _post(self, kind: TransferKind, entry: Entry, *, reverses: int | None = None) -> None:
        effect = Effect(f"{entry.subject}/booked", entry.subject, entry.at)
        self._sheet.post(kind, None, currency=entry.currency, amount=entry.amount, effect=effect)
        self._mark(entry, entry.subject, reverses)

    def _mark(self, entry: Entry, subject: str, reverses: int | None = None) -> None:
        self._marks.append((entry.id, subject, reverses))

    def _act(self, action: str) -> Act:
        return Act(action, SYSTEM, self._at, self._receiver.profile.name)


def _is_special(entry: Entry) -> bool:
    """Whether it takes back what another entry did, perhaps one of the same batch."""
    return entry.reversal or (entry.credit and entry.payment is not None)


def _id(entry: Entry) -> int:
    return entry.id
