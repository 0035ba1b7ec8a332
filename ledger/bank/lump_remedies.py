"""What people decide about a held lump: it is what was notified, or money of its own (P-26).

Promises that a lump is decided while it is in question only. Callers hold the item; the account's
row comes before it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act
from ledger.bank.booking import book_these
from ledger.bank.kept import Entry, Question, Word
from ledger.bank.known import read_shelf
from ledger.bank.ready import Words
from ledger.bank.rows import Writer
from ledger.bank.shelf import Shelf
from ledger.bank.statements import check_statements
from ledger.engine import fetch
from ledger.receiving import Receiver
from ledger.workitems import Item
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.workitem import LUMPS, ItemAction

_LUMP: Final = "SELECT account, day, file, state FROM bank_lumps WHERE id = $1"

_LOCK: Final = """
SELECT id FROM bank_accounts
 WHERE id = (SELECT account FROM bank_lumps WHERE id = $1) FOR NO KEY UPDATE"""

_WORDS: Final = {ItemAction.THESE_PIECES: Word.PIECES, ItemAction.OTHER_MONEY: Word.OTHER}


class LumpRemedies:
    """Ends the question of a lump by people's word."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def lock(self, connection: AsyncConnection, item: Item) -> None:
        """The account's row, as staging takes it before any item."""
        await fetch(connection, _LOCK, (_number(item),))

    async def check(self, connection: AsyncConnection, item: Item, action: ItemAction) -> None:
        """Whether it could be done. Raises Rejected(ACTION_NOT_ALLOWED)."""
        await self._weighed(connection, item, action)

    async def apply(self, connection: AsyncConnection, item: Item, act: Act) -> None:
        """Let the lump be what people say. Raises Rejected(ACTION_NOT_ALLOWED)."""
        row, shelf = await self._weighed(connection, item, item.action)
        words = Words(self._receiver.accounts)
        await Writer(connection, self._receiver.ring, words, row.file).write(shelf)
        currency = item.currency or ""
        await check_statements(connection, shelf, currency, at=act.at, but=item.subject)
        new = [entry.id for entry in shelf.new_entries if entry.id is not None]
        await book_these(connection, self._receiver, new, row.file, act.at)

    async def _weighed(
        self, connection: AsyncConnection, item: Item, action: ItemAction | None
    ) -> tuple[Any, Shelf]:
        """The lump's row, and all that it is weighed with, by what people say of it."""
        number = _number(item)
        rows = await fetch(connection, _LUMP, (number,))
        if not rows or rows[0].state != "HELD":
            raise Rejected(Code.ACTION_NOT_ALLOWED, detail="the lump is not in question any more")
        row = rows[0]
        shelf = await read_shelf(connection, self._receiver.ring, row.account, (), on=row.day)
        question = _question(shelf.questions, number)
        question.word = None if action is None else _WORDS[action]
        shelf.weigh()
        if question.word is Word.PIECES and question.held:
            detail = "nothing that was notified of its day makes it up"
            raise Rejected(Code.ACTION_NOT_ALLOWED, detail=detail)
        return row, shelf


def _number(item: Item) -> int:
    return int(item.subject.removeprefix(LUMPS))


def _question(lumps: list[Entry], number: int) -> Question:
    return next(
        lump.question for lump in lumps if lump.question is not None and lump.question.id == number
    )
