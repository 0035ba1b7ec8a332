"""A month in camt over days in MT940, whose references are cut to 16 characters (P-26, C-09)."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.bank.telling import (
    DAY,
    Balances,
    Line,
    book,
    entries,
    open_items_of,
    rows,
    stage,
    statement_file,
)
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.sealing import KeyRing

PAGES = (
    (0, (100_00,)), (1, (200_00, -100_00)), (2, (300_00,)), (2, (-50_00, 100_00)),
    (3, (100_00,)), (3, (200_00, 100_00)),
)  # fmt: skip
"""Statements by day: amounts. Two days have two pages."""


def told() -> list[tuple[int, list[Line]]]:
    found = []
    for page, (day, amounts) in enumerate(PAGES):
        on = DAY + timedelta(days=day)
        lines = [
            Line(one, f"{page}{n}-REFERENCE-OF-THE-BANK", day=on) for n, one in enumerate(amounts)
        ]
        found.append((day, lines))
    return found


def days() -> list[BankFile]:
    """Each page a file, as an MT940 writes it."""
    made, balance = [], 0
    for number, (day, lines) in enumerate(told()):
        on, opening = DAY + timedelta(days=day), balance
        balance += sum(line.signed for line in lines)
        cut = [replace(one, reference=(one.reference or "")[:16]) for one in lines]
        said = Balances(
            opening, balance, on=on, opening_on=on - timedelta(days=1), number=str(number)
        )
        made.append(statement_file(cut, said, kind=FileKind.MT940))
    return made


def whole(first: int, last: int) -> BankFile:
    """The days from ``first`` to ``last`` in one camt.053, references uncut."""
    pages = told()
    before = sum(one.signed for day, lines in pages for one in lines if day < first)
    lines = [one for day, some in pages for one in some if first <= day <= last]
    closing = before + sum(one.signed for one in lines)
    on, opening_on = DAY + timedelta(days=last), DAY + timedelta(days=first)
    return statement_file(lines, Balances(before, closing, on=on, opening_on=opening_on))


ORDERS = {
    "days, month": [*days(), whole(0, 3)],
    "month, days": [whole(0, 3), *days()],
    "first days, month, last day's pages": [*days()[:4], whole(0, 3), *days()[4:]],
    "month among pages": [days()[5], days()[2], whole(0, 3), *days()],
    "part of the month, days": [whole(1, 3), *days()],
    "a page of a day, part of the month": [days()[4], whole(2, 3), *days()],
}  # fmt: skip


class TestCutReferences:
    @pytest.mark.parametrize("words", ORDERS)
    async def test_nothing_is_new_and_no_gap_is_shown(
        self, engine: AsyncEngine, ring: KeyRing, words: str
    ) -> None:
        """P-26, C-14: balances, days and amounts decide where formats write references alike."""
        await stage(engine, book(ring), *ORDERS[words])
        wanted = sorted(one.signed for _, lines in told() for one in lines)
        assert [row[0] for row in await entries(engine)] == wanted
        assert await open_items_of(engine, "STATEMENT_GAP") == []
        assert await open_items_of(engine, "STATEMENT_BREAK") == []

    @pytest.mark.parametrize("turn", range(4))
    async def test_any_order(self, engine: AsyncEngine, ring: KeyRing, turn: int) -> None:
        """C-09."""
        files = [*days(), whole(0, 3), whole(1, 2)]
        random.Random(turn).shuffle(files)  # noqa: S311
        await stage(engine, book(ring), *files)
        assert len(await entries(engine)) == sum(len(amounts) for _, amounts in PAGES)
        assert await open_items_of(engine, "STATEMENT_GAP") == []

    async def test_a_round_trip_that_may_be_told_twice_is_work(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: no balance contradicts it: booked, and people look."""
        lines = [Line(200_00, "A-REFERENCE-OF-THE-BANK"), Line(-200_00, "B-REFERENCE-OF-THE-BANK")]
        cut = [replace(one, reference=(one.reference or "")[:16]) for one in lines]
        there = statement_file(cut[:1], Balances(0, 200_00, number="1"), kind=FileKind.MT940)
        back = statement_file(cut[1:], Balances(200_00, 0, number="2"), kind=FileKind.MT940)
        await stage(engine, book(ring), statement_file(lines, Balances(0, 0)), there, back)
        nil = "SELECT 'statement/' || id FROM bank_statements WHERE opening = closing"
        assert [row[:1] for row in await open_items_of(engine, "STATEMENT_OVERLAP")] == await rows(
            engine, nil
        )
