"""Payments of the simulator: one per end-to-end id, whoever sends it and however often.

The same id or idempotency key for another payment is refused. A payment that is rejected stays
rejected: its id proves for ever that nothing was paid (C-12).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from sqlite3 import Row
from typing import Any, Final

from gateways.bank.simulator.book import Book
from gateways.bank.simulator.faults import Faults, Faulty
from gateways.bank.simulator.models import (
    Fault,
    FaultRule,
    Movement,
    PaymentAnswer,
    PaymentOrder,
    PaymentState,
    Refused,
)

KEYS_KEPT: Final = timedelta(hours=24)
"""How long an idempotency key is remembered, by the bank's clock."""


@dataclass(frozen=True, slots=True)
class Sent:
    """By which file and under which of its ids a payment came; empty for the HTTP door."""

    message_id: str | None = None
    payment_id: str | None = None
    instruction_id: str | None = None
    odd: bool = True


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of one request: the payment's id (None: not accepted), and its faults."""

    payment: int | None
    new: bool
    faults: Faulty = field(default_factory=dict)


class Payments:
    """Every method stands inside its caller's transaction."""

    def __init__(self, book: Book, faults: Faults) -> None:
        self._book, self._store, self._faults = book, book.store, faults

    def submit(
        self, order: PaymentOrder, *, key: str | None = None, sent: Sent | None = None
    ) -> Submission:
        """Take one payment, or know it again. Raises Refused(KEY_REUSED)."""
        now = self._book.now()
        known = self._by_key(order, key, now) or self._latest(order.end_to_end_id)
        faults = self._faults.of(order, known=known is not None)
        if Fault.UNAVAILABLE in faults:
            return Submission(None, new=False, faults=faults)
        if known is not None and Fault.FORGET in faults:
            known = None if now - _at(known) > KEYS_KEPT else known
        if known is not None and known["fingerprint"] != order.fingerprint:
            raise Refused(409, "KEY_REUSED", "the id names another payment")
        if known is not None:
            self._remember(key, order, int(known["id"]), now)
            return Submission(int(known["id"]), new=False, faults=faults)
        payment = self._accept(order, sent or Sent(), faults, now)
        self._remember(key, order, payment, now)
        return Submission(payment, new=True, faults=faults)

    def row(self, payment: int) -> Row:
        """One payment as the book has it."""
        found = self._store.row("SELECT * FROM payments WHERE id = ?", payment)
        assert found is not None  # noqa: S101
        return found

    def of(self, end_to_end_id: str) -> list[PaymentAnswer]:
        """All payments of an id, newest first: more than one when the bank forgot the first."""
        sql = "SELECT * FROM payments WHERE end_to_end_id = ? ORDER BY id DESC"
        return [answer(row) for row in self._store.rows(sql, end_to_end_id)]

    def settle_due(self, day: date) -> list[int]:
        """Book, or reject, what was to be booked by ``day``; the payments that it changed."""
        sql = "SELECT * FROM payments WHERE settle_on <= ? ORDER BY id"
        due = self._store.rows(sql, day.isoformat())
        for row in due:
            self._change(row["id"], settle_on=None)
            if self._poor(row["number"], row["currency"], row["amount"]):
                self._change(row["id"], state=PaymentState.REJECTED.value, reason="AM04")
            else:
                self._book_debit(row)
        return [row["id"] for row in due]

    def return_due(self, day: date) -> None:
        """Give back what is to come back by ``day`` (C-13)."""
        sql = "SELECT * FROM payments WHERE return_on <= ? AND state = 'SETTLED' ORDER BY id"
        for row in self._store.rows(sql, day.isoformat()):
            name = f"payment/{row['id']}/return"
            moved = self._movement(row, name, "credit", reason=row["return_reason"])
            self._book.post(moved, name)
            self._change(row["id"], state=PaymentState.RETURNED.value, return_on=None)

    def _accept(self, order: PaymentOrder, sent: Sent, faults: Faulty, now: datetime) -> int:
        reason = self._rejection(order, sent, faults)
        early = reason is None and Fault.EARLY_STATUS in faults
        back = faults.get(Fault.RETURN)
        payment = self._store.run(
            "INSERT INTO payments (end_to_end_id, fingerprint, number, currency, amount, name,"
            " account, remittance, message_id, payment_id, instruction_id, state, reason, early,"
            " at, settle_on, return_on, return_reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(order.end_to_end_id, order.fingerprint, order.account, order.currency),
            *(order.amount_minor, order.creditor_name, order.creditor_account, order.remittance),
            *(sent.message_id, sent.payment_id, sent.instruction_id),
            *((PaymentState.REJECTED if reason else PaymentState.ACCEPTED).value, reason),
            *(int(early), now.isoformat()),
            (self._book.day + timedelta(days=1)).isoformat() if early else None,
            *self._return(back),
        )
        if reason is None and not early:
            self._book_debit(self.row(payment))
        return payment

    def _return(self, rule: FaultRule | None) -> tuple[str | None, str | None]:
        if rule is None:
            return None, None
        return (self._book.day + timedelta(days=rule.days)).isoformat(), rule.code

    def _rejection(self, order: PaymentOrder, sent: Sent, faults: Faulty) -> str | None:
        if Fault.REJECT in faults:
            return faults[Fault.REJECT].code
        if Fault.PARTIAL in faults and not sent.odd:
            return faults[Fault.PARTIAL].code
        if self._book.account(order.account, order.currency) is None:
            return "AC02"
        sql = "SELECT * FROM counterparties WHERE number = ?"
        other = self._store.row(sql, order.creditor_account)
        if other is not None and other["closed"]:
            return "AC04"
        if other is not None and other["name"] != order.creditor_name:
            return "BE01"
        waits = Fault.EARLY_STATUS in faults
        poor = not waits and self._poor(order.account, order.currency, order.amount_minor)
        return "AM04" if poor else None

    def _poor(self, number: str, currency: str, amount: int) -> bool:
        account = self._book.account(number, currency)
        return account is None or account["balance"] < amount

    def _book_debit(self, row: Row) -> None:
        name = f"payment/{row['id']}/debit"
        self._book.post(self._movement(row, name, "debit"), name)
        self._change(row["id"], state=PaymentState.SETTLED.value)

    def _movement(self, row: Row, key: str, side: str, *, reason: str | None = None) -> Movement:
        return Movement(
            key=key,
            account=row["number"],
            currency=row["currency"],
            side=side,
            amount_minor=row["amount"],
            counterparty_name=row["name"],
            counterparty_account=row["account"],
            end_to_end_id=row["end_to_end_id"],
            remittance=row["remittance"],
            reason=reason,
            day=self._book.day,
        )

    def _change(self, payment: int, **values: Any) -> None:
        for name, value in values.items():
            self._store.run(f"UPDATE payments SET {name} = ? WHERE id = ?", value, payment)  # noqa: S608

    def _latest(self, end_to_end_id: str) -> Row | None:
        sql = "SELECT * FROM payments WHERE end_to_end_id = ? ORDER BY id DESC LIMIT 1"
        return self._store.row(sql, end_to_end_id)

    def _by_key(self, order: PaymentOrder, key: str | None, now: datetime) -> Row | None:
        found = self._store.row("SELECT * FROM keys WHERE key = ?", key)
        if found is None or now - datetime.fromisoformat(found["at"]) > KEYS_KEPT:
            return None
        if found["fingerprint"] != order.fingerprint:
            raise Refused(409, "KEY_REUSED", "the idempotency key was used for another payment")
        return self.row(found["payment"])

    def _remember(self, key: str | None, order: PaymentOrder, payment: int, now: datetime) -> None:
        """A key keeps the time of its first use; one that was forgotten begins anew."""
        if key is None:
            return
        found = self._store.row("SELECT at FROM keys WHERE key = ?", key)
        if found is None or now - datetime.fromisoformat(found["at"]) > KEYS_KEPT:
            self._store.run(
                "INSERT OR REPLACE INTO keys (key, fingerprint, payment, at) VALUES (?, ?, ?, ?)",
                *(key, order.fingerprint, payment, now.isoformat()),
            )


def answer(row: Row, *, replayed: bool = False) -> PaymentAnswer:
    """What the bank says of a payment."""
    return PaymentAnswer(
        end_to_end_id=row["end_to_end_id"],
        state=PaymentState(row["state"]),
        reason=row["reason"],
        amount_minor=row["amount"],
        currency=row["currency"],
        at=_at(row),
        replayed=replayed,
    )


def _at(row: Row) -> datetime:
    return datetime.fromisoformat(row["at"])
