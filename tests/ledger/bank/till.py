"""Merchants with requests, and files that pay them: staged and booked as the worker does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.accounts import AccountRows
from ledger.bank.booking import Booked, Booker, book_entries
from ledger.bank.files import Arrival, receive_file
from ledger.bank.staging import ready_file, stage_file
from ledger.engine import fetch, in_transaction
from ledger.receipts import book_receipt
from ledger.receiving import Receiver
from ledger.topups import Submission, insert_topup
from ledger.verify import verify
from tests.ledger.bank.telling import DAY, OURS, book
from tests.ledger.support import open_account
from tillkeeper.contracts.bank import BankFile
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport, ReceiptView
from tillkeeper.contracts.topup import TopUpRequest
from tillkeeper.rules.codes import reference_code
from tillkeeper.rules.profiles import PROFILES
from tillkeeper.sealing import KeyRing

ASKED: Final = datetime(2024, 5, 6, 2, 0, tzinfo=UTC)
CAME: Final = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)
PROFILE: Final = next(iter(PROFILES.values()))
COMPANY: Final = "甲乙贸易有限公司"

_BALANCES = """
SELECT bucket, balance FROM accounts
 WHERE holder = 'platform' AND balance <> 0 AND currency = 'CNY' ORDER BY bucket"""

_RECEIPTS = """
SELECT r.state, r.reason, r.amount, t.request, s.request FROM receipts r
  LEFT JOIN topup_requests t ON t.id = r.topup LEFT JOIN topup_requests s ON s.id = r.suggests
 ORDER BY r.received_at, r.entry, r.part, r.digest"""

_AVAILABLE = """
SELECT a.balance FROM prepaid_accounts p JOIN accounts a ON a.id = p.available
 WHERE p.merchant = $1"""


@dataclass
class Till:
    """A book under test; amounts in minor units."""

    engine: AsyncEngine
    ring: KeyRing
    accounts: AccountRows = field(init=False)
    booker: Booker = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = AccountRows(self.ring)
        self.booker = Booker(Receiver(self.ring, self.accounts, PROFILE))

    async def ask(
        self,
        merchant: str,
        request: str,
        amount: int,
        *,
        company: str = COMPANY,
        at: datetime = ASKED,
    ) -> str:
        """A waiting request of a merchant, who is opened where needed; answers its code."""
        known = await self.rows("SELECT 1 FROM prepaid_accounts WHERE merchant = $1", merchant)
        if not known:
            await open_account(self.engine, merchant)

        async def work(connection: AsyncConnection) -> None:
            account = (
                await fetch(
                    connection, "SELECT id FROM prepaid_accounts WHERE merchant = $1", (merchant,)
                )
            )[0][0]
            submission = Submission(
                account=account,
                payer_digest=self.accounts.company_digest(company),
                profile=PROFILE.name,
                at=at,
                expires_at=at + timedelta(days=15),
            )
            body = TopUpRequest(merchant=merchant, request=request, amount_minor=amount)
            await insert_topup(connection, body, submission)

        await in_transaction(self.engine, work)
        return reference_code(merchant, request)

    async def bring(
        self, *files: BankFile, at: datetime = CAME, limit: int = 500
    ) -> list[list[Booked]]:
        """Receive, stage and book files, as often as it takes."""
        return [await self._bring(one, at=at, limit=limit) for one in files]

    async def _bring(self, told: BankFile, *, at: datetime, limit: int) -> list[Booked]:
        digest = await self.stage(told, at=at)
        batches = [await self.book(digest, limit=limit, at=at)]
        while batches[-1].more:
            batches.append(await self.book(digest, limit=limit, at=at))
        return batches

    async def stage(self, told: BankFile, *, at: datetime = CAME) -> str:
        """Receive and stage one file."""

        async def work(connection: AsyncConnection) -> str:
            body = told.digest.encode()
            arrival = Arrival("file", "import", None, at)
            digest = await receive_file(connection, self.ring, body, arrival)
            ready = ready_file(book(self.ring), told, at)
            await stage_file(connection, book(self.ring), digest, ready, at=at)
            return digest

        return await in_transaction(self.engine, work)

    async def book(self, digest: str, *, limit: int = 500, at: datetime = CAME) -> Booked:
        """One batch of a staged file."""
        return await in_transaction(
            self.engine, lambda c: book_entries(c, self.booker, digest, limit=limit, at=at)
        )

    async def report(
        self, amount: int, reference: str, *, company: str = COMPANY, at: datetime = CAME
    ) -> ReceiptView:
        """Report a receipt through the client's door."""
        report = ReceiptReport(
            receiving_account=OURS, bank_reference=reference, amount_minor=amount,
            payer_name=company, payer_account="123456", payer_kind=PayerKind.CORPORATE,
            booked_at=datetime(DAY.year, DAY.month, DAY.day, 3, tzinfo=UTC),
        )  # fmt: skip
        return await in_transaction(
            self.engine, lambda c: book_receipt(c, self.booker.receiver, report, at=at)
        )

    async def balances(self) -> dict[str, int]:
        """The platform's balances that are not zero."""
        return {row[0]: row[1] for row in await self.rows(_BALANCES)}

    async def available(self, merchant: str) -> int:
        """A merchant's available balance."""
        found: int = (await self.rows(_AVAILABLE, merchant))[0][0]
        return found

    async def receipts(self) -> list[tuple[Any, ...]]:
        """(state, reason, amount, request credited, request suggested) in order."""
        return await self.rows(_RECEIPTS)

    async def items(self) -> list[tuple[Any, ...]]:
        """(kind, reason, state, outcome) of all items about money, in their order."""
        return await self.rows(
            "SELECT kind, reason, state, outcome FROM work_items"
            " WHERE kind <> 'STATEMENT_GAP' ORDER BY id"
        )

    async def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a look-up."""

        async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await fetch(connection, sql, parameters)]

        return await in_transaction(self.engine, work)

    async def sound(self) -> bool:
        """Whether the verifier finds nothing."""
        found = await verify(self.engine)
        assert found.broken is None, found.broken
        return found.ok
