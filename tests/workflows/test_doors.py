"""Every door may be walked through twice: an activity whose answer was lost runs again (C-02)."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from activities.account import AccountActivities
from activities.receipt import ReceiptActivities
from activities.topup import TopUpActivities
from tests.workflows.support import BOOKED_AT, SUN, Platform, bank_details
from tillkeeper.contracts.account import (
    AccountCommand,
    AddContact,
    CloseAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
)
from tillkeeper.contracts.receipt import ReceiptCommand
from tillkeeper.contracts.topup import CancelTopUp, TopUpCommand

LATER = BOOKED_AT + timedelta(days=16)


class Doors:
    """All doors of one platform; every call is made twice and must be answered alike."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._account = AccountActivities(platform.house)
        self._topup = TopUpActivities(platform.house)
        self._receipt = ReceiptActivities(platform.house)

    async def account(self, method: str, body: Any) -> None:
        merchant = self._platform.merchant
        command = AccountCommand(merchant=merchant, currency="CNY", at=BOOKED_AT, body=body)
        await self._twice(getattr(self._account, method), command)

    async def topup(self, method: str, body: Any, request: str = "T1", **more: Any) -> None:
        command = TopUpCommand(
            merchant=self._platform.merchant,
            request=request,
            body=body,
            **{"at": BOOKED_AT, **more},
        )
        await self._twice(getattr(self._topup, method), command)

    async def receipt(self) -> None:
        command = ReceiptCommand(report=self._platform.receipt(), at=BOOKED_AT)
        await self._twice(self._receipt.book_receipt, command)

    async def _twice(self, door: Any, command: Any) -> None:
        written = await self._writes()
        first = await door(command)
        after_first = await self._writes()
        assert await door(command) == first
        assert await self._writes() == after_first != written

    async def _writes(self) -> list[Any]:
        sql = """SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM transfers),
                        (SELECT count(*) FROM topup_requests), (SELECT count(*) FROM receipts)"""
        return [tuple(row) for row in await self._platform.rows(sql)]


class TestTwice:
    async def test_every_account_door(self, idle: Platform) -> None:
        """C-02: one audit row each, the same answer."""
        doors = Doors(idle)
        await doors.account("open_account", idle.opening(bank_details=None))
        details = ProvideBankDetails(details=bank_details(), actor="u1")
        await doors.account("provide_bank_details", details)
        await doors.account("configure_alerts", idle.alerts())
        await doors.account("add_contact", AddContact(contact=SUN, actor="u1"))
        other = SUN.model_copy(update={"mobile": "13800003333"})
        replace = ReplaceContact(position=2, contact=other, actor="u1")
        await doors.account("replace_contact", replace)
        await doors.account("close_account", CloseAccount(reason="结束", actor="ops-1"))

    async def test_every_topup_door_and_the_receipt(self, idle: Platform) -> None:
        """C-02, P-26: submitted, credited, cancelled and expired once each."""
        doors = Doors(idle)
        await doors.account("open_account", idle.opening())
        await doors.account("configure_alerts", idle.alerts())
        await doors.topup("submit_topup", idle.topup())
        await doors.receipt()
        standing = SetStanding(abnormal=True, reason="核查", actor="ops-1")
        await doors.account("set_standing", standing)
        await doors.account("set_standing", standing.model_copy(update={"abnormal": False}))
        await doors.topup("submit_topup", idle.topup(request="T2"), "T2")
        await doors.topup("cancel_topup", CancelTopUp(reason="x", actor="u1"), "T2")
        await doors.topup("submit_topup", idle.topup(request="T3"), "T3")
        await doors.topup("expire_topup", None, "T3", at=LATER)
        assert (await idle.balances()).available == 3_000_00

    async def test_an_early_expiry_changes_nothing(self, idle: Platform) -> None:
        """P-31: a timer that fires too soon is no expiry."""
        doors = Doors(idle)
        await doors.account("open_account", idle.opening())
        await doors.account("configure_alerts", idle.alerts())
        await doors.topup("submit_topup", idle.topup())
        early = TopUpCommand(
            merchant=idle.merchant,
            request="T1",
            at=BOOKED_AT + timedelta(days=15) - timedelta(microseconds=1),
            body=None,
        )
        door = TopUpActivities(idle.house)
        assert (await door.expire_topup(early)).state == "WAITING_REMITTANCE"
        due = early.model_copy(update={"at": BOOKED_AT + timedelta(days=15)})
        assert (await door.expire_topup(due)).state == "EXPIRED"


class TestRest:
    async def test_names_and_numbers_are_sealed_at_rest(self, idle: Platform) -> None:
        """C-11: no column of any row holds them in clear; the house's repr hides the keys."""
        doors = Doors(idle)
        await doors.account("open_account", idle.opening())
        await doors.account("configure_alerts", idle.alerts())
        await doors.topup("submit_topup", idle.topup())
        await doors.receipt()
        secrets = ("甲乙贸易", "6225880212341234", "wang@example.com", "13800002222", "王一")
        for table in ("prepaid_accounts", "topup_requests", "receipts", "audit", "transfers"):
            for row in await idle.rows(f"SELECT t::text FROM {table} t"):  # noqa: S608 - our names
                text = str(row[0])
                assert not [s for s in secrets if s in text or s.encode().hex() in text], table
        assert "KeyRing" not in repr(idle.house)
        assert dataclasses.is_dataclass(idle.house)

    @pytest.mark.parametrize("digits", ["6225880212341234"])
    async def test_an_account_never_shows_itself_in_a_log(
        self, idle: Platform, digits: str
    ) -> None:
        """C-11: not even by repr."""
        doors = Doors(idle)
        await doors.account("open_account", idle.opening())
        rows = idle.house.accounts
        async with idle.engine.begin() as connection:
            account = await rows.read(connection, idle.merchant, "CNY")
        assert account is not None
        assert account.bank is not None
        assert account.bank.account_number == digits
        assert digits not in repr(account)
