"""Merchants, requests and decisions for the measure of whole withdrawals."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from gateways.identity.issuer import DevelopmentIssuer, Grant
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
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport
from tillkeeper.contracts.topup import TopUpRequest
from tillkeeper.contracts.withdrawal import WithdrawalRequest, WithdrawalView
from worker.bank_settings import DEV_RECEIVING

AMOUNT_MINOR: Final = 100_00
FUNDS_MINOR: Final = 1_000_000_00


async def open_merchants(till: Tillkeeper, count: int) -> None:
    """Open, configure and fund the merchants through the workflows, a few at once."""
    gate = asyncio.Semaphore(10)

    async def one(number: int) -> None:
        async with gate:
            await _open(till, number)

    await asyncio.gather(*(one(number) for number in range(count)))


async def _open(till: Tillkeeper, number: int) -> None:
    merchant, company = merchant_of(number), f"Bench Trading {number} Co., Ltd."
    await till.open_account(
        OpenAccount(
            merchant=merchant, merchant_type=MerchantType.SELF_OPERATED_SUPPLIER,
            prepaid_eligible=True, legal_name=company, opening_user="bench",
            bank_details=BankDetails(
                bank="Bench Bank", branch="Main", account_number=f"62258802{number:08d}",
                company_name=company, source=BankDetailsSource.SELF_SERVICE,
                state=BankDetailsState.EFFECTIVE,
            ),
        )
    )  # fmt: skip
    alerts = ConfigureAlerts(
        warning_minor=1_000_00, contacts=(Contact(email="ops@example.com"),), actor="bench"
    )
    await till.configure_alerts(merchant, "CNY", alerts)
    await till.request_topup(
        TopUpRequest(merchant=merchant, request="T1", amount_minor=FUNDS_MINOR)
    )
    await till.report_receipt(
        ReceiptReport(
            receiving_account=DEV_RECEIVING.number, bank_reference=f"B{number}",
            amount_minor=FUNDS_MINOR, payer_name=company,
            payer_account=f"62258802{number:08d}", payer_kind=PayerKind.CORPORATE,
            booked_at=datetime.now(UTC),
        )
    )  # fmt: skip


def merchant_of(number: int) -> str:
    """The id of a merchant."""
    return f"bench-{number}"


def request_of(name: str, number: int) -> WithdrawalRequest:
    """A request of merchant ``number`` that one approval is enough for."""
    return WithdrawalRequest(
        merchant=merchant_of(number), request=name, amount_minor=AMOUNT_MINOR,
        requested_by="merchant", accept_suspension=True,
    )  # fmt: skip


def decision(issuer: DevelopmentIssuer, view: WithdrawalView) -> Decide:
    """A yes to exactly what is shown, with a fresh token for it."""
    body = Decide(
        verdict=Verdict.APPROVE, amount_minor=view.amount_minor, currency=view.currency,
        payee_digest=view.payee_digest,
    )  # fmt: skip
    said = withdrawal_decision(view.merchant, view.request, body)
    grant = Grant(subject="approver", roles=("operations",), decision=said)
    return body.model_copy(update={"token": issuer.issue(grant, datetime.now(UTC))})
