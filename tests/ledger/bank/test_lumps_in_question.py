"""A lump is taken for its pieces only until another statement tells one of them (P-26, C-09)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.bank.overview import statement_lines
from ledger.bank.reconciling import reconcile_day
from ledger.engine import in_transaction
from tests.ledger.bank.reconciling_support import noon
from tests.ledger.bank.telling import DAY, Balances, Line, bank_file, statement_file
from tests.ledger.bank.test_lumps import (
    FIRST,
    LUMP,
    NEXT,
    OTHER,
    OVERLAP,
    PIECES,
    SECOND,
    noticed,
    overlaps,
    piece,
    stated,
)
from tests.ledger.bank.test_told_apart import at_levels
from tests.ledger.bank.till import COMPANY, Till
from tests.ledger.desk_support import Office
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.workitem import ItemAction, Outcome
from tillkeeper.sealing import KeyRing

OWN: Final = Line(500_000, "E1")
LATE: Final = Line(500_000, "P1", day=NEXT, payer=COMPANY)
NOTICE: Final = noticed(FIRST)
THREE: Final = noticed(*(piece(300_000, f"P{n}") for n in range(3)))
TWO_OF_THREE: Final = stated(Line(600_000, "E1"))


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def again(told: BankFile) -> BankFile:
    return told.model_copy(update={"digest": told.digest[::-1]})


def twice(files: Sequence[BankFile], *, at_once: bool) -> list[BankFile]:
    """Each file twice: one after the other, or all of them and all of them again."""
    if at_once:
        return [one for told in files for one in (told, again(told))]
    return [*files, *map(again, files)]


def orders(files: dict[str, BankFile]) -> pytest.MarkDecorator:
    """A mark for every order of the files, each of them twice."""
    found = {
        f"{', '.join(names)}{'; each at once' if at_once else ''}": twice(
            [files[name] for name in names], at_once=at_once
        )
        for names in permutations(files)
        for at_once in (True, False)
    }
    return pytest.mark.parametrize("files", found.values(), ids=found)


async def open_work(till: Till) -> set[str]:
    """Kinds of what waits, gaps too."""
    found = await till.rows("SELECT DISTINCT kind FROM work_items WHERE state <> 'CLOSED'")
    return {row[0] for row in found}


async def clean(till: Till) -> bool:
    """Whether bank and book agree on both days."""
    account = (await till.rows("SELECT id FROM bank_accounts"))[0][0]

    async def differ(connection: AsyncConnection) -> bool:
        views = [
            await reconcile_day(connection, account, one, at=noon(NEXT)) for one in (DAY, NEXT)
        ]
        return any(view.differences for view in views)

    return not await in_transaction(till.engine, differ)


PAGES: Final = {"notice": NOTICE, "page": stated(OWN), "next page": stated(FIRST, opening=500_000)}
MT940: Final = {
    "notice": NOTICE,
    "page": stated(OWN, kind=FileKind.MT940),
    "next page": stated(FIRST, opening=500_000, kind=FileKind.MT940),
}
DAYS: Final = {"notice": NOTICE, "day": stated(OWN), "next day": stated(LATE, opening=500_000)}
APART: Final = {"first": NOTICE, "second": noticed(SECOND), "lump": stated(LUMP)}


class TestAnyOrder:
    @orders(PAGES)
    async def test_piece_of_another_page_is_money_of_its_own(
        self, till: Till, files: list[BankFile]
    ) -> None:
        """C-09: page 1 has an equal entry that names nobody."""
        await self.both_are_booked(till, files)

    @orders(MT940)
    async def test_piece_of_another_page_in_mt940_is_money_of_its_own(
        self, till: Till, files: list[BankFile]
    ) -> None:
        await self.both_are_booked(till, files)

    @orders(DAYS)
    async def test_piece_of_another_day_is_money_of_its_own(
        self, till: Till, files: list[BankFile]
    ) -> None:
        """C-09: the day before has an equal entry that names nobody."""
        await self.both_are_booked(till, files)

    async def both_are_booked(self, till: Till, files: Sequence[BankFile]) -> None:
        await till.ask("M1", "R1", 500_000)
        await till.bring(*files)
        await till.ask("M1", "R2", 500_000)
        await till.bring(
            *(one.model_copy(update={"digest": f"0{one.digest[1:]}"}) for one in files)
        )
        assert await till.balances() == {"bank": 1_000_000, "unmatched_receipts": 500_000}
        assert await till.available("M1") == 500_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        assert await clean(till)
        assert await till.sound()

    @orders(APART)
    async def test_pieces_that_come_one_by_one_are_one_money_with_their_lump(
        self, till: Till, files: list[BankFile]
    ) -> None:
        """C-09: a sum that is not complete yet moves no money."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(*files)
        balances = await till.balances()
        assert balances["bank"] == 800_000
        assert balances["unmatched_receipts"] + await till.available("M1") == 800_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        assert await till.sound()


