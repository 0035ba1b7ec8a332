"""The door to withdrawals (P-65 … P-74, C-07): each method is one transaction, safe to run twice.

A refused decision is undone as a whole, then written to the audit in a transaction of its own.
"""

from __future__ import annotations

from typing import Any

from temporalio import activity

from activities.failures import one_decision, one_transaction
from activities.house import House
from ledger.deciding import Deciding
from ledger.withdrawals import Withdrawals
from tillkeeper.contracts.approval import Decide
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalCommand,
    WithdrawalDoor,
    WithdrawalRequest,
    WithdrawalView,
)

Command = WithdrawalCommand[Any]


class WithdrawalActivities(WithdrawalDoor):
    """WithdrawalDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._engine = house.engine
        self._withdrawals = Withdrawals(house.ring, house.profile, house.rail)
        self._deciding = Deciding(self._withdrawals, house.ring, house.profile, house.recognise)

    @activity.defn
    async def submit_withdrawal(
        self, command: WithdrawalCommand[WithdrawalRequest]
    ) -> WithdrawalView:
        """Reserve with the request, or record its refusal; asked again, the same answer (P-66)."""
        return await one_transaction(self._engine, lambda c: self._withdrawals.submit(c, command))

    @activity.defn
    async def decide_withdrawal(self, command: WithdrawalCommand[Decide]) -> WithdrawalView:
        """Count a decision where it takes effect (P-68, C-07)."""
        return await one_decision(
            self._engine,
            lambda c: self._deciding.decide(c, command),
            lambda c, refusal: self._deciding.refuse(c, command, refusal),
        )

    @activity.defn
    async def cancel_withdrawal(
        self, command: WithdrawalCommand[CancelWithdrawal]
    ) -> WithdrawalView:
        """Give the money back, before the approval (P-73)."""
        return await one_transaction(self._engine, lambda c: self._withdrawals.cancel(c, command))

    @activity.defn
    async def remit_withdrawal(self, command: Command) -> WithdrawalView:
        """Record the payment after the grace period, unless dues block it (P-45)."""
        return await one_transaction(self._engine, lambda c: self._withdrawals.remit(c, command))

    @activity.defn
    async def remind_of_withdrawal(self, command: Command) -> WithdrawalView:
        """Remind, or tell a person after three days (P-68)."""
        return await one_transaction(self._engine, lambda c: self._withdrawals.remind(c, command))

    @activity.defn
    async def read_withdrawal(self, command: Command) -> WithdrawalView:
        """The withdrawal as it stands."""
        return await one_transaction(self._engine, lambda c: self._withdrawals.read(c, command))
