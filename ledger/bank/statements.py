"""Whether the statements of an account are whole and follow each other; what is not, people see.

Promises that a gap or a break is an item while it is there, and settled when the missing statement
or entry arrives. What people have acknowledged is not put before them again. It moves no money.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.kept import Statement
from ledger.bank.rows import within_bigint
from ledger.bank.shelf import Shelf
from ledger.engine import fetch
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.workitem import LUMPS, ItemKind, Outcome
from tillkeeper.rules.continuity import Gap, Stated, difference, gaps
from tillkeeper.rules.likeness import Known, pairs, unnamed

LUMP_HELD: Final = "LUMP_HELD"
"""Why a lump is work: more than one choice of what was notified makes it up."""

CREDIT_HELD: Final = "CREDIT_HELD"
"""Why a credit is work: another format told one of its day and amount, under another name."""

_STATEMENTS: Final = """
SELECT id, closing_on, opening, closing, coalesce(number, '') AS number
  FROM bank_statements WHERE account = $1"""

_OPEN_GAPS: Final = """
SELECT subject FROM work_items
 WHERE kind = 'STATEMENT_GAP' AND state <> 'CLOSED' AND starts_with(subject, $1)"""

_ACKNOWLEDGED: Final = """
SELECT kind, subject, amount, (context ->> 'opening_minor')::bigint AS opening FROM work_items
 WHERE subject = ANY($1::text[]) AND outcome = 'ACKNOWLEDGED'"""


def gaps_of(account: int) -> str:
    """What the subjects of all gap items of an account begin with."""
    return f"bank-account/{account}/gap/"


def break_of(statement: int) -> str:
    """The subject of a statement that does not add up, or may be told twice."""
    return f"statement/{statement}"


async def check_statements(
    connection: AsyncConnection, shelf: Shelf, currency: str, *, at: datetime, but: str = ""
) -> None:
    """Open what does not hold in the account's statements, settle what holds again.

    The item of the subject ``but`` is left to whoever decides it.

    What nets to nothing contradicts no balance: where another statement may have told all of it, it
    may be booked twice, and people are told that too.
    """
    statements, account = list(shelf.touched), shelf.account
    if not statements and not shelf.doubted:
        return
    doubled = [_overlap(one, currency) for one in shelf.statements if _may_be_known(one, shelf)]
    broken = [_break(one, currency) for one in statements if _missing(one)]
    whole = [break_of(one.id or 0) for one in statements if not _missing(one)]
    clear = [subject for subject in _clear(shelf) if subject != but]
    overlap = ItemKind.STATEMENT_OVERLAP
    await settle_items(connection, overlap, clear, outcome=Outcome.RESOLVED, at=at)
    await settle_items(connection, ItemKind.STATEMENT_BREAK, whole, outcome=Outcome.RESOLVED, at=at)
    found = [_gap(one, account, currency) for one in await find_gaps(connection, account)]
    doubled += _held(shelf, currency)
    doubled += _doubted(shelf, currency)
    subjects = {item.subject for item in found}
    there = [row.subject for row in await fetch(connection, _OPEN_GAPS, (gaps_of(account),))]
    gone = [subject for subject in there if subject not in subjects]
    await settle_items(connection, ItemKind.STATEMENT_GAP, gone, outcome=Outcome.RESOLVED, at=at)
    await open_items(connection, await unseen(connection, [*broken, *doubled, *found]), at=at)


async def find_gaps(connection: AsyncConnection, account: int) -> tuple[Gap, ...]:
    """Where the statements of an account that are known do not follow each other."""
    rows = await fetch(connection, _STATEMENTS, (account,))
    return gaps(
        [Stated(row.id, row.closing_on, row.opening, row.closing, row.number) for row in rows]
    )


async def unseen(connection: AsyncConnection, items: Sequence[NewItem]) -> list[NewItem]:
    """The items that nobody has acknowledged with the very same figures."""
    subjects = sorted({item.subject for item in items})
    rows = await fetch(connection, _ACKNOWLEDGED, (subjects,)) if subjects else []
    seen = {(row.kind, row.subject, row.amount, row.opening) for row in rows}
    return [item for item in items if _figures(item) not in seen]


def _figures(item: NewItem) -> tuple[object, ...]:
    return item.kind.value, item.subject, item.amount, item.context.get("opening_minor")


def _missing(statement: Statement) -> int:
    """What its entries in the book lack for its closing balance, in signed minor units."""
    return difference(statement.identity.opening, statement.moved, statement.identity.closing)


def _break(statement: Statement, currency: str) -> NewItem:
    said = statement.identity
    return NewItem(
        ItemKind.STATEMENT_BREAK,
        break_of(statement.id or 0),
        amount=within_bigint(_missing(statement)),
        currency=currency,
        context={
            "day": said.closing_on.isoformat(),
            "opening_minor": said.opening,
            "entries_minor": statement.moved,
            "closing_minor": said.closing,
        },
    )


def _may_be_known(statement: Statement, shelf: Shelf) -> bool:
    """Whether no balance would tell that other statements have told all of its entries."""
    said = statement.identity
    if not statement.entries or statement.total or said.opening != said.closing:
        return False
    others = [
        Known(one.identity, [entry.movement for entry in one.entries])
        for one in shelf.statements if one is not statement
    ]  # fmt: skip
    beside = [move for one in unnamed(said.kind, others) for move in one.entries]
    return None not in pairs([entry.movement for entry in statement.entries], beside)


def _overlap(statement: Statement, currency: str) -> NewItem:
    said = statement.identity
    return NewItem(
        ItemKind.STATEMENT_OVERLAP,
        break_of(statement.id or 0),
        amount=within_bigint(sum(entry.signed for entry in statement.entries if entry.signed > 0)),
        currency=currency,
        context={
            "day": said.closing_on.isoformat(),
            "opening_minor": said.opening,
            "entries": len(statement.entries),
        },
    )


def lump_of(lump: int) -> str:
    """The subject of a lump that is held."""
    return f"{LUMPS}{lump}"


def _held(shelf: Shelf, currency: str) -> list[NewItem]:
    """Lumps that moved no money, for they may be in the book in pieces."""
    return [
        NewItem(
            ItemKind.STATEMENT_OVERLAP,
            lump_of(lump.question.id),
            reason=LUMP_HELD,
            amount=abs(lump.signed),
            currency=currency,
            context={
                "day": lump.day.isoformat(),
                "side": "credit" if lump.signed > 0 else "debit",
                "statement": lump.statement.id if lump.statement else None,
            },
        )
        for lump in shelf.questions
        if lump.question is not None and lump.question.id and lump.question.held
    ]


def _doubted(shelf: Shelf, currency: str) -> list[NewItem]:
    """Credits that moved no money, for another format may have told them, by their day."""
    by_day: dict[date, list[int]] = defaultdict(list)
    for entry in shelf.doubted:
        by_day[entry.movement.day].append(entry.movement.signed)
    return [
        NewItem(
            ItemKind.STATEMENT_OVERLAP,
            f"bank-account/{shelf.account}/credits/{day.isoformat()}",
            reason=CREDIT_HELD,
            amount=within_bigint(sum(amounts)),
            currency=currency,
            context={"day": day.isoformat(), "entries": len(amounts)},
        )
        for day, amounts in sorted(by_day.items())
    ]


def _clear(shelf: Shelf) -> list[str]:
    """The subjects of lumps that were looked at and are not held any more."""
    explained = [
        lump.question.id
        for lump in shelf.questions
        if lump.question is not None and lump.question.id and not lump.question.held
    ]
    return [lump_of(lump) for lump in (*explained, *shelf.answered)]


def _gap(gap: Gap, account: int, currency: str) -> NewItem:
    return NewItem(
        ItemKind.STATEMENT_GAP,
        f"{gaps_of(account)}{gap.day.isoformat()}",
        amount=within_bigint(gap.missing),
        currency=currency,
        context={
            "last_day": gap.before.day.isoformat(),
            "closing_minor": gap.before.closing,
            "opening_minor": gap.after.opening,
            "statement": gap.after.id,
        },
    )
