"""P-43: a hold that fails for a technical reason is kept as work, and applied once."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey

from tests.ledger.support import DAY, figures, open_account
from tests.stack import END_OTHERS, Database
from tests.workflows.support import Platform
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderOutcome, OrderResult

_NEEDS_PERSON = SearchAttributeKey.for_bool("NeedsPerson")
_STAGE = SearchAttributeKey.for_keyword("Stage")


class TestHandOver:
    async def test_hold_while_the_ledger_is_away_is_work_and_then_applied_once(
        self, platform: Platform, database: Database
    ) -> None:
        """P-43: HOLD_FAILED_TECHNICAL exists; on resolution the hold is applied once."""
        await open_account(platform.engine, platform.merchant, fund=10_000)
        message = OrderMessage(
            event=OrderEvent.HOLD, merchant=platform.merchant, currency="CNY", order="O1",
            at=DAY, amount_minor=3_600,
        )  # fmt: skip
        owner = create_async_engine(database.owner_url, isolation_level="AUTOCOMMIT")
        async with owner.connect() as connection:
            # No login of the application is let in, and whoever is in is thrown out.
            name = make_url(database.owner_url).database
            await connection.execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0'))
            try:
                await connection.execute(text(END_OTHERS))
                workflow_id = await platform.till.hand_over(message)
                assert await platform.till.hand_over(message) == workflow_id
                handle = platform.client.get_workflow_handle(workflow_id, result_type=OrderOutcome)
                await asyncio.sleep(1)
                found = await handle.describe()
                assert found.status is WorkflowExecutionStatus.RUNNING
                assert found.typed_search_attributes[_NEEDS_PERSON] is True
                assert found.typed_search_attributes[_STAGE] == "HOLD_FAILED_TECHNICAL"
            finally:
                await connection.execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'))
        await owner.dispose()
        outcome = await handle.result()
        assert outcome.result is OrderResult.APPLIED
        assert figures(await platform.balances()) == (6_400, 3_600, 0)
        await platform.till.hand_over(message)
        assert figures(await platform.balances()) == (6_400, 3_600, 0)
        ended = await handle.describe()
        assert ended.typed_search_attributes[_NEEDS_PERSON] is False

    async def test_messages_that_contradict_are_all_kept_and_answered(
        self, platform: Platform
    ) -> None:
        """C-02, P-43: another body under the same id is another workflow; the book decides."""
        await open_account(platform.engine, platform.merchant, fund=10_000)
        first = OrderMessage(
            event=OrderEvent.HOLD, merchant=platform.merchant, currency="CNY", order="O1",
            at=DAY, amount_minor=3_600,
        )  # fmt: skip
        other = first.model_copy(update={"amount_minor": 3_601})
        dollars = first.model_copy(update={"currency": "USD"})
        outcomes = []
        for message in (first, other, dollars):
            workflow_id = await platform.till.hand_over(message)
            handle = platform.client.get_workflow_handle(workflow_id, result_type=OrderOutcome)
            outcomes.append((await handle.result()).code)
        assert outcomes == [None, Code.KEY_REUSED, Code.ACCOUNT_NOT_OPENED]

    async def test_a_cancel_before_any_worker_loses_no_message(self, idle: Platform) -> None:
        """P-43: never dropped, though somebody asks Temporal to cancel it at once."""
        await open_account(idle.engine, idle.merchant, fund=10_000)
        message = OrderMessage(
            event=OrderEvent.HOLD, merchant=idle.merchant, currency="CNY", order="O1",
            at=DAY, amount_minor=3_600,
        )  # fmt: skip
        workflow_id = await idle.till.hand_over(message)
        handle = idle.client.get_workflow_handle(workflow_id, result_type=OrderOutcome)
        await handle.cancel()
        async with idle.worker():
            assert (await handle.result()).result is OrderResult.APPLIED
        assert figures(await idle.balances()) == (6_400, 3_600, 0)
