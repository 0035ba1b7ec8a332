"""The prepaid account's lifecycle: opened, configured, active, closed (P-01 … P-11).

The database decides and remembers; this run waits and passes decisions on, one at a time. It never
ends while the account is open, and a refused decision changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from tillkeeper.contracts.account import (
    WORKFLOW,
    AccountCommand,
    AccountDoor,
    AccountStart,
    AccountState,
    AccountView,
    AddContact,
    Body,
    CloseAccount,
    ConfigureAlerts,
    NextAction,
    OpenAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
    account_workflow_id,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.failures import as_failure, refusals_told
from workflows.intake import NOTHING, at_the_update_door, start_input, understood
from workflows.lifecycle import Lifecycle, Listener, hears, hears_nudge

Decision = Callable[[Any, AccountCommand[Body]], Awaitable[AccountView]]


def _id_of(start: AccountStart) -> str:
    return account_workflow_id(start.merchant, start.currency)


@workflow.defn(name=WORKFLOW)
class AccountWorkflow(Lifecycle):
    """One account; each update answers with the account's view, or with every reason against it."""

    @workflow.init
    def __init__(self, raw: RawValue = NOTHING) -> None:
        self._view: AccountView | None = None
        self._start, self._refused = start_input(raw, AccountStart, _id_of)
        super().__init__(() if self._start is None else self._start.not_understood)

    @workflow.run
    async def run(self, raw: RawValue = NOTHING) -> AccountView:
        """Open, then wait until closed. A refused opening fails, so that it may be asked again."""
        if self._start is None:
            await self.end_refused(self._refused)
        await self._open(self._start.request())
        if self._refused is not None:
            await self.end_refused(self._refused)
        await self.wait(lambda: self._closed or self._long)
        await self.drained()
        if not self._closed:
            carried = {**self._start.model_dump(), "not_understood": self.not_understood}
            workflow.continue_as_new(AccountStart.model_validate(carried))
        return self.view()

    @workflow.query
    def view(self) -> AccountView:
        """The account as people may see it; names and numbers are masked."""
        start = self._start
        seen = self._view or AccountView(
            merchant="" if start is None else start.merchant,
            currency="" if start is None else start.currency,
            state=AccountState.OPENING if self._refused is None else AccountState.NOT_OPENED,
            next_action=NextAction.NONE,
        )
        return seen.model_copy(
            update={
                "not_understood": self.not_understood,
                "needs_person": self.needs_person,
                "fingerprint": "" if start is None else fingerprint(start.request()),
            }
        )

    @workflow.update
    async def opened(self, raw: RawValue) -> AccountView:
        """Wait for the opening's answer; the same account in other words is refused (C-02)."""
        request = understood(raw, OpenAccount)
        with refusals_told():
            await self._answered()
        if fingerprint(request) != self.view().fingerprint:
            detail = "this account was asked for in other words"
            raise as_failure(Rejected(Code.KEY_REUSED, detail=detail))
        return self.view()

    @workflow.update
    async def provide_bank_details(self, raw: RawValue) -> AccountView:
        """Bank details as they are now; usable ones open a waiting account (P-03 … P-05)."""
        return await self._update(
            AccountDoor.provide_bank_details, understood(raw, ProvideBankDetails)
        )

    @workflow.update
    async def configure_alerts(self, raw: RawValue) -> AccountView:
        """The warning amount and all contacts (P-06 … P-08)."""
        return await self._update(AccountDoor.configure_alerts, understood(raw, ConfigureAlerts))

    @workflow.update
    async def add_contact(self, raw: RawValue) -> AccountView:
        """One more contact (P-08)."""
        return await self._update(AccountDoor.add_contact, understood(raw, AddContact))

    @workflow.update
    async def replace_contact(self, raw: RawValue) -> AccountView:
        """Another contact in the place of one (P-08)."""
        return await self._update(AccountDoor.replace_contact, understood(raw, ReplaceContact))

    @workflow.update
    async def set_standing(self, raw: RawValue) -> AccountView:
        """Abnormal, or normal again (1.9)."""
        return await self._update(AccountDoor.set_standing, understood(raw, SetStanding))

    @workflow.update
    async def close(self, raw: RawValue) -> AccountView:
        """Close an account that holds nothing and owes nothing."""
        return await self._update(AccountDoor.close_account, understood(raw, CloseAccount))

    opened.validator(at_the_update_door(OpenAccount))
    provide_bank_details.validator(at_the_update_door(ProvideBankDetails))
    configure_alerts.validator(at_the_update_door(ConfigureAlerts))
    add_contact.validator(at_the_update_door(AddContact))
    replace_contact.validator(at_the_update_door(ReplaceContact))
    set_standing.validator(at_the_update_door(SetStanding))
    close.validator(at_the_update_door(CloseAccount))

    def listeners(self) -> Mapping[str, Listener]:
        """Every decision may also come as a signal, from the Temporal UI or command line."""
        door = AccountDoor
        return {
            "provide_bank_details": hears(
                ProvideBankDetails, lambda b: self._decide(door.provide_bank_details, b)
            ),
            "configure_alerts": hears(
                ConfigureAlerts, lambda b: self._decide(door.configure_alerts, b)
            ),
            "add_contact": hears(AddContact, lambda b: self._decide(door.add_contact, b)),
            "replace_contact": hears(
                ReplaceContact, lambda b: self._decide(door.replace_contact, b)
            ),
            "set_standing": hears(SetStanding, lambda b: self._decide(door.set_standing, b)),
            "close": hears(CloseAccount, lambda b: self._decide(door.close_account, b)),
            "refresh": hears_nudge(lambda: self._decide(door.read_account, None)),
        }

    @property
    def _closed(self) -> bool:
        return self._view is not None and self._view.state is AccountState.CLOSED

    async def _open(self, request: OpenAccount) -> None:
        try:
            self._seen(await self._through(AccountDoor.open_account, request))
        except Rejected as refusal:
            self._refused = refusal

    async def _update(self, decision: Decision[Body], body: Body) -> AccountView:
        with refusals_told():
            await self._decide(decision, body)
        return self.view()

    async def _decide(self, decision: Decision[Body], body: Body) -> None:
        """One decision at a time, none before the opening is answered. Raises Rejected."""
        await self._answered()
        async with self.lock:
            self._seen(await self._through(decision, body))

    async def _answered(self) -> None:
        await workflow.wait_condition(lambda: self._view is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused

    async def _through(self, decision: Decision[Body], body: Body) -> AccountView:
        start = self._start
        if start is None:
            raise Rejected(Code.INPUT_NOT_UNDERSTOOD, detail="the start input")
        return await self.through(
            decision,
            lambda: AccountCommand(
                merchant=start.merchant, currency=start.currency, at=workflow.now(), body=body
            ),
        )

    def _seen(self, view: AccountView) -> None:
        self._view = view
        details = f"**{view.state}** · next: {view.next_action} · rules {view.profile}"
        self.show(merchant=view.merchant, stage=view.state.value, details=details)
