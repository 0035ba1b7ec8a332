"""Records the paths of payouts by the bank's door: ``python -m tests.replay.record_payouts``.

It only adds, as ``record`` does.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from tests.gateways.bank.simulator.support import running
from tests.replay.record import Recorder
from tests.stack import engine_on, running_postgres, running_temporal
from tests.workflows.support import make_platform
from tests.workflows.teller_support import Teller, teller_on
from tillkeeper.contracts.payment import PaymentState, PayoutView, Rail, payout_workflow_id
from tillkeeper.sealing import KeyRing


class PayoutRecorder(Recorder):
    """Plays payouts, each of a withdrawal of its own."""

    def __init__(self, teller: Teller, temporal: WorkflowEnvironment) -> None:
        super().__init__(teller.platform, temporal)
        self.teller = teller

    async def paid(self) -> None:
        """Told by whoever recorded it, accepted, paid by its debit."""
        name = await self._remitting("W1")
        known = PayoutView(end_to_end_id=name, rail=Rail.HTTP)
        handle = await self.teller.start(name, known=known)
        await self.teller.reaches(handle, PaymentState.ACCEPTED)
        await self.teller.ends(handle)
        await self.keep("payout-door-paid", payout_workflow_id(name))

    async def unclear(self) -> None:
        """No word, asked for, paid."""
        self.teller.bank.plan({"fault": "cut"})
        name = await self._remitting("W2")
        await self.teller.ends(await self.teller.start(name))
        await self.keep("payout-door-unclear", payout_workflow_id(name))

    async def retried(self) -> None:
        """Not taken, tried again by a file, paid."""
        self.teller.bank.plan({"fault": "unavailable", "times": 1})
        name = await self._remitting("W3")
        handle = await self.teller.start(name)
        await self.teller.reaches(handle, PaymentState.REJECTED)
        await self.temporal.fast_forward(handle, timedelta(seconds=31))
        await self.teller.ends(handle)
        await self.keep("payout-door-retried", payout_workflow_id(name))

    async def next_day(self) -> None:
        """Over a limit, tried again in the morning, paid."""
        self.teller.bank.plan({"fault": "reject", "code": "AM14", "times": 1})
        name = await self._remitting("W4")
        handle = await self.teller.start(name)
        await self.teller.reaches(handle, PaymentState.REJECTED)
        await self.temporal.fast_forward(handle, timedelta(hours=33))
        await self.teller.ends(handle)
        await self.keep("payout-door-next-day", payout_workflow_id(name))

    async def rejected(self) -> None:
        """Refused for good."""
        self.teller.bank.plan({"fault": "reject", "code": "AC04"})
        name = await self._remitting("W5")
        await (await self.teller.start(name)).result()
        await self.keep("payout-door-rejected", payout_workflow_id(name))

    async def _remitting(self, request: str) -> str:
        return await self.teller.remitting(1_000_00, request)


async def main() -> None:
    """Play every path against servers of its own, with payloads in clear."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with running(root, exchange=root / "exchange") as bank:
            async with running_postgres() as databases, running_temporal(None) as temporal:
                await databases.make_template()
                ring = KeyRing.generate("replay")
                async with (
                    databases.fresh() as database,
                    engine_on(database.app_url, ring=ring) as engine,
                ):
                    idle = make_platform(temporal.client, engine, ring)
                    teller = teller_on(idle, bank, root / "exchange")
                    await teller.counter.account(fund=9_000_00)
                    async with teller.platform.worker():
                        recorder = PayoutRecorder(teller, temporal)
                        await recorder.paid()
                        await recorder.unclear()
                        await recorder.retried()
                        await recorder.next_day()
                        await recorder.rejected()


if __name__ == "__main__":
    asyncio.run(main())
