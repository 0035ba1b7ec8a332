"""A payout whose bank has said in a file that it has the payment, and does not find it (C-12)."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from gateways.bank.http import Answer, BankDoor, Hearing
from ledger.workitems import settle_items
from tests.workflows.bank_support import imported
from tests.workflows.support import eventually
from tests.workflows.teller_support import Teller
from tillkeeper.contracts.payment import PaymentInstruction, PaymentState
from tillkeeper.contracts.workitem import ItemKind, Outcome


@pytest_asyncio.fixture(loop_scope="session")
async def resting(resting: Teller) -> Teller:
    """The same, with a bank whose stated delay is five minutes."""
    house = dataclasses.replace(resting.platform.house, visibility=timedelta(minutes=5))
    platform = dataclasses.replace(resting.platform, house=house)
    return dataclasses.replace(resting, platform=platform)


class Blind(BankDoor):
    """Takes the payment, loses the answer, and never finds it again."""

    def __init__(self, door: BankDoor | None) -> None:
        assert door is not None
        self._door = door
        self.asked = 0

    async def submit(self, payment: PaymentInstruction) -> Answer:
        await self._door.submit(payment)
        return Answer(Hearing.NOTHING)

    async def ask(self, payment: PaymentInstruction) -> Answer:
        self.asked += 1
        return Answer(Hearing.NOT_FOUND, (), "http:none")


def _pain002(name: str, status: str, reason: str | None) -> bytes:
    why = f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>" if reason else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>
<GrpHdr><MsgId>S1</MsgId><CreDtTm>2026-11-20T10:00:00</CreDtTm></GrpHdr>
<OrgnlGrpInfAndSts><OrgnlMsgId>{name}</OrgnlMsgId>
<OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId></OrgnlGrpInfAndSts>
<OrgnlPmtInfAndSts><OrgnlPmtInfId>{name}</OrgnlPmtInfId><TxInfAndSts>
<OrgnlEndToEndId>{name}</OrgnlEndToEndId><TxSts>{status}</TxSts>{why}
</TxInfAndSts></OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>""".encode()


async def overdue(teller: Teller) -> list[tuple[str, str | None]]:
    """Kind and outcome of the items about a bank's silence."""
    sql = "SELECT kind, outcome FROM work_items WHERE kind = 'PAYMENT_OVERDUE'"
    return [(row.kind, row.outcome) for row in await teller.counter.rows(sql)]


async def noted(teller: Teller, name: str) -> None:
    """A person takes note of the item."""
    kind, at = ItemKind.PAYMENT_OVERDUE, datetime.now(UTC)
    await teller.counter.run(
        lambda c: settle_items(c, kind, [f"payment/{name}"], outcome=Outcome.ACKNOWLEDGED, at=at)
    )


class TestHad:
    @pytest.mark.parametrize("word", [("RCVD", None), ("RJCT", "AM05")])
    async def test_not_found_after_the_delay_pays_by_no_second_rail(
        self, resting: Teller, temporal: WorkflowEnvironment, word: tuple[str, str | None]
    ) -> None:
        """E-09: paid once, by the first, and the debit tells it."""
        door = Blind(resting.platform.house.door)
        teller = resting.with_door(door)
        name = await teller.remitting()
        async with teller.platform.worker():
            handle = await teller.start(name)
            await teller.reaches(handle, PaymentState.UNCLEAR)
            await imported(teller.platform, _pain002(name, *word))
            asked = door.asked
            await temporal.fast_forward(handle, timedelta(minutes=20))

            async def asked_after_the_delay() -> bool:
                return door.asked > asked + 2

            await eventually(asked_after_the_delay)
            await asyncio.sleep(1)
            assert await teller.payments() == [("UNCLEAR", "http", 1)]
            assert await overdue(teller) == []
            assert (await teller.ends(handle)).state is PaymentState.PAID
        assert len(teller.bank.movements()) == 1
        await teller.agree()

    async def test_the_doors_deadline_is_kept_at_the_next_question(
        self, resting: Teller, temporal: WorkflowEnvironment
    ) -> None:
        """C-12: an hour here, where the run looks at silence after three days; told once."""
        hour = {"payout_deadline_http": timedelta(hours=1)}
        profile = resting.platform.house.profile.model_copy(update=hour)
        house = dataclasses.replace(resting.platform.house, profile=profile)
        platform = dataclasses.replace(resting.platform, house=house)
        teller = dataclasses.replace(resting, platform=platform)
        door = Blind(house.door)
        teller = teller.with_door(door)
        name = await teller.remitting()
        async with teller.platform.worker():
            handle = await teller.start(name)
            await teller.reaches(handle, PaymentState.UNCLEAR)
            await imported(teller.platform, _pain002(name, "RCVD", None))
            await temporal.fast_forward(handle, timedelta(hours=3))

            async def told() -> bool:
                return await overdue(teller) == [("PAYMENT_OVERDUE", None)]

            await eventually(told)
            assert (await teller.view(handle)).overdue
            await noted(teller, name)
            asked = door.asked
            await temporal.fast_forward(handle, timedelta(hours=5))

            async def asked_again() -> bool:
                return door.asked > asked + 2

            await eventually(asked_again)
            assert (await teller.ends(handle)).state is PaymentState.PAID
        assert await overdue(teller) == [("PAYMENT_OVERDUE", "ACKNOWLEDGED")]
