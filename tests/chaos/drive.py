"""Drives withdrawals as services, approvers and operators would, through whatever fails meanwhile.

Whoever gets no answer asks again with the same words; nobody here knows of a fault but by that.
What was acknowledged is written to a journal on disk before anything else is asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.simulator.client import SimulatorClient
from gateways.bank.simulator.models import Deposit
from ledger.engine import fetch, in_transaction
from tests.chaos.desk import Operators
from tests.chaos.judging import FINAL
from tests.chaos.people import People, until_answered
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.account import (
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    ConfigureAlerts,
    Contact,
    MerchantType,
    OpenAccount,
)
from tillkeeper.contracts.approval import Decide, Verdict
from tillkeeper.contracts.binding import withdrawal_decision
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.topup import ReceivingAccount, TopUpRequest, TopUpState
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalRequest,
    WithdrawalState,
    WithdrawalView,
)

CURRENCY: Final = "CNY"
MERCHANTS: Final = 10
FUNDS_MINOR: Final = 50_000_000_00
SMALL_MINOR: Final = (1_00, 40_000_00)
"""One level of approval."""
LARGE_MINOR: Final = (60_000_00, 90_000_00)
"""Two levels, in the policy that is built in."""
LOOK_EVERY_S: Final = 0.5


class Journal:
    """What was acknowledged, on disk before the next step (I7)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.acknowledged: dict[tuple[str, str], int] = {}

    def note(self, request: WithdrawalRequest) -> None:
        """Remember that the request was taken."""
        line = json.dumps([request.merchant, request.request, request.amount_minor])
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
        self.acknowledged[request.merchant, request.request] = request.amount_minor


async def prepare(till: Tillkeeper, bank: SimulatorClient, ours: ReceivingAccount) -> list[str]:
    """Open and fund the merchants; their money arrives by the bank's own files."""
    merchants = [f"C{number:03d}" for number in range(MERCHANTS)]
    for merchant in merchants:
        await till.open_account(_opening(merchant))
        alerts = ConfigureAlerts(
            warning_minor=1_000_00, contacts=(Contact(email="ops@example.com"),), actor="chaos"
        )
        await till.configure_alerts(merchant, CURRENCY, alerts)
        await till.request_topup(
            TopUpRequest(merchant=merchant, request="T1", amount_minor=FUNDS_MINOR)
        )
    await bank.deposit(
        [
            Deposit(
                key=f"D-{merchant}", account=ours.number, currency=CURRENCY,
                amount_minor=FUNDS_MINOR, payer_name=_company(merchant),
                payer_account=_account(merchant),
            )
            for merchant in merchants
        ]
    )  # fmt: skip
    waiting = list(merchants)
    while waiting:
        if (await till.topup(waiting[-1], "T1")).state is TopUpState.CREDITED:
            waiting.pop()
        else:
            await asyncio.sleep(LOOK_EVERY_S)
    return merchants


@dataclass(frozen=True)
class Driver:
    """One run's callers; ``drive`` sees one withdrawal to its end."""

    till: Tillkeeper
    engine: AsyncEngine
    people: People
    journal: Journal
    operators: Operators
    seed: int

    async def drive(self, request: WithdrawalRequest) -> str:
        """Ask, decide as drawn, help where a person is needed; the final state."""
        fate = self._drawn(request, "fate").random()
        view = await until_answered(lambda: self.till.request_withdrawal(request))
        self.journal.note(request)
        if fate < 0.05:
            await self._cancel(request)
        elif fate < 0.10:
            await self._decide(request, view, Verdict.REJECT, "O1", "operations")
        elif fate < 0.15:
            await asyncio.gather(
                self._cancel(request),
                self._decide(request, view, Verdict.APPROVE, "O1", "operations"),
                self._decide(request, view, Verdict.REJECT, "O2", "operations"),
            )
        await self._approve(request, view)
        return await self.see_it_end(request)

    async def _approve(self, request: WithdrawalRequest, view: WithdrawalView) -> None:
        for subject, role in (("O1", "operations"), ("F1", "finance")):
            await self._decide(request, view, Verdict.APPROVE, subject, role)

    async def _decide(
        self,
        request: WithdrawalRequest,
        view: WithdrawalView,
        verdict: Verdict,
        subject: str,
        role: str,
    ) -> None:
        def ask() -> Awaitable[WithdrawalView]:
            body = Decide(
                verdict=verdict, amount_minor=view.amount_minor, currency=view.currency,
                payee_digest=view.payee_digest, reason="drawn",
            )  # fmt: skip
            said = withdrawal_decision(request.merchant, request.request, body)
            signed = body.model_copy(update={"token": self.people.token(subject, role, said)})
            return self.till.decide_withdrawal(request.merchant, request.request, signed)

        with suppress(Rejected):
            await until_answered(ask)

    async def _cancel(self, request: WithdrawalRequest) -> None:
        body = CancelWithdrawal(reason="drawn", actor="merchant")
        with suppress(Rejected):
            await until_answered(
                lambda: self.till.cancel_withdrawal(request.merchant, request.request, body)
            )

    async def see_it_end(self, request: WithdrawalRequest) -> str:
        while True:
            state = await until_answered(lambda: self._state(request))
            if state in FINAL:
                return state
            if state == WithdrawalState.FAILED_MANUAL:
                await self.operators.help(request)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _state(self, request: WithdrawalRequest) -> str:
        sql = "SELECT state FROM withdrawals WHERE merchant = $1 AND request = $2"
        names = (request.merchant, request.request)
        rows = await in_transaction(self.engine, lambda c: fetch(c, sql, names))
        return str(rows[0].state) if rows else ""

    def _drawn(self, request: WithdrawalRequest, what: str) -> random.Random:
        """The same for the same seed and request, whatever else goes on."""
        return random.Random(f"{self.seed}/{request.request}/{what}")  # noqa: S311 - no secret


def requests(merchants: list[str], count: int, seed: int) -> list[WithdrawalRequest]:
    """What is asked for, drawn: one in five needs a second level."""
    drawn, made = random.Random(seed), []  # noqa: S311 - a schedule, no secret
    for number in range(count):
        low, high = LARGE_MINOR if drawn.random() < 0.2 else SMALL_MINOR
        made.append(
            WithdrawalRequest(
                merchant=drawn.choice(merchants), request=f"W{number:05d}",
                amount_minor=drawn.randint(low, high), requested_by="merchant",
                accept_suspension=True,
            )
        )  # fmt: skip
    return made


def _opening(merchant: str) -> OpenAccount:
    return OpenAccount(
        merchant=merchant,
        merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
        prepaid_eligible=True,
        legal_name=_company(merchant),
        opening_user="chaos",
        bank_details=BankDetails(
            bank="招商银行", branch="北京分行", account_number=_account(merchant),
            company_name=_company(merchant), source=BankDetailsSource.SELF_SERVICE,
            state=BankDetailsState.EFFECTIVE,
        ),
    )  # fmt: skip


def _company(merchant: str) -> str:
    return f"混沌贸易{merchant}有限公司"


def _account(merchant: str) -> str:
    return f"62258802{int(merchant[1:]):08d}"
