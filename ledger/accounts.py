"""The prepaid accounts' rows: read under the merchant's lock, changed with an audit row, masked.

Promises that names, bank details and contacts are sealed at rest and leave only masked (C-11), and
that a change which changes nothing writes nothing, so that calls may be repeated. It never moves
money.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act, Audit
from ledger.chart import make_merchant_accounts
from ledger.engine import execute, fetch
from tillkeeper.contracts.account import (
    AccountState,
    AccountView,
    BankDetails,
    Contact,
    MaskedBank,
    OpenAccount,
)
from tillkeeper.contracts.book import Bucket
from tillkeeper.contracts.fingerprint import canonical
from tillkeeper.rules.blocking import Holdings
from tillkeeper.rules.guard import thresholds
from tillkeeper.rules.names import masked_name, masked_number, normalised_name
from tillkeeper.rules.opening import account_steps, next_action
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

_FIND_LOCK: Final = """
SELECT available FROM prepaid_accounts WHERE merchant = $1 AND currency = $2"""

_LOCK: Final = "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE"

_READ: Final = """
SELECT id, merchant, currency, state, profile, fingerprint, legal_name_sealed, bank_sealed,
       contacts_sealed, warning, suspend_below, billing_from, opening_at, opened_at, configured_at,
       activated_at, closed_at, bank_since
  FROM prepaid_accounts WHERE merchant = $1 AND currency = $2"""

_INSERT: Final = """
INSERT INTO prepaid_accounts (
    merchant, currency, state, profile, fingerprint, opening_user, legal_name_sealed,
    legal_name_digest, bank_sealed, hard_floor, billing_from, opening_at, opened_at,
    available, frozen, withdrawing, dues, fee_income, dues_unearned, bank_since)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
ON CONFLICT (merchant, currency) DO NOTHING RETURNING id"""

_UPDATE: Final = """
UPDATE prepaid_accounts
   SET state = $2, bank_sealed = $3, contacts_sealed = $4, warning = $5, suspend_below = $6,
       resume_above = $7, billing_from = $8, opened_at = $9, configured_at = $10,
       activated_at = $11, closed_at = $12, profile = $13, bank_since = $14
 WHERE id = $1"""

_HOLDINGS: Final = """
SELECT a.balance, f.balance, w.balance, d.balance,
       (SELECT count(*) FROM topup_requests t
         WHERE t.account = p.id AND t.state = 'WAITING_REMITTANCE')
  FROM prepaid_accounts p
  JOIN accounts a ON a.id = p.available JOIN accounts f ON f.id = p.frozen
  JOIN accounts w ON w.id = p.withdrawing JOIN accounts d ON d.id = p.dues
 WHERE p.id = $1"""

_CONTACTS: Final = TypeAdapter(tuple[Contact, ...])


@dataclass(frozen=True, slots=True)
class PrepaidAccount:
    """One prepaid account as its row has it, opened; holds personal data, so never logged."""

    id: int
    merchant: str
    currency: str
    state: AccountState
    profile: str
    fingerprint: str
    legal_name: str
    bank: BankDetails | None
    contacts: tuple[Contact, ...]
    warning: int | None
    suspend_below: int | None
    billing_from: datetime | None
    opening_at: datetime
    opened_at: datetime | None
    configured_at: datetime | None
    activated_at: datetime | None
    closed_at: datetime | None
    bank_since: datetime | None
    """Since when this bank account is bound, exactly as it is now (P-69)."""

    def __repr__(self) -> str:
        return f"PrepaidAccount({self.merchant}, {self.currency}, {self.state})"

    @property
    def subject(self) -> str:
        """How audit rows name the account."""
        return f"account/{self.merchant}/{self.currency}"


class AccountRows:
    """Reads and writes ``prepaid_accounts`` with one key ring, inside the caller's transaction."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.audit = Audit(ring)

    def company_digest(self, name: str) -> bytes:
        """Keyed digest under which a company is found by its normalised name (P-21)."""
        return self._ring.digest(normalised_name(name), purpose="company-name")

    def request_digest(self, request: OpenAccount) -> str:
        """Keyed digest of an opening request: tells an equal body from another one (C-02)."""
        return self._ring.digest(canonical(request), purpose="opening-request").hex()

    async def read(
        self, connection: AsyncConnection, merchant: str, currency: str
    ) -> PrepaidAccount | None:
        """The account as it stands, or None where none was ever asked for."""
        rows = await fetch(connection, _READ, (merchant, currency))
        return self._opened(rows[0]) if rows else None

    async def locked(
        self, connection: AsyncConnection, merchant: str, currency: str
    ) -> PrepaidAccount | None:
        """The account under its merchant's lock, which is held until the transaction ends."""
        found = await fetch(connection, _FIND_LOCK, (merchant, currency))
        if not found:
            return None
        await fetch(connection, _LOCK, (found[0][0],))
        return await self.read(connection, merchant, currency)

    async def insert(
        self,
        connection: AsyncConnection,
        request: OpenAccount,
        state: AccountState,
        *,
        profile: PrepaidProfile,
        at: datetime,
    ) -> bool:
        """Make the account with its buckets; False where another transaction was first."""
        ids = await make_merchant_accounts(connection, request.merchant, request.currency)
        where = f"account/{request.merchant}/{request.currency}"
        row = (
            request.merchant, request.currency, state.value, profile.name,
            self.request_digest(request), request.opening_user,
            self._ring.seal_text(request.legal_name, purpose=f"{where}/legal-name"),
            self.company_digest(request.legal_name),
            self._sealed_bank(where, request.bank_details),
            profile.hard_floor_minor, request.billing_from, at,
            at if state is AccountState.OPENED else None,
            ids[Bucket.AVAILABLE], ids[Bucket.FROZEN], ids[Bucket.WITHDRAWING], ids[Bucket.DUES],
            ids[Bucket.FEE_INCOME], ids[Bucket.DUES_UNEARNED],
            None if request.bank_details is None else at,
        )  # fmt: skip
        if not await fetch(connection, _INSERT, row):
            return False
        act = Act("open_account", request.opening_user, at, profile.name)
        await self.audit.record(connection, act, where, before={}, after={"state": state.value})
        return True

    async def change(
        self,
        connection: AsyncConnection,
        before: PrepaidAccount,
        act: Act,
        profile: PrepaidProfile,
        **changes: Any,
    ) -> PrepaidAccount:
        """Write ``changes`` and an audit row, or nothing where nothing differs."""
        after = replace(before, **changes)
        if after == before:
            return before
        after = replace(after, profile=profile.name)
        if after.bank != before.bank:
            after = replace(after, bank_since=None if after.bank is None else act.at)
        lines = thresholds(after.warning, after.suspend_below, profile)
        contacts = (
            self._ring.seal(
                _CONTACTS.dump_json(after.contacts), purpose=f"{after.subject}/contacts"
            )
            if after.contacts
            else None
        )
        row = (
            after.id, after.state.value, self._sealed_bank(after.subject, after.bank), contacts,
            after.warning, after.suspend_below,
            lines.resume_above if after.warning is not None else None,
            after.billing_from, after.opened_at, after.configured_at, after.activated_at,
            after.closed_at, after.profile, after.bank_since,
        )  # fmt: skip
        await execute(connection, _UPDATE, row)
        await self.audit.record(
            connection, act, after.subject, before=audited(before), after=audited(after)
        )
        return after

    def _sealed_bank(self, subject: str, bank: BankDetails | None) -> bytes | None:
        if bank is None:
            return None
        return self._ring.seal_text(bank.model_dump_json(), purpose=f"{subject}/bank")

    def _opened(self, row: Any) -> PrepaidAccount:
        where = f"account/{row.merchant}/{row.currency}"
        opened = self._ring.open
        bank, contacts = row.bank_sealed, row.contacts_sealed
        plain: dict[str, Any] = {
            "state": AccountState(row.state),
            "legal_name": self._ring.open_text(
                row.legal_name_sealed, purpose=f"{where}/legal-name"
            ),
            "bank": None
            if bank is None
            else BankDetails.model_validate_json(opened(bank, purpose=f"{where}/bank")),
            "contacts": ()
            if contacts is None
            else _CONTACTS.validate_json(opened(contacts, purpose=f"{where}/contacts")),
        }
        names = [f.name for f in fields(PrepaidAccount)]
        return PrepaidAccount(**{n: plain[n] if n in plain else getattr(row, n) for n in names})