class TestTakenOver:
    async def test_pages_of_one_file(self, till: Till) -> None:
        """C-09."""
        pages = [([OWN], Balances(0, 500_000)), ([FIRST], Balances(500_000, 1_000_000))]
        await till.bring(NOTICE, bank_file(pages))
        assert (await till.balances())["bank"] == 1_000_000

    async def test_debit_that_the_next_page_states(self, till: Till) -> None:
        """C-09: a fee as large as a payment."""
        debit = Line(-70_000, "D1", payer=OTHER)
        await till.bring(
            noticed(debit), stated(Line(-70_000, "FEE")), stated(debit, opening=-70_000)
        )
        assert (await till.balances())["bank"] == -140_000

    async def test_one_piece_of_a_sum(self, till: Till) -> None:
        """C-09: the lump is booked; the other piece is still to be stated."""
        late = Line(300_000, "P2", day=NEXT, payer=OTHER)
        await till.bring(PIECES, stated(Line(800_000, "E1", remittance="SAMMLER 2")))
        assert (await till.balances())["bank"] == 800_000
        await till.bring(stated(late, opening=800_000))
        assert await overlaps(till) == [OVERLAP]
        await till.bring(stated(Line(500_000, "P1", day=NEXT), opening=1_100_000))
        assert await till.balances() == {"bank": 1_600_000, "unmatched_receipts": 1_600_000}
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        said = await till.rows(
            "SELECT b.state, e.amount, e.parts, e.booked_as IS NOT NULL"
            "  FROM bank_lumps b JOIN bank_entries e ON e.id = b.entry"
        )
        assert said == [("BOOKED", 800_000, 1, True)]
        assert await till.rows("SELECT id FROM bank_entries WHERE lump IS NOT NULL") == []
        assert await till.sound()

    async def test_lump_that_a_file_told_in_its_pieces_is_not_taken_apart(self, till: Till) -> None:
        """C-09: another format names them; a reference that is used again is other money."""
        await till.bring(PIECES, stated(LUMP, kind=FileKind.MT940), stated(FIRST, SECOND))
        assert await till.rows("SELECT word FROM bank_lumps") == [("TOLD",)]
        await till.bring(stated(LATE, opening=800_000), again(stated(LUMP, kind=FileKind.MT940)))
        assert (await till.balances())["bank"] == 1_300_000
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []

    async def test_reference_in_another_form_is_the_same_statement_again(self, till: Till) -> None:
        """C-02: an MT940 has room for 16 characters; it is told twice after the notification."""
        long = Line(500_000, "REF00000000000000011", payer=COMPANY)
        cut = Line(500_000, "REF0000000000000", payer="JIAYI TRADING")
        told = stated(cut, kind=FileKind.MT940)
        await till.bring(noticed(long), told, again(told))
        assert (await till.balances())["bank"] == 500_000

    async def test_batch_that_tells_its_lump_names_a_piece_that_nobody_notified(
        self, till: Till
    ) -> None:
        """C-09: the piece that is known stays; the other one is booked."""
        parts = ((COMPANY, 500_000), (OTHER, 300_000))
        batch = statement_file([Line(800_000, parts=parts)], Balances(0, 800_000))
        await till.ask("M1", "R1", 500_000)
        await till.bring(NOTICE, stated(LUMP), at_levels(batch, ("E1", "P1"), ("E1", "P2")))
        assert await till.balances() == {"bank": 800_000, "unmatched_receipts": 300_000}
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        await till.bring(noticed(SECOND), again(stated(LUMP)))
        assert (await till.balances())["bank"] == 800_000
        assert await till.sound()


