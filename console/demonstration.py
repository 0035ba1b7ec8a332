"""The demonstration behind ``tillkeeper demo``: accounts, money, orders, through the real doors.

Made to be run again: what exists is left alone, and what was applied changes nothing. Its names,
banks and contacts are invented; the orders are whatever file it is given. The money comes as it
would from a bank: wires at the simulator, which tells them in its files; nobody books it by hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.simulator.client import SimulatorClient
from gateways.bank.simulator.models import Deposit
from gateways.order_events import BadRow, OrderEventFile
from ledger.summaries import active_accounts
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
from tillkeeper.contracts.topup import TopUpRequest, TopUpState, TopUpView
from tillkeeper.rules.profiles import PrepaidProfile

AT_ONCE: Final = 16
ATTEMPTS: Final = 5
ACTOR: Final = "demo"
BILLING_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Agreed start of prepaid billing: before any order of the demonstration (P-10)."""

LOOK_EVERY_S: Final = 0.25
STALLED_S: Final = 60
"""How long no wire may be credited before the demonstration gives up."""

NO_BANK: Final = (
    "the accounts of the demonstration are funded through the bank simulator, and none runs here: "
    "`make up` starts one, unless TILLKEEPER_BANK_EXCHANGE names another exchange"
)


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
    funded_in: str | None = None
    """Seconds from the wires' arrival at the bank to the last account's activation."""


@dataclass(frozen=True, slots=True)
class Till:
    """What the demonstration works on; without a ``bank`` it can fund nothing."""

    tillkeeper: Tillkeeper
    engine: AsyncEngine
    bank: SimulatorClient | None


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
    till: Till, chosen: Chosen, profile: PrepaidProfile, *, advance: Callable[[], None]
) -> Prepared:
    """Open and configure every chosen account, fund all of them, and wait until they are ACTIVE.

    Each gets the least top-up of the profile (3,000.00), so that busy merchants run into dues.
    Raises Rejected, Unavailable.
    """
    done = Prepared()
    active = await active_accounts(till.engine, chosen.accounts)
    if till.bank is None and active < len(chosen.accounts):
        raise Unavailable(NO_BANK)
    places = asyncio.Semaphore(AT_ONCE)
    wires: dict[tuple[str, str], Deposit] = {}

    async def one(merchant: str, currency: str) -> None:
        async with places:
            account = _Account(till.tillkeeper, merchant, currency, profile)
            wire = await _patiently(account, chosen.billing_from, done)
        if wire is not None:
            wires[merchant, currency] = wire
        advance()

    try:
        async with asyncio.TaskGroup() as tasks:
            for merchant, currency in chosen.accounts:
                tasks.create_task(one(merchant, currency))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    if wires and till.bank is not None:
        began = time.monotonic()
        done.topped_up = await till.bank.deposit(list(wires.values()))
        await _credited(till.engine, list(wires))
        done.funded_in = f"{time.monotonic() - began:.1f}"
    return done


async def _credited(engine: AsyncEngine, accounts: Sequence[tuple[str, str]]) -> None:
    """Wait until the bank's files are imported and every account is active."""
    active, moved = -1, time.monotonic()
    while active < len(accounts):
        await asyncio.sleep(LOOK_EVERY_S)
        before, active = active, await active_accounts(engine, accounts)
        moved = time.monotonic() if active > before else moved
        if time.monotonic() - moved > STALLED_S:
            missing = len(accounts) - active
            raise Unavailable(
                f"the wires have arrived at the bank, but {missing} accounts are not credited: "
                "`tillkeeper inbox list` shows what is unmatched; run it again to go on waiting"
            )


async def _patiently(account: _Account, billing_from: datetime, done: Prepared) -> Deposit | None:
    for attempt in range(1, ATTEMPTS):
        try:
            return await account.prepared(billing_from, done)
        except Unavailable:
            await asyncio.sleep(attempt)
    return await account.prepared(billing_from, done)


class _Account:
    """One account on its way to ACTIVE; every step may be taken again."""

    def __init__(
        self, tillkeeper: Tillkeeper, merchant: str, currency: str, profile: PrepaidProfile
    ) -> None:
        self._tillkeeper = tillkeeper
        self._merchant = merchant
        self._currency = currency
        self._profile = profile

    async def prepared(self, billing_from: datetime, done: Prepared) -> Deposit | None:
        """Open, configure, request; the wire that it waits for, or None (P-09, P-25)."""
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
        return await self._requested() if state is AccountState.CONFIGURED else None

    async def _state(self) -> AccountState:
        try:
            return (await self._tillkeeper.account(self._merchant, self._currency)).state
        except Rejected as refusal:
            if refusal.codes != (Code.ACCOUNT_NOT_OPENED,):
                raise
            return AccountState.NOT_OPENED

    async def _requested(self) -> Deposit | None:
        request = TopUpRequest(
            merchant=self._merchant,
            currency=self._currency,
            request=f"demo-{self._currency}",
            amount_minor=self._profile.topup_min_minor,
            entry_point=ACTOR,
        )
        view = await self._tillkeeper.request_topup(request)
        return self._wire(view) if view.state is TopUpState.WAITING_REMITTANCE else None

    def _wire(self, view: TopUpView) -> Deposit:
        """What the merchant's bank is told to do with the view's answer (P-21 … P-25)."""
        account = view.receiving_account
        if account is None:
            raise Unavailable("the top-up request does not say yet where to pay")
        name = hashlib.sha256(f"{self._merchant}/{self._currency}".encode()).hexdigest()
        return Deposit(
            key=f"demo/{name[:24]}",
            account=account.number,
            currency=self._currency,
            amount_minor=view.amount_minor,
            payer_name=self._legal_name,
            payer_account="6225000000001234",
            remittance=view.reference_code,
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
