"""X-1, a merchant's first month, to the fen: client, order messages, balances, statement only."""

from __future__ import annotations

from datetime import datetime, timedelta

from ledger.orders import OrderBook
from ledger.statements import StatementWanted, statement_lines
from tests.workflows.support import LI, WANG, Platform, eventually
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderResult
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.rules.days import day_of

FEES = {"O1": 36_00, "O2": 60_00, "O3": 90_00}


class TestFirstMonth:
    async def test_every_figure_of_x1(self, platform: Platform) -> None:
        """X-1: opened, funded, three orders, one returned before and one after receipt."""
        active_from = await self._active(platform)
        orders = OrderBook(platform.engine)

        def message(
            event: OrderEvent, order: str, minutes: int, amount: int | None = None
        ) -> OrderMessage:
            returns = event in (OrderEvent.RELEASE, OrderEvent.REFUND)
            return OrderMessage(
                event=event,
                merchant=platform.merchant,
                currency="CNY",
                order=order,
                at=active_from + timedelta(minutes=minutes),
                amount_minor=amount,
                message_id=f"{order}-{event}" if returns else None,
            )

        async def apply(*messages: OrderMessage) -> tuple[int, int]:
            outcomes = await orders.apply(messages)
            assert [o.result for o in outcomes] == [OrderResult.APPLIED] * len(messages)
            balances = await platform.balances()
            assert balances.dues == 0
            return balances.available, balances.frozen

        holds = [
            message(OrderEvent.HOLD, order, n, fee) for n, (order, fee) in enumerate(FEES.items())
        ]
        assert await apply(*holds) == (2_814_00, 186_00)
        assert await apply(message(OrderEvent.RELEASE, "O2", 10, 60_00)) == (2_874_00, 126_00)
        settled = [message(OrderEvent.SETTLE, order, 20) for order in ("O1", "O3")]
        assert await apply(*settled) == (2_874_00, 0)
        assert await apply(message(OrderEvent.REFUND, "O3", 30, 90_00)) == (2_964_00, 0)
        await self._check_statement(platform, active_from)

    @staticmethod
    async def _check_statement(platform: Platform, start: datetime) -> None:
        """+3,000.00, −36.00, −90.00, +90.00; closing 2,964.00."""
        wanted = StatementWanted(
            platform.merchant,
            "CNY",
            first=day_of(start) - timedelta(days=1),
            until=day_of(start) + timedelta(days=2),
        )
        lines = [line async for line in statement_lines(platform.engine, wanted)]
        amounts = [line.amount for line in lines if line.transfer is not None]
        assert amounts == [3_000_00, -36_00, -90_00, 90_00]
        assert lines[-1].total == 2_964_00

    @staticmethod
    async def _active(platform: Platform) -> datetime:
        """Open, warn at 1,000.00 with two contacts, request and receive 3,000.00."""
        assert (await platform.open()).state is AccountState.OPENED
        view = await platform.till.configure_alerts(
            platform.merchant, "CNY", platform.alerts(contacts=(WANG, LI))
        )
        assert view.state is AccountState.CONFIGURED
        _, receipt = await platform.fund(3_000_00)
        assert receipt.state is ReceiptState.CREDITED

        async def active() -> bool:
            now = await platform.till.account(platform.merchant)
            return now.state is AccountState.ACTIVE

        await eventually(active)
        billing_from = (await platform.till.account(platform.merchant)).billing_from
        assert billing_from is not None
        return billing_from
