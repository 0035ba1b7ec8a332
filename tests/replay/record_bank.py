"""Records the paths of files and exchange: ``python -m tests.replay.record_bank``; it only adds."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from activities import bank_exchange, bank_file
from gateways.bank.exchange import FolderExchange
from tests.ledger.bank.reconciling_support import MONDAY, Bank, noon
from tests.replay.record import Recorder
from tests.stack import engine_on, running_postgres, running_temporal
from tests.workflows.bank_support import Moved, camt053, digest, imported, keep
from tests.workflows.support import Platform, eventually, make_platform
from tillkeeper.contracts.bank_file import (
    AGAIN,
    EXCHANGE_WORKFLOW_ID,
    bank_file_workflow_id,
)
from tillkeeper.contracts.reconciliation import (
    LOOK,
    ReconciliationStart,
    reconciliation_workflow_id,
)
from tillkeeper.sealing import KeyRing
from workflows.reconciliation import LOOKS_APART


def money(name: str) -> tuple[Moved, ...]:
    """Credited, unmatched and unknown money that no other path tells."""
    return (
        Moved(3_000_00, f"{name}1"),
        Moved(1_000_00, f"{name}2", payer="无名公司"),
        Moved(-7_00, f"{name}3"),
    )


class BankRecorder(Recorder):
    """Plays the paths of files and of the exchange."""

    async def booked(self) -> None:
        """More batches than one, a request that is woken, a day to compare."""
        self.merchant("F1")
        await self.platform.configured()
        await self.platform.till.request_topup(self.platform.topup())
        view = await imported(self.platform, camt053(money("A")))
        await self.keep("bank-file-booked", bank_file_workflow_id(view.digest))

    async def handed_on(self) -> None:
        """One activity tells all and has the day compared."""
        self.merchant("F2")
        view = await imported(self.platform, camt053(money("H")))
        await self.keep("bank-file-handed-on", bank_file_workflow_id(view.digest))

    async def reconciled(self, bank: Bank) -> None:
        """Days that are clean, that come right after nudges and a day, that were nudged before."""
        await bank.states(MONDAY, 300_00)
        handle = self.client.get_workflow_handle(reconciliation_workflow_id(bank.account, MONDAY))
        await self.till.reconcile(bank.account, MONDAY)
        await handle.result()
        await self.keep("reconciliation-clean", handle.id)
        for name, paced in (("came-right", True), ("unpaced", False)):
            made = await bank.by_hand(1, noon(MONDAY))
            await self.client.start_workflow(
                "Reconciliation",
                ReconciliationStart(account=bank.account, day=MONDAY, paced=paced),
                id=handle.id, task_queue=self.platform.task_queue,
            )  # fmt: skip
            for number in range(3):
                await handle.signal(LOOK)
                await asyncio.sleep(0.3 * number)
            await self.temporal.fast_forward(handle, LOOKS_APART)
            await self.temporal.fast_forward(handle, timedelta(hours=25))
            await bank.as_owner("DELETE FROM transfers WHERE id = $1 RETURNING id", made)
            await self.till.reconcile(bank.account, MONDAY)
            await handle.result()
            await self.keep(f"reconciliation-{name}", handle.id)

    async def refused(self) -> None:
        view = await imported(self.platform, camt053(money("B"))[:-9])
        await self.keep("bank-file-refused", bank_file_workflow_id(view.digest))

    async def unreadable(self) -> None:
        await self.client.start_workflow(
            "BankFile", 7, id="bank-file/7", task_queue=self.platform.task_queue
        )
        await self._ended("bank-file/7")
        await self.keep("bank-file-unreadable", "bank-file/7")

    async def resumed(self, patch: pytest.MonkeyPatch) -> None:
        """A reader that breaks; the file comes again while it waits for a person."""

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        patch.setattr(bank_file, "read_bank_bytes", broken)
        name = await keep(self.platform, camt053(money("C")))
        asked = asyncio.create_task(self.till.import_bank_file(name))

        async def waits() -> bool:
            view = await self.till.bank_file(name)
            return view is not None and bool(view.needs_person)

        await eventually(waits)
        patch.undo()
        handle = self.client.get_workflow_handle(bank_file_workflow_id(name))
        await handle.signal(AGAIN)
        await handle.execute_update("resume")
        await asked
        await self.keep("bank-file-resumed-by-a-person", bank_file_workflow_id(name))

    async def exchange(self, exchange: FolderExchange) -> None:
        """One file left behind, some dropped, one of them twice; then many, into the next run."""
        left = await keep(self.platform, camt053(money("D")))
        await self.till.watch_exchange()
        handle = self.client.get_workflow_handle(EXCHANGE_WORKFLOW_ID)
        first = (await handle.describe()).run_id
        foreign = camt053(money("E"), account="999")
        for number, body in enumerate((foreign, foreign, camt053(money("F")), b"no file")):
            (exchange.inbox / f"{number}").write_bytes(body)
            await asyncio.sleep(0.3)
        await self._ended(bank_file_workflow_id(left))
        for number in range(150):
            (exchange.inbox / f"many-{number}").write_bytes(b"none %d" % number)

        async def continued() -> bool:
            return (await handle.describe()).run_id != first

        await eventually(continued, within_s=60)
        await self.keep("bank-exchange-continued", EXCHANGE_WORKFLOW_ID, run_id=first)
        await self._ended(bank_file_workflow_id(digest(b"none 149")))
        await handle.terminate()

    async def _ended(self, workflow_id: str) -> None:
        async def ended() -> bool:
            try:
                found = await self.client.get_workflow_handle(workflow_id).describe()
            except Exception:
                return False
            return found.close_time is not None

        await eventually(ended, within_s=60)


def _with_exchange(platform: Platform, root: Path) -> FolderExchange:
    exchange = FolderExchange(root, settle_s=0.1)
    platform.house = dataclasses.replace(platform.house, exchange=exchange)
    return exchange


async def main() -> None:
    """Play every path against servers of its own, with payloads in clear."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        async with running_postgres() as databases, running_temporal(None) as temporal:
            await databases.make_template()
            ring = KeyRing.generate("replay")
            async with (
                databases.fresh() as database,
                engine_on(database.app_url, ring=ring) as engine,
            ):
                platform = make_platform(temporal.client, engine, ring)
                exchange = _with_exchange(platform, Path(folder))
                async with platform.worker():
                    recorder = BankRecorder(platform, temporal)
                    await recorder.resumed(patch)
                    patch.setattr(bank_file, "ENTRIES_PER_TRANSACTION", 2)
                    patch.setattr(bank_exchange, "LOOK_S", 0.05)
                    await recorder.booked()
                    await recorder.handed_on()
                    await recorder.refused()
                    await recorder.unreadable()
                    await recorder.exchange(exchange)
                    # Its statements are of no file: nothing may look at them after this.
                    bank = Bank(engine, database.owner_url, number="110060149999")
                    await recorder.reconciled(await bank.open(77))


if __name__ == "__main__":
    asyncio.run(main())
