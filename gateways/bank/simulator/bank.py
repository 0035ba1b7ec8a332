"""The simulated bank: what its doors ask for, each one transaction of its book.

A message to the customer is recorded with what it tells and given out afterwards, so that a kill
between the two loses neither, and what is listed equals what the files said.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from sqlite3 import Row
from typing import Final

from gateways.bank.simulator import messages
from gateways.bank.simulator.book import Book
from gateways.bank.simulator.faults import Faults
from gateways.bank.simulator.messages import Stated, Told
from gateways.bank.simulator.models import (
    Charge,
    Clock,
    Counterparty,
    Deposit,
    Fault,
    Movement,
    PaymentState,
    Refused,
    fingerprint,
)
from gateways.bank.simulator.pain001 import Instruction, PaymentFile, read_payment_file
from gateways.bank.simulator.payments import Payments, Sent
from tillkeeper.rules.days import day_bounds, day_of

NOTICE_MAX: Final = 1_000
"""Movements told in one camt.054."""

_MUTE: Final = (Fault.CUT, Fault.ERROR, Fault.SILENCE)
_STATUS: Final = {
    PaymentState.ACCEPTED.value: "ACCP",
    PaymentState.SETTLED.value: "ACSC",
    PaymentState.REJECTED.value: "RJCT",
    PaymentState.RETURNED.value: "ACSC",
}


class FileLeft(Exception):  # noqa: N818 - not an error: the bank does not work now
    """The file is not taken now; nothing of it was."""


class Bank:
    """One bank over one book; ``sends`` says whether messages are recorded to be given out."""

    def __init__(self, book: Book, *, sends: bool) -> None:
        self.book, self.store = book, book.store
        self.faults = Faults(self.store)
        self.payments = Payments(book, self.faults)
        self._sends = sends

    def deposit(self, deposits: Sequence[Deposit]) -> tuple[list[str], int]:
        """Book incoming wires, all or none; their references, and how many are new."""
        with self.store.transaction():
            booked = [self.book.post(self._wire(one), fingerprint(one)) for one in deposits]
            self.notify()
        return [reference for reference, _ in booked], sum(new for _, new in booked)

    def charge(self, charge: Charge) -> str:
        """Take money that nobody instructed; the bank's reference."""
        movement = Movement(
            key=f"charge/{charge.key}",
            account=charge.account,
            currency=charge.currency,
            side="debit",
            amount_minor=charge.amount_minor,
            counterparty_name="",
            counterparty_account="",
            remittance=charge.text,
            day=self.book.day,
        )
        with self.store.transaction():
            return self.book.post(movement, fingerprint(charge))[0]

    def reverse(self, reference: str) -> str:
        """Undo a movement once; the reference of the reversal. Raises Refused(404 | 422)."""
        with self.store.transaction():
            undone = self.book.by_reference(reference)
            if undone is None or undone.reversal:
                raise Refused(404, "NOT_FOUND", "no such movement that could be reversed")
            name = f"reversal/{reference}"
            side = "debit" if undone.side == "credit" else "credit"
            changed = {"key": name, "side": side, "reversal": True, "day": self.book.day}
            return self.book.post(undone.model_copy(update=changed), name)[0]

    def know(self, other: Counterparty) -> None:
        """Remember an account elsewhere, for payments that go there."""
        with self.store.transaction():
            self.store.run(
                "INSERT OR REPLACE INTO counterparties (number, name, closed) VALUES (?, ?, ?)",
                *(other.account, other.name, int(other.closed)),
            )

    def take_file(self, body: bytes) -> None:
        """Take a payment file and answer it by a pain.002; the same again pays nothing again.

        Raises Refused(FF01) for what is no payment file, FileLeft.
        """
        found = read_payment_file(body)
        with self.store.transaction():
            told, twice = self._submit_all(found)
            for _ in range(2 if twice else 1):
                if told or found.problem:
                    self._tell(found, told)

    def notify(self) -> None:
        """Record camt.054 messages about all movements that none has told yet."""
        with self.store.transaction():
            while True:
                mark = int(self.store.fact("notified") or 0)
                moved = self.book.movements(after=mark, limit=NOTICE_MAX)
                if not moved:
                    return
                self._record_notice([movement for _, movement in moved])
                self.store.keep("notified", str(moved[-1][0]))

    def close_day(self) -> date:
        """Close the day with a statement of every account and begin the next one, which it tells.

        What is due on the next day is booked, rejected or returned at its beginning.
        """
        with self.store.transaction():
            self.notify()
            day = self.book.day
            for account in self.book.accounts():
                self._state(account, day)
            next_day = day + timedelta(days=1)
            self.book.begin_day(next_day)
            self.book.advance(day_bounds(next_day)[0])
            self._tell_later(self.payments.settle_due(next_day))
            self.payments.return_due(next_day)
            self.notify()
        return next_day

    def advance(self, clock: Clock) -> None:
        """Put the clock forward, closing every day that it passes."""
        with self.store.transaction():
            wanted = self.book.now() + timedelta(seconds=clock.seconds)
            self.book.advance(max(wanted, clock.to) if clock.to else wanted)
            self.close_past_days()

    def close_past_days(self) -> None:
        """Close the days that the clock has left behind."""
        while self.book.day < day_of(self.book.now()):
            self.close_day()

    def statement(self, account: Row, day: date, kind: str) -> bytes:
        """The camt.053 of a closed day, or a camt.054 of what moved on any day.

        Raises Refused(404 | 409).
        """
        moved = self.book.movements_of(account["number"], account["currency"], day)
        if kind == "camt.054":
            if not moved:
                raise Refused(404, "NOT_FOUND", "nothing moved on that day")
            at = self.book.now()
            return messages.notification(self._message_id("Q"), at, [(account, moved)])
        row = self._stated(account, day)
        if row is None:
            raise Refused(409, "DAY_OPEN", "there is a statement when the day is closed")
        stated = Stated(row["sequence"], day, row["opening"], row["closing"])
        return self._statement(account, stated, moved)

    def _stated(self, account: Row, day: date) -> Row | None:
        return self.store.row(
            "SELECT * FROM statements WHERE number = ? AND currency = ? AND day = ?",
            *(account["number"], account["currency"], day.isoformat()),
        )

    def _wire(self, deposit: Deposit) -> Movement:
        return Movement(
            key=f"deposit/{deposit.key}",
            account=deposit.account,
            currency=deposit.currency,
            side="credit",
            amount_minor=deposit.amount_minor,
            counterparty_name=deposit.payer_name,
            counterparty_account=deposit.payer_account,
            counterparty_kind=deposit.payer_kind,
            end_to_end_id=deposit.end_to_end_id,
            remittance=deposit.remittance,
            day=self.book.day,
        )

    def _submit_all(self, file: PaymentFile) -> tuple[list[Told], bool]:
        told, twice = [], False
        for number, one in enumerate(file.instructions):
            if file.problem or one.order is None:
                told.append(_rejected(one, file.problem or "FF01"))
                continue
            sent = Sent(file.message_id, one.payment_id, one.instruction_id, odd=number % 2 == 0)
            try:
                submission = self.payments.submit(one.order, sent=sent)
            except Refused:
                told.append(_rejected(one, "DU04"))
                continue
            if submission.payment is None:
                raise FileLeft
            twice = twice or Fault.DUPLICATE_STATUS in submission.faults
            row = self.payments.row(submission.payment)
            mute = any(fault in submission.faults for fault in _MUTE)
            # Nothing but this message ever tells of a no: a file cannot be asked about.
            if not mute or row["state"] == PaymentState.REJECTED:
                told.append(_told(one, row))
        return told, twice

    def _tell(self, file: PaymentFile, told: Sequence[Told]) -> None:
        original = (file.message_id, file.message_name)
        body = messages.status(
            self._message_id("P"), self.book.now(), original, told, file.problem or ""
        )
        self._record("pain.002", body)

    def _tell_later(self, payments: Sequence[int]) -> None:
        """What became of payments that were told as settled before they were."""
        for row in map(self.payments.row, payments):
            if row["message_id"] is None:
                continue
            one = Instruction(row["payment_id"], row["instruction_id"], row["end_to_end_id"], None)
            file = PaymentFile(row["message_id"], "pain.001", None, ())
            self._tell(file, [_told(one, row)])

    def _record_notice(self, moved: Sequence[Movement]) -> None:
        told = []
        for number, currency in dict.fromkeys((one.account, one.currency) for one in moved):
            account = self.book.account(number, currency)
            assert account is not None  # noqa: S101
            ours = [one for one in moved if (one.account, one.currency) == (number, currency)]
            told.append((account, ours))
        body = messages.notification(self._message_id("N"), self.book.now(), told)
        self._record("camt.054", body)

    def _state(self, account: Row, day: date) -> None:
        key = (account["number"], account["currency"])
        last = self.store.row(
            "SELECT sequence, closing FROM statements WHERE number = ? AND currency = ?"
            " ORDER BY day DESC LIMIT 1",
            *key,
        )
        opening = account["opening"] if last is None else last["closing"]
        stated = Stated(
            1 if last is None else last["sequence"] + 1, day, opening, account["balance"]
        )
        self.store.run(
            "INSERT INTO statements (number, currency, day, sequence, opening, closing)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(*key, day.isoformat(), stated.sequence, stated.opening, stated.closing),
        )
        moved = self.book.movements_of(*key, day)
        self._record("camt.053", self._statement(account, stated, moved))

    def _statement(self, account: Row, stated: Stated, moved: Sequence[Movement]) -> bytes:
        at = day_bounds(stated.day)[1]
        name = f"{self.store.fact('bank')}-{account['rowid']}-{stated.sequence}"
        return messages.statement(f"SIM{name}", at, account, stated, moved)

    def _message_id(self, kind: str) -> str:
        number = int(self.store.fact("messages") or 0) + 1
        with self.store.transaction():
            self.store.keep("messages", str(number))
        return f"SIM{self.store.fact('bank')}-{kind}{number:07d}"

    def _record(self, kind: str, body: bytes) -> None:
        if self._sends:
            name = f"{kind}-{self.book.day.isoformat()}"
            self.store.run("INSERT INTO outgoing (name, body) VALUES (?, ?)", name, body)


def _told(one: Instruction, row: Row) -> Told:
    early = bool(row["early"]) and row["state"] == PaymentState.ACCEPTED
    status = "ACSC" if early else _STATUS[row["state"]]
    reason = row["reason"] if status == "RJCT" else None
    return Told(one.payment_id, one.instruction_id, one.end_to_end_id, status, reason)


def _rejected(one: Instruction, code: str) -> Told:
    return Told(one.payment_id, one.instruction_id, one.end_to_end_id, "RJCT", code)
