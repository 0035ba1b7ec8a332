"""Calls about prepaid accounts (P-01 … P-11)."""

from __future__ import annotations

from tillkeeper.client.calls import Calls, Ended, same
from tillkeeper.contracts import account
from tillkeeper.contracts.account import (
    AccountState,
    AccountView,
    AddContact,
    CloseAccount,
    ConfigureAlerts,
    Home,
    MerchantFacts,
    OpenAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
    account_workflow_id,
)
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.opening import should_prompt_open


class AccountCalls(Calls):
    """Open an account, configure it, close it, look at it."""

    async def open_account(self, request: OpenAccount) -> AccountView:
        """Open an account, or answer as it stands: it may wait for bank details (P-01 … P-05).

        Raises Rejected(NOT_ELIGIBLE | NAME_MISMATCH | KEY_REUSED); refused, it may be asked again.
        """
        workflow_id = account_workflow_id(request.merchant, request.currency)
        try:
            return await self._start_and_ask(
                account.WORKFLOW, workflow_id, request, update="opened", view=AccountView
            )
        except Ended:
            view = await self._recorded(workflow_id, AccountView)
        return same(view, view.fingerprint, request)

    async def account(self, merchant: str, currency: str = "CNY") -> AccountView:
        """The account as it stands, masked. Raises Rejected(ACCOUNT_NOT_OPENED)."""
        view = await self._view(account_workflow_id(merchant, currency), AccountView)
        if view is None or view.state is AccountState.NOT_OPENED:
            detail = f"this merchant has no account in {currency}"
            raise Rejected(Code.ACCOUNT_NOT_OPENED, detail=detail)
        return view

    async def home(self, facts: MerchantFacts) -> Home:
        """The home page: whether to prompt for opening, and the account (P-02)."""
        try:
            view = await self.account(facts.merchant, facts.currency)
        except Rejected:
            prompt = should_prompt_open(facts, AccountState.NOT_OPENED)
            return Home(should_prompt_open=prompt)
        return Home(should_prompt_open=should_prompt_open(facts, view.state), account=view)

    async def provide_bank_details(
        self, merchant: str, currency: str, body: ProvideBankDetails
    ) -> AccountView:
        """Tell the bank details as they are now (P-03 … P-05). Raises Rejected(NAME_MISMATCH …)."""
        return await self._decide(merchant, currency, "provide_bank_details", body)

    async def configure_alerts(
        self, merchant: str, currency: str, body: ConfigureAlerts
    ) -> AccountView:
        """Set the warning amount and all contacts (P-06 … P-08).

        Raises Rejected(NOT_CONFIGURABLE | BELOW_SUSPENSION | CONTACT_…).
        """
        return await self._decide(merchant, currency, "configure_alerts", body)

    async def add_contact(self, merchant: str, currency: str, body: AddContact) -> AccountView:
        """Add a contact (P-08). Raises Rejected(CONTACT_LIMIT_3)."""
        return await self._decide(merchant, currency, "add_contact", body)

    async def replace_contact(
        self, merchant: str, currency: str, body: ReplaceContact
    ) -> AccountView:
        """Replace a contact (P-08). Raises Rejected(CONTACT_UNKNOWN)."""
        return await self._decide(merchant, currency, "replace_contact", body)

    async def set_standing(self, merchant: str, currency: str, body: SetStanding) -> AccountView:
        """Mark abnormal, or normal again (1.9). Raises Rejected(ACCOUNT_NOT_ACTIVE)."""
        return await self._decide(merchant, currency, "set_standing", body)

    async def close_account(self, merchant: str, currency: str, body: CloseAccount) -> AccountView:
        """Close the account; a closed one answers alike. Raises Rejected with every obstacle."""
        return await self._decide(merchant, currency, "close", body)

    async def _decide(
        self, merchant: str, currency: str, decision: str, body: Model
    ) -> AccountView:
        workflow_id = account_workflow_id(merchant, currency)
        try:
            return await self._ask(workflow_id, decision, body, AccountView)
        except Ended:
            missing = Code.ACCOUNT_NOT_OPENED
            view = await self._recorded(workflow_id, AccountView, missing=missing)
        if decision != "close":
            raise Rejected(Code.ACCOUNT_CLOSED, detail="the account is closed")
        return view
