"""A movement that is told twice in other words never credits two requests (P-26, C-09)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.bank.told import told_by
from tests.ledger.bank.telling import DAY, Balances, Line, statement_file
from tests.ledger.bank.till import ASKED, COMPANY, Till
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.sealing import KeyRing

NEXT = DAY + timedelta(days=1)
LONG = "ABCDEFGHIJKLMNOPQRST"
FEE = Line(-100, "FEE1")


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def paid(reference: str | None = "B1", day: date = DAY, **more: str) -> Line:
    return Line(500_000, reference, day=day, payer=COMPANY, **more)  # type: ignore[arg-type]


def noticed(line: Line, kind: FileKind = FileKind.CAMT_054) -> BankFile:
    return statement_file([line], None, kind=kind)


def stated(*lines: Line, on: date = DAY, identifier: str | None = None,
           kind: FileKind = FileKind.CAMT_053) -> BankFile:  # fmt: skip
    total = sum(line.signed for line in lines)
    return statement_file(lines, Balances(0, total, on=on, identifier=identifier), kind=kind)


def at_level(found: BankFile, entry: str | None, part: str | None) -> BankFile:
    """The same with the references of its first entry and of that entry's only part."""
    said = {"entry_bank_reference": entry, "bank_reference": part}
    first, *others = found.transactions
    changed = (first.model_copy(update=said), *others)
    return found.model_copy(update={"transactions": changed, "digest": found.digest[::-1]})


TWICE = {
    "days apart": (noticed(paid(), FileKind.CAMT_052), noticed(paid(day=NEXT))),
    "levels": (at_level(noticed(paid()), "E1", "P1"), at_level(stated(paid()), None, "P1")),
    "case": (noticed(paid("b1")), stated(paid("B1"), kind=FileKind.MT940)),
    "padding": (noticed(paid("00B1")), stated(paid("B1"), kind=FileKind.MT940)),
    "cut": (noticed(paid(LONG)), stated(paid(LONG[:16]), kind=FileKind.MT940)),
    "forms of notifications": (noticed(paid("b1")), noticed(paid("0B1"), FileKind.CAMT_052)),
    "payer": (noticed(paid("X")), stated(paid("Y"), kind=FileKind.MT940)),
    "payer, both notified": (noticed(paid("X")), noticed(paid("Y"), FileKind.CAMT_052)),
    "end-to-end id": (
        noticed(paid("X", end_to_end_id="E2E")), noticed(paid("Y", end_to_end_id="E2E")),
    ),
    "line without a reference": (noticed(paid()), stated(paid(None), FEE)),
    "statement issued again": (
        stated(paid(None), identifier="S1"), stated(paid(None), identifier="S2"),
    ),
}  # fmt: skip


class TestToldTwice:
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("words", TWICE)
    async def test_one_movement_credits_one_request(
        self, till: Till, words: str, *, turned: bool
    ) -> None:
        """P-26, C-09: another request of the amount waits between the two files."""
        first, second = TWICE[words][::-1] if turned else TWICE[words]
        await till.ask("M1", "R1", 500_000)
        await till.bring(first)
        await till.ask("M1", "R2", 500_000, at=ASKED + timedelta(hours=1))
        await till.bring(second)
        assert await till.available("M1") == 500_000
        assert [row[3] for row in await till.receipts()] == ["R1"]
        assert await till.sound()

    @pytest.mark.parametrize("second", [paid("B2"), paid(LONG[:-1] + "X")])
    async def test_messages_of_one_kind_and_other_references_are_two(
        self, till: Till, second: Line
    ) -> None:
        """P-26: the same payer may pay the same again."""
        await till.bring(noticed(paid(LONG)), noticed(second))
        assert (await till.balances())["bank"] == 1_000_000

    async def test_what_waited_is_booked_by_the_statement(self, till: Till) -> None:
        """P-26, C-02: the statement tells two, so there are two."""
        await till.bring(noticed(paid("X")), noticed(paid("Y"), FileKind.CAMT_052))
        assert (await till.balances())["bank"] == 500_000
        await till.bring(stated(paid("X"), paid("Y")))
        assert (await till.balances())["bank"] == 1_000_000


class TestStatementWithoutBothBalances:
    async def test_money_that_is_not_taken_is_a_loss(self, till: Till) -> None:
        """C-02: booked entries with references still count, the others are told to people."""
        found = stated(paid(), Line(700, None))
        said = found.statements[0]
        cut = said.model_copy(update={"balances": said.balances[1:]})
        await till.bring(found.model_copy(update={"statements": (cut,)}))
        assert (await till.balances())["bank"] == 500_000
        items = await till.rows("SELECT kind, reason FROM work_items WHERE kind LIKE 'BANK_FILE%'")
        assert items == [("BANK_FILE_LOSSES", "BANK_FILE_BALANCE")]


class TestDay:
    def test_a_time_with_a_zone_is_cut_by_the_business_clock(self) -> None:
        """P-26: 17:30 in UTC is the next day in Asia/Shanghai."""
        found = noticed(paid())
        late = {
            "booked_at": datetime(2024, 5, 5, 17, 30, tzinfo=UTC),
            "booking_date": date(2024, 5, 5),
        }
        one = found.transactions[0].model_copy(update=late)
        told = told_by(
            found.model_copy(update={"transactions": (one,)}),
            lambda number, _: number,
            datetime(2024, 5, 6, tzinfo=UTC),
        )
        assert told.tellings[0].entries[0].movement.day == date(2024, 5, 6)


class TestReturnReason:
    async def test_words_of_the_bank_are_kept_sealed_only(self, till: Till) -> None:
        """C-11: a proprietary reason may name a person."""
        for reason, reference in (("AC04", "C1"), ("ZHANG SAN 6222", "C2")):
            found = noticed(paid(reference))
            one = found.transactions[0].model_copy(update={"return_reason": reason})
            await till.bring(found.model_copy(update={"transactions": (one,)}))
        reasons = await till.rows("SELECT return_reason FROM bank_transactions ORDER BY id")
        assert reasons == [("AC04",), ("OTHER",)]
