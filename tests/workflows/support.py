"""A platform for one test: its own database, its own worker, and merchants nobody else has."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from activities.house import House
from ledger.book import Book
from ledger.engine import fetch, in_transaction
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from tests.tokens import VERIFIER
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.account import (
    AccountView,
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    ConfigureAlerts,
    Contact,
    MerchantType,
    OpenAccount,
)
from tillkeeper.contracts.book import Balances
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport, ReceiptView
from tillkeeper.contracts.topup import ReceivingAccount, TopUpRequest, TopUpView
from tillkeeper.rules.profiles import JD_PREPAID_2023_11, PrepaidProfile
from tillkeeper.sealing import KeyRing
from worker.run import build_bank_worker, build_worker

LEGAL_NAME = "甲乙贸易有限公司"
OTHER_NAME = "丙丁商贸有限公司"
OUR_NUMBER = "110060149012"
BOOKED_AT = datetime(2024, 5, 6, 2, 0, tzinfo=UTC)
WANG = Contact(name="王一", email="wang@example.com", mobile="13800001111")
LI = Contact(name="李二", mobile="13800002222")
ZHAO = Contact(name="赵三", email="zhao@example.com")
SUN = Contact(name="孙四", email="sun@example.com")


def receiving(currency: str) -> ReceivingAccount | None:
    """The platform's own account, one for every currency but the dollar."""
    if currency == "USD":
        return None
    return ReceivingAccount(
        name="白条结算平台", bank="招商银行", number=OUR_NUMBER, currency=currency
    )


def bank_details(**changes: Any) -> BankDetails:
    """Effective wire details in the merchant's own name."""
    fields = {
        "bank": "招商银行",
        "branch": "北京分行",
        "account_number": "6225880212341234",
        "company_name": LEGAL_NAME,
        "source": BankDetailsSource.PURCHASING_MAINTAINED,
        "state": BankDetailsState.EFFECTIVE,
    }
    return BankDetails(**{**fields, **changes})


@dataclass
class Platform:
    """What a test drives, and where it may look."""

    till: Tillkeeper
    client: Client
    engine: AsyncEngine
    house: House
    task_queue: str
    merchant: str = field(default_factory=lambda: f"M{uuid.uuid4().hex[:10]}")

    def opening(self, **changes: Any) -> OpenAccount:
        """An opening request that succeeds at once."""
        fields = {
            "merchant": self.merchant,
            "merchant_type": MerchantType.SELF_OPERATED_SUPPLIER,
            "prepaid_eligible": True,
            "legal_name": LEGAL_NAME,
            "opening_user": "user-1",
            "bank_details": bank_details(),
        }
        return OpenAccount(**{**fields, **changes})

    def alerts(self, **changes: Any) -> ConfigureAlerts:
        """Warning 1,000.00 and two contacts."""
        fields: dict[str, Any] = {
            "warning_minor": 1_000_00, "contacts": (WANG, LI), "actor": "user-1",
        }  # fmt: skip
        return ConfigureAlerts(**{**fields, **changes})

    def topup(self, amount_minor: int = 3_000_00, request: str = "T1", **more: Any) -> TopUpRequest:
        """A request of this test's merchant."""
        fields = {"merchant": self.merchant, "request": request, "amount_minor": amount_minor}
        return TopUpRequest(**{**fields, **more})

    def receipt(
        self, amount_minor: int = 3_000_00, reference: str = "B1", **changes: Any
    ) -> ReceiptReport:
        """A receipt from the merchant's own company; references are this test's own."""
        fields = {
            "receiving_account": OUR_NUMBER,
            "bank_reference": f"{self.task_queue}/{reference}",
            "amount_minor": amount_minor,
            "payer_name": LEGAL_NAME,
            "payer_account": "6225880299999999",
            "payer_kind": PayerKind.CORPORATE,
            "booked_at": BOOKED_AT,
        }
        return ReceiptReport(**{**fields, **changes})

    async def open(self, **changes: Any) -> AccountView:
        """Open the account."""
        return await self.till.open_account(self.opening(**changes))

    async def configured(self, **opening: Any) -> AccountView:
        """Open and configure the account."""
        request = self.opening(**opening)
        await self.till.open_account(request)
        return await self.till.configure_alerts(request.merchant, request.currency, self.alerts())

    async def fund(
        self, amount_minor: int = 3_000_00, number: int = 1
    ) -> tuple[TopUpView, ReceiptView]:
        """Request a top-up and let its money arrive."""
        request = await self.till.request_topup(self.topup(amount_minor, f"T{number}"))
        return request, await self.till.report_receipt(self.receipt(amount_minor, f"B{number}"))

    async def balances(self, currency: str = "CNY") -> Balances:
        """What the book says."""
        return await Book(self.engine).balances(self.merchant, currency)

    async def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """Rows straight from the database."""
        return await in_transaction(self.engine, lambda c: fetch(c, sql, parameters))

    @asynccontextmanager
    async def worker(self, *, cached: int = 1000) -> AsyncIterator[Worker]:
        """A worker for as long as the block runs; with ``cached=0`` every task replays."""
        queue = self.task_queue
        async with (
            build_worker(
                self.client, self.house, task_queue=queue, cached_workflows=cached
            ) as worker,
            build_bank_worker(self.client, self.house, task_queue=queue)
            if self.house.door is not None
            else nullcontext(),
        ):
            yield worker


def make_platform(
    client: Client,
    engine: AsyncEngine,
    ring: KeyRing,
    *,
    profile: PrepaidProfile = JD_PREPAID_2023_11,
) -> Platform:
    """A platform on its own task queue; it has no worker yet."""
    queue = f"q{uuid.uuid4().hex[:10]}"
    house = House(
        engine=engine,
        ring=ring,
        profile=profile,
        receiving=receiving,
        lanes=Lanes(OrderBook(engine)),
        verifier=VERIFIER,
    )
    return Platform(Tillkeeper(client, queue), client, engine, house, queue)


class Refused:
    """``with refused(CODE, …):`` expects exactly these codes, in this order."""

    def __init__(self, *codes: Code) -> None:
        self._codes = codes
        self._raises = pytest.raises(Rejected)

    def __enter__(self) -> None:
        self._caught = self._raises.__enter__()

    def __exit__(self, *error: Any) -> bool:
        suppressed = self._raises.__exit__(*error)
        assert self._caught.value.codes == self._codes
        return bool(suppressed)


refused = Refused


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_s: float = 40) -> None:
    """Wait until ``holds``: signals and visibility have no answer to wait for.

    A query of a run whose worker has just gone asks that worker's sticky queue first,
    ten seconds long: the limit is well above it.
    """
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.05)
