"""Withdrawals that leave by the door of a bank that is a process of its own, and its files."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from gateways.bank.exchange import FolderExchange
from gateways.bank.http import BankDoor, HttpBankDoor
from ledger.verify import verify
from tests.gateways.bank.simulator.support import Simulator
from tests.ledger.withdrawal_support import Counter
from tests.workflows.bank_support import imported
from tests.workflows.support import Platform, eventually
from tillkeeper.contracts.payment import (
    WORKFLOW,
    PaymentState,
    PayoutStart,
    PayoutView,
    payout_workflow_id,
)

AMOUNT = 2_000_00
VISIBLE = timedelta(seconds=1)
Handle = WorkflowHandle[Any, PayoutView]


@dataclasses.dataclass
class Teller:
    """A platform beside a bank; amounts in minor units."""

    platform: Platform
    counter: Counter
    bank: Simulator
    exchange: FolderExchange
    heard: set[str] = dataclasses.field(default_factory=set)

    def with_door(self, door: BankDoor) -> Teller:
        """The same, behind another door."""
        house = dataclasses.replace(self.platform.house, door=door)
        platform = dataclasses.replace(self.platform, house=house)
        return dataclasses.replace(self, platform=platform)

    async def remitting(self, amount: int = AMOUNT, request: str = "W1") -> str:
        """An approved withdrawal; its payment's end-to-end id."""
        at = datetime.now(UTC)
        asked = await self.counter.submit(amount, request, at=at, accept_suspension=True)
        view = await self.counter.approve(asked, at=at)
        assert view.payment is not None
        return view.payment.end_to_end_id

    async def start(self, name: str, **more: Any) -> Handle:
        """Start a payout's run."""
        return await self.platform.client.start_workflow(
            WORKFLOW, PayoutStart(end_to_end_id=name, **more), id=payout_workflow_id(name),
            task_queue=self.platform.task_queue, result_type=PayoutView,
        )  # fmt: skip

    async def view(self, handle: Handle) -> PayoutView:
        """What the run shows."""
        view: PayoutView = await handle.query("view", result_type=PayoutView)
        return view

    async def reaches(self, handle: Handle, state: PaymentState, within_s: float = 20) -> None:
        """Wait until the run shows ``state``."""

        async def there() -> bool:
            return (await self.view(handle)).state is state

        await eventually(there, within_s=within_s)

    async def hear(self) -> int:
        """Import what the bank has written since; how many files."""
        new = [path for path in self.bank.files() if path.name not in self.heard]
        for path in new:
            self.heard.add(path.name)
            await imported(self.platform, path.read_bytes())
        return len(new)

    async def ends(self, handle: Handle, within_s: float = 30) -> PayoutView:
        """Let the bank's files come in until the run has ended; its result."""
        result = asyncio.create_task(handle.result())

        async def ended() -> bool:
            await self.hear()
            return result.done()

        await eventually(ended, within_s=within_s)
        return await result

    async def stands(self, request: str = "W1") -> tuple[str, str | None]:
        """The withdrawal's state and its failure."""
        sql = "SELECT state, failure FROM withdrawals WHERE request = $1"
        [row] = await self.counter.rows(sql, request)
        return row.state, row.failure

    async def payments(self) -> list[tuple[str, str, int]]:
        """State, rail and attempt of every payment."""
        sql = "SELECT state, rail, attempt FROM payments ORDER BY id"
        return [(row.state, row.rail, row.attempt) for row in await self.counter.rows(sql)]

    async def agree(self) -> None:
        """The bank's book equals ours one to one, and ours holds."""
        sql = """
SELECT end_to_end_id, amount, state FROM payments WHERE state IN ('PAID', 'RETURNED')"""
        rows = await self.counter.rows(sql)
        ours = [(r.end_to_end_id, r.amount, "debit") for r in rows]
        ours += [(r.end_to_end_id, r.amount, "credit") for r in rows if r.state == "RETURNED"]
        theirs = [
            (one["end_to_end_id"], one["amount_minor"], one["side"])
            for one in self.bank.movements()
        ]
        assert sorted(theirs) == sorted(ours)
        found = await verify(self.platform.engine)
        assert found.broken is None, found.broken


def teller_on(idle: Platform, bank: Simulator, folder: Path, *, within_s: float = 2) -> Teller:
    """A platform that pays through the simulator's door, and by files that it takes."""
    exchange = FolderExchange(folder)
    door = HttpBankDoor(str(bank.http.base_url).rstrip("/"), within_s=within_s)
    house = dataclasses.replace(idle.house, exchange=exchange, door=door, visibility=VISIBLE)
    platform = dataclasses.replace(idle, house=house)
    return Teller(platform, Counter(idle.engine, idle.house.ring), bank, exchange)
