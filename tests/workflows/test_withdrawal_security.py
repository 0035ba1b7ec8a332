"""What whoever reaches the Temporal server cannot do with a plain client (C-07, S3, P-69).

Each test speaks to the run as ``temporal workflow update`` would, without our client, and looks at
the money and the audit afterwards.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from gateways.identity.issuer import DevelopmentIssuer, Grant
from tests.tokens import token_for
from tests.workflows.support import bank_details, eventually
from tests.workflows.withdrawal_support import People, no, starting, yes
from tillkeeper.contracts.account import ProvideBankDetails
from tillkeeper.contracts.approval import Decide
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import WORKFLOW as PAYOUT
from tillkeeper.contracts.payment import PayoutStart, payout_workflow_id
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView
from tillkeeper.failures import refusal_in


async def raw(people: People, body: Any, request: str = "W1") -> tuple[Code, ...]:
    """An update by a plain client; the codes of its refusal, none where it was accepted."""
    given = json.loads(body.model_dump_json()) if isinstance(body, Decide) else body
    try:
        await people.handle(request).execute_update("decide", given)
    except WorkflowUpdateFailedError as error:
        refusal = refusal_in(error)
        assert refusal is not None
        return refusal.codes
    return ()


async def untouched(people: People, view: WithdrawalView) -> None:
    """Nothing was decided, nothing is to be paid, the money is reserved as before."""
    assert (await people.seen(view.request)).state is WithdrawalState.WAITING_APPROVAL
    counted = await people.platform.rows("SELECT count(*) AS n FROM payments")
    assert counted[0].n == 0
    assert (await people.platform.balances()).withdrawing == view.amount_minor


async def refusals(people: People) -> list[tuple[str, str | None]]:
    """Actor and token of every refused decision in the audit, the oldest first."""
    rows = await people.platform.rows(
        "SELECT actor, after ->> 'token' AS token FROM audit"
        " WHERE action = 'refuse_decision' ORDER BY id"
    )
    return [(row.actor, row.token) for row in rows]


class TestApprove:
    async def test_nobody_approves_without_a_token(self, people: People) -> None:
        """By update without the field, by signal without it, and by a name in its place."""
        view = await people.ask()
        fields = {
            "verdict": "APPROVE", "amount_minor": 2_000_00, "currency": "CNY",
            "payee_digest": view.payee_digest,
        }  # fmt: skip
        assert await raw(people, fields) == (Code.TOKEN_MISSING,)
        assert await raw(people, fields | {"token": "O2"}) == (Code.TOKEN_INVALID,)
        assert await raw(people, fields | {"actor": "O2"}) == (Code.FIELD_UNKNOWN,)
        await people.handle().signal("decide", fields)

        async def noted() -> bool:
            return len((await people.seen()).not_understood) == 1

        await eventually(noted)
        assert (await people.seen()).not_understood[0].why.startswith("TOKEN_MISSING")
        await untouched(people, view)
        assert [actor for actor, _ in await refusals(people)] == ["unknown"] * 3

    async def test_nobody_approves_with_a_token_that_somebody_else_signed(
        self, people: People
    ) -> None:
        """Another issuer's key under our issuer's name, and our token with its roles rewritten."""
        view = await people.ask()
        other = DevelopmentIssuer.generate("test")
        forged = other.issue(Grant(subject="O2", roles=("operations",)), datetime.now(UTC))
        assert await raw(people, yes(view, token=forged)) == (Code.TOKEN_INVALID,)
        head, _, signature = token_for("user-9", "nothing").split(".")
        body = token_for("O2", "operations").split(".")[1]
        mixed = f"{head}.{body}.{signature}"
        assert await raw(people, yes(view, token=mixed)) == (Code.TOKEN_INVALID,)
        await untouched(people, view)

    async def test_nobody_approves_with_an_expired_token(self, people: People) -> None:
        """S3: five minutes, by the time of the decision."""
        view = await people.ask()
        then = datetime.now(UTC) - timedelta(minutes=5, seconds=1)
        assert await raw(people, yes(view, at=then)) == (Code.TOKEN_EXPIRED,)
        await untouched(people, view)

    async def test_nobody_approves_his_own(self, people: People) -> None:
        """C-07: the submitter with every role is refused, in whatever letters he writes himself."""
        view = await people.ask(requested_by="O2")
        assert await raw(people, yes(view)) == (Code.OWN_REQUEST,)
        assert await raw(people, yes(view, "o2")) == (Code.OWN_REQUEST,)
        await untouched(people, view)
        assert [actor for actor, _ in await refusals(people)] == ["O2", "o2"]
        assert all(token for _, token in await refusals(people))

    async def test_nobody_approves_twice(self, people: People) -> None:
        """C-07: two levels, one person with both roles and as many tokens as he likes."""
        await people.platform.fund(60_000_00, 2)
        view = await people.ask(60_000_00)
        both = token_for("O2", "operations", "finance")
        assert await raw(people, yes(view, token=both)) == ()
        again = token_for("O2", "operations", "finance")
        assert await raw(people, yes(view, token=again)) == (Code.ALREADY_DECIDED,)
        assert await raw(people, yes(view, "o2", "finance")) == (Code.ALREADY_DECIDED,)
        await untouched(people, view)

    async def test_nobody_approves_another_amount(self, people: People) -> None:
        """The amount, the currency and the payee that were shown are what stands, or nothing."""
        view = await people.ask()
        for changes in (
            {"amount_minor": 1_999_99},
            {"currency": "USD"},
            {"payee_digest": "0" * 64},
        ):
            assert await raw(people, yes(view, **changes)) == (Code.DECISION_STALE,)
        await untouched(people, view)

    async def test_a_token_bound_to_one_decision_makes_no_other(self, people: People) -> None:
        """Bound to the rejection of W1: it approves nothing, and rejects nothing else."""
        view = await people.ask()
        bound = no(view).token
        assert await raw(people, yes(view, token=bound)) == (Code.TOKEN_INVALID,)
        other = await people.ask(1_000_00, "W2")
        assert await raw(people, no(other, token=bound), "W2") == (Code.TOKEN_INVALID,)
        assert (await people.seen("W2")).state is WithdrawalState.WAITING_APPROVAL
        assert await raw(people, no(view, token=bound)) == ()

    async def test_a_token_for_another_merchant_is_out_of_scope(self, people: People) -> None:
        """A token carries its merchants."""
        view = await people.ask()
        narrow = token_for("O2", "operations", merchants=("M404",))
        assert await raw(people, yes(view, token=narrow)) == (Code.OUT_OF_SCOPE,)
        await untouched(people, view)


class TestReplay:
    async def test_a_token_out_of_a_history_decides_nothing_else(self, people: People) -> None:
        """S3: whoever reads a history finds spent tokens; the same decision is the same act."""
        first = await people.ask()
        assert await raw(people, yes(first)) == ()
        taken = await token_in_history(people)
        second = await people.ask(1_000_00, "W2")
        assert await raw(people, yes(second, token=taken), "W2") == (Code.TOKEN_INVALID,)
        assert await raw(people, no(first, token=taken)) == (Code.TOKEN_INVALID,)
        assert await raw(people, yes(first, token=taken, amount_minor=1_00)) == (
            Code.TOKEN_INVALID,
        )
        assert await raw(people, yes(first, token=taken)) == ()
        decided = await people.platform.rows("SELECT count(*) AS n FROM decisions")
        assert decided[0].n == 1
        assert (await people.seen("W2")).state is WithdrawalState.WAITING_APPROVAL

    async def test_a_run_started_again_decides_nothing_again(self, people: People) -> None:
        """C-02: the first request starts a run anew; the old approval is answered, once counted."""
        view = await people.ask()
        body = no(view)
        assert await raw(people, body) == ()
        await people.handle().result()
        for given, codes in ((body, ()), (yes(view), (Code.REQUEST_DECIDED,))):
            operation = starting(people, people.request())
            ask = people.platform.client.execute_update_with_start_workflow(
                "decide", given, start_workflow_operation=operation, result_type=WithdrawalView
            )
            if codes:
                with pytest.raises(WorkflowUpdateFailedError) as caught:
                    await ask
                refusal = refusal_in(caught.value)
                assert refusal is not None
                assert refusal.codes == codes
            else:
                assert (await ask).state is WithdrawalState.REJECTED
        assert (await people.platform.balances()).available == 5_000_00


async def token_in_history(people: People) -> str:
    """The token as whoever holds a key reads it in the run's history."""
    converter = people.platform.client.data_converter
    async for event in people.handle().fetch_history_events():
        accepted = event.workflow_execution_update_accepted_event_attributes.accepted_request
        if accepted.input.name == "decide":
            (given,) = await converter.decode(accepted.input.args.payloads)
            return str(given["token"])
    raise AssertionError("no decision in the history")


