"""C-14 as a pure rule: whatever was changed on one side is named, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.reconciliation import Difference, DifferenceKind, ReconciliationState
from tillkeeper.rules.continuity import Stated
from tillkeeper.rules.reconciling import (
    Contents,
    Moved,
    Told,
    age_days,
    balance_difference,
    compare,
    contradiction,
    largest,
    needs_desk,
    standing,
    state_of,
    unbalanced,
)

MONDAY = date(2024, 5, 6)
K = DifferenceKind

amounts = st.integers(-5, 5).filter(bool)
pairs = st.lists(
    st.tuples(st.integers(0, 5), amounts, st.sampled_from([-1, 0, 1])), min_size=1, max_size=30
)


def sides(drawn: list[tuple[int, int, int]]) -> tuple[list[Told], list[Moved]]:
    """A day that agrees: subjects repeat, and the book may be a day off."""
    told, moved = [], []
    for number, (subject, amount, off) in enumerate(drawn):
        told.append(Told(number, MONDAY, amount, stated=True, booked_as=f"s{subject}"))
        when = MONDAY + timedelta(days=off)
        moved.append(Moved(1000 + number, when, amount, f"s{subject}"))
    return told, moved


class TestCompare:
    @given(pairs, st.randoms())
    def test_equal_sides_agree_in_any_order(self, drawn: list[tuple[int, int, int]], rng) -> None:  # type: ignore[no-untyped-def]
        """C-09, C-14: nothing differs, and every entry is matched."""
        told, moved = sides(drawn)
        rng.shuffle(told)
        rng.shuffle(moved)
        found = compare(MONDAY, told, moved)
        assert (found.matched, found.differences) == (len(drawn), ())

    @given(pairs, st.data())
    def test_whatever_one_side_lacks_is_named(
        self, drawn: list[tuple[int, int, int]], data: st.DataObject
    ) -> None:
        """C-14: the sum of what is named is exactly what the sides differ by."""
        told, moved = sides([(subject, amount, 0) for subject, amount, _ in drawn])
        place = data.draw(st.integers(0, len(drawn) - 1))
        lacks_entry = data.draw(st.booleans())
        gone = -told.pop(place).amount if lacks_entry else moved.pop(place).amount
        found = compare(MONDAY, told, moved)
        assert sum(one.off_minor for one in found.differences) == gone
        assert found.differences

    @given(pairs, st.integers(1, 9), st.data())
    def test_one_fen_is_named_with_its_amount(
        self, drawn: list[tuple[int, int, int]], fen: int, data: st.DataObject
    ) -> None:
        """C-14: an edited amount on either side shows as exactly that."""
        told, moved = sides([(n, amount, 0) for n, (_, amount, _) in enumerate(drawn)])
        place = data.draw(st.integers(0, len(drawn) - 1))
        grown = told[place].amount + (fen if told[place].amount > 0 else -fen)
        told[place] = replace(told[place], amount=grown)
        found = compare(MONDAY, told, moved)
        assert [(d.kind, d.subject, d.bank_minor, d.book_minor) for d in found.differences] == [
            (K.AMOUNT_DIFFERS, f"s{place}", grown, moved[place].amount)
        ]
        assert found.matched == len(drawn) - 1

    @given(pairs, pairs)
    def test_nothing_is_lost_between_any_two_sides(
        self, one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]
    ) -> None:
        """C-14: matched and named make up both sides of the day, each row once."""
        told, _ = sides([(subject, amount, 0) for subject, amount, _ in one])
        _, moved = sides([(subject, amount, 0) for subject, amount, _ in other])
        found = compare(MONDAY, told, moved)
        kinds = Counter(d.kind for d in found.differences)
        both = found.matched + kinds[K.AMOUNT_DIFFERS]
        assert len(told) == both + kinds[K.NOT_IN_BOOK]
        assert len(moved) == both + kinds[K.NOT_ON_STATEMENT]
        off = sum(t.amount for t in told) - sum(m.amount for m in moved)
        assert sum(d.off_minor for d in found.differences) == off

    def test_only_notified_is_not_on_a_statement(self) -> None:
        """A notification is no statement, though its entry is booked."""
        told = [Told(1, MONDAY, 5, stated=False, booked_as="entry/1")]
        found = compare(MONDAY, told, [Moved(7, MONDAY, 5, "entry/1")])
        assert found.matched == 0
        assert [(d.kind, d.transfer) for d in found.differences] == [(K.NOT_ON_STATEMENT, 7)]

    def test_money_in_and_money_out_are_never_one_pair(self) -> None:
        """Opposite directions under one subject are two differences."""
        told = [Told(1, MONDAY, 5, stated=True, booked_as="entry/1")]
        found = compare(MONDAY, told, [Moved(7, MONDAY, -5, "entry/1")])
        kinds = {d.kind for d in found.differences}
        assert kinds == {K.NOT_IN_BOOK, K.NOT_ON_STATEMENT}

    def test_another_days_entry_is_told_on_its_own_day(self) -> None:
        """What differs is one difference, not one for either day."""
        tuesday = MONDAY + timedelta(days=1)
        told = [Told(1, tuesday, 6, stated=True, booked_as="receipt/a")]
        moved = [Moved(7, MONDAY, 5, "receipt/a")]
        assert compare(MONDAY, told, moved).differences == ()
        assert [d.kind for d in compare(tuesday, told, moved).differences] == [K.AMOUNT_DIFFERS]


def stated(number: int, day: int, opening: int, closing: int) -> Stated:
    """A statement of that day of May."""
    return Stated(number, date(2024, 5, day), opening, closing)


class TestStanding:
    @pytest.mark.parametrize(
        ("day", "covered", "closing"),
        [(3, False, None), (4, True, None), (6, True, 1), (8, True, None), (10, True, 2),
         (11, False, None), (13, True, 3), (14, False, None)],
    )  # fmt: skip
    def test_a_day_is_covered_by_its_statement_or_by_two_that_join(
        self, day: int, covered: bool, closing: int | None
    ) -> None:
        """Begins on the 4th; the 6th and the 10th join, the 13th does not."""
        statements = [stated(3, 13, 99, 100), stated(2, 10, 20, 30), stated(1, 6, 10, 20)]
        found = standing(statements, date(2024, 5, 4), date(2024, 5, day))
        assert (found.covered, None if found.closing is None else found.closing.id) == (
            covered, closing,
        )  # fmt: skip
        assert found.base == 10

    def test_without_statements_nothing_is_covered(self) -> None:
        """An account that only notifications told of."""
        assert not standing([], None, MONDAY).covered


class TestBalance:
    def test_the_closing_balance_may_differ_by_what_is_named_only(self) -> None:
        """C-14: 20 moved at the bank, 19 in the book, 1 named: nothing more differs."""
        stands = standing([stated(1, 6, 10, 30)], MONDAY, MONDAY)
        fen = Difference(kind=K.NOT_IN_BOOK, subject="entry/1", bank_minor=1)
        assert balance_difference(stands, 19, [fen]) == 0
        assert balance_difference(stands, 19, []) == 1
        assert balance_difference(stands, 20, [fen]) == 0
        one = stands.upto[0]
        assert unbalanced(one, 1).off_minor == 1

    @pytest.mark.parametrize(
        ("contents", "bank", "book"),
        [(Contents(2, 20, 2, 21), 30, 31), (Contents(2, 21, 2, 20), 21, 20),
         (Contents(1, 5, 2, 19), 30, 29)],
    )  # fmt: skip
    def test_a_statement_that_contradicts_itself_is_named(
        self, contents: Contents, bank: int, book: int
    ) -> None:
        """C-14: an entry or the statement's own sum was edited."""
        found = contradiction(stated(1, 6, 10, 30), contents)
        assert found is not None
        assert (found.subject, found.bank_minor, found.book_minor) == (
            "statement/1/entries", bank, book,
        )  # fmt: skip

    def test_a_corrected_statement_is_judged_by_its_balances(self) -> None:
        """A file that told fewer entries was followed by one that told all."""
        assert contradiction(stated(1, 6, 10, 30), Contents(1, 5, 2, 20)) is None


