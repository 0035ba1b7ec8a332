"""Which told entries are known already (P-26, C-02, C-09)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.bank.shelf import Shelf
from ledger.bank.told import Telling, ToldEntry
from tillkeeper.rules.continuity import Stated, gaps
from tillkeeper.rules.sameness import (
    DAYS_APART_MAX,
    Identity,
    Likeness,
    Movement,
    first_stated,
    issued_again,
    leads_back,
    meaningful_reference,
    notified,
    other_money,
    reissued,
    same_statement,
    told_again,
)

DAY = date(2024, 5, 6)
CAMT = Identity("camt.053", "A", "7", 0, DAY, 100, DAY)


def move(
    signed: int = 100, reference: str | None = "R", day: date = DAY, *,
    dated: bool = True, stated: bool = False,
) -> Movement:  # fmt: skip
    return Movement(signed, day, dated, reference, stated)


def like(
    form: str = "", payer: str = "", *, signed: int = 100, reference: str = "R", day: date = DAY
) -> Movement:  # fmt: skip
    found = Likeness(frozenset({form} - {""}), frozenset({payer} - {""}))
    return Movement(signed, day, True, reference, likeness=lambda: found)


def later(days: int) -> date:
    return DAY + timedelta(days=days)


class TestSameStatement:
    @pytest.mark.parametrize(
        ("told", "same"),
        [
            (CAMT, True),
            (replace(CAMT, number=None, identifier=None), True),
            (replace(CAMT, number="8"), False),
            (replace(CAMT, identifier="B"), False),
            (replace(CAMT, opening_on=later(-1)), False),
            (replace(CAMT, opening=1), False),
            (replace(CAMT, closing=101), False),
            (replace(CAMT, closing_on=later(1)), False),
            (Identity("MT940", "STARTUMS", "00001", 0, later(-1), 100, DAY), True),
            (Identity("MT940", "STARTUMS", "00001", 0, later(-1), 101, DAY), False),
        ],
    )
    def test_balances_and_days_decide_numbers_only_within_a_format(
        self, told: Identity, *, same: bool
    ) -> None:
        """P-26."""
        assert same_statement(told, CAMT) is same

    def test_reissued_has_the_same_amounts(self) -> None:
        """P-26: as often as they were."""
        assert reissued([move(1), move(2)], [move(2, "B"), move(1, None)])
        assert not reissued([move(1)], [move(1), move(1)])

    def test_only_statements_that_lead_back_let_it_be_another(self) -> None:
        """P-26: there, back in two steps, and there again."""
        back = [replace(CAMT, opening=100, closing=40), replace(CAMT, opening=40, closing=0)]
        assert leads_back(CAMT, [CAMT, *back])
        assert not leads_back(CAMT, [CAMT, back[0]])
        assert not leads_back(CAMT, [CAMT, replace(CAMT, opening=100, closing=150)])
        other_day = replace(CAMT, opening=100, closing=0, closing_on=later(1))
        assert not leads_back(CAMT, [CAMT, other_day])

    def test_issued_again_needs_every_reference(self) -> None:
        """P-26."""
        known = [move(1, "A"), move(2, "B")]
        assert issued_again(known[::-1], known)
        assert not issued_again(known[:1], known)
        assert not issued_again([move(1, "A"), move(2, "C")], known)
        assert not issued_again([move(1, None)], [move(1, None)])

    def test_without_a_reference_in_common_it_is_another(self) -> None:
        """P-26: banks that number no statement."""
        assert other_money([move(1, "A")], [move(1, "B")])
        assert not other_money([move(1, "A"), move(2, "B")], [move(2, "B")])
        assert not other_money([move(1, None)], [move(1, "B")])
        assert not other_money([], [move(1, "B")])


class TestToldAgain:
    def test_equal_entries_are_counted(self) -> None:
        """P-26: three told, two known: one is new."""
        told = [move(reference=None)] * 3
        assert told_again(told, told[:2], whole=False) == [0, 1, None]

    def test_the_likest_is_taken_first(self) -> None:
        """P-26: reference and day, then reference, then amount."""
        known = [move(reference=None), move(), move(day=later(1))]
        told = [move(day=later(1)), move(), move(reference="X")]
        assert told_again(told, known, whole=False) == [2, 1, 0]

    def test_other_references_are_other_entries_unless_nothing_is_missing(self) -> None:
        """P-26: what is whole needs nothing more."""
        told, known = [move(reference="X")], [move(reference="Y")]
        assert told_again(told, known, whole=False) == [None]
        assert told_again(told, known, whole=True) == [0]

    def test_without_references_equal_amounts_go_by_their_days_first(self) -> None:
        """P-26: what is then said of an entry is said of the right one."""
        told = [move(day=later(1)), move()]
        known = [move(reference=None), move(reference=None, day=later(1))]
        assert told_again(told, known, whole=True) == [1, 0]
        assert told_again(known[::-1], told[::-1], whole=False) == [1, 0]

    def test_a_batch_one_by_one_is_known(self) -> None:
        """P-26."""
        told = [move(40, "X"), move(60, "Z")]
        assert told_again(told, [move(100)], whole=True) == [0, 0]

    def test_more_than_was_told_is_new_although_the_statement_seemed_whole(self) -> None:
        """P-26: two lost lines that made nothing together."""
        told = [move(100), move(5, None), move(-5, None)]
        assert told_again(told, [move(100)], whole=True) == [0, None, None]


class TestFirstStated:
    @pytest.mark.parametrize(
        ("apart", "same"), [(0, True), (DAYS_APART_MAX, True), (-DAYS_APART_MAX, True),
                            (DAYS_APART_MAX + 1, False), (-DAYS_APART_MAX - 1, False)],
    )  # fmt: skip
    def test_a_notified_entry_may_be_some_days_away(self, apart: int, *, same: bool) -> None:
        """P-26: five days."""
        found = first_stated([move(day=later(apart))], [move()])
        assert found == [0 if same else None]

    def test_the_nearest_day_is_taken(self) -> None:
        """P-26."""
        assert first_stated([move(day=later(3))], [move(), move(day=later(4))]) == [1]

    def test_another_form_of_the_reference_comes_before_the_payer(self) -> None:
        """P-26: the statement is the bank's word, and each of its entries one movement."""
        known = [like("r", payer="P", reference="X"), like(payer="P", reference="Y")]
        told = [like(payer="P", reference="Z"), like("r", payer="P", reference="R")]
        assert first_stated(told, known) == [1, 0]
        assert first_stated([like(signed=99, payer="P")], known) == [None]

    def test_a_stated_entry_is_never_stated_again(self) -> None:
        """P-26: banks use references again."""
        assert first_stated([move()], [move(stated=True)]) == [None]

    @pytest.mark.parametrize("known", [move(101), move(-100), move(reference="S")])
    def test_amount_side_and_reference_must_be_equal(self, known: Movement) -> None:
        """P-26."""
        assert first_stated([move()], [known]) == [None]

    def test_without_a_day_of_its_own_any_day_will_do(self) -> None:
        """P-26."""
        assert first_stated([move(day=later(9), dated=False)], [move()]) == [0]
        assert first_stated([move(day=later(9))], [move(dated=False)]) == [0]

    def test_only_a_line_without_a_reference_goes_by_the_day(self) -> None:
        """P-26, C-09: other lines of its statement may have references."""
        assert first_stated([move(reference=None)], [move()]) == [0]
        assert first_stated([move(reference=None)], [move(day=later(1))]) == [None]
        mixed = [move(reference=None), move(7, "S")]
        assert first_stated(mixed, [move()]) == [0, None]
        assert first_stated([move(reference="S")], [move()]) == [None]


