"""Withdrawals without workflows: an active account, people with tokens, straight to the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.accounts import AccountRows
from ledger.audit import Act
from ledger.book import Book
from ledger.deciding import Deciding
from ledger.delegations import Delegations
from ledger.engine import fetch, in_transaction
from ledger.orders import OrderBook
from ledger.policies import Policies
from ledger.withdrawals import Withdrawals
from tests.ledger.support import hold, top_up
from tests.tokens import VERIFIER, for_delegation, for_withdrawal, token_for
from tillkeeper.contracts.account import (
    AccountState,
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    MerchantType,
    OpenAccount,
)
from tillkeeper.contracts.approval import (
    Decide,
    Delegate,
    DelegationCommand,
    DelegationView,
    Verdict,
)
from tillkeeper.contracts.order import OrderMessage
from tillkeeper.contracts.payment import Rail
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalCommand,
    WithdrawalRequest,
    WithdrawalView,
)
from tillkeeper.rules.profiles import JD_PREPAID_2023_11, PrepaidProfile
from tillkeeper.sealing import KeyRing

AT = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
NAME = "甲乙贸易有限公司"
ACCOUNT = "6225880212341234"
OTHER_ACCOUNT = "6225880212349999"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

T = TypeVar("T")


def bank(account: str = ACCOUNT, **changes: Any) -> BankDetails:
    """The merchant's wire account."""
    fields: dict[str, Any] = {
        "bank": "中国工商银行", "branch": "北京分行", "account_number": account,
        "company_name": NAME, "source": BankDetailsSource.SELF_SERVICE,
        "state": BankDetailsState.EFFECTIVE,
    }  # fmt: skip
    return BankDetails(**{**fields, **changes})


def rail(currency: str) -> Rail | None:
    """Yuan only, by the bank's door."""
    return Rail.HTTP if currency == "CNY" else None


