"""The door for bank receipts (P-21 … P-26): one transaction, from booked money to paid dues."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.failures import one_transaction
from activities.house import House
from ledger.receipts import book_receipt
from ledger.receiving import Receiver
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.receipt import ReceiptCommand, ReceiptDoor, ReceiptReport, ReceiptView

AHEAD_MAX: Final = timedelta(days=1)
"""A bank's booking day may be ahead of our clock by no more than a time zone's worth."""


class ReceiptActivities(ReceiptDoor):
    """ReceiptDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._receiver = Receiver(house.ring, house.accounts, house.profile)

    @activity.defn
    async def book_receipt(self, command: ReceiptCommand) -> ReceiptView:
        """Book, match, credit; or leave it unmatched with a reason. Safe to run twice (P-26)."""
        return await one_transaction(self._house.engine, lambda c: self._book(c, command))

    async def _book(self, connection: AsyncConnection, command: ReceiptCommand) -> ReceiptView:
        self._refuse_foreign(command.report)
        if command.report.booked_at > command.at + AHEAD_MAX:
            raise Rejected(Code.TIME_OUT_OF_RANGE, detail="booked more than a day ahead of now")
        return await book_receipt(connection, self._receiver, command.report, at=command.at)

    def _refuse_foreign(self, report: ReceiptReport) -> None:
        ours = self._house.receiving(report.currency)
        if ours is None or ours.number != report.receiving_account:
            detail = f"not the platform's account for {report.currency}"
            raise Rejected(Reason(code=Code.WRONG_ACCOUNT, detail=detail))
