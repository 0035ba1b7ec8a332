"""The operators of a chaos run: they choose what people must choose, looking at the bank's book.

Every word is said twice, as by somebody who got no answer (P-71); each person signs with a token.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import fetch, in_transaction
from tests.chaos.people import People, until_answered
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.binding import item_approval, item_proposal
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.withdrawal import WithdrawalRequest
from tillkeeper.contracts.workitem import Approve, ItemAction, ItemView, Propose

_FAILED: Final = """
SELECT id FROM work_items WHERE subject = $1 AND state <> 'CLOSED' AND kind = 'WITHDRAWAL_FAILED'"""

_DOUBTED: Final = """
SELECT i.id, p.end_to_end_id FROM work_items i
  JOIN payments p ON i.subject = 'payment/' || p.end_to_end_id
 WHERE p.subject LIKE $1 || '/pay/%' AND p.state = 'REJECTED'
   AND i.kind = 'PAYMENT_OVERDUE' AND i.state <> 'CLOSED' ORDER BY i.id"""


@dataclass(frozen=True)
class Operators:
    """Two people at the desk; ``bank`` is the address where they read the bank's book."""

    till: Tillkeeper
    engine: AsyncEngine
    people: People
    bank: str
    seed: int

    async def help(self, request: WithdrawalRequest) -> None:
        """Clear up what the bank contradicts, then choose as drawn."""
        subject = f"withdrawal/{request.merchant}/{request.request}"
        for row in await self._rows(_DOUBTED, subject):
            await self._prove(row.id, row.end_to_end_id)
        for row in await self._rows(_FAILED, subject):
            drawn = random.Random(f"{self.seed}/{request.request}/item-{row.id}")  # noqa: S311 - no secret
            action = drawn.choice((ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE))
            for _ in range(2):
                await self._propose(row.id, Propose(action=action, reason="drawn", actor="D1"))

    async def _prove(self, item: int, name: str) -> None:
        """A payment that the bank said no to and then took: unpaid where its own book says so."""
        if set(await until_answered(lambda: _states(self.bank, name))) != {"REJECTED"}:
            return
        body = Propose(
            action=ItemAction.NOT_PAID, reason="the bank's book", actor="D1", target=name
        )
        for _ in range(2):
            shown = await self._propose(item, body)
        if shown is not None and shown.proposal is not None:
            await self._approve(item, shown)

    async def _propose(self, item: int, body: Propose) -> ItemView | None:
        said = item_proposal(item, body)

        def press() -> Awaitable[ItemView]:
            token = self.people.token(body.actor, "desk", said)
            return self.till.propose(item, body.model_copy(update={"token": token}))

        return await _unless_refused(press)

    async def _approve(self, item: int, shown: ItemView) -> None:
        made = shown.proposal
        assert made is not None
        body = Approve(
            proposal=made.number, action=made.action, target=made.target,
            amount_minor=made.amount_minor, payee_digest=made.payee_digest, actor="D2",
        )  # fmt: skip

        def press() -> Awaitable[ItemView]:
            token = self.people.token("D2", "desk", item_approval(item, body))
            return self.till.approve(item, body.model_copy(update={"token": token}))

        await _unless_refused(press)

    async def _rows(self, sql: str, subject: str) -> list[Any]:
        return await until_answered(
            lambda: in_transaction(self.engine, lambda c: fetch(c, sql, (subject,)))
        )


async def _states(bank: str, name: str) -> list[str]:
    """What the bank's book says of every payment of an id."""
    async with httpx.AsyncClient(base_url=bank, timeout=30) as http:
        try:
            answer = await http.get(f"/payments/{name}")
            return [one["state"] for one in answer.json().get("payments", ())]
        except (httpx.HTTPError, ValueError) as error:
            raise OSError(str(error)) from error


async def _unless_refused(press: Callable[[], Awaitable[ItemView]]) -> ItemView | None:
    with suppress(Rejected):
        return await until_answered(press)
    return None
