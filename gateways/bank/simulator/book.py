"""Accounts and movements of the simulator's book, its clock and its day.

Every movement has a key that is used once and a reference that is given once; no account is ever
overdrawn. The day is the bank's own and moves only forward.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from sqlite3 import Row

from gateways.bank.simulator.models import Account, Movement, Refused
from gateways.bank.simulator.store import Store
from tillkeeper.rules.days import day_of

ANY_CURRENCY = "*"
_COLUMNS = "key, number, currency, side, amount, name, account, kind, end_to_end_id, "
_COLUMNS += "remittance, reason, reversal, reference, day"


class Book:
    """The bank's accounts; opened on a new folder it begins its first day at ``start``."""

    def __init__(self, store: Store, accounts: Iterable[Account], *, start: datetime) -> None:
        self.store = store
        with store.transaction():
            if store.fact("bank") is None:
                store.keep("bank", os.urandom(3).hex().upper())
                store.keep("day", day_of(start).isoformat())
                ahead = start - datetime.now(UTC)
                store.keep("ahead_us", str(ahead // timedelta(microseconds=1)))
            for account in accounts:
                self._open(account)

    def now(self) -> datetime:
        """The bank's clock (UTC): the machine's, so much ahead as it was advanced."""
        ahead = timedelta(microseconds=int(self.store.fact("ahead_us") or 0))
        return datetime.now(UTC) + ahead

    def advance(self, moment: datetime) -> None:
        """Put the clock forward; a moment that is past changes nothing."""
        ahead = moment - datetime.now(UTC)
        if moment > self.now():
            self.store.keep("ahead_us", str(ahead // timedelta(microseconds=1)))

    @property
    def day(self) -> date:
        """The day on which movements are booked now."""
        return date.fromisoformat(self.store.fact("day") or "")

    def begin_day(self, day: date) -> None:
        """Book on ``day`` from now on."""
        self.store.keep("day", day.isoformat())

    def accounts(self) -> list[Row]:
        """Every account with its balance in minor units."""
        return self.store.rows("SELECT rowid, * FROM accounts ORDER BY number, currency")

    def account(self, number: str, currency: str) -> Row | None:
        """An account; one of an owner with any currency is opened when it is first asked for."""
        sql = "SELECT rowid, * FROM accounts WHERE number = ? AND currency = ?"
        found = self.store.row(sql, number, currency)
        owner = self.store.row("SELECT owner FROM owners WHERE number = ?", number)
        if found is None and owner is not None:
            self._open(Account(number=number, currency=currency, owner=owner["owner"]))
            found = self.store.row(sql, number, currency)
        return found

    def post(self, movement: Movement, fingerprint: str) -> tuple[str, bool]:
        """Book one movement today; its bank reference, and whether it is new.

        A key that is known is answered as before. Raises Refused for a key of another movement,
        an unknown account, or too little money (AM04).
        """
        known = self.store.row(
            "SELECT reference, fingerprint FROM movements WHERE key = ?", movement.key
        )
        if known is not None:
            if known["fingerprint"] != fingerprint:
                raise Refused(409, "KEY_REUSED", "the key names another movement")
            return str(known["reference"]), False
        account = self.account(movement.account, movement.currency)
        if account is None:
            raise Refused(422, "AC02", "no such account here")
        after = account["balance"] + movement.signed_minor
        if after < 0:
            raise Refused(422, "AM04", "insufficient funds")
        return self._insert(movement, fingerprint, after), True

    def movements(self, *, after: int = 0, limit: int = 1 << 62) -> list[tuple[int, Movement]]:
        """Movements in the order of the book, with their ids."""
        sql = f"SELECT id, {_COLUMNS} FROM movements WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
        return [(row["id"], _movement(row)) for row in self.store.rows(sql, after, limit)]

    def movements_of(self, number: str, currency: str, day: date) -> list[Movement]:
        """What moved on an account on a day."""
        where = "WHERE number = ? AND currency = ? AND day = ? ORDER BY id"
        sql = f"SELECT {_COLUMNS} FROM movements {where}"  # noqa: S608
        return [_movement(row) for row in self.store.rows(sql, number, currency, day.isoformat())]

    def by_reference(self, reference: str) -> Movement | None:
        """The movement of a bank reference."""
        sql = f"SELECT {_COLUMNS} FROM movements WHERE reference = ?"  # noqa: S608
        row = self.store.row(sql, reference)
        return None if row is None else _movement(row)

    def _open(self, account: Account) -> None:
        if account.currency == ANY_CURRENCY:
            sql = "INSERT OR IGNORE INTO owners (number, owner) VALUES (?, ?)"
            self.store.run(sql, account.number, account.owner)
            return
        self.store.run(
            "INSERT OR IGNORE INTO accounts (number, currency, owner, opening, balance)"
            " VALUES (?, ?, ?, ?, ?)",
            *(account.number, account.currency, account.owner),
            *(account.opening_minor, account.opening_minor),
        )

    def _insert(self, movement: Movement, fingerprint: str, after: int) -> str:
        store = self.store
        store.run(
            "UPDATE accounts SET balance = ? WHERE number = ? AND currency = ?",
            *(after, movement.account, movement.currency),
        )
        last = store.row("SELECT coalesce(max(id), 0) AS id FROM movements")
        reference = f"SIM{store.fact('bank')}{(last['id'] if last else 0) + 1:010d}"
        kind = movement.counterparty_kind
        store.run(
            f"INSERT INTO movements ({_COLUMNS}, after, fingerprint)"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(movement.key, movement.account, movement.currency, movement.side),
            *(movement.amount_minor, movement.counterparty_name, movement.counterparty_account),
            *(None if kind is None else kind.value, movement.end_to_end_id, movement.remittance),
            *(movement.reason, int(movement.reversal), reference, movement.day.isoformat()),
            *(after, fingerprint),
        )
        return reference


def _movement(row: Row) -> Movement:
    return Movement.model_validate(
        {
            "key": row["key"],
            "account": row["number"],
            "currency": row["currency"],
            "side": row["side"],
            "amount_minor": row["amount"],
            "counterparty_name": row["name"],
            "counterparty_account": row["account"],
            "counterparty_kind": row["kind"],
            "end_to_end_id": row["end_to_end_id"],
            "remittance": row["remittance"],
            "reason": row["reason"],
            "reversal": bool(row["reversal"]),
            "bank_reference": row["reference"],
            "day": date.fromisoformat(row["day"]),
        },
        strict=False,
    )
