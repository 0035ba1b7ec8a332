"""The paths of work items and payments, for ``tests.replay.record``: every act, every end."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.client import WorkflowFailureError

from ledger.engine import in_transaction
from ledger.workitems import NewItem, open_items
from tests.ledger.payment_support import Payments, said
from tests.tokens import signed
from tests.workflows.support import BOOKED_AT, OTHER_NAME, eventually
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.payment import (
    OUTCOME_SIGNAL,
    PaymentState,
    PayoutView,
    payout_workflow_id,
)
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemAction,
    ItemKind,
    ItemView,
    Propose,
    RejectProposal,
    ReleaseItem,
    ReturnTo,
    item_workflow_id,
)

if TYPE_CHECKING:
    from tests.replay.record import Recorder


async def record_desk(recorder: Recorder) -> None:
    """Play all paths; the platform has an exchange with its bank."""
    await _matched(recorder)
    await _returned(recorder)
    await _acknowledged(recorder)
    await _reminded(recorder)
    await _unknown(recorder)
    await _payouts(recorder)


async def _matched(recorder: Recorder) -> None:
    merchant, till = recorder.merchant("R10"), recorder.till
    await recorder.platform.configured()
    await till.request_topup(recorder.platform.topup())
    item = await _receipt(recorder, "B10")
    match = Propose(action=ItemAction.MATCH, target=f"{merchant}/T1", reason="公司更名", actor="O1")
    body = signed(item, match)
    await till.claim_item(item, ClaimItem(actor="O1"))
    shown = await till.propose(item, body)
    with contextlib.suppress(Rejected):
        await till.approve(item, _yes(shown, "O1"))
    no = RejectProposal(proposal=1, reason="证明不足", actor="O2")
    await till.reject(item, signed(shown, no))
    await till.approve(item, _yes(await till.propose(item, signed(item, match))))
    await _keep(recorder, "item-matched", item, ended=True)


async def _returned(recorder: Recorder) -> None:
    recorder.merchant("R11")
    item = await _receipt(recorder, "B11")
    body = Propose(
        action=ItemAction.RETURN, reason="付款人要求退回", actor="O1",
        return_to=ReturnTo(bank_name="招商银行"),
    )  # fmt: skip
    shown = await recorder.till.propose(item, signed(item, body))
    await recorder.till.approve(item, _yes(shown))
    await _keep(recorder, "item-returned", item, ended=True)
    sql = "SELECT end_to_end_id FROM payments"
    name = (await recorder.platform.rows(sql))[0].end_to_end_id
    await _sent(recorder, name)
    await recorder.keep("payout-waits-for-the-bank", payout_workflow_id(name))


async def _acknowledged(recorder: Recorder) -> None:
    item = await _gap(recorder, "gap/1")
    handle = recorder.client.get_workflow_handle(item_workflow_id(item))
    await recorder.till.claim_item(item, ClaimItem(actor="O1"))
    await handle.signal("acknowledge", {"actor": "O1"})
    await handle.signal(
        "propose", Propose(action=ItemAction.ACKNOWLEDGE, reason="节假日", actor="O1")
    )
    await _keep(recorder, "item-acknowledged-by-signal", item, ended=True)


async def _reminded(recorder: Recorder) -> None:
    item = await _gap(recorder, "gap/2")
    await recorder.till.claim_item(item, ClaimItem(actor="O1"))
    handle = recorder.client.get_workflow_handle(item_workflow_id(item))
    await recorder.temporal.fast_forward(handle, timedelta(days=1, minutes=1))

    async def reminded() -> bool:
        view: ItemView = await handle.query("view", result_type=ItemView)
        return view.reminders == 1

    await eventually(reminded)
    await recorder.till.release_item(item, ReleaseItem(reason="休假", actor="O1"))
    await _keep(recorder, "item-reminded-and-released", item, ended=False)


async def _unknown(recorder: Recorder) -> None:
    with contextlib.suppress(Rejected):
        await recorder.till.claim_item(2**62, ClaimItem(actor="O1"))
    await _keep(recorder, "item-unknown", 2**62, ended=True)


async def _payouts(recorder: Recorder) -> None:
    payments = Payments(recorder.platform.engine, recorder.platform.house.ring, "r0")
    for number, ending in enumerate(("paid", "rejected")):
        name = await payments.returning(f"r{number}")
        await recorder.till.start_payout(name)
        handle = recorder.client.get_workflow_handle(payout_workflow_id(name))
        await _sent(recorder, name)
        await handle.signal(OUTCOME_SIGNAL)
        await handle.cancel()
        if ending == "paid":
            assert await payments.debit(name)
        else:
            await payments.statuses(said("RJCT", name, "AC04"))
        await handle.signal(OUTCOME_SIGNAL)
        await handle.result()
        await recorder.keep(f"payout-{ending}", handle.id)
    await recorder.till.start_payout("PX")
    handle = recorder.client.get_workflow_handle(payout_workflow_id("PX"))
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    await recorder.keep("payout-unknown", handle.id)


async def _sent(recorder: Recorder, name: str) -> None:
    handle = recorder.client.get_workflow_handle(payout_workflow_id(name))

    async def left() -> bool:
        view: PayoutView = await handle.query("view", result_type=PayoutView)
        return view.state is PaymentState.SENT

    await eventually(left)


async def _receipt(recorder: Recorder, reference: str) -> int:
    report = recorder.platform.receipt(reference=reference, payer_name=OTHER_NAME)
    receipt = await recorder.till.report_receipt(report)
    return await _item(recorder, f"receipt/{receipt.digest}")


async def _gap(recorder: Recorder, subject: str) -> int:
    new = NewItem(ItemKind.STATEMENT_GAP, subject)
    await in_transaction(recorder.platform.engine, lambda c: open_items(c, [new], at=BOOKED_AT))
    return await _item(recorder, subject)


async def _item(recorder: Recorder, subject: str) -> int:
    sql = "SELECT id FROM work_items WHERE subject = $1"
    return int((await recorder.platform.rows(sql, subject))[0][0])


def _yes(view: ItemView, actor: str = "O2") -> Approve:
    assert view.proposal is not None
    shown = view.proposal.model_dump(include={"action", "target", "amount_minor", "payee_digest"})
    return signed(view, Approve(**shown, proposal=view.proposal.number, actor=actor))


async def _keep(recorder: Recorder, name: str, item: int, *, ended: bool) -> None:
    handle = recorder.client.get_workflow_handle(item_workflow_id(item))

    async def over() -> bool:
        return (await handle.describe()).close_time is not None

    if ended:
        await eventually(over)
    await recorder.keep(name, handle.id)
