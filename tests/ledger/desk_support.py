"""A desk without workflows: accounts, requests and receipts straight through the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.accounts import AccountRows
from ledger.audit import Act
from ledger.desk import Desk
from ledger.engine import fetch, in_transaction
from ledger.proofs import Proofs
from ledger.receipts import book_receipt
from ledger.receiving import Receiver
from ledger.remedies import Remedies
from ledger.topups import Submission, insert_topup
from ledger.workitems import ItemRows, NewItem, open_items
from tests.tokens import VERIFIER, Word, for_item, signed
from tillkeeper.contracts.account import AccountState, MerchantType, OpenAccount
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport, ReceiptView
from tillkeeper.contracts.topup import TopUpRequest
from tillkeeper.contracts.workitem import (
    Approve,
    ItemAction,
    ItemCommand,
    ItemView,
    Propose,
    RejectProposal,
    ReturnTo,
)
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

AT = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
NAME = "甲乙贸易有限公司"
OTHER = "丙丁商贸有限公司"
BANK = ReturnTo(bank_name="招商银行北京分行")
PROFILE = JD_PREPAID_2023_11

T = TypeVar("T")


@dataclass
class Office:
    """The desk on one database, with what it works on."""

    engine: AsyncEngine
    ring: KeyRing
    can_pay: Callable[[str], bool] = lambda currency: currency == "CNY"
    accounts: AccountRows = field(init=False)
    receiver: Receiver = field(init=False)
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = AccountRows(self.ring)
        self.receiver = Receiver(self.ring, self.accounts, PROFILE)
        remedies = Remedies(self.receiver, lambda c: self.can_pay(c))
        proofs = Proofs(VERIFIER.recognise, self.ring, PROFILE.name)
        self.desk = Desk(ItemRows(self.ring), remedies, proofs, PROFILE.name)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await in_transaction(self.engine, work)

    async def rows(self, sql: str, *parameters: Any) -> list[Any]:
        return await self.run(lambda c: fetch(c, sql, parameters))

    async def account(self, merchant: str = "M1", name: str = NAME) -> None:
        """A configured account."""
        request = OpenAccount(
            merchant=merchant, merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True, legal_name=name, opening_user="u1",
        )  # fmt: skip

        async def work(connection: AsyncConnection) -> None:
            await self.accounts.insert(
                connection, request, AccountState.OPENED, profile=PROFILE, at=AT
            )
            await self._change(connection, merchant, AccountState.CONFIGURED)

        await self.run(work)

    async def stand(self, merchant: str, state: AccountState) -> None:
        """Put an account into a state."""
        await self.run(lambda c: self._change(c, merchant, state))

    async def _change(self, connection: AsyncConnection, merchant: str, state: AccountState) -> Any:
        account = await self.accounts.read(connection, merchant, "CNY")
        assert account is not None
        act = Act("test", "test", AT, PROFILE.name)
        return await self.accounts.change(connection, account, act, PROFILE, state=state)

    async def ask(
        self, amount: int = 5_000_00, request: str = "T1", merchant: str = "M1", name: str = NAME
    ) -> None:
        """A waiting request."""
        body = TopUpRequest(merchant=merchant, request=request, amount_minor=amount)

        async def work(connection: AsyncConnection) -> None:
            account = await self.accounts.read(connection, merchant, "CNY")
            assert account is not None
            submission = Submission(
                account.id, self.accounts.company_digest(name), PROFILE.name,
                AT - timedelta(days=1), AT + timedelta(days=14),
            )  # fmt: skip
            await insert_topup(connection, body, submission)

        await self.run(work)

    async def receipt(
        self, amount: int = 5_000_00, reference: str = "B1", **changes: Any
    ) -> ReceiptView:
        """Money from 「丙丁商贸有限公司」, booked."""
        fields: dict[str, Any] = {
            "receiving_account": "110060149012", "bank_reference": reference,
            "amount_minor": amount, "payer_name": OTHER, "payer_account": "6225880299999999",
            "payer_kind": PayerKind.CORPORATE, "booked_at": AT,
        }  # fmt: skip
        report = ReceiptReport(**{**fields, **changes})
        return await self.run(lambda c: book_receipt(c, self.receiver, report, at=AT))

    async def open(self, item: NewItem) -> int:
        """Open an item; its number."""
        await self.run(lambda c: open_items(c, [item], at=AT))
        return await self.item(item.subject)

    async def item(self, subject: str) -> int:
        """The number of the open item of a subject."""
        sql = "SELECT id FROM work_items WHERE subject = $1 AND state <> 'CLOSED'"
        return int((await self.rows(sql, subject))[0][0])

    async def propose(
        self, item: int, action: ItemAction, target: str | None = None, **more: Any
    ) -> ItemView:
        fields = {"action": action, "target": target, "reason": "附证明", "actor": "O1"}
        token = more.pop("token", None)
        body = Propose(**{**fields, **more})
        body = signed(item, body, AT) if token is None else for_item(item, body, token)
        return await self.run(
            lambda c: self.desk.propose(c, ItemCommand(item=item, at=AT, body=body))
        )

    async def approve(self, view: ItemView, actor: str = "O2", **more: Any) -> ItemView:
        assert view.proposal is not None
        shown = view.proposal.model_dump(
            include={"action", "target", "amount_minor", "payee_digest"}
        )
        body = _said(view, Approve(**shown, proposal=view.proposal.number, actor=actor), more)
        command = ItemCommand(item=view.item, at=AT, body=body)
        return await self.run(lambda c: self.desk.approve(c, command))

    async def reject(self, view: ItemView, actor: str = "O2", **more: Any) -> ItemView:
        body = RejectProposal(proposal=view.proposals, reason="证明不足", actor=actor)
        body = _said(view, body, more)
        command = ItemCommand(item=view.item, at=AT, body=body)
        return await self.run(lambda c: self.desk.reject(c, command))

    async def bucket(self, name: str) -> int:
        """All that stands in a bucket, in minor units."""
        sql = "SELECT coalesce(sum(balance), 0) FROM accounts WHERE bucket = $1"
        return int((await self.rows(sql, name))[0][0])


def _said(view: ItemView, word: Word, more: dict[str, Any]) -> Word:
    """A word on what the view shows, signed by its actor unless another token is given."""
    token = more.pop("token", None)
    word = word.model_copy(update=more)
    return signed(view, word, AT) if token is None else for_item(view, word, token)
