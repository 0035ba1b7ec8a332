"""The door to the prepaid accounts (P-01 … P-11): each method is one transaction.

The rules decide (tillkeeper.rules), the rows remember (ledger.accounts). Every method is safe to
run twice and never leaves a refused decision half done.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.failures import failing_typed, one_transaction
from activities.house import House
from activities.nudging import nudge_all
from ledger.accounts import PrepaidAccount, account_view, holdings
from ledger.audit import SYSTEM, Act
from ledger.engine import in_transaction
from ledger.topups import expire_overdue
from ledger.withdrawal_rows import waiting_runs
from tillkeeper.contracts.account import (
    AccountCommand,
    AccountDoor,
    AccountState,
    AccountView,
    AddContact,
    CloseAccount,
    ConfigureAlerts,
    Contact,
    OpenAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
)
from tillkeeper.contracts.errors import Broken, Code, Reason, Rejected
from tillkeeper.contracts.withdrawal import CHANGED_SIGNAL
from tillkeeper.rules.alerts import (
    alert_refusals,
    contact_refusals,
    replaced,
    suspend_below,
    with_contact,
)
from tillkeeper.rules.blocking import closing_refusals, configuring_refusals, standing_refusals
from tillkeeper.rules.opening import (
    BEFORE_OPENED,
    name_refusals,
    not_usable,
    opening_refusals,
    state_after_opening,
)

Command = AccountCommand[Any]


class AccountActivities(AccountDoor):
    """AccountDoor on PostgreSQL."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._rows = house.accounts
        self._profile = house.profile

    @activity.defn
    async def open_account(self, command: AccountCommand[OpenAccount]) -> AccountView:
        """Record the opening, or answer the same request from its row (P-01, P-03 … P-05)."""
        return await one_transaction(self._house.engine, lambda c: self._open(c, command))

    @activity.defn
    async def provide_bank_details(
        self, command: AccountCommand[ProvideBankDetails]
    ) -> AccountView:
        """Bind the details, or keep waiting for usable ones; refuse a wrong name (P-04, P-05).

        Whoever is to approve a withdrawal sees the new payee and no other (P-69).
        """
        async with failing_typed():
            view, waiting = await in_transaction(
                self._house.engine, lambda c: self._rebound(c, command)
            )
            await nudge_all((one, CHANGED_SIGNAL) for one in waiting)
            return view

    @activity.defn
    async def configure_alerts(self, command: AccountCommand[ConfigureAlerts]) -> AccountView:
        """Set thresholds and contacts; the first time configures the account (P-06 … P-08)."""
        return await one_transaction(self._house.engine, lambda c: self._configure(c, command))

    @activity.defn
    async def add_contact(self, command: AccountCommand[AddContact]) -> AccountView:
        """Add one contact, if there is room for it under the lock (P-08, C-10)."""
        return await one_transaction(self._house.engine, lambda c: self._add(c, command))

    @activity.defn
    async def replace_contact(self, command: AccountCommand[ReplaceContact]) -> AccountView:
        """Replace one contact (P-08)."""
        return await one_transaction(self._house.engine, lambda c: self._replace(c, command))

    @activity.defn
    async def set_standing(self, command: AccountCommand[SetStanding]) -> AccountView:
        """Mark an active account abnormal, or normal again (1.9)."""
        return await one_transaction(self._house.engine, lambda c: self._stand(c, command))

    @activity.defn
    async def close_account(self, command: AccountCommand[CloseAccount]) -> AccountView:
        """Close, or refuse with everything that stands against it."""
        return await one_transaction(self._house.engine, lambda c: self._close(c, command))

    @activity.defn
    async def read_account(self, command: AccountCommand[None]) -> AccountView:
        """The account as it stands."""
        return await one_transaction(self._house.engine, lambda c: self._read(c, command))

    async def _rebound(
        self, connection: AsyncConnection, command: AccountCommand[ProvideBankDetails]
    ) -> tuple[AccountView, list[str]]:
        view = await self._bind(connection, command)
        return view, await waiting_runs(connection, command.merchant, command.currency)

    async def _open(
        self, connection: AsyncConnection, command: AccountCommand[OpenAccount]
    ) -> AccountView:
        request = command.body
        account = await self._rows.read(connection, request.merchant, request.currency)
        if account is None:
            _refuse_if(opening_refusals(request))
            state = state_after_opening(request.bank_details)
            await self._rows.insert(
                connection, request, state, profile=self._profile, at=command.at
            )
            account = await self._rows.read(connection, request.merchant, request.currency)
        if account is None:
            raise Broken("an account that was made cannot be read")
        if account.fingerprint != self._rows.request_digest(request):
            raise Rejected(Code.KEY_REUSED, detail="this account was asked for in other words")
        return account_view(account)

    async def _bind(
        self, connection: AsyncConnection, command: AccountCommand[ProvideBankDetails]
    ) -> AccountView:
        account = await self._locked(connection, command)
        details = command.body.details
        _refuse_if(name_refusals(details, account.legal_name))
        changes: dict[str, Any] = {"bank": details}
        if account.state in BEFORE_OPENED:
            changes["state"] = state_after_opening(details)
            if changes["state"] is AccountState.OPENED:
                changes["opened_at"] = command.at
        else:
            _refuse_if([*configuring_refusals(account.state), *not_usable(details)])
        act = self._act("provide_bank_details", command)
        return await self._changed(connection, account, act, **changes)

    async def _configure(
        self, connection: AsyncConnection, command: AccountCommand[ConfigureAlerts]
    ) -> AccountView:
        account = await self._locked(connection, command)
        wanted = command.body
        _refuse_if(
            configuring_refusals(account.state)
            or alert_refusals(wanted, account.suspend_below, self._profile)
        )
        first = account.state is AccountState.OPENED
        return await self._changed(
            connection, account, self._act("configure_alerts", command),
            warning=wanted.warning_minor,
            suspend_below=suspend_below(
                wanted.suspend_below_minor, account.suspend_below, self._profile
            ),
            contacts=wanted.contacts,
            state=AccountState.CONFIGURED if first else account.state,
            configured_at=command.at if first else account.configured_at,
        )  # fmt: skip

    async def _add(
        self, connection: AsyncConnection, command: AccountCommand[AddContact]
    ) -> AccountView:
        account = await self._locked(connection, command)
        contacts = with_contact(account.contacts, command.body.contact)
        return await self._with_contacts(connection, account, contacts, command)

    async def _replace(
        self, connection: AsyncConnection, command: AccountCommand[ReplaceContact]
    ) -> AccountView:
        account = await self._locked(connection, command)
        contacts = replaced(account.contacts, command.body.position, command.body.contact)
        if contacts is None:
            _refuse_if(configuring_refusals(account.state))
            raise Rejected(Code.CONTACT_UNKNOWN, detail="there is no contact at this position")
        return await self._with_contacts(connection, account, contacts, command)

    async def _with_contacts(
        self,
        connection: AsyncConnection,
        account: PrepaidAccount,
        contacts: tuple[Contact, ...],
        command: Command,
    ) -> AccountView:
        """Contacts alone configure nothing: the warning amount belongs to it (P-06)."""
        refusals = configuring_refusals(account.state)
        if account.state is AccountState.OPENED:
            refusals = [Reason(code=Code.ALERT_NOT_CONFIGURED, detail="configure the alerts first")]
        _refuse_if([*refusals, *contact_refusals(contacts, self._profile)])
        act = self._act("change_contacts", command)
        return await self._changed(connection, account, act, contacts=contacts)

    async def _stand(
        self, connection: AsyncConnection, command: AccountCommand[SetStanding]
    ) -> AccountView:
        account = await self._locked(connection, command)
        _refuse_if(standing_refusals(account.state))
        state = AccountState.ABNORMAL if command.body.abnormal else AccountState.ACTIVE
        act = self._act("set_standing", command, command.body.reason)
        return await self._changed(connection, account, act, state=state)

    async def _close(
        self, connection: AsyncConnection, command: AccountCommand[CloseAccount]
    ) -> AccountView:
        account = await self._locked(connection, command)
        if account.state is AccountState.CLOSED:
            return account_view(account)
        overdue = Act("expire_topup", SYSTEM, command.at, self._house.profile.name)
        await expire_overdue(connection, self._rows.audit, account.id, overdue)
        _refuse_if(closing_refusals(await holdings(connection, account)))
        act = self._act("close_account", command, command.body.reason)
        return await self._changed(
            connection, account, act, state=AccountState.CLOSED, closed_at=command.at
        )

    async def _read(self, connection: AsyncConnection, command: Command) -> AccountView:
        account = await self._rows.read(connection, command.merchant, command.currency)
        if account is None:
            raise Rejected(Code.ACCOUNT_NOT_OPENED, detail="there is no such account")
        return account_view(account)

    async def _locked(self, connection: AsyncConnection, command: Command) -> PrepaidAccount:
        account = await self._rows.locked(connection, command.merchant, command.currency)
        if account is None:
            raise Rejected(Code.ACCOUNT_NOT_OPENED, detail="there is no such account")
        return account

    async def _changed(
        self, connection: AsyncConnection, account: PrepaidAccount, act: Act, **changes: Any
    ) -> AccountView:
        changed = await self._rows.change(connection, account, act, self._profile, **changes)
        return account_view(changed)

    def _act(self, action: str, command: Command, reason: str = "") -> Act:
        return Act(action, command.body.actor, command.at, self._profile.name, reason)


def _refuse_if(reasons: list[Reason]) -> None:
    if reasons:
        raise Rejected(*reasons)
