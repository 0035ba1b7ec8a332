"""C-14: a bank account's day against the book, on data; every difference is found and named."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.bank import sides
from ledger.bank.reconciled import days, our_accounts
from ledger.bank.reconciling import reconcile_day
from ledger.bank.telling import days_of
from ledger.engine import fetch, in_transaction
from ledger.orders import OrderBook
from tests.ledger.bank.full_book import FullBook
from tests.ledger.bank.reconciling_support import MONDAY, OUR_NUMBER, Bank, days_from, noon
from tests.ledger.support import hold, open_account
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.reconciliation import Difference, DifferenceKind, ReconciliationState
from tillkeeper.sealing import KeyRing

TUESDAY = MONDAY + timedelta(days=1)
FRIDAY = MONDAY + timedelta(days=4)
CLEAN = ReconciliationState.CLEAN
DIFFERENT = ReconciliationState.DIFFERENT
NO_STATEMENT = ReconciliationState.NO_STATEMENT
K = DifferenceKind


def told(one: Difference) -> tuple[str, str, int | None, int | None]:
    """Kind, subject and both amounts."""
    return one.kind.value, one.subject, one.bank_minor, one.book_minor


@pytest_asyncio.fixture(loop_scope="session")
async def bank(engine: AsyncEngine, owner_url: str) -> Bank:
    """An account that has 1,000.00, known by no statement yet."""
    return await Bank(engine, owner_url).open()


class TestClean:
    async def test_a_day_whose_entries_are_all_booked_is_clean(self, bank: Bank) -> None:
        """C-14: each entry has its transfer, the closing balance is the book's."""
        await bank.states(MONDAY, 300_00, -50_00, 300_00)
        view = await bank.look(MONDAY)
        assert (view.state, view.matched, view.differences) == (CLEAN, 3, ())
        assert (view.bank_total_minor, view.book_total_minor) == (550_00, 550_00)
        assert await bank.items() == []

    async def test_days_between_statements_are_clean_when_balances_join(self, bank: Bank) -> None:
        """C-14: a weekend has no statement, and the next one opens as the last one closed."""
        await bank.states(FRIDAY, 300_00)
        saturday = FRIDAY + timedelta(days=1)
        assert (await bank.look(saturday)).state is NO_STATEMENT
        await bank.states(FRIDAY + timedelta(days=3), 200_00)
        assert (await bank.look(saturday)).state is CLEAN
        await bank.book("receipt/late", 1, noon(saturday))
        view = await bank.look(saturday)
        assert [told(one) for one in view.differences] == [
            ("NOT_ON_STATEMENT", "receipt/late", None, 1)
        ]

    async def test_several_statements_of_one_day_in_any_order(self, bank: Bank) -> None:
        """C-09: the day closes with the last one by balances, however they were told."""
        bank.balance = 1_300_00
        await bank.states(MONDAY, 200_00)
        bank.balance = 1_000_00
        await bank.states(MONDAY, 300_00)
        bank.balance = 1_500_00
        await bank.states(TUESDAY, -100_00)
        assert [(await bank.look(day)).state for day in (MONDAY, TUESDAY)] == [CLEAN, CLEAN]

    async def test_an_entry_of_a_day_before_counts_with_the_statement_that_tells_it(
        self, bank: Bank
    ) -> None:
        """C-14: booked for Monday, told by Tuesday's statement: neither day differs."""
        await bank.states(MONDAY, 300_00)
        await bank.states(TUESDAY, 200_00, 70_00, of=(TUESDAY, MONDAY))
        views = [await bank.look(day) for day in (MONDAY, TUESDAY)]
        assert [(v.state, v.matched) for v in views] == [(CLEAN, 2), (CLEAN, 1)]

    async def test_a_reported_receipt_may_be_dated_on_the_day_before_or_after(
        self, bank: Bank
    ) -> None:
        """P-26: reported by a client with its own time, told by the statement on another day."""
        before, same, after = await bank.states(TUESDAY, 10_00, 20_00, 30_00, booked=False)
        for entry, day, amount in (
            (before, MONDAY, 10_00), (same, TUESDAY, 20_00), (after, TUESDAY + timedelta(1), 30_00),
        ):  # fmt: skip
            await bank.book(f"receipt/{entry}", amount, noon(day))
            await bank.booked_as(entry, f"receipt/{entry}")
        view = await bank.look(TUESDAY)
        assert (view.state, view.matched) == (CLEAN, 3)

    async def test_what_the_book_had_before_the_first_statement_is_in_its_opening(
        self, bank: Bank
    ) -> None:
        """C-14: the base is the opening balance of the first statement."""
        await bank.book("receipt/old", 5_00, noon(MONDAY - timedelta(days=9)))
        await bank.states(MONDAY, 300_00)
        assert (await bank.look(MONDAY)).state is CLEAN

    async def test_another_accounts_entries_are_not_ours(self, bank: Bank) -> None:
        """C-14: two accounts in one currency share the book's bank, and differ in nothing."""
        other = await Bank(bank.engine, bank.owner_url, number="99", balance=7_00).open(2)
        await bank.states(MONDAY, 300_00)
        await other.states(MONDAY, 20_00, -5_00)
        assert [(await one.look(MONDAY)).state for one in (bank, other)] == [CLEAN, CLEAN]

    async def test_a_business_day_is_cut_in_shanghai(self, bank: Bank) -> None:
        """P-26: 16:30 UTC is half past midnight of the next day."""
        await bank.states(MONDAY, 300_00)
        await bank.states(TUESDAY)
        late = noon(MONDAY) + timedelta(hours=12, minutes=30)
        await bank.book("receipt/late", 1, late)
        assert (await bank.look(MONDAY)).state is CLEAN
        view = await bank.look(TUESDAY)
        assert [told(one)[:2] for one in view.differences] == [("NOT_ON_STATEMENT", "receipt/late")]


