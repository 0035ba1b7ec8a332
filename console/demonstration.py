"""The demonstration behind ``tillkeeper demo``: accounts, money, orders, through the real doors.

Made to be run again: what exists is left alone, and what was applied changes nothing. Its names,
banks and contacts are invented; the orders are whatever file it is given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateways.order_events import BadRow, OrderEventFile
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.account import (
    AccountState,
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    ConfigureAlerts,
    Contact,
    MerchantType,
    OpenAccount,
)
from tillkeeper.contracts.errors import Code, Rejected, Unavailable
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport
from tillkeeper.contracts.topup import TopUpRequest, TopUpState, TopUpView
from tillkeeper.rules.profiles import PrepaidProfile

AT_ONCE: Final = 16
ATTEMPTS: Final = 5
ACTOR: Final = "demo"
BILLING_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Agreed start of prepaid billing: before any order of the demonstration (P-10)."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The merchants to show: their (merchant, currency) accounts, and when billing begins."""

    accounts: tuple[tuple[str, str], ...]
    billing_from: datetime

    @property
    def merchants(self) -> frozenset[str]:
        """The merchants' ids."""
        return frozenset(merchant for merchant, _ in self.accounts)


@dataclass(slots=True)
class Prepared:
    """What was done to the accounts by this run."""

    opened: int = 0
    configured: int = 0
    topped_up: int = 0
    found: int = 0


def choose(file: OrderEventFile, count: int) -> Chosen:
    """The ``count`` merchants with the most rows, ties by id. Raises Rejected."""
    rows: Counter[str] = Counter()
    currencies: dict[str, set[str]] = {}
    first = BILLING_FROM
    try:
        for row in file.rows():
            if isinstance(row, BadRow):
                continue
            rows[row.merchant] += 1
            currencies.setdefault(row.merchant, set()).add(row.currency)
            first = min(first, row.at)
    except Rejected:
        if not rows:
            raise
    if not rows:
        raise Rejected(Code.FILE_UNREADABLE, detail="the file has no row that can be read")
    busiest = sorted(rows, key=lambda merchant: (-rows[merchant], merchant))[:count]
    accounts = [(merchant, cur) for merchant in busiest for cur in sorted(currencies[merchant])]
    return Chosen(tuple(accounts), first)


async def prepare(
    tillkeeper: Tillkeeper,
    chosen: Chosen,
    profile: PrepaidProfile,
    *,
    advance: Callable[[], None],
) -> Prepared:
    """Bring every chosen account to ACTIVE: open, configure, top up and receive.

    Each gets the least top-up of the profile (3,000.00), so that busy merchants run into dues.
    Raises Rejected, Unavailable.
    """
    done = Prepared()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(merchant: str, currency: str) -> None:
        async with places:
            account = _Account(tillkeeper, merchant, currency, profile)
            await _patiently(account, chosen.billing_from, done)
        advance()

    try:
        async with asyncio.TaskGroup() as tasks:
            for merchant, currency in chosen.accounts:
                tasks.create_task(one(merchant, currency))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return done


async def _patiently(account: _Account, billing_from: datetime, done: Prepared) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await account.activate(billing_from, done)
        except Unavailable:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(attempt)
        else:
            return


class _Account:
    """One account on its way to ACTIVE; every step may be taken again."""

    def __init__(
        self, tillkeeper: Tillkeeper, merchant: str, currency: str, profile: PrepaidProfile
    ) -> None:
        self._tillkeeper = tillkeeper
        self._merchant = merchant
        self._currency = currency
        self._profile = profile

    async def activate(self, billing_from: datetime, done: Prepared) -> None:
        """Open, configure and fund; an account that is beyond a step skips it (P-09)."""
        state = await self._state()
        if state is AccountState.NOT_OPENED:
            state = (await self._tillkeeper.open_account(self._opening(billing_from))).state
            done.opened += 1
        else:
            done.found += 1
        if state is AccountState.OPENED:
            alerts = self._alerts()
            view = await self._tillkeeper.configure_alerts(self._merchant, self._currency, alerts)
            state = view.state
            done.configured += 1
        if state is AccountState.CONFIGURED:
            await self._fund()
            done.topped_up += 1

    async def _state(self) -> AccountState:
        try:
            return (await self._tillkeeper.account(self._merchant, self._currency)).state
        except Rejected as refusal:
            if refusal.codes != (Code.ACCOUNT_NOT_OPENED,):
                raise
            return AccountState.NOT_OPENED

    async def _fund(self) -> None:
        request = TopUpRequest(
            merchant=self._merchant,
            currency=self._currency,
            request=f"demo-{self._currency}",
            amount_minor=self._profile.topup_min_minor,
            entry_point=ACTOR,
        )
        view = await self._tillkeeper.request_topup(request)
        if view.state is TopUpState.WAITING_REMITTANCE:
            await self._tillkeeper.report_receipt(self._receipt(view))

    def _receipt(self, view: TopUpView) -> ReceiptReport:
        account = view.receiving_account
        if account is None or view.requested_at is None:
            raise Unavailable("the top-up request does not say yet where to pay")
        return ReceiptReport(
            receiving_account=account.number,
            bank_reference=f"demo/{self._merchant}/{self._currency}",
            amount_minor=view.amount_minor,
            currency=self._currency,
            payer_name=self._legal_name,
            payer_account="6225000000001234",
            payer_kind=PayerKind.CORPORATE,
            booked_at=view.requested_at,
        )

    @property
    def _legal_name(self) -> str:
        return f"Demo Trading {self._merchant} Co., Ltd."

    def _opening(self, billing_from: datetime) -> OpenAccount:
        return OpenAccount(
            merchant=self._merchant,
            currency=self._currency,
            merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True,
            legal_name=self._legal_name,
            opening_user=ACTOR,
            bank_details=BankDetails(
                bank="Demo Bank",
                branch="Demo Branch",
                account_number="6225000000001234",
                company_name=self._legal_name,
                source=BankDetailsSource.SELF_SERVICE,
                state=BankDetailsState.EFFECTIVE,
            ),
            billing_from=billing_from,
        )

    def _alerts(self) -> ConfigureAlerts:
        return ConfigureAlerts(
            warning_minor=self._profile.warning_default_minor,
            contacts=(Contact(name="Demo Contact", email="demo@example.invalid"),),
            actor=ACTOR,
        )


def totals(accounts: Sequence[tuple[str, str]]) -> str:
    """How many merchants and accounts, for people."""
    merchants = len({merchant for merchant, _ in accounts})
    return f"{merchants} merchants, {len(accounts)} accounts"
