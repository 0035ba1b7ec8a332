"""The rows of work items: C-05, C-07, C-10, as the database itself holds them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute
from ledger.workitems import ItemRows, NewItem, item_view, open_items, settle_items
from tests.ledger.desk_support import AT, Office
from tillkeeper.contracts.errors import BookBroken, Code, Rejected
from tillkeeper.contracts.workitem import (
    ClaimItem,
    ItemAction,
    ItemCommand,
    ItemKind,
    ItemState,
    Outcome,
)
from tillkeeper.sealing import KeyRing

GAP = NewItem(ItemKind.STATEMENT_GAP, "bank-account/1/gap/2024-05-06")
RECEIPT = NewItem(
    ItemKind.UNMATCHED_RECEIPT, "receipt/d", "AMOUNT_MISMATCH", 5_000_00, "CNY", {"entry": 1}
)


@pytest.fixture
def office(engine: AsyncEngine, ring: KeyRing) -> Office:
    return Office(engine, ring)


class TestOpen:
    async def test_one_kind_and_subject_has_one_open_item(self, office: Office) -> None:
        """C-05: told again, it stays as it is; ended, it may come again."""
        first = await office.open(GAP)
        assert await office.open(GAP) == first
        await asyncio.gather(*(office.open(RECEIPT) for _ in range(5)))
        counted = await office.rows("SELECT kind, count(*) FROM work_items GROUP BY 1 ORDER BY 1")
        assert [tuple(row) for row in counted] == [("STATEMENT_GAP", 1), ("UNMATCHED_RECEIPT", 1)]
        settled = await office.run(
            lambda c: settle_items(c, GAP.kind, [GAP.subject], outcome=Outcome.RESOLVED, at=AT)
        )
        assert settled == 1
        assert await office.open(GAP) != first

    async def test_the_oldest_is_the_first_in_the_inbox(
        self, office: Office, ring: KeyRing
    ) -> None:
        """C-05: by age; kinds apart; closed ones only when asked for."""
        rows = ItemRows(ring)
        await office.open(RECEIPT)
        older = NewItem(ItemKind.STATEMENT_BREAK, "statement/1")
        await office.run(lambda c: open_items(c, [older], at=AT - timedelta(days=2)))
        found = await office.run(lambda c: rows.inbox(c, limit=10))
        assert [one.subject for one in found] == ["statement/1", "receipt/d"]
        assert found[0].age(AT) == timedelta(days=2)
        assert found[1].actions == (ItemAction.MATCH, ItemAction.RETURN)
        assert found[1].context == {"entry": 1}
        only = await office.run(lambda c: rows.inbox(c, RECEIPT.kind, limit=10))
        assert [one.kind for one in only] == [RECEIPT.kind]
        await office.propose(found[0].item, ItemAction.ACKNOWLEDGE)
        assert len(await office.run(lambda c: rows.inbox(c, limit=10))) == 1
        assert len(await office.run(lambda c: rows.inbox(c, closed=True, limit=10))) == 2
        assert len(await office.run(lambda c: rows.inbox(c, closed=True, limit=1))) == 1

    async def test_an_unknown_item_is_refused(self, office: Office, ring: KeyRing) -> None:
        """C-05."""
        with pytest.raises(Rejected) as caught:
            await office.run(lambda c: ItemRows(ring).read(c, 1))
        assert caught.value.codes == (Code.ITEM_UNKNOWN,)


class TestConstraints:
    @pytest.mark.parametrize(
        "change",
        [
            "state = 'CLOSED'",
            "state = 'CLOSED', closed_at = now()",
            "outcome = 'MATCHED'",
            "state = 'CLOSED', outcome = 'MATCHED', closed_at = now(), proposed_by = 'O1',"
            " decided_by = 'O1'",
            "state = 'DONE'",
        ],
    )
    async def test_the_table_itself_refuses_what_the_rules_do(
        self, office: Office, change: str
    ) -> None:
        """C-05, C-07: no end without outcome, nobody decides his own proposal."""
        await office.open(RECEIPT)
        statement = f"UPDATE work_items SET {change}"  # noqa: S608 - the constants above
        with pytest.raises(BookBroken):
            await office.run(lambda c: execute(c, statement, ()))


class TestClaim:
    async def test_eight_claim_at_once_and_one_has_it(self, office: Office) -> None:
        """C-10: one owner; the others are told who."""
        item = await office.open(RECEIPT)

        async def claim(number: int) -> object:
            body = ClaimItem(actor=f"O{number}")
            command = ItemCommand(item=item, at=AT, body=body)
            return await office.run(lambda c: office.desk.claim(c, command))

        answers = await asyncio.gather(*(claim(n) for n in range(8)), return_exceptions=True)
        refused = [e.codes for e in answers if isinstance(e, Rejected)]
        assert refused == [(Code.ITEM_OWNED,)] * 7
        audit = await office.rows("SELECT actor FROM audit WHERE subject = $1", f"item/{item}")
        assert len(audit) == 1

    async def test_what_people_type_is_sealed(self, office: Office, ring: KeyRing) -> None:
        """C-11: the row shows neither reason nor name."""
        item = await office.open(GAP)
        done = await office.propose(item, ItemAction.ACKNOWLEDGE, reason="王一说已补")
        row = (await office.rows("SELECT i::text AS all FROM work_items i"))[0]
        assert "王一" not in row[0]
        assert done.state is ItemState.CLOSED
        stored = await office.run(lambda c: ItemRows(ring).read(c, item))
        view = item_view(stored)
        assert view.proposal is not None
        assert view.proposal.reason == "王一说已补"
        assert "王一" not in repr(stored)
