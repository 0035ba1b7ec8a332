"""The door to the top-up requests (P-20 … P-32): each method is one transaction, safe twice."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.failures import one_transaction
from activities.house import House
from ledger.audit import SYSTEM, Act
from ledger.topups import (
    Submission,
    TopUpRow,
    decide_topup,
    equal_request_open,
    expire_overdue,
    insert_topup,
    read_topup,
    topup_view,
)
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.topup import (
    CancelTopUp,
    TopUpCommand,
    TopUpDoor,
    TopUpRequest,
    TopUpState,
    TopUpView,
)
from tillkeeper.rules.blocking import topup_refusals

Command = TopUpCommand[Any]


class TopUpActivities(TopUpDoor):
    """TopUpDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._rows = house.accounts
        self._profile = house.profile

    @activity.defn
    async def submit_topup(self, command: TopUpCommand[TopUpRequest]) -> TopUpView:
        """Record the request or its refusal; asked again, the same answer (P-24, P-25, P-32)."""
        return await one_transaction(self._house.engine, lambda c: self._submit(c, command))

    @activity.defn
    async def expire_topup(self, command: TopUpCommand[None]) -> TopUpView:
        """Expire what is due; a request decided meanwhile stays as it is (P-31)."""
        return await one_transaction(self._house.engine, lambda c: self._expire(c, command))

    @activity.defn
    async def cancel_topup(self, command: TopUpCommand[CancelTopUp]) -> TopUpView:
        """Cancel a waiting request."""
        return await one_transaction(self._house.engine, lambda c: self._cancel(c, command))

    @activity.defn
    async def read_topup(self, command: TopUpCommand[None]) -> TopUpView:
        """The request as it stands."""
        return await one_transaction(self._house.engine, lambda c: self._view(c, command))

    async def _submit(
        self, connection: AsyncConnection, command: TopUpCommand[TopUpRequest]
    ) -> TopUpView:
        request = command.body
        if await read_topup(connection, request.merchant, request.request) is None:
            await self._insert(connection, command)
        row = await self._row(connection, command)
        if row.fingerprint != fingerprint(request):
            raise Rejected(Code.KEY_REUSED, detail="this request id came with another request")
        return self._shown(row)

    async def _insert(
        self, connection: AsyncConnection, command: TopUpCommand[TopUpRequest]
    ) -> None:
        request = command.body
        account = await self._rows.locked(connection, request.merchant, request.currency)
        if account is not None:
            act = Act("expire_topup", SYSTEM, command.at, self._profile.name)
            await expire_overdue(connection, self._rows.audit, account.id, act)
        equal_open = account is not None and await equal_request_open(
            connection, account.id, request.amount_minor
        )
        refused = topup_refusals(
            request,
            AccountState.NOT_OPENED if account is None else account.state,
            self._profile,
            equal_request_open=equal_open,
            can_receive=self._house.receiving(request.currency) is not None,
        )
        payer = None if account is None else self._rows.company_digest(account.legal_name)
        submission = Submission(
            account=None if account is None else account.id,
            payer_digest=payer,
            profile=self._profile.name,
            at=command.at,
            expires_at=command.at + self._profile.topup_request_ttl,
            refused=refused,
        )
        await insert_topup(connection, request, submission)

    async def _expire(self, connection: AsyncConnection, command: Command) -> TopUpView:
        row = await self._locked(connection, command)
        if row.waits and row.expires_at is not None and command.at >= row.expires_at:
            act = Act("expire_topup", SYSTEM, command.at, self._profile.name)
            await self._decide(connection, row, TopUpState.EXPIRED, act)
        return await self._view(connection, command)

    async def _cancel(
        self, connection: AsyncConnection, command: TopUpCommand[CancelTopUp]
    ) -> TopUpView:
        row = await self._locked(connection, command)
        if row.waits:
            act = Act(
                "cancel_topup",
                command.body.actor,
                command.at,
                self._profile.name,
                command.body.reason,
            )
            await self._decide(connection, row, TopUpState.CANCELLED, act)
        elif row.state is not TopUpState.CANCELLED:
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the request is {row.state.value} already")
        return await self._view(connection, command)

    async def _decide(
        self, connection: AsyncConnection, row: TopUpRow, state: TopUpState, act: Act
    ) -> None:
        if not await decide_topup(connection, row, state, at=act.at):
            raise Broken("a request was decided while its merchant was locked")
        subject = f"topup/{row.merchant}/{row.request}"
        before, after = {"state": row.state.value}, {"state": state.value}
        await self._rows.audit.record(connection, act, subject, before=before, after=after)

    async def _locked(self, connection: AsyncConnection, command: Command) -> TopUpRow:
        """The request under its merchant's lock, which a credit takes too."""
        row = await self._row(connection, command)
        await self._rows.locked(connection, row.merchant, row.currency)
        return await self._row(connection, command)

    async def _view(self, connection: AsyncConnection, command: Command) -> TopUpView:
        return self._shown(await self._row(connection, command))

    @staticmethod
    async def _row(connection: AsyncConnection, command: Command) -> TopUpRow:
        row = await read_topup(connection, command.merchant, command.request)
        if row is None:
            raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such request")
        return row

    def _shown(self, row: TopUpRow) -> TopUpView:
        return topup_view(row, self._house.receiving(row.currency))
