"""What a withdrawal costs Temporal: history events of its run and its payouts' together (§3).

The table stands in docs/withdrawals.md and is compared here: a figure that is exceeded fails.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from tests.workflows.support import Platform
from tests.workflows.withdrawal_bank import Teller, serving, tellers
from tests.workflows.withdrawal_support import CANCEL
from tillkeeper.contracts.approval import ApprovalPolicy, Band
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView
from tillkeeper.contracts.workitem import ItemAction, ItemKind

PAGE: Final = Path(__file__).parents[2] / "docs" / "withdrawals.md"
_ROW: Final = re.compile(r"^\| ([a-z, -]+) \| (\d+) \| (\d+) \|$", re.MULTILINE)

# What Temporal Cloud bills as an action, of what is in these histories.
_ACTIONS: Final = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    }
)


def committed() -> dict[str, tuple[int, int]]:
    """Events and actions by path, as the page has them."""
    return {name: (int(e), int(a)) for name, e, a in _ROW.findall(PAGE.read_text("utf-8"))}


@pytest_asyncio.fixture(loop_scope="session")
async def teller(idle: Platform, tmp_path: Path) -> AsyncIterator[Teller]:
    with tellers(idle, tmp_path) as made:
        async with serving(made):
            yield made


async def cost(teller: Teller, view: WithdrawalView) -> tuple[int, int]:
    """Events and actions of the request's run and of every payout that it started."""
    handles = [teller.people.handle()]
    rows = await teller.people.platform.rows(
        "SELECT DISTINCT coalesce(run, end_to_end_id) AS run FROM payments WHERE merchant = $1",
        view.merchant,
    )
    client = teller.people.platform.client
    handles += [client.get_workflow_handle(f"payout/{row.run}") for row in rows]
    events = [
        event.event_type for handle in handles async for event in handle.fetch_history_events()
    ]
    return len(events), sum(kind in _ACTIONS for kind in events)


async def _auto(teller: Teller, _: WorkflowEnvironment) -> WithdrawalView:
    await teller.people.adopt(ApprovalPolicy(bands=(Band(auto_reason="试运行期间"),)))
    await teller.people.ask()
    return await teller.paid()


async def _one(teller: Teller, _: WorkflowEnvironment) -> WithdrawalView:
    await teller.people.approve(await teller.people.ask())
    return await teller.paid()


async def _two(teller: Teller, _: WorkflowEnvironment) -> WithdrawalView:
    await teller.people.platform.fund(60_000_00, 2)
    await teller.capital(90_000_00)
    view = await teller.people.ask(60_000_00)
    await teller.people.approve(view)
    await teller.people.approve(view, "F1", "finance")
    return await teller.paid()


async def _rejected(teller: Teller, _: WorkflowEnvironment) -> WithdrawalView:
    await teller.people.reject(await teller.people.ask())
    return await teller.result()


async def _cancelled(teller: Teller, _: WorkflowEnvironment) -> WithdrawalView:
    view = await teller.people.ask()
    await teller.people.platform.till.cancel_withdrawal(view.merchant, view.request, CANCEL)
    return await teller.result()


async def _unclear(teller: Teller, temporal: WorkflowEnvironment) -> WithdrawalView:
    teller.bank.plan({"fault": "cut", "times": 1})
    view = await teller.people.approve(await teller.people.ask())
    await teller.shows(view, lambda payment: payment.state is PaymentState.UNCLEAR)
    await temporal.fast_forward(teller.payout(view), timedelta(minutes=1))
    await teller.shows(view, lambda payment: payment.state is PaymentState.ACCEPTED)
    return await teller.paid()


async def _returned(teller: Teller, _: WorkflowEnvironment) -> WithdrawalView:
    await teller.failed()
    item = await teller.item(ItemKind.WITHDRAWAL_FAILED)
    await teller.choose(item, ItemAction.RETURN_TO_AVAILABLE)
    return await teller.result()


PATHS: Final[dict[str, tuple[Callable[..., Awaitable[WithdrawalView]], WithdrawalState]]] = {
    "auto-approved": (_auto, WithdrawalState.PAID),
    "one approval": (_one, WithdrawalState.PAID),
    "two levels": (_two, WithdrawalState.PAID),
    "rejected": (_rejected, WithdrawalState.REJECTED),
    "cancelled": (_cancelled, WithdrawalState.CANCELLED_BY_MERCHANT),
    "unclear, then paid": (_unclear, WithdrawalState.PAID),
    "failed, then returned": (_returned, WithdrawalState.RETURNED),
}


class TestCost:
    @pytest.mark.parametrize("path", PATHS)
    async def test_no_path_costs_more_than_the_page_says(
        self, teller: Teller, temporal: WorkflowEnvironment, path: str
    ) -> None:
        """Design §3: few events; the figures on the page are what was measured."""
        walk, end = PATHS[path]
        done = await walk(teller, temporal)
        assert done.state is end
        events, actions = await cost(teller, done)
        print(f"COST | {path} | {events} | {actions} |")  # noqa: T201 - the figure for the page
        known = committed()[path]
        assert events <= known[0]
        assert actions <= known[1]

    def test_the_page_names_every_path_within_the_limits(self) -> None:
        """Auto-approved at most 50 events, one approval at most 60."""
        found = committed()
        assert set(found) == set(PATHS)
        assert found["auto-approved"][0] <= 50
        assert found["one approval"][0] <= 60
