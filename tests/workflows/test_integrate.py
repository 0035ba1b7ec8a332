"""What docs/integrate.md shows is run as it stands there."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from gateways.bank.exchange import FolderExchange
from tests.ledger.withdrawal_support import Counter
from tests.workflows.support import Platform, eventually, make_platform
from tillkeeper.client import TASK_QUEUE, Tillkeeper
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderResult
from tillkeeper.contracts.payment import PaymentState, PayoutView, Rail
from tillkeeper.contracts.topup import TopUpState, TopUpView
from tillkeeper.contracts.withdrawal import WithdrawalState
from tillkeeper.sealing import KeyRing
from worker.codec_server import codec_app
from worker.embedded.ports import LOOPBACK, listen
from worker.embedded.temporal import temporal_binary
from worker.web import serving as serve

PAGE = (Path(__file__).parents[2] / "docs" / "integrate.md").read_text()


def blocks(language: str) -> list[str]:
    """The code of the page in this language, in the order in which it stands there."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found


def names_of_the_page() -> dict[str, Any]:
    """What the page's Python defines."""
    names: dict[str, Any] = {}
    for code in blocks("python"):
        exec(code, names)  # noqa: S102 - our own page
    return names


@pytest_asyncio.fixture(loop_scope="session")
async def serving(
    client: Client, engine: AsyncEngine, ring: KeyRing, tmp_path: Path
) -> AsyncIterator[Platform]:
    """A worker on the task queue that the page names, and a folder to pay by."""
    platform = make_platform(client, engine, ring)
    platform.house = dataclasses.replace(platform.house, exchange=FolderExchange(tmp_path))
    platform.task_queue, platform.till = TASK_QUEUE, Tillkeeper(client)
    async with platform.worker():
        yield platform


class TestIntegrate:
    async def test_the_service_code_runs(self, serving: Platform) -> None:
        """Issue 2, point 8: a dozen lines open an account and request a top-up."""
        view = await names_of_the_page()["first_topup"](serving.client)
        assert isinstance(view, TopUpView)
        assert (view.state, view.amount_minor) == (TopUpState.WAITING_REMITTANCE, 5_000_00)

    async def test_the_withdrawal_code_runs(self, serving: Platform) -> None:
        """Issue 4: a dozen lines ask for money, which is reserved at once."""
        await serving.configured()
        await serving.fund(5_000_00, 7007)

        async def active() -> bool:
            account = await serving.till.account(serving.merchant)
            return account.state is AccountState.ACTIVE

        await eventually(active)
        view = await names_of_the_page()["withdraw"](serving.client, serving.merchant)
        assert view.state is WithdrawalState.WAITING_APPROVAL
        assert (await serving.balances()).withdrawing == 2_000_00

    async def test_the_code_of_a_payment_alone_runs(self, serving: Platform) -> None:
        """Issue 4, point 4: a service starts a recorded payment's run, as often as it likes."""
        counter = Counter(serving.engine, serving.house.ring)
        counter.by_rail(Rail.FILE)
        await counter.account()
        request = f"W{secrets.randbelow(10**9)}"
        approved = await counter.approve(await counter.submit(request=request))
        assert approved.payment is not None
        run = approved.payment.run
        see_through = names_of_the_page()["see_through"]

        async def has_left() -> bool:
            view = await see_through(serving.client, run)
            assert isinstance(view, PayoutView)
            return (view.end_to_end_id, view.state) == (run, PaymentState.SENT)

        await eventually(has_left)
        assert await counter.count("payments") == 1
        assert serving.house.exchange is not None
        assert len(list(serving.house.exchange.outbox.glob("*.xml"))) == 1

    async def test_the_hold_code_runs_and_hands_over(
        self, serving: Platform, database_url: str
    ) -> None:
        """P-43: a hold through the lanes; once they take nothing more, through Temporal."""
        page = names_of_the_page()
        await serving.configured()
        await serving.fund()

        def hold(order: str) -> OrderMessage:
            return OrderMessage(
                event=OrderEvent.HOLD, merchant=serving.merchant, currency="CNY", order=order,
                at=datetime.now(UTC), amount_minor=36_00,
            )  # fmt: skip

        async with page["open_lanes"](database_url) as lanes:
            outcome = await page["place"](lanes, serving.till, hold("O1"))
            assert outcome.result is OrderResult.APPLIED
        assert await page["place"](lanes, serving.till, hold("O2")) is None

        async def held() -> bool:
            return (await serving.balances()).frozen == 72_00

        await eventually(held)

    async def test_the_command_line_runs(self, serving: Platform) -> None:
        """Issue 2, point 8: the same from plain Temporal, payloads typed in clear."""
        address = serving.client.service_client.config.target_host
        shown = codec_app(serving.house.ring, allowed_origins=(), token=None)
        listener = listen(LOOPBACK, 0, what="the codec", setting="codec_port")
        async with serve(shown, listener) as codec:
            shell = await asyncio.create_subprocess_exec(
                "bash", "-ec", f'temporal() {{ "{temporal_binary()}" "$@"; }}\n{blocks("sh")[0]}',
                env={
                    **os.environ, "TEMPORAL_ADDRESS": address, "TEMPORAL_CODEC_ENDPOINT": codec
                },
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await asyncio.wait_for(shell.communicate(), 60)
        assert shell.returncode == 0, said.decode()
        assert "T1" in said.decode().splitlines()[-1]

        async def waiting() -> bool:
            view = await serving.till.topup("SHOP-2", "T1")
            return view.state is TopUpState.WAITING_REMITTANCE

        await eventually(waiting)
