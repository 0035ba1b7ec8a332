"""Batches of linked and single transfers against a model on paper (C-02, C-04, P-46)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.engine import fetch, in_transaction
from ledger.verify import verify
from tests.ledger.support import DAY, Desk, hold, open_account
from tests.stack import Database
from tillkeeper.contracts.book import TransferKind as Kind
from tillkeeper.contracts.book import TransferOutcome, TransferRequest
from tillkeeper.contracts.errors import Code

_numbers = itertools.count()


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    made = Desk(database.app_url)
    yield made
    assert made.run(verify(made.engine)).broken is None
    made.close()


@dataclass
class Paper:
    """One merchant's money: sums only."""

    unmatched: int = 0
    available: int = 0
    withdrawing: int = 0
    dues: int = 0
    held: int = 0

    def move(self, kind: Kind, amount: int) -> bool:
        """Apply one transfer, or tell that it does not fit."""
        taken = {
            Kind.RECEIPT: None, Kind.TOPUP: "unmatched", Kind.WITHDRAWAL: "available",
            Kind.WITHDRAWAL_RETURNED: "withdrawing",
        }[kind]  # fmt: skip
        if taken is not None:
            if getattr(self, taken) < amount:
                return False
            setattr(self, taken, getattr(self, taken) - amount)
        if kind is Kind.RECEIPT:
            self.unmatched += amount
        elif kind is Kind.WITHDRAWAL:
            self.withdrawing += amount
        else:
            paid = min(self.dues, amount)
            self.dues -= paid
            self.held += paid
            self.available += amount - paid
        return True


Body = tuple[int, Kind, int]
"""Number of the name, kind, amount."""


@dataclass
class Model:
    """What the book should answer, one request after another."""

    paper: Paper
    known: dict[int, tuple[Body, Code | None]] = field(default_factory=dict)

    def group(self, bodies: list[Body], *, linked: bool) -> list[Code | None]:
        before, known = deepcopy(self.paper), dict(self.known)
        codes: list[Code | None] = []
        for body in bodies:
            codes.append(self._one(body))
            if codes[-1] is not None and linked:
                break
        if not linked or codes[-1] is None:
            return codes
        culprit = len(codes) - 1
        fresh = set(self.known) - set(known)
        self.paper, self.known = before, known
        final: list[Code | None] = []
        for position, body in enumerate(bodies):
            posted = body[0] in fresh and position != culprit
            if position == culprit:
                final.append(codes[culprit])
            elif body[0] in known:
                first, code = known[body[0]]
                final.append(code if first == body else Code.KEY_REUSED)
            elif position < culprit and not posted:
                final.append(codes[position])
            else:
                final.append(Code.LINKED_REFUSED)
        for body, code in zip(bodies, final, strict=True):
            if code not in (None, Code.KEY_REUSED):
                self.known.setdefault(body[0], (body, code))
        return final

    def _one(self, body: Body) -> Code | None:
        number, kind, amount = body
        if number in self.known:
            first, code = self.known[number]
            return code if first == body else Code.KEY_REUSED
        code = None if self.paper.move(kind, amount) else Code.INSUFFICIENT_FUNDS
        self.known[number] = (body, code)
        return code


KINDS = [Kind.RECEIPT, Kind.TOPUP, Kind.WITHDRAWAL, Kind.WITHDRAWAL_RETURNED]
BODIES = st.tuples(st.integers(0, 11), st.sampled_from(KINDS), st.sampled_from([1, 5, 20, 60]))


def _request(run: int, body: Body, link: str | None) -> TransferRequest:
    number, kind, amount = body
    platform = kind is Kind.RECEIPT
    return TransferRequest(
        name=f"group/{run}/{number}", kind=kind, currency="CNY", amount_minor=amount,
        effective_at=DAY, merchant=None if platform else f"G{run}", subject=f"group/{run}",
        link=link,
    )  # fmt: skip


class TestGroups:
    @given(
        batches=st.lists(
            st.lists(
                st.tuples(st.booleans(), st.lists(BODIES, min_size=1, max_size=4)), max_size=5
            ),
            max_size=4,
        ),
        due=st.integers(0, 50),
    )
    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_groups_answer_as_the_model_does(
        self, desk: Desk, batches: list[list[tuple[bool, list[Body]]]], due: int
    ) -> None:
        run = next(_numbers)
        merchant = f"G{run}"
        desk.run(open_account(desk.engine, merchant))
        if due:
            desk.apply(hold(merchant, "O1", due))
        # The unmatched pot is everybody's: what other runs left in it must not matter.
        model = Model(Paper(unmatched=self._unmatched(desk), dues=due))
        for batch in batches:
            requests: list[TransferRequest] = []
            expected: list[Code | None] = []
            for position, (linked, bodies) in enumerate(batch):
                link = f"{run}/{position}" if linked else None
                requests += [_request(run, body, link) for body in bodies]
                if linked:
                    expected += model.group(bodies, linked=True)
                else:
                    for body in bodies:
                        expected += model.group([body], linked=False)
            outcomes: list[TransferOutcome] = desk.run(desk.book.post(requests))
            assert [outcome.code for outcome in outcomes] == expected
            balances = desk.run(desk.book.balances(merchant, "CNY"))
            paper = model.paper
            assert (balances.available, balances.frozen) == (paper.available, paper.held)
            assert (balances.withdrawing, balances.dues) == (paper.withdrawing, paper.dues)

    @staticmethod
    def _unmatched(desk: Desk) -> int:
        sql = "SELECT coalesce(sum(balance), 0)::bigint FROM accounts WHERE bucket = $1"
        rows = desk.run(
            in_transaction(desk.engine, lambda c: fetch(c, sql, ("unmatched_receipts",)))
        )
        found: int = rows[0][0]
        return found