class TestNotified:
    @pytest.mark.parametrize(
        ("apart", "same"), [(0, True), (DAYS_APART_MAX, True), (-DAYS_APART_MAX, True),
                            (DAYS_APART_MAX + 1, False)],
    )  # fmt: skip
    def test_another_notification_may_name_another_day(self, apart: int, *, same: bool) -> None:
        """P-26: five days; an intraday report and an advice of the day after."""
        assert notified([move(day=later(apart))], [move()]) == [0 if same else None]

    def test_the_nearest_of_a_reference_used_again_is_taken(self) -> None:
        """P-26."""
        assert notified([move(day=later(2))], [move(), move(day=later(3))]) == [1]

    def test_another_reference_of_one_payer_waits_for_the_statement(self) -> None:
        """P-26: it is not surely new; each known entry accounts for one."""
        told = [like(payer="P", reference="A"), like(payer="P", reference="B")]
        assert notified(told, [like(payer="P", reference="C")]) == [0, None]
        assert notified(told, [like(payer="Q", reference="C")]) == [None, None]
        far = like(payer="P", reference="C", day=later(DAYS_APART_MAX + 1))
        assert notified(told, [far]) == [None, None]

    def test_a_statement_may_name_another_day(self) -> None:
        """P-26, C-09: or the order of the files would count."""
        assert notified([move(day=later(5))], [move(stated=True)]) == [0]
        assert notified([move(day=later(6))], [move(stated=True)]) == [None]

    def test_two_in_one_file_are_two(self) -> None:
        """P-26."""
        assert notified([move(), move()], [move()]) == [0, None]


class TestReference:
    @pytest.mark.parametrize("text", [None, "", " ", "NONREF", "nonref", "NOT PROVIDED"])
    def test_no_reference(self, text: str | None) -> None:
        """P-26."""
        assert meaningful_reference(text) is None

    def test_spaces_do_not_count(self) -> None:
        """P-26."""
        assert meaningful_reference(" R 1 ") == "R1"


@dataclass(frozen=True)
class Truth:
    """What moved at the bank; ``shift``: days by which its notification is off."""

    signed: int
    on: int
    reference: str | None
    shift: int


