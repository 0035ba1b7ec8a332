"""Withdrawals that a bank pays which is a process of its own: by its door, told by its files."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from gateways.bank.http import HttpBankDoor
from tests.gateways.bank.simulator.support import OURS, Simulator, running
from tests.tokens import signed
from tests.workflows.bank_support import imported
from tests.workflows.support import Platform, eventually
from tests.workflows.withdrawal_support import People, people_on
from tillkeeper.contracts.payment import PayoutView, payout_workflow_id
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView
from tillkeeper.contracts.workitem import ClaimItem, ItemAction, ItemKind, ItemView, Propose
from tillkeeper.rules.profiles import PrepaidProfile

DOOR_WITHIN_S = 3.0


@dataclass
class Teller:
    """People on a platform, and the bank that pays what they approve."""

    people: People
    bank: Simulator
    told: int = 0

    async def hear(self, kind: str = "camt.054", count: int | None = None) -> None:
        """Import the bank's next file of a kind, or wait until there are ``count``, and all."""
        self.told = self.told + 1 if count is None else count
        await asyncio.to_thread(self.bank.wait_for, kind, self.told)
        for path in self.bank.files(kind):
            await imported(self.people.platform, path.read_bytes())

    async def capital(self, amount_minor: int) -> None:
        """Let money that is nobody's request arrive at the bank; its file is heard."""
        wire = {
            "key": "C1", "account": OURS, "currency": "CNY", "amount_minor": amount_minor,
            "payer_name": "资本", "payer_account": "6225880299990000",
        }  # fmt: skip
        self.bank.post("/deposits", deposits=[wire])
        await self.hear()

    async def paid(self, request: str = "W1") -> WithdrawalView:
        """Let the bank's debit be heard; the run's result."""
        await self.hear()
        return await self.result(request)

    async def result(self, request: str = "W1") -> WithdrawalView:
        """What the run ended with."""
        found: WithdrawalView = await asyncio.wait_for(self.people.handle(request).result(), 30)
        return found

    def payout(self, view: WithdrawalView) -> WorkflowHandle[Any, Any]:
        """The run of the payment that ``view`` shows."""
        assert view.payment is not None
        run = view.payment.run or view.payment.end_to_end_id
        client = self.people.platform.client
        return client.get_workflow_handle(payout_workflow_id(run), result_type=PayoutView)

    async def failed(self, code: str = "AC04") -> WithdrawalView:
        """Approved, and refused by the bank with ``code``: AC04 is a closed account."""
        self.bank.plan({"fault": "reject", "code": code, "times": 1})
        await self.people.approve(await self.people.ask())
        return await self.becomes(WithdrawalState.FAILED_MANUAL)

    async def item(self, kind: ItemKind) -> ItemView:
        """The newest item of a kind, taken by O2."""
        sql = "SELECT max(id) AS id FROM work_items WHERE kind = $1"

        async def newest() -> int | None:
            found: int | None = (await self.people.platform.rows(sql, kind.value))[0].id
            return found

        async def there() -> bool:
            return await newest() is not None

        await eventually(there, within_s=20)
        number = await newest()
        assert number is not None
        return await self.people.platform.till.claim_item(number, ClaimItem(actor="O2"))

    async def choose(self, item: ItemView, action: ItemAction) -> ItemView:
        """What one person may choose alone."""
        body = signed(item, Propose(action=action, reason="客户要求", actor="O2"))
        return await self.people.platform.till.propose(item.item, body)

    def debits(self) -> list[tuple[int, str]]:
        """Amount and account of everything that left the bank's own book."""
        out = [m for m in self.bank.movements() if m["side"] == "debit"]
        return [(m["amount_minor"], m["counterparty_account"]) for m in out]

    async def shows(self, view: WithdrawalView, holds: Callable[[PayoutView], bool]) -> None:
        """Wait until the payout's run shows what ``holds`` asks for."""
        payout = self.payout(view)

        async def there() -> bool:
            try:
                return holds(await payout.query("view", result_type=PayoutView))
            except RPCError:
                return False

        await eventually(there, within_s=20)

    async def carry(self) -> None:
        """Bring the next payment file to the bank."""
        exchange = self.people.platform.house.exchange
        assert exchange is not None
        outbox = exchange.outbox

        async def there() -> bool:
            return any(outbox.glob("*.xml"))

        await eventually(there, within_s=20)
        for path in outbox.glob("*.xml"):
            shutil.move(path, self.bank.inbox / path.name)

    async def becomes(self, state: WithdrawalState, request: str = "W1") -> WithdrawalView:
        """Wait until the run shows ``state``."""
        return await self.people.becomes(state, request)


@contextmanager
def tellers(
    idle: Platform, folder: Path, profile: PrepaidProfile | None = None
) -> Iterator[Teller]:
    """A teller whose platform has no worker yet; its bank is gone afterwards."""
    with running(folder / "bank") as bank:
        door = HttpBankDoor(str(bank.http.base_url), within_s=DOOR_WITHIN_S)
        yield Teller(people_on(idle, folder, profile=profile, door=door), bank)


@asynccontextmanager
async def serving(teller: Teller) -> AsyncIterator[Teller]:
    """With a worker, and 5,000.00 of a merchant."""
    async with teller.people.platform.worker():
        await teller.people.active()
        yield teller
