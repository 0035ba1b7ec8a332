"""Records one history per path of each lifecycle: ``python -m tests.replay.record``.

Run it when a path is added, never to make a failing replay pass: recorded files are not edited and
not overwritten, since runs that started under an earlier release look like them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from gateways.bank.exchange import FolderExchange
from tests.replay.desk_paths import record_desk
from tests.stack import engine_on, running_postgres, running_temporal
from tests.workflows.support import (
    OTHER_NAME,
    SUN,
    Platform,
    bank_details,
    eventually,
    make_platform,
    receiving,
)
from tillkeeper.contracts.account import (
    AccountState,
    AddContact,
    CloseAccount,
    MerchantType,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
    account_workflow_id,
)
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.contracts.receipt import ReceiptReport, receipt_workflow_id
from tillkeeper.contracts.topup import (
    CancelTopUp,
    ReceivingAccount,
    TopUpState,
    TopUpView,
    topup_workflow_id,
)
from tillkeeper.sealing import KeyRing

_PROCESS: Final = re.compile(r"^\d+@\S+$")
HISTORIES: Final = Path(__file__).parent / "histories"


class Recorder:
    """Plays the paths on one platform and keeps the histories of those not yet kept."""

    def __init__(self, platform: Platform, temporal: WorkflowEnvironment) -> None:
        self.platform = platform
        self.till = platform.till
        self.client: Client = platform.client
        self.temporal = temporal

    async def keep(self, name: str, workflow_id: str, *, run_id: str | None = None) -> None:
        """Write the history of ``workflow_id``, unless a history of that name is kept already."""
        path = HISTORIES / f"{name}.json"
        if not path.exists():
            history = await self.client.get_workflow_handle(
                workflow_id, run_id=run_id
            ).fetch_history()
            events = _anonymous(history.to_json_dict())
            path.write_text(json.dumps(events, ensure_ascii=False, indent=1) + "\n")
        print(path.name)  # noqa: T201 - a script that reports to its caller

    async def keep_account(self, name: str, merchant: str) -> None:
        await self.keep(name, account_workflow_id(merchant, "CNY"))

    async def keep_topup(self, name: str, merchant: str, request: str) -> None:
        await self.keep(name, topup_workflow_id(merchant, request))

    def merchant(self, name: str) -> str:
        """Act for another merchant from here on."""
        self.platform.merchant = name
        return name

    async def account_opened_to_closed(self) -> None:
        merchant, till = self.merchant("R1"), self.till
        await self.platform.configured()
        await till.add_contact(merchant, "CNY", AddContact(contact=SUN, actor="u1"))
        body = ReplaceContact(position=0, contact=SUN, actor="u1")
        await till.replace_contact(merchant, "CNY", body)
        await _refused(lambda: self.platform.configured(opening_user="other"))
        close = CloseAccount(reason="结束", actor="ops-1")
        await till.request_topup(self.platform.topup())
        await _refused(lambda: till.close_account(merchant, "CNY", close))
        await till.cancel_topup(merchant, "T1", CancelTopUp(reason="结束", actor="u1"))
        await till.close_account(merchant, "CNY", close)
        await self.client.get_workflow_handle(account_workflow_id(merchant, "CNY")).result()
        await self.keep_account("account-opened-to-closed", merchant)
        await self.keep_topup("topup-cancelled", merchant, "T1")

    async def account_waits_for_bank_details(self) -> None:
        merchant = self.merchant("R2")
        await self.platform.open(bank_details=None)
        handle = self.client.get_workflow_handle(account_workflow_id(merchant, "CNY"))
        wrong = ProvideBankDetails(details=bank_details(company_name=OTHER_NAME), actor="u1")
        await handle.signal("provide_bank_details", wrong)
        await handle.signal("provide_bank_detail", wrong)
        right = ProvideBankDetails(details=bank_details(), actor="u1")
        await handle.signal("provide_bank_details", right)

        async def opened() -> bool:
            return (await self.till.account(merchant)).state is AccountState.OPENED

        await eventually(opened)
        await _refused(lambda: self.till.request_topup(self.platform.topup()))
        await self.keep_account("account-waits-for-bank-details", merchant)
        await self.keep_topup("topup-refused", merchant, "T1")

    async def account_refused(self) -> None:
        merchant = self.merchant("R3")
        await _refused(lambda: self.platform.open(merchant_type=MerchantType.POP))
        await self.keep_account("account-not-eligible", merchant)
        await self.client.start_workflow(
            "Account", "text", id="unreadable", task_queue=self.platform.task_queue
        )
        await _ended(self.client, "unreadable")
        await self.keep("account-unreadable", "unreadable")

    async def credited(self) -> None:
        merchant = self.merchant("R4")
        await self.platform.configured()
        await self.platform.fund()

        async def active() -> bool:
            return (await self.till.account(merchant)).state is AccountState.ACTIVE

        await eventually(active)
        abnormal = SetStanding(abnormal=True, reason="核查", actor="ops-1")
        await self.till.set_standing(merchant, "CNY", abnormal)
        await _ended(self.client, topup_workflow_id(merchant, "T1"))
        await self.keep_account("account-activated-abnormal", merchant)
        await self.keep_topup("topup-credited", merchant, "T1")
        await self.keep("receipt-credited", receipt_workflow_id(self.platform.receipt()))

    async def unmatched(self) -> None:
        self.merchant("R5")
        await self.receipt("receipt-unmatched", self.platform.receipt(reference="B5"))
        foreign = self.platform.receipt(reference="B6", receiving_account="999")
        await self.receipt("receipt-not-ours", foreign)

    async def receipt(self, name: str, report: ReceiptReport) -> None:
        with contextlib.suppress(Rejected):
            await self.till.report_receipt(report)
        await self.keep(name, receipt_workflow_id(report))

    async def expired(self) -> None:
        merchant = self.merchant("R6")
        await self.platform.configured()
        await self.till.request_topup(self.platform.topup())
        handle = self.client.get_workflow_handle(topup_workflow_id(merchant, "T1"))
        await self.temporal.fast_forward(handle, timedelta(days=15, hours=1))

        async def expired() -> bool:
            return (await self.till.topup(merchant, "T1")).state is TopUpState.EXPIRED

        await eventually(expired)
        await _ended(self.client, handle.id)
        await self.keep_topup("topup-expired", merchant, "T1")

    async def needs_person(self, mend: Callable[[], None]) -> None:
        merchant = self.merchant("R7")
        await self.platform.configured()
        asked = asyncio.create_task(self.till.request_topup(self.platform.topup()))
        handle = self.client.get_workflow_handle(topup_workflow_id(merchant, "T1"))

        async def stuck() -> bool:
            try:
                view = await handle.query("view", result_type=TopUpView)
            except Exception:
                return False
            return bool(view.needs_person)

        await eventually(stuck)
        mend()
        await handle.execute_update("resume")
        await asked
        await self.keep_topup("topup-resumed-by-a-person", merchant, "T1")

    async def handed_over(self) -> None:
        self.merchant("R8")
        await self.platform.configured()
        await self.platform.fund()
        for name, merchant in (("order-applied", "R8"), ("order-refused", "R404")):
            message = OrderMessage(
                event=OrderEvent.HOLD, merchant=merchant, currency="CNY", order="O1",
                at=datetime(2100, 1, 1, tzinfo=UTC), amount_minor=3_600,
            )  # fmt: skip
            workflow_id = await self.till.hand_over(message)
            await _ended(self.client, workflow_id)
            await self.keep(name, workflow_id)
        await self.client.start_workflow(
            "OrderMessage", 7, id="unreadable-order", task_queue=self.platform.task_queue
        )
        await _ended(self.client, "unreadable-order")
        await self.keep("order-unreadable", "unreadable-order")

    async def continued(self) -> None:
        merchant = self.merchant("R9")
        await self.platform.configured()
        first = await self.client.get_workflow_handle(
            account_workflow_id(merchant, "CNY")
        ).describe()
        for _ in range(80):
            await self.till.configure_alerts(merchant, "CNY", self.platform.alerts())
        await self.keep("account-continued", first.id, run_id=first.run_id)


class _Faulty:
    def __init__(self) -> None:
        self.faulty = False

    def __call__(self, currency: str) -> ReceivingAccount | None:
        if self.faulty:
            raise ZeroDivisionError
        return receiving(currency)

    def mend(self) -> None:
        self.faulty = False


def _anonymous(value: Any) -> Any:
    """Without this machine's paths and names; a replay needs neither."""
    if isinstance(value, dict):
        return {k: _anonymous(v) for k, v in value.items() if k != "stackTrace"}
    if isinstance(value, list):
        return [_anonymous(v) for v in value]
    return _PROCESS.sub("recorder", value) if isinstance(value, str) else value


