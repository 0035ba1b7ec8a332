"""What people see of a withdrawal: dated steps, the payee masked, its digest for decisions (C-11).

Promises that a view names exactly the payee that an approval would freeze, or that is frozen. It
decides nothing, and shows no name and no account number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows, PrepaidAccount, holdings
from ledger.approvals import DecisionRow, counted, decision_views, decisions_of
from ledger.payment_rows import payment_by_id, payment_view
from ledger.withdrawal_rows import WithdrawalRow, opened_payee, opened_reason, payee_digest
from tillkeeper.contracts.account import BankDetails
from tillkeeper.contracts.actor import Decision, decision_digest
from tillkeeper.contracts.approval import Verdict
from tillkeeper.contracts.base import Step
from tillkeeper.contracts.errors import Code, Reason, rejected_from
from tillkeeper.contracts.payment import PaymentParty, PaymentTerms, PayoutView
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView
from tillkeeper.rules.approvals import level_views
from tillkeeper.rules.names import masked_name, masked_number
from tillkeeper.rules.opening import not_usable
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.rules.withdrawals import approval_blocks, is_fresh, next_reminder
from tillkeeper.sealing import KeyRing

_WAITING = WithdrawalState.WAITING_APPROVAL
_DECIDED = (WithdrawalState.APPROVED, WithdrawalState.REMITTING, WithdrawalState.PAID)


@dataclass(frozen=True, slots=True)
class Payee:
    """Whom a withdrawal pays, or would pay if it were approved now; ``flaws`` say why it cannot."""

    party: PaymentParty | None = field(repr=False)
    digest: str = ""
    flaws: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a withdrawal asks for; the amount in minor units."""

    request: str
    amount: int
    currency: str


def bound_payee(ring: KeyRing, account: PrepaidAccount | None, asked: Asked) -> Payee:
    """The bound bank account as a payee (P-69), with every reason why it cannot be paid."""
    bank = None if account is None else account.bank
    if bank is None:
        missing = Reason(code=Code.BANK_DETAILS_NOT_EFFECTIVE, detail="no bank account is bound")
        return Payee(None, flaws=(missing,))
    flaws = tuple(not_usable(bank))
    try:
        party = payment_terms(_party(bank), asked).creditor
    except ValidationError as error:
        return Payee(None, flaws=(*flaws, *rejected_from(error).reasons))
    return Payee(party, payee_digest(ring, party), flaws)


def payee_of(ring: KeyRing, row: WithdrawalRow, account: PrepaidAccount | None) -> Payee:
    """The frozen payee; before the approval the bound account (P-69)."""
    frozen = opened_payee(ring, row)
    if frozen is not None:
        return Payee(frozen, payee_digest(ring, frozen))
    return bound_payee(ring, account, asked_by(row))


def asked_by(row: WithdrawalRow) -> Asked:
    """What a recorded withdrawal asks for."""
    return Asked(row.request, row.amount, row.currency)


def payment_terms(payee: PaymentParty, asked: Asked) -> PaymentTerms:
    """What the bank is told: the request's id says what the money is. Raises ValidationError."""
    return PaymentTerms(
        creditor=payee, amount_minor=asked.amount, currency=asked.currency,
        remittance=f"WITHDRAWAL {asked.request}",
    )  # fmt: skip


def decision_on(row: WithdrawalRow, verdict: Verdict, digest: str) -> Decision:
    """The decision on this withdrawal as it stands, to pay the payee with that digest."""
    return Decision(
        subject=row.subject, verdict=verdict.value, amount_minor=row.amount, currency=row.currency,
        shown=digest,
    )  # fmt: skip


