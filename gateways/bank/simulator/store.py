"""The simulator's book on disk: SQLite, written ahead and synced at every commit, one process.

What is committed is there after kill -9 and power cuts; movements are never changed or deleted.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS owners (number TEXT PRIMARY KEY, owner TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS accounts (
    number TEXT NOT NULL, currency TEXT NOT NULL, owner TEXT NOT NULL,
    opening INTEGER NOT NULL, balance INTEGER NOT NULL CHECK (balance >= 0),
    PRIMARY KEY (number, currency)) STRICT;
CREATE TABLE IF NOT EXISTS movements (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
    number TEXT NOT NULL, currency TEXT NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('credit', 'debit')),
    amount INTEGER NOT NULL CHECK (amount > 0), after INTEGER NOT NULL,
    name TEXT NOT NULL, account TEXT NOT NULL, kind TEXT,
    end_to_end_id TEXT, remittance TEXT NOT NULL, reason TEXT, reversal INTEGER NOT NULL,
    reference TEXT NOT NULL UNIQUE, day TEXT NOT NULL, fingerprint TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS movements_day ON movements (number, currency, day);
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, end_to_end_id TEXT NOT NULL, fingerprint TEXT NOT NULL,
    number TEXT NOT NULL, currency TEXT NOT NULL, amount INTEGER NOT NULL,
    name TEXT NOT NULL, account TEXT NOT NULL, remittance TEXT NOT NULL,
    message_id TEXT, payment_id TEXT, instruction_id TEXT,
    state TEXT NOT NULL, reason TEXT, early INTEGER NOT NULL DEFAULT 0, at TEXT NOT NULL,
    settle_on TEXT, return_on TEXT, return_reason TEXT) STRICT;
CREATE INDEX IF NOT EXISTS payments_end_to_end ON payments (end_to_end_id);
CREATE INDEX IF NOT EXISTS payments_settle ON payments (settle_on) WHERE settle_on IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_return ON payments (return_on) WHERE return_on IS NOT NULL;
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, payment INTEGER NOT NULL, at TEXT NOT NULL
    ) STRICT;
CREATE TABLE IF NOT EXISTS counterparties (
    number TEXT PRIMARY KEY, name TEXT NOT NULL, closed INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, times INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS statements (
    number TEXT NOT NULL, currency TEXT NOT NULL, day TEXT NOT NULL, sequence INTEGER NOT NULL,
    opening INTEGER NOT NULL, closing INTEGER NOT NULL, PRIMARY KEY (number, currency, day)
    ) STRICT;
CREATE TABLE IF NOT EXISTS outgoing (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, body BLOB NOT NULL,
    written INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS outgoing_open ON outgoing (id) WHERE written = 0;
CREATE TRIGGER IF NOT EXISTS movements_update BEFORE UPDATE ON movements
    BEGIN SELECT RAISE(ABORT, 'a movement is never changed'); END;
CREATE TRIGGER IF NOT EXISTS movements_delete BEFORE DELETE ON movements
    BEGIN SELECT RAISE(ABORT, 'a movement is never deleted'); END;
"""


class BookInUse(Exception):  # noqa: N818 - said to people as it is
    """Another process has this book open."""


class Store:
    """The open book; every change stands inside ``transaction``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder / "book.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BookInUse(str(folder)) from None
        self._sqlite = sqlite3.connect(folder / "book.sqlite3", isolation_level=None)
        self._sqlite.row_factory = sqlite3.Row
        self._sqlite.execute("PRAGMA journal_mode = WAL")
        self._sqlite.execute("PRAGMA synchronous = FULL")
        self._sqlite.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the book; its lock ends with it."""
        self._sqlite.close()
        os.close(self._lock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing; when it is left, it is on disk. Nested blocks are one."""
        if self._sqlite.in_transaction:
            yield
            return
        self._sqlite.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sqlite.execute("ROLLBACK")
            raise
        self._sqlite.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """One change; the id of the row it inserted."""
        return self._sqlite.execute(sql, values).lastrowid or 0

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self._sqlite.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query."""
        found: sqlite3.Row | None = self._sqlite.execute(sql, values).fetchone()
        return found

    def fact(self, name: str) -> str | None:
        """A single value of the bank: its day, its clock, its seed."""
        found = self.row("SELECT value FROM facts WHERE name = ?", name)
        return None if found is None else str(found["value"])

    def keep(self, name: str, value: str) -> None:
        """Remember a single value."""
        self.run("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", name, value)
