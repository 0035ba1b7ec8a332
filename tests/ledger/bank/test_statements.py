"""Opening + entries = closing, and the next opening is the last closing; else people see (C-14)."""

from __future__ import annotations

import hashlib
import random
from datetime import date, timedelta
from functools import cache

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.reading import read_bank_file
from ledger.bank.shelf import Shelf
from ledger.bank.told import Telling, told_by
from tests.gateways.bank.support import REAL, needs_real_files
from tests.ledger.bank.telling import (
    AT,
    DAY,
    Balances,
    Line,
    bank_file,
    book,
    entries,
    open_items_of,
    rows,
    stage,
    statement_file,
)
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.rules.names import compact_number
from tillkeeper.sealing import KeyRing

CHOICE = random.Random(20240307)  # noqa: S311 - orders, not secrets


def days(count: int) -> list[BankFile]:
    """Statements of consecutive days, each of one entry of 100.00."""
    return [
        statement_file(
            [Line(100_00, day=day)], Balances(100_00 * n, 100_00 * (n + 1), on=day, number=str(n))
        )
        for n in range(count)
        for day in [DAY + timedelta(days=n)]
    ]


def named(account: int, day: date) -> str:
    return f"bank-account/{account}/gap/{day.isoformat()}"


async def account_of(engine: AsyncEngine) -> int:
    [(account,)] = await rows(engine, "SELECT id FROM bank_accounts")
    return int(account)


