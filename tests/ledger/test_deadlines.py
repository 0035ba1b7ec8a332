"""How long a bank may be silent: by rail, as the profile says, its end included (C-08, C-12)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.payment_rows import PaymentRow, payment_view
from ledger.payments import note_overdue
from tests.ledger.payout_support import VISIBLE, Cashier
from tests.ledger.withdrawal_support import AT
from tillkeeper.contracts.payment import Rail
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

PROFILE: Final = JD_PREPAID_2023_11.model_copy(
    update={"payout_deadline_http": timedelta(hours=8), "payout_deadline_file": timedelta(days=5)}
)
TICK: Final = timedelta(microseconds=1)


@pytest_asyncio.fixture(loop_scope="session")
async def cashier(engine: AsyncEngine, ring: KeyRing) -> Cashier:
    """A merchant with 5,000.00."""
    made = Cashier(engine, ring)
    made.counter.under(PROFILE)
    await made.counter.account()
    return made


async def waiting(cashier: Cashier, rail: Rail) -> PaymentRow:
    """A payment by ``rail`` that has left, or waits to."""
    name = await cashier.remitting()
    await cashier.sending(name)
    if rail is Rail.FILE:
        await cashier.absent(name, AT + VISIBLE)
        name = await cashier.following(name, AT + VISIBLE)
    row = await cashier.payment(name)
    assert row.rail is rail
    return row


async def looked(cashier: Cashier, row: PaymentRow, at: datetime) -> None:
    """The run looks at the bank's silence."""
    await cashier.counter.run(lambda c: note_overdue(c, row.id, at, PROFILE))


@pytest.mark.parametrize(
    ("rail", "deadline"), [(Rail.HTTP, timedelta(hours=8)), (Rail.FILE, timedelta(days=5))]
)
class TestDeadline:
    async def test_work_at_its_very_end_and_not_a_tick_before(
        self, cashier: Cashier, rail: Rail, deadline: timedelta
    ) -> None:
        """C-12: item, list and the merchant's view judge alike."""
        row = await waiting(cashier, rail)
        due = row.waits_since + deadline
        for at, overdue in ((due - TICK, False), (due, True)):
            await looked(cashier, row, at)
            assert await cashier.items() == ([("PAYMENT_OVERDUE", "OPEN")] if overdue else [])
            assert payment_view(cashier.ring, row, at, PROFILE).overdue is overdue
            shown = (await cashier.counter.read(at=at)).payment
            assert shown is not None
            assert shown.overdue is overdue
