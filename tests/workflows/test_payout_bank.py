"""Payments out against a bank that is a process of its own: its files end them, nothing else."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateways.bank.exchange import FolderExchange
from tests.gateways.bank.simulator.support import OURS, Simulator, running
from tests.ledger.payment_support import ACCOUNT, AMOUNT, NAME, Payments
from tests.workflows.bank_support import imported
from tests.workflows.support import OUR_NUMBER, Platform, eventually
from tillkeeper.contracts.payment import (
    WORKFLOW,
    PaymentFormat,
    PaymentState,
    PayoutStart,
    PayoutView,
    payout_workflow_id,
)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Simulator]:
    with running(tmp_path / "bank") as made:
        yield made


@dataclasses.dataclass
class Line:
    """A platform, a bank, and whoever carries the files between them."""

    platform: Platform
    payments: Payments
    exchange: FolderExchange
    bank: Simulator

    async def pay(self) -> tuple[str, Any]:
        """Approve a return and start its payout; its id and its run."""
        name = await self.payments.returning()
        handle = await self.platform.client.start_workflow(
            WORKFLOW, PayoutStart(end_to_end_id=name), id=payout_workflow_id(name),
            task_queue=self.platform.task_queue, result_type=PayoutView,
        )  # fmt: skip

        async def there() -> bool:
            return any(self.exchange.outbox.glob("*.xml"))

        await eventually(there)
        return name, handle

    def carry(self) -> None:
        """Bring what lies in the outbox to the bank."""
        for path in sorted(self.exchange.outbox.glob("*.xml")):
            shutil.move(path, self.bank.inbox / path.name)

    async def hear(self, kind: str, count: int) -> None:
        """Import the bank's files of a kind as soon as there are so many."""
        self.bank.wait_for(kind, count)
        for path in self.bank.files(kind):
            await imported(self.platform, path.read_bytes())


@pytest.fixture
def line(idle: Platform, bank: Simulator, tmp_path: Path) -> Line:
    exchange = FolderExchange(tmp_path / "exchange")
    house = dataclasses.replace(idle.house, exchange=exchange)
    platform = dataclasses.replace(idle, house=house)
    payments = Payments(idle.engine, house.ring, f"r{uuid.uuid4().hex[:10]}")
    return Line(platform, payments, exchange, bank)


class TestBank:
    @pytest.mark.parametrize("version", list(PaymentFormat))
    async def test_paid_by_its_debit_alone(self, line: Line, version: PaymentFormat) -> None:
        """C-12: the pain.002 accepts, the camt.054 pays; the bank moved exactly what we book."""
        assert OURS == OUR_NUMBER
        house = dataclasses.replace(line.platform.house, payment_format=version)
        line = dataclasses.replace(line, platform=dataclasses.replace(line.platform, house=house))
        async with line.platform.worker():
            name, handle = await line.pay()
            line.carry()
            await line.hear("pain.002", 1)

            async def accepted() -> bool:
                view = await handle.query("view", result_type=PayoutView)
                return bool(view.state is PaymentState.ACCEPTED)

            await eventually(accepted)
            await line.hear("camt.054", 1)
            assert (await handle.result()).state is PaymentState.PAID
            await line.hear("pain.002", 1)
        [moved] = line.bank.movements()
        assert (moved["amount_minor"], moved["side"]) == (AMOUNT, "debit")
        assert (moved["counterparty_name"], moved["counterparty_account"]) == (NAME, ACCOUNT)
        assert moved["end_to_end_id"] == name
        assert await line.payments.figures() == (0, 0, 0)
        assert await line.payments.receipt() == "RETURNED"
        about = {subject.partition("/")[0] for _, subject, _ in await line.payments.items()}
        assert about <= {"reconcile"}, "only the statement of the day is still to come"

    async def test_a_closed_account_gives_the_money_back(self, line: Line) -> None:
        """C-12, C-05: rejected by the bank's code, unmatched again, as work."""
        line.bank.post("/counterparties", account=ACCOUNT, name=NAME, closed=True)
        async with line.platform.worker():
            name, handle = await line.pay()
            line.carry()
            await line.hear("pain.002", 1)
            view = await handle.result()
        assert (view.state, view.reason) == (PaymentState.REJECTED, "AC04")
        assert line.bank.movements() == []
        assert await line.payments.figures() == (AMOUNT, 0, AMOUNT)
        kinds = {kind for kind, _, _ in await line.payments.items()}
        assert kinds == {"PAYMENT_REJECTED", "UNMATCHED_RECEIPT"}
        assert (await line.payments.state(name))[0] == "REJECTED"

    async def test_paid_and_days_later_returned(self, line: Line) -> None:
        """C-13: a new entry; the money is with its receipt again, as work, once."""
        line.bank.plan({"fault": "return", "days": 1, "code": "AC04"})
        async with line.platform.worker():
            name, handle = await line.pay()
            line.carry()
            await line.hear("camt.054", 1)
            assert (await handle.result()).state is PaymentState.PAID
            line.bank.post("/days/close")
            await line.hear("camt.054", 2)
            await line.hear("camt.053", 1)
            line.bank.post("/days/close")
            await line.hear("camt.053", 2)
        assert await line.payments.state(name) == ("RETURNED", "AC04")
        assert await line.payments.receipt() == "UNMATCHED"
        assert await line.payments.figures() == (AMOUNT, 0, AMOUNT)
        unmatched = [i for i in await line.payments.items() if i[0] == "UNMATCHED_RECEIPT"]
        assert len(unmatched) == 1
        assert sorted(m["side"] for m in line.bank.movements()) == ["credit", "debit"]

    async def test_told_as_settled_and_rejected_next_day(self, line: Line) -> None:
        """C-12: an early ACSC is no proof; the refusal that follows is obeyed."""
        line.bank.plan({"fault": "early-status"})
        async with line.platform.worker():
            name, handle = await line.pay()
            line.carry()
            await line.hear("pain.002", 1)
            assert await line.payments.state(name) == ("ACCEPTED", None)
            charge = {"key": "C1", "account": OURS, "currency": "CNY", "amount_minor": 9_000_00}
            line.bank.post("/charges", **charge)
            line.bank.post("/days/close")
            await line.hear("pain.002", 2)
            assert (await handle.result()).state is PaymentState.REJECTED
        assert await line.payments.state(name) == ("REJECTED", "AM04")
        assert await line.payments.figures() == (AMOUNT, 0, AMOUNT)

    async def test_the_file_sent_twice_pays_once(self, line: Line) -> None:
        """C-12: whoever carries files may carry one twice; a refused duplicate refuses nothing."""
        async with line.platform.worker():
            name, handle = await line.pay()
            [file] = line.exchange.outbox.glob("*.xml")
            body = file.read_bytes()
            line.carry()
            await line.hear("pain.002", 1)
            line.bank.send("again.xml", body)
            await line.hear("camt.054", 1)
            assert (await handle.result()).state is PaymentState.PAID
        assert len(line.bank.movements()) == 1
        assert (await line.payments.state(name))[0] == "PAID"