@dataclass
class Counter:
    """Withdrawals of one database; amounts in minor units."""

    engine: AsyncEngine
    ring: KeyRing
    profile: PrepaidProfile = JD_PREPAID_2023_11
    accounts: AccountRows = field(init=False)
    withdrawals: Withdrawals = field(init=False)
    deciding: Deciding = field(init=False)
    policies: Policies = field(init=False)
    delegations: Delegations = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = AccountRows(self.ring)
        self.under(self.profile)

    def under(self, profile: PrepaidProfile) -> None:
        """Go on under another profile."""
        self.profile = profile
        verify = VERIFIER.recognise
        self.withdrawals = Withdrawals(self.ring, profile, rail)
        self.deciding = Deciding(self.withdrawals, self.ring, profile, verify)
        self.policies = Policies(self.ring, profile, verify)
        self.delegations = Delegations(self.ring, profile, verify)

    def by_rail(self, way: Rail) -> None:
        """Go on paying every currency by this way."""
        self.withdrawals = Withdrawals(self.ring, self.profile, lambda _: way)
        self.deciding = Deciding(self.withdrawals, self.ring, self.profile, VERIFIER.recognise)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await in_transaction(self.engine, work)

    async def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """Rows straight from the database."""
        return await self.run(lambda c: fetch(c, sql, parameters))

    async def account(
        self,
        merchant: str = "M1",
        *,
        fund: int = 5_000_00,
        bound: BankDetails | None = None,
        state: AccountState = AccountState.ACTIVE,
        at: datetime = AT - 30 * DAY,
        currency: str = "CNY",
    ) -> None:
        """An active account with money and a bank account that is bound since ``at``."""
        request = OpenAccount(
            merchant=merchant, merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True, legal_name=NAME, opening_user="u1",
            bank_details=bound or bank(), currency=currency,
        )  # fmt: skip

        async def work(connection: AsyncConnection) -> None:
            await self.accounts.insert(
                connection, request, AccountState.OPENED, profile=self.profile, at=at
            )

        await self.run(work)
        await self.change(
            merchant, at=at, state=state, warning=1_000_00, suspend_below=1_000_00,
            billing_from=datetime(2020, 1, 1, tzinfo=UTC), currency=currency,
        )  # fmt: skip
        if fund:
            await top_up(self.engine, merchant, fund, currency=currency)

    async def fund(self, amount: int, number: int = 2, merchant: str = "M1") -> None:
        """Money comes in; dues are paid first."""
        await top_up(self.engine, merchant, amount, number=number)

    async def change(
        self, merchant: str = "M1", *, at: datetime = AT, currency: str = "CNY", **changes: Any
    ) -> None:
        """Change the account's row."""

        async def work(connection: AsyncConnection) -> None:
            account = await self.accounts.locked(connection, merchant, currency)
            assert account is not None
            act = Act("test", "test", at, self.profile.name)
            await self.accounts.change(connection, account, act, self.profile, **changes)

        await self.run(work)

    async def owe(self, fee: int, order: str = "A1", merchant: str = "M1") -> None:
        """A hold; more than what is available becomes dues."""
        await self.orders(hold(merchant, order, fee, at=AT))

    async def orders(self, *messages: OrderMessage) -> None:
        """Messages of orders."""
        await OrderBook(self.engine).apply(messages)

    async def submit(
        self, amount: int = 2_000_00, request: str = "W1", *, at: datetime = AT, **more: Any
    ) -> WithdrawalView:
        """Ask for a withdrawal."""
        fields: dict[str, Any] = {"merchant": "M1", "requested_by": "u1"}
        body = WithdrawalRequest(
            request=request, amount_minor=amount, **{**fields, **more},
        )  # fmt: skip
        command = WithdrawalCommand(merchant=body.merchant, request=request, at=at, body=body)
        return await self.run(lambda c: self.withdrawals.submit(c, command))

    def decision(
        self, view: WithdrawalView, token: str, verdict: Verdict = Verdict.APPROVE, **more: Any
    ) -> Decide:
        """A decision on what the view shows; the token is bound to it."""
        fields: dict[str, Any] = {
            "verdict": verdict, "amount_minor": view.amount_minor, "currency": view.currency,
            "payee_digest": view.payee_digest,
            "reason": "资料不符" if verdict is Verdict.REJECT else None,
        }  # fmt: skip
        return for_withdrawal(view, Decide(**{**fields, **more}), token)

    async def decide(
        self, view: WithdrawalView, body: Decide, *, at: datetime = AT
    ) -> WithdrawalView:
        """Decide, in one transaction."""
        command = WithdrawalCommand(merchant=view.merchant, request=view.request, at=at, body=body)
        return await self.run(lambda c: self.deciding.decide(c, command))

    async def approve(
        self,
        view: WithdrawalView,
        who: str = "O2",
        *roles: str,
        at: datetime = AT,
        **more: Any,
    ) -> WithdrawalView:
        """Approve with a fresh token; by operations unless told otherwise."""
        token = token_for(who, *(roles or ("operations",)), at=at)
        return await self.decide(view, self.decision(view, token, **more), at=at)

    async def reject(
        self, view: WithdrawalView, who: str = "O2", *, at: datetime = AT
    ) -> WithdrawalView:
        """Reject with a fresh token of operations."""
        token = token_for(who, "operations", at=at)
        return await self.decide(view, self.decision(view, token, Verdict.REJECT), at=at)

    async def cancel(
        self, request: str = "W1", *, at: datetime = AT, merchant: str = "M1"
    ) -> WithdrawalView:
        """The merchant takes it back."""
        body = CancelWithdrawal(reason="不需要了", actor="u1")
        command = WithdrawalCommand(merchant=merchant, request=request, at=at, body=body)
        return await self.run(lambda c: self.withdrawals.cancel(c, command))

    async def remit(self, request: str = "W1", *, at: datetime = AT) -> WithdrawalView:
        """What the clock does after the grace period."""
        return await self.run(lambda c: self.withdrawals.remit(c, bare(request, at)))

    async def remind(self, request: str = "W1", *, at: datetime = AT) -> WithdrawalView:
        """What the clock does every day."""
        return await self.run(lambda c: self.withdrawals.remind(c, bare(request, at)))

    async def read(
        self, request: str = "W1", *, at: datetime = AT, merchant: str = "M1"
    ) -> WithdrawalView:
        """The withdrawal as it stands."""
        command = bare(request, at, merchant)
        return await self.run(lambda c: self.withdrawals.read(c, command))

    async def delegate(
        self, token: str, delegate: str, *roles: str, until: datetime, name: str = "D1"
    ) -> DelegationView:
        """Delegate, as the token's person."""
        body = Delegate(
            delegation=name, delegate=delegate, roles=roles, until=until, reason="出差",
        )  # fmt: skip
        command = DelegationCommand(at=AT, body=for_delegation(body, token))
        return await self.run(lambda c: self.delegations.record(c, command))

    async def figures(self, merchant: str = "M1") -> tuple[int, int, int, int]:
        """(available, frozen, withdrawing, dues)."""
        found = await Book(self.engine).balances(merchant, "CNY")
        return found.available, found.frozen, found.withdrawing, found.dues

    async def actions(self, subject: str) -> list[tuple[str, str]]:
        """Who did what to the subject, as the audit has it."""
        sql = "SELECT action, actor FROM audit WHERE subject = $1 ORDER BY id"
        return [(row.action, row.actor) for row in await self.rows(sql, subject)]

    async def count(self, table: str) -> int:
        """How many rows a table has."""
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])  # noqa: S608


def bare(request: str, at: datetime, merchant: str = "M1") -> WithdrawalCommand[None]:
    """A command without a body."""
    return WithdrawalCommand(merchant=merchant, request=request, at=at, body=None)