class TestPayee:
    async def test_nobody_changes_the_payee_after_the_approval(
        self, people: People, tmp_path: Path
    ) -> None:
        """P-69: new bank details, an approval of them, a payout with another payee: all in vain."""
        view = await people.ask()
        assert await raw(people, yes(view)) == ()
        other = bank_details(account_number="6225880299998888")
        await people.platform.till.provide_bank_details(
            view.merchant, "CNY", ProvideBankDetails(details=other, actor="user-1")
        )
        assert await raw(people, yes(view, "O3")) == (Code.REQUEST_DECIDED,)

        async def sent() -> bool:
            return bool(list((tmp_path / "exchange").rglob("*.xml")))

        await eventually(sent)
        files = list((tmp_path / "exchange").rglob("*.xml"))
        assert len(files) == 1
        text = files[0].read_text()
        assert "6225880212341234" in text
        assert "6225880299998888" not in text
        assert (await people.seen()).account == "****1234"

    async def test_nobody_pays_by_starting_a_payout(self, people: People) -> None:
        """What was not recorded is not paid; what a starter claims to know is not believed."""
        view = await people.ask()
        handle = await people.platform.client.start_workflow(
            PAYOUT, PayoutStart(end_to_end_id="TK404"), id=payout_workflow_id("TK404"),
            task_queue=people.platform.task_queue,
        )  # fmt: skip
        with pytest.raises(Exception, match="Workflow execution failed"):
            await handle.result()
        await untouched(people, view)