class TestHeld:
    async def test_equal_pieces_and_their_sum_leave_a_choice(self, till: Till) -> None:
        """C-09: 8,000.00 is money of its own, or 5,000.00 and 3,000.00 are."""
        lumps = Line(500_000, "N1"), Line(300_000, "N2"), Line(800_000, "N3")
        await till.ask("M1", "R1", 500_000)
        await till.ask("M2", "R2", 800_000, company="戊己有限公司")
        await till.bring(PIECES, stated(*lumps, kind=FileKind.MT940))
        assert (await till.balances())["bank"] == 800_000
        assert await overlaps(till) == [OVERLAP] * 3
        await till.bring(stated(FIRST, SECOND, Line(800_000, "P3", payer="戊己有限公司")))
        assert await till.balances() == {"bank": 1_600_000, "unmatched_receipts": 300_000}
        assert (await till.available("M1"), await till.available("M2")) == (500_000, 800_000)
        assert {one[2:] for one in await overlaps(till)} == {("CLOSED", "RESOLVED")}
        assert await till.sound()

    async def test_lump_that_a_piece_may_stand_in_waits_for_it(self, till: Till) -> None:
        """C-09: the sum is not complete; the next day states the piece."""
        await till.bring(NOTICE, stated(Line(600_000, "E1")))
        assert (await till.balances())["bank"] == 500_000
        assert await overlaps(till) == [OVERLAP]
        await till.bring(stated(LATE, opening=600_000))
        assert (await till.balances())["bank"] == 1_100_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}

    async def test_equal_amount_does_not_give_a_lump_its_words(self, till: Till) -> None:
        """C-09: the lump has no reference; who is notified may well be stated the day after."""
        await till.bring(noticed(piece(200_000, "P0")), stated(Line(500_000)), NOTICE)
        assert (await till.balances())["bank"] == 700_000
        await till.bring(stated(LATE, opening=500_000))
        assert (await till.balances())["bank"] == 700_000
        assert await overlaps(till) == [("STATEMENT_OVERLAP", "LUMP_HELD", "CLOSED", "RESOLVED"),
                                        OVERLAP]  # fmt: skip
        late = Line(200_000, "P0", day=NEXT, payer=OTHER)
        await till.bring(stated(late, opening=1_000_000))
        assert (await till.balances())["bank"] == 1_200_000
        assert [row[0] for row in await till.receipts()] == ["UNMATCHED"] * 3

    async def test_debit_that_says_what_ordered_it_is_booked(self, till: Till) -> None:
        """C-12: it may be a payment of ours."""
        told = stated(Line(-100_000, "E1"))
        (part,) = told.transactions
        ordered = part.model_copy(update={"instruction_id": "I1"})
        debit = noticed(Line(-70_000, "D1", payer=OTHER))
        await till.bring(debit, told.model_copy(update={"transactions": (ordered,)}))
        assert (await till.balances())["bank"] == -170_000

    async def test_one_choice_that_is_left_ends_the_question(self, till: Till) -> None:
        """C-09: no file has to tell the statement again."""
        late = Line(300_000, "P2", day=NEXT, payer=OTHER)
        await till.bring(THREE, TWO_OF_THREE, stated(late, opening=600_000))
        assert (await till.balances())["bank"] == 900_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        assert await till.rows("SELECT amount FROM bank_entries WHERE statement IS NULL") == []

    async def test_pieces_that_are_all_stated_elsewhere_end_it_too(self, till: Till) -> None:
        """C-09: then the lump is money of its own."""
        late = [Line(300_000, f"P{n}", day=NEXT, payer=OTHER) for n in range(3)]
        await till.bring(THREE, TWO_OF_THREE, stated(*late, opening=600_000))
        assert (await till.balances())["bank"] == 1_500_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        assert await clean(till)


