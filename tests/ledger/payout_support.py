"""A withdrawal on its way to the bank, what the bank says of it, and the desk that decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateways.bank.reading import read_bank_bytes
from ledger import attempts
from ledger.bank.booking import Booker, book_entries
from ledger.bank.files import Arrival, receive_file
from ledger.bank.staging import StatementBook, ready_file, stage_file
from ledger.desk import Desk
from ledger.engine import in_transaction
from ledger.payment_rows import PaymentRow, read_payment
from ledger.payments import apply_statuses
from ledger.proofs import Proofs
from ledger.receiving import Receiver
from ledger.remedies import Remedies
from ledger.verify import verify
from ledger.workitems import ItemRows
from tests.ledger.payment_support import said
from tests.ledger.withdrawal_support import AT, Counter
from tests.tokens import VERIFIER, signed
from tests.workflows.bank_support import Moved, camt053
from tests.workflows.support import OUR_NUMBER
from tillkeeper.contracts.bank import BankFile
from tillkeeper.contracts.payment import Rail
from tillkeeper.contracts.workitem import Approve, ItemAction, ItemCommand, ItemView, Propose
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

RAILS: Final = (Rail.HTTP, Rail.FILE)
VISIBLE: Final = timedelta(minutes=5)
AMOUNT: Final = 2_000_00
DAY: Final = date(2026, 11, 23)


@dataclass
class Cashier:
    """Payouts of one database; amounts in minor units."""

    engine: AsyncEngine
    ring: KeyRing
    counter: Counter = field(init=False)
    desk: Desk = field(init=False)
    booked: int = 0
    days: int = 0

    def __post_init__(self) -> None:
        self.counter = Counter(self.engine, self.ring)
        self.receiver = Receiver(self.ring, self.counter.accounts, JD_PREPAID_2023_11)
        remedies = Remedies(self.receiver, lambda _: True, RAILS)
        name = JD_PREPAID_2023_11.name
        proofs = Proofs(VERIFIER.recognise, self.ring, name)
        self.desk = Desk(ItemRows(self.ring), remedies, proofs, name)

    async def remitting(self, amount: int = AMOUNT, request: str = "W1") -> str:
        """An approved withdrawal; its payment's end-to-end id."""
        view = await self.counter.approve(await self.counter.submit(amount, request))
        assert view.payment is not None
        return view.payment.end_to_end_id

    async def sending(self, name: str, at: datetime = AT) -> bool:
        """Mark it."""
        row = await self.payment(name)
        return await self.counter.run(lambda c: attempts.mark_sending(c, row, at, at))

    async def says(self, name: str, status: str, *reasons: str, at: datetime = AT) -> None:
        """The bank says it of a payment."""
        word = said(status, name, *reasons)
        source = f"http:{name}{status}{at}"
        await self.counter.run(lambda c: attempts.record_answer(c, name, [word], source, at))

    async def absent(self, name: str, at: datetime) -> None:
        """The bank knows nothing of it."""
        await self.counter.run(lambda c: attempts.record_absence(c, name, f"h{at}", at, VISIBLE))

    async def following(self, name: str, at: datetime = AT) -> str:
        """The next attempt."""
        return await self.counter.run(
            lambda c: attempts.next_attempt(c, self.ring, name, RAILS, at)
        )

    async def payment(self, name: str) -> PaymentRow:
        """The payment's row."""
        return await self.counter.run(lambda c: read_payment(c, name))

    async def stands(self) -> tuple[str, str | None, int]:
        """The withdrawal's state, its failure, its attempts."""
        sql = "SELECT state, failure, attempts FROM withdrawals WHERE request = 'W1'"
        [row] = await self.counter.rows(sql)
        return row.state, row.failure, row.attempts

    async def moved(self, *moves: Moved) -> None:
        """A statement of a day of its own tells them, and is booked."""
        body = camt053(moves, opening=self.booked, day=DAY + timedelta(days=self.days))
        self.booked += sum(move.signed for move in moves)
        self.days += 1
        book = StatementBook(self.ring, _ours, self.counter.accounts)

        async def work(connection: AsyncConnection) -> None:
            arrival = Arrival("s.xml", "import", None, AT)
            digest = await receive_file(connection, self.ring, body, arrival)
            found = read_bank_bytes(body)
            await stage_file(connection, book, digest, ready_file(book, found, AT), at=AT)
            await apply_statuses(connection, found.statuses, digest, AT)
            await book_entries(connection, Booker(self.receiver), digest, limit=50, at=AT)

        await in_transaction(self.engine, work)

    async def bring(self, *files: BankFile) -> None:
        """Files as their readers give them are staged and booked, each in a transaction."""
        book = StatementBook(self.ring, _ours, self.counter.accounts)
        for found in files:

            async def work(connection: AsyncConnection, found: BankFile = found) -> None:
                body, arrival = found.digest.encode(), Arrival("f", "import", None, AT)
                digest = await receive_file(connection, self.ring, body, arrival)
                await stage_file(connection, book, digest, ready_file(book, found, AT), at=AT)
                booker, more = Booker(self.receiver), True
                while more:
                    booked = await book_entries(connection, booker, digest, limit=50, at=AT)
                    more = booked.more

            await in_transaction(self.engine, work)

    async def debited(self, name: str, amount: int = AMOUNT) -> None:
        """The bank books its debit."""
        await self.moved(Moved(-amount, f"D{name}", end_to_end_id=name))

    async def sent_back(self, name: str, amount: int = AMOUNT) -> None:
        """The bank books its return."""
        await self.moved(Moved(amount, f"R{name}", end_to_end_id=name))

    async def item(self, kind: str) -> int:
        """The last item of a kind."""
        sql = "SELECT id FROM work_items WHERE kind = $1 ORDER BY id DESC LIMIT 1"
        [row] = await self.counter.rows(sql, kind)
        return int(row.id)

    async def items(self) -> list[tuple[str, str]]:
        """Kind and state, or outcome, of every item."""
        sql = "SELECT kind, coalesce(outcome, state) AS end FROM work_items ORDER BY id"
        return [(row.kind, row.end) for row in await self.counter.rows(sql)]

    async def choose(self, item: int, action: ItemAction, who: str = "F1", **more: Any) -> ItemView:
        """Propose an action, which closes where one person is enough."""
        body = Propose(action=action, reason="银行已书面确认", actor=who, **more)
        at = AT + timedelta(hours=1)
        command = ItemCommand(item=item, at=at, body=signed(item, body, at))
        return await self.counter.run(lambda c: self.desk.propose(c, command))

    async def confirm(self, view: ItemView, who: str = "F2") -> ItemView:
        """A second person approves what is proposed."""
        made = view.proposal
        assert made is not None
        body = Approve(
            proposal=made.number, action=made.action, target=made.target,
            amount_minor=made.amount_minor, payee_digest=made.payee_digest, actor=who,
        )  # fmt: skip
        at = AT + timedelta(hours=2)
        command = ItemCommand(item=view.item, at=at, body=signed(view, body, at))
        return await self.counter.run(lambda c: self.desk.approve(c, command))

    async def verified(self) -> None:
        """The verifier finds nothing."""
        found = await verify(self.engine)
        assert found.broken is None, found.broken


def _ours(number: str, currency: str) -> str | None:
    return number if number == OUR_NUMBER and currency == "CNY" else None