class WithdrawalViews:
    """Builds views with one key ring and one profile, inside the caller's transaction."""

    def __init__(self, ring: KeyRing, profile: PrepaidProfile) -> None:
        self._ring = ring
        self._profile = profile
        self._accounts = AccountRows(ring)

    async def view(
        self, connection: AsyncConnection, row: WithdrawalRow, at: datetime
    ) -> WithdrawalView:
        """The withdrawal as it stands at ``at``."""
        waits, refused = row.state is _WAITING, row.state is WithdrawalState.REFUSED
        account = None
        if waits or row.state is WithdrawalState.APPROVED:
            account = await self._accounts.read(connection, row.merchant, row.currency)
        payee = Payee(None) if refused else payee_of(self._ring, row, account)
        made = await decisions_of(connection, row.subject) if row.levels else []
        return WithdrawalView(
            **_plain(row),
            **_masked(payee),
            warnings=self._warnings(account, at) if waits else (),
            blocked=await self._blocked(connection, row, account),
            levels=level_views(row.levels, counted(made, _counting(row, payee, made))),
            decisions=decision_views(self._ring, row.subject, made),
            reason=opened_reason(self._ring, row) or row.failure or "",
            remind_at=self.remind_at(row) if waits else None,
            payment=await self._payment(connection, row, at),
            steps=withdrawal_steps(row),
        )

    def remind_at(self, row: WithdrawalRow) -> datetime:
        """When whoever is to decide is reminded next, or it is escalated (P-68)."""
        escalated = row.escalated_at is not None
        return next_reminder(row.requested_at, row.reminders, self._profile, escalated=escalated)

    def _warnings(self, account: PrepaidAccount | None, at: datetime) -> tuple[Code, ...]:
        if account is None or account.bank is None:
            return ()
        fresh = is_fresh(account.bank_since, at, self._profile)
        return (Code.BANK_DETAILS_FRESH,) if fresh else ()

    async def _blocked(
        self, connection: AsyncConnection, row: WithdrawalRow, account: PrepaidAccount | None
    ) -> tuple[Code, ...]:
        if row.state is not WithdrawalState.APPROVED or account is None:
            return ()
        dues = (await holdings(connection, account)).dues
        return approval_blocks(dues, account.state)

    async def _payment(
        self, connection: AsyncConnection, row: WithdrawalRow, at: datetime
    ) -> PayoutView | None:
        """The attempt that it is paid by: people may have settled it with an earlier one."""
        if row.payment is None:
            return None
        payment = await payment_by_id(connection, row.payment)
        return payment_view(self._ring, payment, at, self._profile)


def withdrawal_steps(row: WithdrawalRow) -> tuple[Step, ...]:
    """Submitted, approved, on its way, paid, and how else it ended, each dated when done (P-27)."""
    submitted = Step(name="submitted", at=row.requested_at)
    steps = [submitted]
    if row.approved_at is not None or row.state is _WAITING:
        steps.append(Step(name="approved", at=row.approved_at, current=row.state is _WAITING))
    if row.remitted_at is not None or row.state in (_WAITING, *_DECIDED):
        waits = row.state is WithdrawalState.APPROVED
        steps.append(Step(name="remitting", at=row.remitted_at, current=waits))
    if row.state in (_WAITING, *_DECIDED):
        waits = row.state is WithdrawalState.REMITTING
        return (*steps, Step(name="paid", at=row.ended_at, current=waits))
    failed = row.state is WithdrawalState.FAILED_MANUAL
    return (*steps, Step(name=row.state.value.lower(), at=row.ended_at, current=failed))


def _party(bank: BankDetails) -> PaymentParty:
    return PaymentParty(
        name=bank.company_name, account=bank.account_number, bank_name=f"{bank.bank} {bank.branch}"
    )


def _counting(row: WithdrawalRow, payee: Payee, made: list[DecisionRow]) -> str:
    """The digest whose approvals count: of what stands, or of what was approved for good."""
    if row.approved_at is None:
        return decision_digest(decision_on(row, Verdict.APPROVE, payee.digest))
    return next((m.decision for m in reversed(made) if m.verdict is Verdict.APPROVE), "")


def _masked(payee: Payee) -> dict[str, Any]:
    party = payee.party
    if party is None:
        return {}
    return {
        "payee": masked_name(party.name),
        "account": masked_number(party.account),
        "bank": party.bank_name or "",
        "payee_digest": payee.digest,
    }


def _plain(row: WithdrawalRow) -> dict[str, Any]:
    """What a view shows as the row has it."""
    return {
        "merchant": row.merchant,
        "currency": row.currency,
        "request": row.request,
        "amount_minor": row.amount,
        "state": row.state,
        "requested_by": row.requested_by,
        "entry_point": row.entry_point,
        "refused": row.reasons,
        "policy": row.policy,
        "auto_reason": row.auto_reason,
        "requested_at": row.requested_at,
        "approved_at": row.approved_at,
        "remit_at": row.remit_at,
        "reminders": row.reminders,
        "escalated": row.escalated_at is not None,
        "ended_at": row.ended_at,
        "attempts": row.attempts,
        "fingerprint": row.fingerprint,
    }
