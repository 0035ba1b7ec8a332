"""Decisions at once, in all orders: one outcome, and everybody is told the same (P-68, C-07)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.workflows.support import Platform
from tests.workflows.withdrawal_support import CANCEL, People, no, people_on, yes
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView

ROUNDS: Final = 216
CALLERS: Final = 8
AT_ONCE: Final = 6
"""Rounds that run side by side; each of them is one withdrawal with eight callers."""

END: Final = {
    "approve": WithdrawalState.REMITTING,
    "reject": WithdrawalState.REJECTED,
    "cancel": WithdrawalState.CANCELLED_BY_MERCHANT,
}
ORDERS: Final = tuple(itertools.permutations(END))

Call = Callable[[], Awaitable[WithdrawalView]]


@pytest_asyncio.fixture(loop_scope="session")
async def people(idle: Platform, tmp_path: Path) -> AsyncIterator[People]:
    """A merchant whose money is enough for every round."""
    made = people_on(idle, tmp_path)
    async with made.platform.worker():
        await made.active(9_000_00)
        yield made


def eight(people: People, view: WithdrawalView, first: tuple[str, ...]) -> list[tuple[str, Call]]:
    """Eight callers: what they say, beginning in this order, each with a token of his own."""
    said = list(itertools.islice(itertools.cycle(first), CALLERS))
    return [(what, _call(people, view, what, f"O{n + 2}")) for n, what in enumerate(said)]


def _call(people: People, view: WithdrawalView, what: str, who: str) -> Call:
    if what == "cancel":
        till = people.platform.till
        return lambda: till.cancel_withdrawal(view.merchant, view.request, CANCEL)
    body = yes(view, who) if what == "approve" else no(view, who)
    return lambda: people.decide(view, body)


class TestAtOnce:
    async def test_eight_callers_in_every_order_come_to_one_outcome(self, people: People) -> None:
        """216 rounds: the one who was first decides, all others are refused or told the same."""
        ends: Counter[WithdrawalState] = Counter()
        dice = random.Random(4)  # noqa: S311 - a repeatable order, no secret
        for batch in _batches():
            done = await asyncio.gather(*(_round(people, number, dice) for number in batch))
            ends.update(done)
        assert set(ends) == set(END.values())
        assert ends.total() == ROUNDS
        remitting = ends[WithdrawalState.REMITTING]
        counted = await people.platform.rows(
            "SELECT count(*) AS decided, (SELECT count(*) FROM payments) AS paid,"
            " (SELECT count(DISTINCT subject) FROM decisions) AS subjects FROM decisions"
        )
        ended = ends[WithdrawalState.REJECTED] + remitting
        assert (counted[0].decided, counted[0].subjects, counted[0].paid) == (
            ended, ended, remitting,
        )  # fmt: skip
        balances = await people.platform.balances()
        assert balances.withdrawing == remitting * 1_00
        assert balances.available == 9_000_00 - remitting * 1_00


def _batches() -> list[range]:
    return [range(start, start + AT_ONCE) for start in range(0, ROUNDS, AT_ONCE)]


async def _round(people: People, number: int, dice: random.Random) -> WithdrawalState:
    """One withdrawal, eight callers; how it ended, as everybody was told."""
    view = await people.ask(1_00, f"W{number}")
    callers = eight(people, view, ORDERS[number % len(ORDERS)])
    pauses = [dice.uniform(0, 0.02) if number % 3 else 0.0 for _ in callers]
    answers = await asyncio.gather(
        *(_after(pause, call) for pause, (_, call) in zip(pauses, callers, strict=True))
    )
    known = await people.seen(view.request)
    for (what, _), answer in zip(callers, answers, strict=True):
        if isinstance(answer, Rejected):
            assert answer.codes == (Code.REQUEST_DECIDED,), (what, known.state)
            assert known.state.value in str(answer)
            assert END[what] is not known.state or what != "cancel"
        else:
            assert answer.state is known.state is END[what]
    return known.state


async def _after(pause: float, call: Call) -> WithdrawalView | Rejected:
    await asyncio.sleep(pause)
    try:
        return await call()
    except Rejected as refusal:
        return refusal


class TestSameAct:
    @pytest.mark.parametrize("what", ["approve", "reject"])
    async def test_one_decision_sent_by_eight_is_one_decision(
        self, people: People, what: str
    ) -> None:
        """C-02: the same token and the same decision is the same act, answered alike to all."""
        view = await people.ask(1_00, "W1")
        body = yes(view) if what == "approve" else no(view)
        answers = await asyncio.gather(*(people.decide(view, body) for _ in range(CALLERS)))
        assert {answer.state for answer in answers} == {END[what]}
        assert {len(answer.decisions) for answer in answers} == {1}