class TestGap:
    async def test_a_missing_day_is_one_gap_until_it_arrives(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """Issue 3: the gap is named by the day that does not join, and settled."""
        files = days(5)
        missing = files.pop(2)
        await stage(engine, book(ring), *files)
        gap = (named(await account_of(engine), DAY + timedelta(days=3)), 100_00)
        assert await open_items_of(engine, "STATEMENT_GAP") == [gap]
        await stage(engine, book(ring), missing)
        assert await open_items_of(engine, "STATEMENT_GAP") == []
        assert await rows(engine, "SELECT outcome FROM work_items") == [("RESOLVED",)]

    async def test_two_missing_days_leave_the_gap_that_remains(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """Issue 3."""
        files = days(5)
        await stage(engine, book(ring), files[0], files[1], files[4])
        account = await account_of(engine)
        await stage(engine, book(ring), files[3])
        gap = (named(account, DAY + timedelta(days=3)), 100_00)
        assert await open_items_of(engine, "STATEMENT_GAP") == [gap]
        await stage(engine, book(ring), files[2])
        assert await open_items_of(engine, "STATEMENT_GAP") == []

    async def test_what_was_acknowledged_stays_away(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-05: each further file would open it again; other figures do."""
        files = days(6)
        await stage(engine, book(ring), files[0], files[3])
        await rows(
            engine,
            "UPDATE work_items SET state = 'CLOSED', outcome = 'ACKNOWLEDGED', closed_at = now()"
            " RETURNING id",
        )
        await stage(engine, book(ring), files[4])
        assert await open_items_of(engine, "STATEMENT_GAP") == []
        await stage(engine, book(ring), files[1])
        account = await account_of(engine)
        gap = (named(account, DAY + timedelta(days=3)), 100_00)
        assert await open_items_of(engine, "STATEMENT_GAP") == [gap]

    async def test_pages_of_one_day_join_in_any_order(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """Issue 3: MT940 pages hand an interim balance on."""
        pages = [
            ([Line(100_00)], Balances(0, 100_00, number="4/1")),
            ([Line(50_00)], Balances(100_00, 150_00, number="4/2")),
            ([Line(-150_00)], Balances(150_00, 0, number="4/3")),
        ]
        CHOICE.shuffle(pages)
        await stage(engine, book(ring), bank_file(pages, kind=FileKind.MT940))
        assert await open_items_of(engine, "STATEMENT_GAP") == []


class TestBreak:
    async def test_a_statement_that_does_not_add_up_is_one_item(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-14: 0.01 is found."""
        found = statement_file([Line(100_00)], Balances(0, 100_01))
        await stage(engine, book(ring), found)
        [(subject, missing)] = await open_items_of(engine, "STATEMENT_BREAK")
        assert missing == 1
        [(statement,)] = await rows(engine, "SELECT id FROM bank_statements")
        assert subject == f"statement/{statement}"

    async def test_notified_entries_count_for_their_statement(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-14: an entry belongs to the statement that states it, whoever told it first."""
        notice = statement_file([Line(100_00, "R1")], None, kind=FileKind.CAMT_054)
        stated = statement_file([Line(100_00, "R1"), Line(1_00)], Balances(0, 101_00))
        await stage(engine, book(ring), notice, stated)
        assert await open_items_of(engine, "STATEMENT_BREAK") == []


@cache
def daily() -> tuple[BankFile, ...]:
    """The 25 consecutive days of one owner's two accounts."""
    return tuple(map(read_bank_file, sorted((REAL / "camt.053").glob("*CAMT_053_2024*.xml"))))


def numbers() -> list[str]:
    return sorted({s.account for one in daily() for s in one.statements if s.account})


NIL = [Line(100_00), Line(-100_00)]
WITH_MORE = [Line(5_00), *NIL]


class TestOverlap:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ((WITH_MORE, 0, 5_00), (NIL, 5_00, 5_00)),
            ((NIL, 5_00, 5_00), (WITH_MORE, 0, 5_00)),
            (([Line(5_00, "A"), Line(100_00, "B"), Line(-100_00, "C")], 0, 5_00), (NIL, 0, 0)),
        ],
    )
    async def test_what_nets_to_nothing_and_may_be_known_is_one_item(
        self,
        engine: AsyncEngine,
        ring: KeyRing,
        first: tuple[list[Line], int, int],
        second: tuple[list[Line], int, int],
    ) -> None:
        """P-26, C-09: no balance contradicts it, so it is booked; people look, once."""
        told = (first, second)
        files = [statement_file(lines, Balances(start, end)) for lines, start, end in told]
        await stage(engine, book(ring), *files)
        assert await open_items_of(engine, "STATEMENT_GAP") == []
        [(subject, gross)] = await open_items_of(engine, "STATEMENT_OVERLAP")
        nil = "SELECT id FROM bank_statements WHERE opening = closing"
        assert subject == f"statement/{(await rows(engine, nil))[0][0]}"
        assert gross == 100_00
        await rows(
            engine,
            "UPDATE work_items SET state = 'CLOSED', outcome = 'ACKNOWLEDGED', closed_at = now()"
            " RETURNING id",
        )
        await stage(engine, book(ring), statement_file([Line(7_00)], Balances(5_00, 12_00)))
        assert await open_items_of(engine, "STATEMENT_OVERLAP") == []

    async def test_other_references_are_other_money(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """P-26: nobody is asked."""
        lines = [Line(5_00, "A"), Line(100_00, "B"), Line(-100_00, "C")]
        other = [Line(100_00, "D"), Line(-100_00, "E")]
        files = [
            statement_file(lines, Balances(0, 5_00)),
            statement_file(other, Balances(5_00, 5_00)),
        ]
        await stage(engine, book(ring), *files)
        assert await open_items_of(engine, "STATEMENT_OVERLAP") == []


@needs_real_files
class TestRealDays:
    @pytest.mark.parametrize("turn", range(3))
    async def test_any_order_twice_gives_the_same_entries_without_a_gap(
        self, engine: AsyncEngine, ring: KeyRing, turn: int
    ) -> None:
        """Issue 3: 25 consecutive days in any order, twice."""
        files = [*daily(), *daily()]
        if turn:
            CHOICE.shuffle(files)
        statements = book(ring, *numbers())
        staged = await stage(engine, statements, *files)
        told = sorted(
            (t.entry_amount_minor if t.entry_side.value == "credit" else -t.entry_amount_minor)
            for one in daily()
            for t in one.transactions
        )
        assert [row[0] for row in await entries(engine)] == told
        # A file again is answered as before, hence counted twice.
        assert sum(one.new_entries for one in staged) == 2 * len(told)
        # Gaps came and went while days were missing.
        left = "SELECT kind, subject FROM work_items WHERE outcome IS DISTINCT FROM 'RESOLVED'"
        assert await rows(engine, left) == []
        assert await rows(engine, "SELECT count(*) FROM bank_statements") == [(50,)]

    @pytest.mark.parametrize("place", [1, 12, 23])
    async def test_a_day_left_out_is_exactly_one_gap(
        self, engine: AsyncEngine, ring: KeyRing, place: int
    ) -> None:
        """Issue 3: the other account did not move that day, so nothing of it is missing."""
        files = list(daily())
        left_out = files.pop(place)
        CHOICE.shuffle(files)
        statements = book(ring, *numbers())
        await stage(engine, statements, *files)
        assert len(await open_items_of(engine, "STATEMENT_GAP")) == 1
        await stage(engine, statements, left_out)
        assert await open_items_of(engine, "STATEMENT_GAP") == []
        assert await rows(
            engine, "SELECT count(*) FROM work_items WHERE outcome <> 'RESOLVED'"
        ) == [(0,)]

    async def test_information_about_batches_is_never_money(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """Issue 3: the twelve camt.054 of the same owner are INFO."""
        files = [read_bank_file(one) for one in sorted((REAL / "camt.054").glob("*2024*.xml"))]
        own = {s.account for one in files for s in one.statements if s.account}
        staged = await stage(engine, book(ring, *own), *files)
        assert (len(staged), sum(one.notices for one in staged)) == (12, 12)
        assert await entries(engine) == []

    @pytest.mark.parametrize("kind", ["camt.053", "camt.054", "camt.052", "MT940", "MT942"])
    async def test_every_real_file_is_staged_and_told_again_nothing_is_new(
        self, engine: AsyncEngine, ring: KeyRing, kind: str
    ) -> None:
        """P-26: by kinds and banks; a copy with other bytes tells the same."""
        files = [read_bank_file(one) for one in sorted((REAL / kind).iterdir()) if one.is_file()]
        own = {s.account for one in files for s in one.statements if s.account}
        statements = book(ring, *own)
        await stage(engine, statements, *files)
        before = await entries(engine)
        again = [one.model_copy(update={"digest": one.digest[::-1]}) for one in files]
        CHOICE.shuffle(again)
        staged = await stage(engine, statements, *again)
        assert sum(one.new_entries for one in staged) == 0
        assert [row[:2] for row in await entries(engine)] == [row[:2] for row in before]


def covering(first: int, last: int, *, dated: bool = True) -> list[BankFile]:
    """Statements of several days over the real daily ones, one file for each account.

    The daily ones name no days of entries.
    """
    files = daily()[first:last]
    made = []
    for number in numbers():
        told = [(f, s) for f in files for s in f.statements if s.account == number]
        opening, closing = told[0][1].opening, told[-1][1].closing
        assert opening is not None
        assert closing is not None
        parts = [
            part.model_copy(
                update={
                    "statement": 1,
                    "entry": 1_000 * n + part.entry,
                    "booking_date": s.closing.on if dated and s.closing else None,
                }
            )
            for n, (f, s) in enumerate(told)
            for part in f.transactions
            if part.statement == s.index
        ]
        whole = told[0][1].model_copy(
            update={"index": 1, "identifier": "LONG", "number": None,
                    "balances": (opening, closing)}
        )  # fmt: skip
        digest = hashlib.sha256(f"{number} {first} {last}".encode()).hexdigest()
        made.append(
            files[0].model_copy(
                update={"digest": digest, "statements": (whole,), "transactions": tuple(parts)}
            )
        )
    return made


@needs_real_files
class TestRealCover:
    @pytest.mark.parametrize("turn", range(4))
    async def test_weeks_and_a_month_over_the_days_are_the_same_money(
        self, engine: AsyncEngine, ring: KeyRing, turn: int
    ) -> None:
        """P-26, C-09: a month, and weeks that overlap; before, after and among the days."""
        files = [*covering(0, 25), *covering(3, 9), *covering(7, 14)]
        files = [*files, *daily()] if turn == 0 else [*daily(), *files]
        if turn > 1:
            CHOICE.shuffle(files)
        await stage(engine, book(ring, *numbers()), *files)
        told = sorted(
            (t.entry_amount_minor if t.entry_side.value == "credit" else -t.entry_amount_minor)
            for one in daily()
            for t in one.transactions
        )
        assert [row[0] for row in await entries(engine)] == told
        left = "SELECT kind, subject FROM work_items WHERE outcome IS DISTINCT FROM 'RESOLVED'"
        assert await rows(engine, left) == []

    @pytest.mark.parametrize("before", [True, False])
    async def test_a_month_that_names_no_days_is_known_by_its_references(
        self, engine: AsyncEngine, ring: KeyRing, *, before: bool
    ) -> None:
        """P-26: before or after its days."""
        month = covering(0, 25, dated=False)
        files = [*month, *daily()] if before else [*daily(), *month]
        await stage(engine, book(ring, *numbers()), *files)
        told = sum(len(one.transactions) for one in daily())
        assert len(await entries(engine)) == told
        left = "SELECT kind, subject FROM work_items WHERE outcome IS DISTINCT FROM 'RESOLVED'"
        assert await rows(engine, left) == []


def tellings() -> dict[tuple[str, str], list[Telling]]:
    """What all real files tell, by account: 56 accounts of many banks."""
    found: dict[tuple[str, str], list[Telling]] = {}
    for kind in ("camt.052", "camt.053", "camt.054", "MT940", "MT942"):
        for path in sorted((REAL / kind).iterdir()):
            told = told_by(read_bank_file(path), lambda number, _: compact_number(number), AT)
            for one in told.tellings:
                found.setdefault((one.number, one.currency), []).append(one)
    return found


@needs_real_files
class TestRealOrders:
    def test_any_order_of_all_files_tells_each_account_alike(self) -> None:
        """P-26, C-09: every account, ten orders, everything told twice."""
        accounts = tellings()
        assert len(accounts) > 50
        for told in accounts.values():
            outcomes = set()
            for _ in range(10):
                order = [*told, *told]
                CHOICE.shuffle(order)
                shelf = Shelf(1, [], [])
                for one in order:
                    shelf.take(one)
                moved = tuple(sorted(entry.signed for entry in shelf.new_entries))
                outcomes.add((moved, len(shelf.statements)))
            assert len(outcomes) == 1
