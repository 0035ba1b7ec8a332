"""Records the paths of payouts by the bank's door: ``python -m tests.replay.record_payouts``.

It only adds, as ``record`` does.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.payout import PayoutActivities
from tests.gateways.bank.simulator.support import running
from tests.replay.record import Recorder
from tests.stack import engine_on, running_postgres, running_temporal
from tests.workflows.bank_support import Moved, camt053, imported
from tests.workflows.support import OUR_NUMBER, eventually, make_platform
from tests.workflows.teller_support import Handle, Teller, teller_on
from tillkeeper.contracts.errors import Unavailable
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    PaymentState,
    PayoutView,
    Rail,
    payout_workflow_id,
)
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

    async def asked(self) -> None:
        """No word, and no debit told: the bank's door is asked, then it is paid."""
        self.teller.bank.plan({"fault": "cut"})
        handle = await self.teller.start(await self._remitting("W6"))
        await self.teller.reaches(handle, PaymentState.UNCLEAR)
        await self.temporal.fast_forward(handle, timedelta(minutes=2))
        await self.teller.reaches(handle, PaymentState.ACCEPTED)
        await self.teller.ends(handle)
        await self.keep("payout-door-asked", handle.id)

    async def silent(self) -> None:
        """Accepted, and no debit for three days: a person is told, then it is paid."""
        self.teller.bank.plan()
        handle = await self.teller.start(await self._remitting("W7"))
        await self.teller.reaches(handle, PaymentState.ACCEPTED)
        await self.temporal.fast_forward(handle, timedelta(days=3, minutes=1))
        await eventually(lambda: self._ran(handle, "note_overdue_payment"))
        await self.teller.ends(handle)
        await self.keep("payout-door-silent", handle.id)

    async def unmarked(self, patch: pytest.MonkeyPatch) -> None:
        """The call was cut off before anything was marked: given to the door again, paid."""
        handle = await self._cut_off(patch, "W8", times=1)
        await self.temporal.fast_forward(handle, timedelta(seconds=31))
        await self.teller.ends(handle)
        patch.undo()
        await self.keep("payout-door-unmarked", handle.id)

    async def nudged(self, patch: pytest.MonkeyPatch) -> None:
        """So twice, with a nudge in the first pause, which the second one is not cut short by."""
        handle = await self._cut_off(patch, "W12", times=2)
        await handle.signal(OUTCOME_SIGNAL)
        await eventually(lambda: self._ran(handle, "read_payment", times=3))
        await self.temporal.fast_forward(handle, timedelta(seconds=31))
        await self.teller.ends(handle)
        patch.undo()
        await self.keep("payout-door-nudged", handle.id)

    async def _cut_off(self, patch: pytest.MonkeyPatch, request: str, *, times: int) -> Handle:
        marked, cut = PayoutActivities._marked, iter([True] * times)

        async def once(self: PayoutActivities, *given: Any) -> Any:
            if next(cut, False):
                raise Unavailable("away")
            return await marked(self, *given)

        patch.setattr(PayoutActivities, "_marked", once)
        handle = await self.teller.start(await self._remitting(request))
        # Once to begin with, once after the call.
        await eventually(lambda: self._ran(handle, "read_payment", times=2))
        return handle

    async def contradicted(self) -> None:
        """Refused for today, and debited all the same: no attempt follows."""
        self.teller.bank.plan({"fault": "reject", "code": "AM14", "times": 1})
        name = await self._remitting("W9")
        handle = await self.teller.start(name)
        await self.teller.reaches(handle, PaymentState.REJECTED)
        debit = Moved(-1_000_00, f"D{name}", end_to_end_id=name)
        await imported(self.platform, camt053([debit], account=OUR_NUMBER))
        await self.temporal.fast_forward(handle, timedelta(hours=33))
        await handle.result()
        await self.keep("payout-door-contradicted", handle.id)

    async def continued(self) -> None:
        """Longer than one run: what the first one passes on, and how the second one ends."""
        handle = await self.teller.start(await self._remitting("W10"))
        await self.teller.reaches(handle, PaymentState.ACCEPTED)
        first = (await handle.describe()).run_id
        for _ in range(4):
            await asyncio.gather(*(handle.signal("nothing") for _ in range(100)))

        async def another() -> bool:
            return (await handle.describe()).run_id != first

        latest = self.client.get_workflow_handle(handle.id, result_type=PayoutView)
        await eventually(another, within_s=20)
        await self.teller.ends(latest)
        await self.keep("payout-door-continued", handle.id, run_id=first)
        await self.keep("payout-door-paid-by-a-later-run", handle.id)

    async def held(self) -> None:
        """We have no account to pay from: a person mends that, then it is paid."""
        house = self.platform.house
        receiving, self.teller.platform.house = house.receiving, house
        object.__setattr__(house, "receiving", lambda _: None)
        handle = await self.teller.start(await self._remitting("W11"))

        async def waits() -> bool:
            return bool((await self.teller.view(handle)).needs_person)

        await eventually(waits)
        object.__setattr__(house, "receiving", receiving)
        await handle.execute_update("resume", result_type=str)
        await self.teller.ends(handle)
        await self.keep("payout-door-held", handle.id)

    async def _ran(self, handle: Handle, name: str, *, times: int = 1) -> bool:
        """Whether the run has asked for it so often."""
        events = (await handle.fetch_history()).events
        asked = [event.activity_task_scheduled_event_attributes.activity_type for event in events]
        return [one.name for one in asked].count(name) >= times

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
                    await teller.counter.account(fund=29_000_00)
                    async with teller.platform.worker():
                        recorder = PayoutRecorder(teller, temporal)
                        await recorder.paid()
                        await recorder.unclear()
                        await recorder.retried()
                        await recorder.next_day()
                        await recorder.rejected()
                        await recorder.asked()
                        await recorder.silent()
                        with pytest.MonkeyPatch.context() as patch:
                            await recorder.unmarked(patch)
                            await recorder.nudged(patch)
                        await recorder.contradicted()
                        await recorder.continued()
                        await recorder.held()


if __name__ == "__main__":
    asyncio.run(main())
