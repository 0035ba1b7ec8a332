"""Tokens at the desk: nobody moves money in another's name, and a token is good once (S3, C-07)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.workitems import ItemRows, NewItem
from tests.ledger.desk_support import AT, BANK, Office
from tests.tokens import VERIFIER, bound_token, signed, token_for
from tests.workflows.support import refused
from tillkeeper.contracts.actor import LIFE_MAX, Decision
from tillkeeper.contracts.binding import item_release
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.workitem import (
    ItemAction,
    ItemCommand,
    ItemKind,
    ItemState,
    ItemView,
    Outcome,
    Propose,
    ReleaseItem,
)
from tillkeeper.rules.proving import DESK
from tillkeeper.sealing import KeyRing

GAP = NewItem(ItemKind.STATEMENT_GAP, "gap/1")
FORGED = token_for("O2", DESK, at=AT)[:-8] + "AAAAAAAA"

Say = Callable[..., Awaitable[ItemView]]


@pytest.fixture
def office(engine: AsyncEngine, ring: KeyRing) -> Office:
    return Office(engine, ring)


@pytest_asyncio.fixture(loop_scope="session")
async def item(office: Office) -> int:
    """5,000.00 of somebody else, and M1's request T1 for as much."""
    await office.account()
    await office.ask()
    receipt = await office.receipt()
    return await office.item(f"receipt/{receipt.digest}")


def match(office: Office, item: int, **more: Any) -> Awaitable[ItemView]:
    return office.propose(item, ItemAction.MATCH, "M1/T1", **more)


def on(item: int, said: str, **changes: Any) -> Decision:
    """What a word on the first proposal of the match is bound to."""
    fields = {
        "subject": f"item/{item}/1", "verdict": said, "amount_minor": 5_000_00,
        "shown": "MATCH M1/T1",
    }  # fmt: skip
    return Decision(**{**fields, **changes})


async def spent(office: Office) -> list[tuple[str, str]]:
    """Whose tokens were spent on what, in order."""
    rows = await office.rows("SELECT actor, subject FROM spent_tokens ORDER BY at, subject, actor")
    return [tuple(row) for row in rows]


BAD = [
    pytest.param("", (Code.TOKEN_MISSING,), id="none"),
    pytest.param(FORGED, (Code.TOKEN_INVALID,), id="forged"),
    pytest.param(token_for("O3", DESK, at=AT), (Code.TOKEN_INVALID,), id="another person's"),
    pytest.param(token_for("O2", "finance", at=AT), (Code.ROLE_MISSING,), id="another role"),
    pytest.param(
        token_for("O2", DESK, at=AT, merchants=("M2",)), (Code.OUT_OF_SCOPE,), id="merchants"
    ),
    pytest.param(
        token_for("O2", at=AT, merchants=()), (Code.ROLE_MISSING, Code.OUT_OF_SCOPE), id="nothing"
    ),
    pytest.param(token_for("O2", DESK, at=AT - LIFE_MAX), (Code.TOKEN_EXPIRED,), id="expired"),
]


