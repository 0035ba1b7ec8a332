"""Records the paths of withdrawals and approvals: ``python -m tests.replay.record_withdrawals``.

It only adds, as ``record`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.testing import WorkflowEnvironment

from tests.replay.record import Recorder
from tests.stack import engine_on, running_postgres, running_temporal
from tests.tokens import for_delegation, signed, token_for
from tests.workflows.support import Platform, bank_details, eventually, make_platform
from tests.workflows.withdrawal_bank import Teller, tellers
from tests.workflows.withdrawal_support import CANCEL, judged, no, yes
from tillkeeper.contracts.account import ProvideBankDetails
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    Delegate,
    Verdict,
    delegation_workflow_id,
)
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.contracts.workitem import Approve, ItemAction, ItemKind, item_workflow_id
from tillkeeper.rules.approvals import DEFAULT_POLICY
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

GRACE = JD_PREPAID_2023_11.model_copy(update={"withdrawal_grace": timedelta(hours=2)})


class WithdrawalRecorder(Recorder):
    """Plays withdrawals, each of a merchant of its own."""

    def __init__(self, teller: Teller, temporal: WorkflowEnvironment) -> None:
        super().__init__(teller.people.platform, temporal)
        self.teller = teller
        self.people = teller.people

    async def begin(self, merchant: str, amount_minor: int = 5_000_00) -> None:
        self.merchant(merchant)
        await self.people.active(amount_minor, int(merchant[1:]))

    async def kept(self, name: str) -> None:
        await self.keep(f"withdrawal-{name}", self.people.handle().id)

    async def paid(self) -> None:
        await self.begin("W1")
        await self.people.approve(await self.people.ask())
        await self.teller.paid()
        await self.kept("paid")

    async def two_levels(self) -> None:
        """A refused decision, one by signal, a signal that nobody understands; in the outbox."""
        await self.begin("W2", 70_000_00)
        view = await self.people.ask(60_000_00)
        with contextlib.suppress(Rejected):
            await self.people.approve(view, "F1", "finance")
        await self.people.handle().signal("decide", yes(view))
        await self.people.handle().signal("decyde", yes(view))

        async def half() -> bool:
            return len((await self.people.seen()).decisions) == 1

        await eventually(half)
        await self.people.approve(view, "F1", "finance")
        await self.teller.becomes(WithdrawalState.FAILED_MANUAL)
        item = await self.teller.item(ItemKind.WITHDRAWAL_FAILED)
        await self.teller.choose(item, ItemAction.RETURN_TO_AVAILABLE)
        await self.teller.result()
        await self.kept("two-levels-returned")

    async def rejected(self) -> None:
        await self.begin("W3")
        await self.people.reject(await self.people.ask())
        await self.teller.result()
        await self.kept("rejected")

    async def cancelled(self) -> None:
        await self.begin("W4")
        view = await self.people.ask()
        await self.till.cancel_withdrawal(view.merchant, view.request, CANCEL)
        await self.teller.result()
        await self.kept("cancelled")

    async def refused(self) -> None:
        await self.begin("W5")
        with contextlib.suppress(Rejected):
            await self.people.ask(9_000_00)
        await self.teller.result()
        await self.kept("refused")
        await self.client.start_workflow(
            "Withdrawal", 7, id="withdrawal/7", task_queue=self.platform.task_queue
        )
        await self.over("withdrawal/7")
        await self.keep("withdrawal-unreadable", "withdrawal/7")

    async def retried(self) -> None:
        """Refused for good, tried again by a person, paid."""
        await self.begin("W6")
        await self.teller.failed()
        item = await self.teller.item(ItemKind.WITHDRAWAL_FAILED)
        self.teller.bank.plan()
        await self.teller.choose(item, ItemAction.RETRY)
        await self.teller.paid()
        await self.kept("failed-tried-again")

    async def stopped(self) -> None:
        """Its payout terminated from outside, resumed by a person, paid."""
        await self.begin("W7")
        view = await self.people.approve(await self.people.ask())
        await self.teller.shows(view, lambda payment: payment.state is PaymentState.ACCEPTED)
        await self.teller.payout(view).terminate("somebody")

        async def stuck() -> bool:
            return bool((await self.people.seen()).needs_person)

        await eventually(stuck)
        await self.people.handle().execute_update("resume")
        await self.teller.paid()
        await self.kept("payout-stopped-and-resumed")

    async def reminded(self) -> None:
        """Forty days: the run that continued as new, and the one that was rejected at last."""
        await self.begin("W8")
        await self.people.ask()
        first = (await self.people.handle().describe()).run_id
        for day in range(1, 41):
            await self.temporal.fast_forward(self.people.handle(), timedelta(hours=24))

            async def told(day: int = day) -> bool:
                return (await self.people.seen()).reminders >= day

            await eventually(told)
        await self.keep("withdrawal-continued", self.people.handle().id, run_id=first)

    async def continued_while_paying(self) -> None:
        """A run that finds its payout begun by the run before."""
        await self.begin("W9")
        await self.people.approve(await self.people.ask())
        handle = self.people.handle()
        before = (await handle.describe()).run_id
        for _ in range(5):
            await asyncio.gather(*(handle.signal("nothing") for _ in range(100)))

        async def another() -> bool:
            return (await handle.describe()).run_id != before

        await eventually(another, within_s=20)
        await self.teller.hear()
        await self.teller.becomes(WithdrawalState.PAID)
        await self.kept("paid-by-an-earlier-payout")

    async def graceful(self) -> None:
        """Approved and undone; approved, blocked by dues, nudged, on its way."""
        await self.begin("W10")
        await self.people.reject(await self.people.approve(await self.people.ask()))
        await self.teller.result()
        await self.kept("approval-undone")
        await self.begin("W11")
        await self.people.approve(await self.people.ask())
        await self.people.hold(3_500_00)
        await self.temporal.fast_forward(self.people.handle(), timedelta(minutes=121))

        async def blocked() -> bool:
            return bool((await self.people.seen()).blocked)

        await eventually(blocked)
        await self.platform.fund(5_000_00, 99)
        await self.people.handle().signal("changed")
        await self.teller.becomes(WithdrawalState.REMITTING)
        await self.teller.paid()
        await self.kept("blocked-then-paid")

    async def policies(self) -> None:
        """Adopted, refused, unreadable; a delegation; then what is approved by itself."""
        self.merchant("W12")
        adopted = await self.people.adopt(ApprovalPolicy(bands=(Band(auto_reason="试运行期间"),)))
        await self.keep("policy-adopted", f"policy/{adopted.change}")
        await self.begin("W13")
        await self.people.ask()
        await self.teller.paid()
        await self.kept("auto-approved")
        refused = await self.people.propose(DEFAULT_POLICY.policy, change="P-refused")
        no = judged(refused, verdict=Verdict.REJECT, reason="过宽")
        with contextlib.suppress(Rejected):
            await self.till.decide_policy("P-refused", judged(refused, "A1"))
        await self.till.decide_policy("P-refused", no)
        await self.keep("policy-rejected", "policy/P-refused")
        await self.client.start_workflow(
            "PolicyChange", 7, id="policy/7", task_queue=self.platform.task_queue
        )
        await self.over("policy/7")
        await self.keep("policy-unreadable", "policy/7")
        for name, role in (("recorded", "operations"), ("refused", "finance")):
            body = Delegate(
                delegation=name, delegate="O3", roles=(role,), reason="休假",
                until=datetime.now(UTC) + timedelta(days=9),
            )  # fmt: skip
            body = for_delegation(body, token_for("O2", "operations"))
            with contextlib.suppress(Rejected):
                await self.till.delegate(body)
            await self.keep(f"delegation-{name}", delegation_workflow_id(name))

    async def late(self) -> None:
        """Words on what is over, each by a run of its own; one of them forged."""
        await self.begin("W14")
        view = await self.people.ask()
        body = no(view)
        await self.people.decide(view, body)
        await self.people.handle().result()
        await self.people.decide(view, body)
        await self._keep_late("decision")
        with contextlib.suppress(Rejected):
            await self.people.decide(view, body.model_copy(update={"token": "forged"}))
        await self._keep_late("refused")
        await self.people.ask(request="W2")
        for _ in range(2):
            await self.till.cancel_withdrawal(view.merchant, "W2", CANCEL)
            await self.people.handle("W2").result()
        await self._keep_late("cancellation")
        proposed = await self.people.propose(DEFAULT_POLICY.policy, change="P-late")
        fields: dict[str, Any] = {"change": "P-late", "effective_from": proposed.effective_from}
        await self.people.propose(DEFAULT_POLICY.policy, **fields)
        yes_to_it = judged(proposed)
        for _ in range(2):
            await self.till.decide_policy("P-late", yes_to_it)
            await self.over("policy/P-late")
        await self.keep("policy-proposed-again", "policy/P-late")
        await self._keep_late("policy-decision")
        await self.people.propose(DEFAULT_POLICY.policy, **fields)
        await self._keep_late("proposal")
        lent = Delegate(
            delegation="late", delegate="O3", roles=("operations",), reason="休假",
            until=datetime.now(UTC) + timedelta(days=9),
        )  # fmt: skip
        lent = for_delegation(lent, token_for("O2", "operations"))
        for _ in range(2):
            await self.till.delegate(lent)
        await self._keep_late("delegation")

    async def stale(self) -> None:
        """Another account bound meanwhile: the run is told, and a decision on the old refused."""
        await self.begin("W15")
        view = await self.people.ask()
        other = bank_details(account_number="6225880299998888")
        body = ProvideBankDetails(details=other, actor="user-1")
        await self.till.provide_bank_details(view.merchant, "CNY", body)
        with contextlib.suppress(Rejected):
            await self.people.approve(view)

        async def looked() -> bool:
            return (await self.people.seen()).account == "****8888"

        await eventually(looked)
        await self.people.reject(await self.people.seen())
        await self.teller.result()
        await self.kept("stale-decision-looked")

    async def not_paid(self) -> None:
        """Accepted and never told of again: two people hold the proof, one gives it back."""
        await self.begin("W16")
        self.teller.bank.plan()
        view = await self.people.approve(await self.people.ask())
        await self.teller.shows(view, lambda payment: payment.state is PaymentState.ACCEPTED)
        payout = self.teller.payout(view)
        await self.temporal.fast_forward(payout, timedelta(days=3, minutes=1))
        item = await self.teller.item(ItemKind.PAYMENT_OVERDUE)
        shown = await self.teller.choose(item, ItemAction.NOT_PAID)
        assert shown.proposal is not None
        approval = Approve(
            proposal=shown.proposal.number, action=ItemAction.NOT_PAID, actor="O3",
            amount_minor=shown.proposal.amount_minor, target=shown.proposal.target,
            payee_digest=shown.proposal.payee_digest,
        )  # fmt: skip
        await self.till.approve(item.item, signed(item.item, approval))
        await self.keep("item-not-paid", item_workflow_id(item.item))
        await self.teller.becomes(WithdrawalState.FAILED_MANUAL)
        failed = await self.teller.item(ItemKind.WITHDRAWAL_FAILED)
        await self.teller.choose(failed, ItemAction.RETURN_TO_AVAILABLE)
        await self.teller.result()
        await self.kept("proven-unpaid-returned")
        await self.keep("payout-door-proven-unpaid", payout.id)
        # The next path counts the bank's files.
        await self.teller.hear()

    async def _keep_late(self, name: str) -> None:
        """The late word that was said last."""
        runs = [
            (run.start_time, run.id)
            async for run in self.client.list_workflows("WorkflowType = 'LateWord'")
        ]
        await asyncio.sleep(0.5)
        await self.keep(f"late-{name}", max(runs)[1])

    async def over(self, workflow_id: str) -> None:
        async def ended() -> bool:
            found = await self.client.get_workflow_handle(workflow_id).describe()
            return found.close_time is not None

        await eventually(ended)


async def main() -> None:
    """Play every path against servers of its own, with payloads in clear."""
    async with running_postgres() as databases, running_temporal(None) as temporal:
        await databases.make_template()
        ring = KeyRing.generate("replay")
        async with databases.fresh() as database, engine_on(database.app_url, ring=ring) as engine:
            platform = make_platform(temporal.client, engine, ring)
            house = dataclasses.replace(platform.house, visibility=timedelta(seconds=1))
            await _play(dataclasses.replace(platform, house=house), temporal)


async def _play(platform: Platform, temporal: WorkflowEnvironment) -> None:
    with tempfile.TemporaryDirectory() as folder, tellers(platform, Path(folder)) as teller:
        async with teller.people.platform.worker():
            recorder = WithdrawalRecorder(teller, temporal)
            await teller.capital(20_000_00)
            await recorder.paid()
            await recorder.two_levels()
            await recorder.rejected()
            await recorder.cancelled()
            await recorder.refused()
            await recorder.retried()
            await recorder.stopped()
            await recorder.continued_while_paying()
            await recorder.reminded()
        graceful = dataclasses.replace(teller.people.platform.house, profile=GRACE)
        teller.people.platform.house = graceful
        async with teller.people.platform.worker():
            await WithdrawalRecorder(teller, temporal).graceful()
        plain = dataclasses.replace(graceful, profile=JD_PREPAID_2023_11)
        teller.people.platform.house = plain
        async with teller.people.platform.worker():
            recorder = WithdrawalRecorder(teller, temporal)
            await recorder.late()
            await recorder.stale()
            await recorder.not_paid()
            await recorder.policies()


if __name__ == "__main__":
    asyncio.run(main())