async def _refused(call: Callable[[], Awaitable[object]]) -> None:
    try:
        await call()
    except Rejected:
        return
    raise AssertionError("this should have been refused")


async def _ended(client: Client, workflow_id: str) -> None:
    async def ended() -> bool:
        return (await client.get_workflow_handle(workflow_id).describe()).close_time is not None

    await eventually(ended)


async def main() -> None:
    """Play every path against servers of its own, with payloads in clear."""
    with tempfile.TemporaryDirectory() as folder:
        await _play(FolderExchange(Path(folder)))


async def _play(exchange: FolderExchange) -> None:
    lookup = _Faulty()
    async with (
        running_postgres() as databases,
        running_temporal(None) as temporal,
    ):
        await databases.make_template()
        ring = KeyRing.generate("replay")
        async with databases.fresh() as database, engine_on(database.app_url, ring=ring) as engine:
            platform = make_platform(temporal.client, engine, ring)
            platform.house = dataclasses.replace(
                platform.house, receiving=lookup, exchange=exchange
            )
            async with platform.worker():
                recorder = Recorder(platform, temporal)
                await recorder.account_opened_to_closed()
                await recorder.account_waits_for_bank_details()
                await recorder.account_refused()
                await recorder.credited()
                await recorder.unmatched()
                await recorder.expired()
                await recorder.handed_over()
                await recorder.continued()
                await record_desk(recorder)
                lookup.faulty = True
                await recorder.needs_person(lookup.mend)


if __name__ == "__main__":
    asyncio.run(main())