def account_view(account: PrepaidAccount) -> AccountView:
    """What people may see: names, numbers and contacts are masked (C-11)."""
    bank = account.bank
    return AccountView(
        merchant=account.merchant,
        currency=account.currency,
        state=account.state,
        next_action=next_action(account.state, bank),
        legal_name=masked_name(account.legal_name),
        bank=None if bank is None else masked_bank(bank),
        contacts=tuple(masked_contact(c) for c in account.contacts),
        warning_minor=account.warning,
        suspend_below_minor=account.suspend_below,
        opened_at=account.opened_at,
        configured_at=account.configured_at,
        activated_at=account.activated_at,
        billing_from=account.billing_from,
        closed_at=account.closed_at,
        profile=account.profile,
        steps=account_steps(
            account.state,
            opened_at=account.opened_at,
            configured_at=account.configured_at,
            activated_at=account.activated_at,
            closed_at=account.closed_at,
        ),
    )


def masked_bank(bank: BankDetails) -> MaskedBank:
    """The bound bank account as views show it."""
    return MaskedBank(
        account_number=masked_number(bank.account_number),
        company_name=masked_name(bank.company_name),
        bank=bank.bank,
        source=bank.source,
        state=bank.state,
    )


def masked_contact(contact: Contact) -> str:
    """``z*** a***@*** ****5678``: enough to tell one's own contacts apart."""
    parts = [masked_name(contact.name)] if contact.name else []
    if contact.email:
        parts.append(f"{masked_name(contact.email)}@***")
    if contact.mobile:
        parts.append(masked_number(contact.mobile))
    return " ".join(parts)


def audited(account: PrepaidAccount) -> dict[str, Any]:
    """The fields of an account whose changes are audited, masked."""
    shown = account_view(account).model_dump(
        mode="json", exclude={"steps", "next_action", "not_understood", "needs_person"}
    )
    return {key: json.loads(json.dumps(value)) for key, value in shown.items()}


async def holdings(connection: AsyncConnection, account: PrepaidAccount) -> Holdings:
    """What the account holds and owes, in minor units; the caller holds its lock."""
    return Holdings(*(await fetch(connection, _HOLDINGS, (account.id,)))[0])