class TestOneFen:
    """C-14: a 0.01 difference put in by hand is found by the next check, and named."""

    @pytest.mark.parametrize("kind", ["receipt", "correction", "withdrawal_paid"])
    async def test_a_transfer_put_in_by_hand(self, bank: Bank, kind: str) -> None:
        """Found with its amount and subject; taken out again, cleared and settled."""
        await bank.states(MONDAY, 300_00)
        made = await bank.by_hand(1, noon(MONDAY), kind=kind)
        view = await bank.look(MONDAY)
        assert view.state is DIFFERENT
        assert [told(one) for one in view.differences] == [("NOT_ON_STATEMENT", "by hand", None, 1)]
        assert view.differences[0].transfer == made
        await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
        await self._comes_right(bank)

    async def test_a_transfer_that_bears_the_subject_of_an_entry(self, bank: Bank) -> None:
        """Hidden behind a subject that is matched already, it is found all the same."""
        entry = (await bank.states(MONDAY, 300_00))[0]
        made = await bank.by_hand(1, noon(MONDAY), subject=f"entry/{entry}")
        view = await bank.look(MONDAY)
        assert [(told(one), one.transfer) for one in view.differences] == [
            (("NOT_ON_STATEMENT", f"entry/{entry}", None, 1), made)
        ]

    async def test_an_entry_edited_by_hand(self, bank: Bank) -> None:
        """The entry and its transfer differ, and its statement no longer makes its balance."""
        entry = (await bank.states(MONDAY, 300_00))[0]
        edit = "UPDATE bank_entries SET amount = amount + $2 WHERE id = $1 RETURNING statement"
        statement = (await bank.as_owner(edit, entry, 1))[0][0]
        view = await bank.look(MONDAY)
        assert sorted(told(one) for one in view.differences) == [
            ("AMOUNT_DIFFERS", f"entry/{entry}", 300_01, 300_00),
            ("BALANCE_DIFFERS", f"statement/{statement}/entries", 1_300_00, 1_300_01),
        ]
        await bank.as_owner(edit, entry, -1)
        await self._comes_right(bank)

    async def test_a_transfer_edited_by_hand(self, bank: Bank) -> None:
        """The amount in the book is not the bank's."""
        entry = (await bank.states(MONDAY, 300_00))[0]
        edit = "UPDATE transfers SET amount = amount + $2 WHERE subject = $1 RETURNING id"
        await bank.as_owner(edit, f"entry/{entry}", 1)
        view = await bank.look(MONDAY)
        assert [told(one) for one in view.differences] == [
            ("AMOUNT_DIFFERS", f"entry/{entry}", 300_00, 300_01)
        ]
        await bank.as_owner(edit, f"entry/{entry}", -1)
        await self._comes_right(bank)

    @pytest.mark.parametrize("column", ["closing", "total", "opening"])
    async def test_a_statement_edited_by_hand(self, bank: Bank, column: str) -> None:
        """Its balances and its sum must agree with its entries and with the book."""
        await bank.states(MONDAY, 300_00)
        await bank.states(TUESDAY, 20_00)
        edit = f"UPDATE bank_statements SET {column} = {column} + $2 WHERE closing_on = $1 RETURNING id"  # noqa: S608, E501
        statement = (await bank.as_owner(edit, TUESDAY, 1))[0][0]
        view = await bank.look(TUESDAY)
        assert {(one.kind, abs(one.off_minor)) for one in view.differences} == {
            (K.BALANCE_DIFFERS, 1)
        }
        assert {one.subject.removesuffix("/entries") for one in view.differences} == {
            f"statement/{statement}"
        }
        await bank.as_owner(edit, TUESDAY, -1)
        assert (await bank.look(TUESDAY)).state is CLEAN

    async def test_an_entry_that_was_never_booked(self, bank: Bank) -> None:
        """Told by the statement, not in the book."""
        entry = (await bank.states(MONDAY, 1, booked=False))[0]
        view = await bank.look(MONDAY)
        assert [told(one) for one in view.differences] == [
            ("NOT_IN_BOOK", f"entry/{entry}", 1, None)
        ]
        await bank.book(f"entry/{entry}", 1, noon(MONDAY))
        await bank.booked_as(entry, f"entry/{entry}")
        await self._comes_right(bank)

    async def test_a_transfer_taken_out_by_hand(self, bank: Bank) -> None:
        """The entry says that it is booked; the book knows nothing of it."""
        entry = (await bank.states(MONDAY, 300_00))[0]
        gone = "DELETE FROM transfers WHERE subject = $1 RETURNING id"
        await bank.as_owner(gone, f"entry/{entry}")
        view = await bank.look(MONDAY)
        assert [told(one) for one in view.differences] == [
            ("NOT_IN_BOOK", f"entry/{entry}", 300_00, None)
        ]

    async def _comes_right(self, bank: Bank) -> None:
        view = await bank.look(MONDAY, noon(MONDAY + timedelta(days=3)))
        assert (view.state, view.differences, view.needs_desk) == (CLEAN, (), False)
        seen = await bank.rows("SELECT first_seen, cleared_at FROM reconciliation_differences")
        assert {(str(row[0].day), row[1]) for row in seen} == {
            ("7", noon(MONDAY + timedelta(days=3)))
        }
        subject, state, outcome, *_ = (await bank.items())[-1]
        assert (subject, state, outcome) == (
            f"reconcile/{bank.account}/{MONDAY}", "CLOSED", "RESOLVED",
        )  # fmt: skip


