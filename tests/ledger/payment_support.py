"""A receipt that is being paid back, and the bank's entries that concern it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import execute, fetch, in_transaction
from ledger.payments import (
    Moved,
    NewPayment,
    apply_statuses,
    mark_sent,
    note_overdue,
    payment_debited,
    payment_returned,
    record_payment,
)
from ledger.purposes import PLATFORM
from ledger.sheet import Effect, Sheet
from tillkeeper.contracts.bank import PaymentStatus, StatusLevel
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.payment import PaymentParty, PaymentTerms
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

AT = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
AMOUNT = 5_000_00
NAME = "甲乙贸易有限公司"
ACCOUNT = "6225880212341234"
PAYEE = PaymentParty(name=NAME, account=ACCOUNT, bank_name="中国工商银行")
TERMS = PaymentTerms(creditor=PAYEE, amount_minor=AMOUNT, currency="CNY", remittance="退回")

_RECEIPT = """
INSERT INTO receipts (digest, fingerprint, amount, currency, state, reason, payer_sealed,
                      payer_kind, booked_at, received_at)
VALUES ($1, '', $2, 'CNY', 'RETURNING', 'NO_OPEN_REQUEST', '', 'corporate', $3, $3)"""

_FILE = """
INSERT INTO bank_files (digest, name_sealed, body_sealed, size, source, state, received_at)
VALUES ('f1', '', '', 0, 'import', 'READ', now()) ON CONFLICT DO NOTHING"""

_OURS = """
INSERT INTO bank_accounts (number, currency) VALUES ('110060149012', $1)
ON CONFLICT (number, currency) DO UPDATE SET currency = EXCLUDED.currency RETURNING id"""

_ENTRY = """
INSERT INTO bank_entries (account, side, amount, day, reversal, adds_up, file, place, parts)
VALUES ($1, $2, $3, $4, false, true, 'f1', '1.1', 1) RETURNING id"""


def said(status: str, name: str, *reasons: str, **more: Any) -> PaymentStatus:
    """A transaction's status in a bank's file."""
    fields = {
        "level": StatusLevel.TRANSACTION,
        "stated_at": StatusLevel.TRANSACTION,
        "status": status,
        "end_to_end_id": name,
        "reasons": reasons,
    }
    return PaymentStatus(**{**fields, **more})


def said_of_file(status: str, message: str, *reasons: str) -> PaymentStatus:
    """A status of the whole file."""
    return said(
        status, message, *reasons, level=StatusLevel.GROUP, stated_at=StatusLevel.GROUP,
        end_to_end_id=None, message_id=message,
    )  # fmt: skip


@dataclass
class Payments:
    """One database's payments."""

    engine: AsyncEngine
    ring: KeyRing
    digest: str = "r1"

    async def record(self, terms: PaymentTerms = TERMS, n: int = 1) -> str:
        """Record a return of the receipt."""
        payment = NewPayment(f"receipt/{self.digest}/return/{n}", terms, "ops-2")
        made = await in_transaction(
            self.engine, lambda c: record_payment(c, self.ring, payment, AT)
        )
        return made.end_to_end_id

    async def returning(self, other: str | None = None) -> str:
        """A receipt whose return was approved, in the book and in its row."""

        digest = other or self.digest

        async def work(connection: AsyncConnection) -> str:
            await execute(connection, _RECEIPT, (digest, AMOUNT, AT))
            await self._move_out(connection, digest)
            payment = NewPayment(f"receipt/{digest}/return/1", TERMS, "ops-2")
            return (await record_payment(connection, self.ring, payment, AT)).end_to_end_id

        return await in_transaction(self.engine, work)

    async def _move_out(self, connection: AsyncConnection, digest: str) -> None:
        sheet = await Sheet.open(connection, merchants=(), platform=[(b, "CNY") for b in PLATFORM])
        for kind in (TransferKind.RECEIPT, TransferKind.RECEIPT_RETURN):
            effect = Effect(f"receipt/{digest}/{kind}", f"receipt/{digest}", AT)
            sheet.post(kind, None, currency="CNY", amount=AMOUNT, effect=effect)
        await sheet.write()

    async def sent(self, other: str | None = None) -> str:
        """A payment that has left."""
        name = await self.returning(other)
        await self.mark(name)
        return name

    async def mark(self, name: str, message: str | None = None, at: datetime = AT) -> None:
        """Mark it sent."""
        payment = await self.id_of(name)
        await in_transaction(self.engine, lambda c: mark_sent(c, payment, message or name, at))

    async def statuses(self, *words: PaymentStatus, file: str = "s1") -> tuple[str, ...]:
        """Apply one file's statuses."""
        return await in_transaction(self.engine, lambda c: apply_statuses(c, words, file, AT))

    async def overdue(self, name: str, at: datetime) -> None:
        """Look whether the bank has been silent for too long."""
        payment = await self.id_of(name)
        await in_transaction(
            self.engine, lambda c: note_overdue(c, payment, at, JD_PREPAID_2023_11)
        )

    async def debit(self, name: str, amount: int = AMOUNT, currency: str = "CNY") -> bool:
        """Book a debit of the payment."""
        return await self._moved(name, "D", amount, currency)

    async def credit(self, name: str, amount: int = AMOUNT, currency: str = "CNY") -> bool:
        """Book its money coming back."""
        return await self._moved(name, "C", amount, currency)

    async def _moved(self, name: str, side: str, amount: int, currency: str) -> bool:
        payment = await self.id_of(name)

        async def work(connection: AsyncConnection) -> bool:
            await execute(connection, _FILE, ())
            account = (await fetch(connection, _OURS, (currency,)))[0].id
            row = (account, side, amount, date(2026, 1, 7))
            entry = (await fetch(connection, _ENTRY, row))[0].id
            sheet = await Sheet.open(
                connection, merchants=(), platform=[(b, "CNY") for b in PLATFORM]
            )
            moved = Moved(entry, amount, AT, "AC04" if side == "C" else None)
            act = payment_debited if side == "D" else payment_returned
            done = bool(await act(connection, sheet, payment, moved))
            await sheet.write()
            return done

        return await in_transaction(self.engine, work)

    async def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """Rows straight from the database."""
        return await in_transaction(self.engine, lambda c: fetch(c, sql, parameters))

    async def id_of(self, name: str) -> int:
        """The row's id."""
        found = await self.rows("SELECT id FROM payments WHERE end_to_end_id = $1", name)
        return int(found[0].id)

    async def state(self, name: str) -> tuple[str, str | None]:
        """State and reason."""
        sql = "SELECT state, reason FROM payments WHERE end_to_end_id = $1"
        row = (await self.rows(sql, name))[0]
        return row.state, row.reason

    async def receipt(self, other: str | None = None) -> str:
        """The receipt's state."""
        sql = "SELECT state FROM receipts WHERE digest = $1"
        return str((await self.rows(sql, other or self.digest))[0].state)

    async def figures(self) -> tuple[int, int, int]:
        """Balances of bank, returning and unmatched receipts, in minor units."""
        sql = "SELECT bucket, sum(balance)::bigint AS sum FROM accounts GROUP BY bucket"
        found = {row.bucket: row.sum for row in await self.rows(sql)}
        bank, returning, unmatched = (int(found.get(b.value, 0)) for b in PLATFORM)
        return bank, returning, unmatched

    async def items(self) -> list[tuple[str, str, str]]:
        """Kind, subject and state of all work items."""
        sql = "SELECT kind, subject, state FROM work_items ORDER BY id"
        return [(row.kind, row.subject, row.state) for row in await self.rows(sql)]

    async def actions(self, name: str) -> list[str]:
        """The audited acts on the payment."""
        sql = "SELECT action FROM audit WHERE subject = $1 ORDER BY id"
        return [row.action for row in await self.rows(sql, f"payment/{name}")]