class TestDesk:
    async def held(self, till: Till, *files: BankFile) -> tuple[Office, int]:
        await till.bring(*files)
        items = await till.rows("SELECT id FROM work_items WHERE kind = 'STATEMENT_OVERLAP'")
        return Office(till.engine, till.ring), items[0][0]

    async def test_two_people_say_that_it_is_what_was_notified(self, till: Till) -> None:
        """C-07, P-26: two of the three pieces are stated with it; nothing is booked."""
        office, item = await self.held(till, THREE, TWO_OF_THREE)
        done = await office.approve(await office.propose(item, ItemAction.THESE_PIECES))
        assert done.outcome is Outcome.KNOWN
        [line] = await in_transaction(till.engine, statement_lines)
        assert line.broken == ()
        assert (await till.balances())["bank"] == 900_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        late = Line(300_000, "P0", day=NEXT, payer=OTHER)
        await till.bring(stated(late, opening=600_000), again(TWO_OF_THREE))
        assert (await till.balances())["bank"] == 900_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        assert await clean(till)

    async def test_two_people_say_that_it_is_other_money(self, till: Till) -> None:
        """C-07, P-26: it is booked at once, and the statement is whole."""
        office, item = await self.held(till, THREE, TWO_OF_THREE)
        done = await office.approve(await office.propose(item, ItemAction.OTHER_MONEY))
        assert done.outcome is Outcome.BOOKED
        assert await till.balances() == {"bank": 1_500_000, "unmatched_receipts": 1_500_000}
        [line] = await in_transaction(till.engine, statement_lines)
        assert line.broken == ()
        await till.bring(again(TWO_OF_THREE), again(THREE))
        assert (await till.balances())["bank"] == 1_500_000
        assert await open_work(till) == {"UNMATCHED_RECEIPT"}
        assert await till.sound()

    async def test_debit_of_its_own_is_an_unknown_debit(self, till: Till) -> None:
        """P-29."""
        debits = [Line(-30_000, f"D{n}", payer=OTHER) for n in range(3)]
        office, item = await self.held(till, noticed(*debits), stated(Line(-60_000, "E1")))
        await office.approve(await office.propose(item, ItemAction.OTHER_MONEY))
        assert await till.balances() == {"bank": -150_000, "unmatched_payments": 150_000}

    async def test_pieces_that_do_not_make_it_up_are_refused(self, till: Till) -> None:
        """C-05: its money would be in no book, without work."""
        office, item = await self.held(till, NOTICE, stated(LUMP))
        for action in (ItemAction.THESE_PIECES, ItemAction.ACKNOWLEDGE):
            with pytest.raises(Rejected) as caught:
                await office.propose(item, action)
            assert caught.value.codes == (Code.ACTION_NOT_ALLOWED,)

    async def test_lump_that_was_cleared_up_meanwhile_is_not_decided(self, till: Till) -> None:
        """C-05: the item ended by itself."""
        office, item = await self.held(till, NOTICE, stated(LUMP))
        proposed = await office.propose(item, ItemAction.OTHER_MONEY)
        await till.bring(noticed(SECOND))
        with pytest.raises(Rejected) as caught:
            await office.approve(proposed)
        assert caught.value.codes == (Code.ITEM_CLOSED,)
        assert (await till.balances())["bank"] == 800_000
