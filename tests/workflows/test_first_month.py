"""X-1, a merchant's first month, to the fen, with nothing but what a service and a person have.

A stack as `up` starts it; the client over its Temporal with its key ring; orders through the
ledger's door at its database, by the code of docs/integrate.md; balances, statement and
verification by the command line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from temporalio.client import Client

from ledger.lanes import Lanes
from tests.home import ROOT, Home
from tests.workflows.support import LEGAL_NAME, LI, WANG, bank_details, eventually
from tests.workflows.test_integrate import names_of_the_page
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.account import (
    AccountState,
    ConfigureAlerts,
    MerchantType,
    OpenAccount,
)
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderResult
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport, ReceiptState
from tillkeeper.contracts.topup import TopUpRequest
from worker.embedded.discovery import StackAddresses

MERCHANT = "X1"
FEES = {"O1": 36_00, "O2": 60_00, "O3": 90_00}


@dataclass
class Month:
    """A running stack, seen from outside."""

    home: Home
    addresses: StackAddresses
    till: Tillkeeper
    page: dict[str, Any]

    async def said(self, *arguments: str) -> Any:
        """What the command line answers in JSON."""
        done = await asyncio.to_thread(self._run, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "console", *arguments],
            cwd=ROOT, env=self.home.env, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def month(tmp_path: Path) -> AsyncIterator[Month]:
    """A stack of this test's own."""
    home, page = Home(tmp_path / "home"), names_of_the_page()
    process = home.start()
    try:
        addresses = await asyncio.to_thread(home.healthy, process)
        ring = Path(addresses.key_ring_path)
        client: Client = await page["connect"](addresses.temporal_address, ring)
        yield Month(home, addresses, Tillkeeper(client), page)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate)
        home.clear()


class TestFirstMonth:
    async def test_every_figure_of_x1(self, month: Month) -> None:
        """X-1: opened, funded, three orders, one returned before and one after receipt."""
        start = await _active(month)
        async with month.page["open_lanes"](month.addresses.database_url) as lanes:
            holds = [_message(OrderEvent.HOLD, o, start, n, fee) for n, (o, fee) in _numbered()]
            await _place(month, lanes, *holds)
            assert await _balances(month) == ("2814.00", "186.00", "0.00")
            await _place(month, lanes, _message(OrderEvent.RELEASE, "O2", start, 10, 60_00))
            assert await _balances(month) == ("2874.00", "126.00", "0.00")
            settled = [_message(OrderEvent.SETTLE, order, start, 20) for order in ("O1", "O3")]
            await _place(month, lanes, *settled)
            assert await _balances(month) == ("2874.00", "0.00", "0.00")
            await _place(month, lanes, _message(OrderEvent.REFUND, "O3", start, 30, 90_00))
            assert await _balances(month) == ("2964.00", "0.00", "0.00")
        await _check_statement(month, start)
        assert (await month.said("verify"))["ok"] is True


async def _check_statement(month: Month, start: datetime) -> None:
    """+3,000.00, −36.00, −90.00, +90.00; closing 2,964.00."""
    last = (start + timedelta(days=2)).date().isoformat()
    said = await month.said("statement", MERCHANT, "--to", last)
    lines = [(line["direction"], line["amount"].lstrip("+-")) for line in said["entries"]]
    assert [amount for _, amount in lines] == ["3000.00", "36.00", "90.00", "90.00"]
    assert [direction for direction, _ in lines] == ["IN", "OUT", "OUT", "IN"]
    assert (said["opening"], said["closing"]) == ("0.00", "2964.00")
    assert (said["income"], said["expense"].lstrip("-")) == ("3090.00", "126.00")


async def _balances(month: Month) -> tuple[str, str, str]:
    found = (await month.said("account", "show", MERCHANT))["balances"]
    return found["available"], found["frozen"], found["dues"]


async def _place(month: Month, lanes: Lanes, *messages: OrderMessage) -> None:
    for message in messages:
        outcome = await month.page["place"](lanes, month.till, message)
        assert outcome.result is OrderResult.APPLIED


def _numbered() -> list[tuple[int, tuple[str, int]]]:
    return list(enumerate(FEES.items()))


def _message(
    event: OrderEvent, order: str, start: datetime, minutes: int, amount: int | None = None
) -> OrderMessage:
    returns = event in (OrderEvent.RELEASE, OrderEvent.REFUND)
    return OrderMessage(
        event=event,
        merchant=MERCHANT,
        currency="CNY",
        order=order,
        at=start + timedelta(minutes=minutes),
        amount_minor=amount,
        message_id=f"{order}-{event}" if returns else None,
    )


async def _active(month: Month) -> datetime:
    """Open, warn at 1,000.00 with two contacts, request and receive 3,000.00."""
    till = month.till
    opened = await till.open_account(
        OpenAccount(
            merchant=MERCHANT, merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True, legal_name=LEGAL_NAME, opening_user="user-1",
            bank_details=bank_details(),
        )
    )  # fmt: skip
    assert opened.state is AccountState.OPENED
    alerts = ConfigureAlerts(warning_minor=1_000_00, contacts=(WANG, LI), actor="user-1")
    configured = await till.configure_alerts(MERCHANT, "CNY", alerts)
    assert configured.state is AccountState.CONFIGURED
    request = TopUpRequest(merchant=MERCHANT, request="T1", amount_minor=3_000_00)
    asked = await till.request_topup(request)
    assert asked.receiving_account is not None
    receipt = await till.report_receipt(
        ReceiptReport(
            receiving_account=asked.receiving_account.number, bank_reference="B1",
            amount_minor=3_000_00, payer_name=LEGAL_NAME, payer_account="6225880299999999",
            payer_kind=PayerKind.CORPORATE, booked_at=datetime.now(UTC),
        )
    )  # fmt: skip
    assert receipt.state is ReceiptState.CREDITED

    async def active() -> bool:
        return (await till.account(MERCHANT)).state is AccountState.ACTIVE

    await eventually(active)
    billing_from = (await till.account(MERCHANT)).billing_from
    assert billing_from is not None
    return billing_from