class TestProof:
    @pytest.mark.parametrize(("token", "codes"), BAD)
    async def test_no_word_counts_without_a_good_token_of_its_own(
        self, office: Office, item: int, token: str, codes: tuple[Code, ...]
    ) -> None:
        """S3, C-07: proposed, approved, refused: nothing changes, no token is spent."""
        with refused(*codes):
            await match(office, item, actor="O2", token=token)
        assert await spent(office) == []
        shown = await match(office, item)
        for say in (office.approve, office.reject):
            with refused(*codes):
                await say(shown, token=token)
        assert await spent(office) == [("O1", f"item/{item}")]
        assert await office.bucket("available") == 0

    async def test_a_token_is_good_until_its_end_and_not_at_it(
        self, office: Office, item: int
    ) -> None:
        """S3: five minutes; a second before is in time."""
        second = timedelta(seconds=1)
        shown = await match(office, item, token=token_for("O1", DESK, at=AT - LIFE_MAX + second))
        with refused(Code.TOKEN_EXPIRED):
            await office.approve(shown, token=token_for("O2", DESK, at=AT - LIFE_MAX))
        assert (await office.approve(shown)).outcome is Outcome.MATCHED

    async def test_letters_case_makes_nobody_another_person(
        self, office: Office, item: int
    ) -> None:
        """C-07: O1 and o1 are one: good for his own word, never for the second one."""
        shown = await match(office, item, actor="o1", token=token_for("O1", DESK, at=AT))
        with refused(Code.OWN_PROPOSAL):
            await office.approve(shown, "O1")
        assert (await office.approve(shown, "o2", token=token_for("O2", DESK, at=AT))).closed_at

    async def test_a_token_is_spent_on_one_word_on_one_proposal(
        self, office: Office, item: int
    ) -> None:
        """S3: what refused the first proposal approves no second one."""
        shown = await match(office, item)
        no = on(item, "REJECT")
        token = token_for("O2", DESK, at=AT).to(no)
        rejected = await office.reject(shown, token=token)
        assert rejected.state is ItemState.CLAIMED
        second = await match(office, item, reason="新证明")
        for say in (office.approve, office.reject):
            with refused(Code.TOKEN_INVALID):
                await say(second, token=token)
        assert (await office.approve(second)).outcome is Outcome.MATCHED
        assert sorted(await spent(office)) == [
            ("O1", f"item/{item}"), ("O1", f"item/{item}"),
            ("O2", f"item/{item}/1"), ("O2", f"item/{item}/2"),
        ]  # fmt: skip

    async def test_the_same_act_again_is_the_same_with_whatever_token(
        self, office: Office, item: int
    ) -> None:
        """C-02: the same token and a fresh one; nothing more is spent."""
        token = token_for("O1", DESK, at=AT)
        shown = await match(office, item, token=token)
        assert await match(office, item, token=token) == shown
        assert await match(office, item) == shown
        done = await office.approve(shown)
        assert (await office.approve(shown)).closed_at == done.closed_at
        assert len(await spent(office)) == 2

    @pytest.mark.parametrize(
        "changes",
        [{"amount_minor": 5_000_01}, {"currency": "USD"}, {"shown": "MATCH M1/T2"},
         {"shown": "RETURN M1/T1"}, {"shown": "M1/T1"}, {"verdict": "REJECT"},
         {"subject": "item/1/1"}],
    )  # fmt: skip
    async def test_a_token_bound_to_another_word_is_refused(
        self, office: Office, item: int, changes: dict[str, Any]
    ) -> None:
        """Design §5: to number, verdict, amount, action and target that were shown."""
        shown = await match(office, item)
        other = token_for("O2", DESK, at=AT).to(on(item, "APPROVE", **changes))
        with refused(Code.TOKEN_INVALID):
            await office.approve(shown, token=other)
        exact = token_for("O2", DESK, at=AT).to(on(item, "APPROVE"))
        assert (await office.approve(shown, token=exact)).outcome is Outcome.MATCHED

    async def test_money_that_is_nobodys_yet_needs_a_token_for_every_merchant(
        self, office: Office, item: int
    ) -> None:
        """S3: a return, by two people; the second one's token is bound to the payee."""
        some = token_for("O1", DESK, at=AT, merchants=("M1",))
        with refused(Code.OUT_OF_SCOPE):
            await office.propose(item, ItemAction.RETURN, return_to=BANK, token=some)
        shown = await office.propose(item, ItemAction.RETURN, return_to=BANK)
        assert shown.proposal is not None
        digest = shown.proposal.payee_digest
        wrong = token_for("O2", DESK, at=AT).to(on(item, "APPROVE", shown=f"RETURN {'0' * 64}"))
        with refused(Code.TOKEN_INVALID):
            await office.approve(shown, token=wrong)
        exact = token_for("O2", DESK, at=AT).to(on(item, "APPROVE", shown=f"RETURN {digest}"))
        assert (await office.approve(shown, token=exact)).outcome is Outcome.RETURNED

    async def test_the_audit_names_the_token_and_nothing_keeps_its_text(
        self, office: Office, item: int
    ) -> None:
        """C-07, S3: by its id; the proposal is kept without it."""
        body = Propose(action=ItemAction.MATCH, target="M1/T1", reason="附证明", actor="O1")
        token = signed(item, body, AT).token
        shown = await match(office, item, token=token)
        kept = await office.run(lambda c: ItemRows(office.ring).read(c, item))
        assert kept.proposal is not None
        assert kept.proposal.body.token == ""
        await office.approve(shown)
        named = await office.rows(
            "SELECT after->>'token' AS token FROM audit WHERE subject = $1 ORDER BY id",
            f"item/{item}",
        )
        ids = [row[0] for row in await office.rows("SELECT token FROM spent_tokens")]
        assert named[0].token == VERIFIER.recognise(token, AT).token_id
        assert {row.token for row in named} == set(ids)


class TestWithoutNeed:
    async def test_taking_note_and_giving_back_need_no_token(
        self, office: Office, item: int
    ) -> None:
        """C-05: nothing moves."""
        noted = await office.open(GAP)
        shown = await office.propose(noted, ItemAction.ACKNOWLEDGE, token="")
        assert shown.outcome is Outcome.ACKNOWLEDGED
        await match(office, item)
        command = ItemCommand(item=item, at=AT, body=ReleaseItem(reason="x", actor="O1"))
        freed = await office.run(lambda c: office.desk.release(c, command))
        assert freed.state is ItemState.OPEN

    @pytest.mark.parametrize(
        ("token", "code"),
        [
            (FORGED, Code.TOKEN_INVALID),
            (token_for("O2", at=AT), Code.TOKEN_INVALID),
            (token_for("O1", at=AT - LIFE_MAX), Code.TOKEN_EXPIRED),
        ],
        ids=["forged", "another person's", "expired"],
    )
    async def test_a_token_that_comes_all_the_same_must_be_good(
        self, office: Office, item: int, token: str, code: Code
    ) -> None:
        """S3: whoever says who he is says it truly."""
        noted = await office.open(GAP)
        with refused(code):
            await office.propose(noted, ItemAction.ACKNOWLEDGE, token=token)
        await match(office, item)
        token = bound_token(token, item_release(item))
        body = ReleaseItem(reason="x", actor="O1", token=token)
        command = ItemCommand(item=item, at=AT, body=body)
        with refused(code):
            await office.run(lambda c: office.desk.release(c, command))