class TestHistory:
    """C-14: the next check finds what was put into a day that was clean already."""

    async def test_a_transfer_put_into_a_day_long_clean_names_that_day(self, bank: Bank) -> None:
        """Tuesday's balance is off, Monday is named, looked at, and explains Tuesday."""
        for day in (MONDAY, TUESDAY):
            await bank.states(day, 300_00)
            await bank.look(day)
        await bank.by_hand(1, noon(MONDAY))
        view = await bank.look(TUESDAY)
        assert [(one.kind, one.off_minor) for one in view.differences] == [(K.BALANCE_DIFFERS, -1)]
        assert view.look_at == (MONDAY,)
        monday = await bank.look(MONDAY)
        assert [told(one) for one in monday.differences] == [
            ("NOT_ON_STATEMENT", "by hand", None, 1)
        ]
        view = await bank.look(TUESDAY)
        assert (view.state, view.look_at) == (CLEAN, ())

    @pytest.mark.parametrize(
        "edit",
        [
            "UPDATE bank_entries SET amount = amount + 1 WHERE day = $1 RETURNING id",
            "UPDATE bank_statements SET total = total + 1 WHERE closing_on = $1 RETURNING id",
            "UPDATE bank_statements SET closing = closing + 1 WHERE closing_on = $1 RETURNING id",
        ],
    )
    async def test_an_edit_of_a_day_long_clean_names_that_day(self, bank: Bank, edit: str) -> None:
        """What does not touch the book is found too."""
        for day in days_from(MONDAY, 3):
            await bank.states(day, 300_00)
            await bank.look(day)
        await bank.as_owner(edit, TUESDAY)
        assert (await bank.look(MONDAY + timedelta(days=2))).look_at == (TUESDAY,)
        assert (await bank.look(TUESDAY)).state is DIFFERENT
        assert (await bank.look(MONDAY + timedelta(days=2))).look_at == ()

    async def test_one_error_is_one_item_however_many_days_follow(self, bank: Bank) -> None:
        """C-05: later days' balances are explained by what is named already."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(7, noon(MONDAY))
        for day in days_from(MONDAY, 5):
            if day > MONDAY:
                await bank.states(day, 10_00)
            await bank.look(day)
        assert [row[0] for row in await bank.items()] == [f"reconcile/{bank.account}/{MONDAY}"]


class TestNotStated:
    async def test_a_reported_receipt_that_no_statement_tells_shows_its_age(
        self, bank: Bank
    ) -> None:
        """C-14: named at once, work for the desk when the statement comes without it."""
        await bank.book("receipt/abc", 5_000_00, noon(MONDAY))
        view = await bank.look(MONDAY, noon(MONDAY))
        assert (view.state, view.needs_desk, view.age_days) == (NO_STATEMENT, False, 0)
        assert [told(one) for one in view.differences] == [
            ("NOT_ON_STATEMENT", "receipt/abc", None, 5_000_00)
        ]
        await bank.states(MONDAY, 300_00)
        view = await bank.look(MONDAY, noon(TUESDAY))
        assert (view.state, view.needs_desk, view.age_days) == (DIFFERENT, True, 1)
        view = await bank.look(MONDAY, noon(MONDAY + timedelta(days=12)))
        assert (view.age_days, view.differences[0].first_seen) == (12, noon(MONDAY))
        assert [row[1] for row in await bank.items()] == ["OPEN"]

    async def test_a_notified_entry_waits_for_its_statement_three_days(self, bank: Bank) -> None:
        """C-14: booked by camt.054; work when three days after its day no statement has come."""
        entry = await bank.tells(MONDAY, 300_00)
        until = noon(MONDAY) + timedelta(days=3, hours=12)
        views = [await bank.look(MONDAY, until + timedelta(seconds=s)) for s in (-1, 0)]
        assert [(v.state, v.needs_desk) for v in views] == [
            (NO_STATEMENT, False), (NO_STATEMENT, True),
        ]  # fmt: skip
        assert told(views[0].differences[0]) == (
            "NOT_ON_STATEMENT", f"entry/{entry}", None, 300_00,
        )  # fmt: skip


class TestItem:
    async def test_its_context_follows_what_differs(self, bank: Bank) -> None:
        """C-05: count, largest amount and age; no second item."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        await bank.look(MONDAY)
        await bank.book("receipt/x", -25, noon(MONDAY))
        await bank.look(MONDAY, noon(MONDAY + timedelta(days=6)))
        (subject, state, _, amount, context) = (await bank.items())[0]
        assert (subject, state, amount) == (f"reconcile/{bank.account}/{MONDAY}", "OPEN", 25)
        said = context if isinstance(context, dict) else json.loads(context)
        assert (said["differences"], said["largest_minor"], said["largest"]) == (2, 25, "receipt/x")
        assert said["age_days"] == 6
        assert said["first_seen"].startswith("2024-05-07")

    async def test_what_the_desk_acknowledged_stays_closed_until_something_new_differs(
        self, bank: Bank
    ) -> None:
        """C-05: an outcome stands; a new difference is new work."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        await bank.look(MONDAY)
        await bank.rows(
            "UPDATE work_items SET state = 'CLOSED', outcome = 'ACKNOWLEDGED', closed_at = $1"
            " RETURNING id",
            noon(MONDAY + timedelta(days=2)),
        )
        await bank.look(MONDAY, noon(MONDAY + timedelta(days=3)))
        assert [row[1] for row in await bank.items()] == ["CLOSED"]
        await bank.book("receipt/x", 25, noon(MONDAY))
        await bank.look(MONDAY, noon(MONDAY + timedelta(days=4)))
        assert [row[1] for row in await bank.items()] == ["CLOSED", "OPEN"]

    async def test_looked_at_twice_changes_nothing(self, bank: Bank) -> None:
        """C-02: an answer that was lost is given again."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        first, again = await bank.look(MONDAY), await bank.look(MONDAY)
        assert first == again
        assert len(await bank.items()) == 1

    async def test_several_looks_at_once_record_the_day_once(self, bank: Bank) -> None:
        """C-02: each reads one moment; who comes second looks again."""
        await bank.states(MONDAY, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        views = await asyncio.gather(*(bank.look(MONDAY) for _ in range(4)))
        assert {view.difference_count for view in views} == {1}
        assert len(await bank.rows("SELECT id FROM reconciliation_differences")) == 1
        assert len(await bank.items()) == 1

    async def test_an_account_that_is_not_there_is_refused(self, bank: Bank) -> None:
        """Raises BANK_ACCOUNT_UNKNOWN."""
        bank.account += 1
        with pytest.raises(Rejected) as refused:
            await bank.look(MONDAY)
        assert refused.value.codes == (Code.BANK_ACCOUNT_UNKNOWN,)


class TestList:
    async def test_days_that_are_not_clean_are_listed_with_the_oldest_difference(
        self, bank: Bank
    ) -> None:
        """C-14: state, figures, and since when."""
        for day in (MONDAY, TUESDAY):
            await bank.states(day, 300_00)
        await bank.by_hand(1, noon(MONDAY))
        for day in (MONDAY, TUESDAY):
            await bank.look(day)
        line = (await days(bank.engine))[0]
        assert (line.number, line.day, line.state) == (OUR_NUMBER, MONDAY, DIFFERENT)
        assert (line.differences, line.first_seen) == (1, noon(TUESDAY))
        assert len(await days(bank.engine, clean=True)) == 2
        assert await our_accounts(bank.engine, None, "CNY") == [(bank.account, OUR_NUMBER, "CNY")]


class TestDaysOfAFile:
    async def test_its_days_and_those_between_statements_are_asked_for_and_no_others(
        self, bank: Bank
    ) -> None:
        """C-14: a weekend is compared too; a day that was not clean waits for its daily look."""
        monday = FRIDAY + timedelta(days=3)
        for day in (FRIDAY, monday, monday + timedelta(days=40)):
            await bank.states(day, 300_00)
        await bank.look(MONDAY)
        found = await in_transaction(bank.engine, lambda c: days_of(c, "f"))
        assert [one.day for one in found] == [*days_from(FRIDAY, 4), monday + timedelta(days=40)]

    async def test_every_way_in_which_the_bank_moves_money_is_matched(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-14: receipts, reversals, charges, payments that went and came back, lumps detailed."""
        await FullBook(engine, ring).make()
        entries = "SELECT account, count(*) FROM bank_entries GROUP BY account"
        account, kept = (await in_transaction(engine, lambda c: fetch(c, entries, ())))[0]
        view = await in_transaction(
            engine, lambda c: reconcile_day(c, account, MONDAY, at=noon(TUESDAY))
        )
        assert view.matched == kept
        # The statements of that book all open at nothing.
        assert {one.kind for one in view.differences} <= {K.BALANCE_DIFFERS}


class TestPlans:
    async def test_the_day_is_read_by_the_index_of_bank_movements(self, bank: Bank) -> None:
        """Orders fill the book; the few movements of the bank are found without them."""
        await open_account(bank.engine, "M1", fund=100_00)
        await OrderBook(bank.engine).apply([hold("M1", f"O{n}", 1) for n in range(300)])
        for sql, index in (
            (sides._DAY_TRANSFERS, "transfers_bank"),
            (sides._BOOKED, "transfers_bank"),
            (sides._SUBJECT_TRANSFERS, "transfers_bank_subject"),
        ):
            given: tuple[object, ...] = (1, noon(MONDAY), noon(TUESDAY))
            if "ANY" in sql:
                given = (1, ["entry/1"])
            plan = await in_transaction(
                bank.engine,
                lambda c, s=sql, g=given: fetch(c, f"EXPLAIN {s}", g),  # type: ignore[misc]
            )
            assert any(index in row[0] for row in plan), plan
            assert not any("Seq Scan" in row[0] for row in plan), plan