class TestDesk:
    ONE = (Difference(kind=K.NOT_ON_STATEMENT, subject="receipt/a", book_minor=-7),)

    def test_states(self) -> None:
        """Clean is a day that a statement covers and that does not differ."""
        assert state_of(covered=True, differences=()) is ReconciliationState.CLEAN
        assert state_of(covered=True, differences=self.ONE) is ReconciliationState.DIFFERENT
        assert state_of(covered=False, differences=()) is ReconciliationState.NO_STATEMENT

    def test_without_a_statement_three_days_pass_before_it_is_work(self) -> None:
        """The day ends at 16:00 UTC; equality is due."""
        due = datetime(2024, 5, 9, 16, tzinfo=UTC)
        state = ReconciliationState.NO_STATEMENT
        second = timedelta(seconds=1)
        asked = [needs_desk(state, self.ONE, MONDAY, at) for at in (due - second, due)]
        assert asked == [False, True]
        assert not needs_desk(state, (), MONDAY, due)
        assert needs_desk(ReconciliationState.DIFFERENT, self.ONE, MONDAY, due - second)

    def test_age_and_largest(self) -> None:
        """Whole days in Shanghai; amounts without their sign."""
        assert age_days(MONDAY, datetime(2024, 5, 7, 15, 59, tzinfo=UTC)) == 1
        assert age_days(MONDAY, datetime(2024, 5, 7, 16, 0, tzinfo=UTC)) == 2
        assert age_days(MONDAY, datetime(2024, 5, 1, tzinfo=UTC)) == 0
        assert largest(self.ONE) == 7