@st.composite
def movements(draw: st.DrawFn, *, bare: bool) -> list[Truth]:
    """What moved on some days, few amounts so that they repeat."""
    # Where an MT940 gives no references, one that is used again cannot be told from the first use.
    kinds = st.sampled_from(("unique", "none") if bare else ("unique", "standing", "none"))
    truths = []
    for place in range(draw(st.integers(0, 10))):
        kind = draw(kinds)
        reference = {"unique": f"R{place}", "standing": "S", "none": None}[kind]
        shift = draw(st.integers(-5, 5)) if kind == "unique" and not bare else 0
        truths.append(
            Truth(
                draw(st.sampled_from((100, 200, -100))), draw(st.integers(0, 6)), reference, shift
            )
        )
    return truths


@st.composite
def banks(draw: st.DrawFn) -> tuple[list[Truth], list[Telling]]:
    """Movements, and files that tell them: every day in a statement at least, in any order.

    Beside the days there are statements of several days, over the days and over each other.
    """
    bare = draw(st.booleans())
    truths = draw(movements(bare=bare))
    ends = st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda two: two[0] < two[1])
    longer = draw(st.lists(ends, max_size=3))
    covered = {day for first, last in longer for day in range(first, last + 1)}
    periods = [*longer]
    for on in range(7):
        moved = any(truth.on == on for truth in truths)
        least = 1 if moved and on not in covered else 0
        times = draw(st.integers(least, 2))
        periods += [(on, on)] * times
    tellings = [draw(statement(truths, period, bare=bare)) for period in periods]
    known = [truth for truth in truths if truth.reference is not None]
    for group in draw(st.lists(st.lists(st.sampled_from(known)), max_size=4)) if known else ():
        once = list(dict.fromkeys(group))
        tellings.append(telling(None, [told_entry(truth, early=True) for truth in once]))
    return truths, draw(st.permutations(tellings))


@st.composite
def statement(
    draw: st.DrawFn, truths: list[Truth], period: tuple[int, int], *, bare: bool
) -> Telling:
    """A statement of some days, in one of the formats; an MT940 opens the day before."""
    first, last = period
    opening = sum(truth.signed for truth in truths if truth.on < first)
    inside = [truth for truth in truths if first <= truth.on <= last]
    closing = opening + sum(truth.signed for truth in inside)
    swift = draw(st.booleans())
    if swift:
        number = f"{first}/{last}"
        identity = Identity(
            "MT940", "STARTUMS", number, opening, later(first - 1), closing, later(last)
        )
    else:
        identity = Identity(
            "camt.053", f"I{first}-{last}", None, opening, later(first), closing, later(last)
        )
    told = draw(st.permutations(inside))
    return telling(identity, [told_entry(one, without=bare and swift) for one in told])


def told_entry(truth: Truth, *, without: bool = False, early: bool = False) -> ToldEntry:
    day = later(truth.on + (truth.shift if early else 0))
    reference = None if without else truth.reference
    return ToldEntry("1.1", Movement(truth.signed, day, True, reference), False, True, ())


def telling(identity: Identity | None, told: list[ToldEntry]) -> Telling:
    return Telling(1, "1", "CNY", identity, tuple(told))


class TestAnyOrder:
    @settings(max_examples=300, deadline=None)
    @given(banks())
    def test_any_files_in_any_order_give_what_moved(
        self, told: tuple[list[Truth], list[Telling]]
    ) -> None:
        """C-09, P-26: repeats, other formats, notifications off by days, references used again.

        Weeks over days over weeks: what is kept never overlaps, adds up and joins.
        """
        truths, tellings = told
        shelf = Shelf(1, [], [])
        for one in tellings:
            shelf.take(one)
        found = Counter(entry.signed for entry in shelf.new_entries)
        assert found == Counter(truth.signed for truth in truths)
        assert all(one.whole for one in shelf.statements)
        assert all(entry.statement is not None for entry in shelf.new_entries)
        kept = [(n, one.identity) for n, one in enumerate(shelf.statements)]
        assert gaps([Stated(n, o.closing_on, o.opening, o.closing) for n, o in kept]) == ()

    def test_a_cut_statement_told_again_tells_nothing_new(self) -> None:
        """P-26: weeks over each other, told twice; the day that was cut out nets to nothing."""
        truths = [
            Truth(signed, on, reference, 0)
            for on, reference, signed in (
                (0, "R0", 100), (0, "R1", 100), (0, "S", 100), (1, "S", 100), (2, "S", 100),
                (1, "S", -100), (2, "S", 100), (2, "S", 100), (0, "R8", 100),
            )
        ]  # fmt: skip

        def days(first: int, last: int) -> Telling:
            opening = sum(one.signed for one in truths if one.on < first)
            closing = sum(one.signed for one in truths if one.on <= last)
            named = f"I{first}-{last}"
            identity = Identity(
                "camt.053", named, None, opening, later(first), closing, later(last)
            )
            return telling(identity, [told_entry(one) for one in truths if first <= one.on <= last])

        shelf = Shelf(1, [], [])
        for first, last in ((2, 2), (1, 2), (0, 1), (2, 2), (0, 1)):
            shelf.take(days(first, last))
        assert len(shelf.new_entries) == len(truths)
