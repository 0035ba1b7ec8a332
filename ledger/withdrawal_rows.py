"""The rows of withdrawals: reserved once, decided once, found again for ever (P-65 … P-74).

Promises that a request id answers the same for ever, that a row leaves a state only from the state
in which it was read, and that every change has its audit row. Payee and reason are sealed. It moves
no money. Callers hold the merchant's lock (a sheet) before they lock a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act, Audit, record_system_act
from ledger.engine import fetch
from tillkeeper.contracts.approval import Level
from tillkeeper.contracts.errors import Broken, Code, Reason, Rejected
from tillkeeper.contracts.fingerprint import canonical, fingerprint
from tillkeeper.contracts.payment import PaymentParty
from tillkeeper.contracts.withdrawal import (
    WithdrawalRequest,
    WithdrawalState,
    withdrawal_workflow_id,
)
from tillkeeper.sealing import KeyRing

PAY: Final = "/pay/"
"""Stands between a withdrawal's name and the number of the attempt in a payment's subject."""

_COLUMNS: Final = """
       id, merchant, request, account, currency, amount, state, fingerprint, requested_by,
       entry_point, reasons::text AS reasons, profile, policy, levels::text AS levels, auto_reason,
       payee_sealed, reason_sealed, failure, requested_at, approved_at, remit_at, reminders,
       escalated_at, remitted_at, ended_at, payment, attempts"""

_READ: Final = f"SELECT {_COLUMNS} FROM withdrawals WHERE merchant = $1 AND request = $2"

_LISTED: Final = f"""
SELECT {_COLUMNS} FROM withdrawals
 WHERE ($1::text IS NULL OR merchant = $1)
   AND ($2::text[] IS NULL OR state = ANY ($2))
   AND ($3::timestamptz IS NULL OR requested_at >= $3)
 ORDER BY requested_at, id LIMIT $4"""

_WAITING: Final = """
SELECT request FROM withdrawals
 WHERE merchant = $1 AND currency = $2 AND state = 'WAITING_APPROVAL' ORDER BY id"""

_LOCK: Final = f"{_READ} FOR NO KEY UPDATE"
"""Of one table only: whoever waited for the lock reads the row as it is then."""

_INSERT: Final = f"""
INSERT INTO withdrawals (
    merchant, request, account, currency, amount, state, fingerprint, requested_by, entry_point,
    reasons, profile, policy, levels, auto_reason, requested_at, ended_at, accept_suspension)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13::jsonb, $14, $15, $16, $17)
ON CONFLICT (merchant, request) DO NOTHING RETURNING {_COLUMNS}"""

_UPDATE: Final = """
UPDATE withdrawals
   SET state = $3, payee_sealed = $4, reason_sealed = $5, failure = $6, approved_at = $7,
       remit_at = $8, reminders = $9, escalated_at = $10, remitted_at = $11, ended_at = $12,
       payment = $13, attempts = $14
 WHERE id = $1 AND state = $2 RETURNING id"""

_LEVELS: Final = TypeAdapter(tuple[Level, ...])
_REASONS: Final = TypeAdapter(tuple[Reason, ...])


@dataclass(frozen=True, slots=True)
class WithdrawalRow:
    """One withdrawal as its row has it; the amount in minor units, payee and reason sealed."""

    id: int
    merchant: str
    request: str
    account: int | None
    currency: str
    amount: int
    state: WithdrawalState
    fingerprint: str
    requested_by: str
    entry_point: str
    reasons: tuple[Reason, ...]
    profile: str
    policy: str
    levels: tuple[Level, ...]
    auto_reason: str
    payee_sealed: bytes | None = field(repr=False)
    reason_sealed: bytes | None = field(repr=False)
    failure: str | None
    requested_at: datetime
    approved_at: datetime | None
    remit_at: datetime | None
    reminders: int
    escalated_at: datetime | None
    remitted_at: datetime | None
    ended_at: datetime | None
    payment: int | None
    attempts: int

    @property
    def subject(self) -> str:
        """How transfers, items, decisions and audit rows name the withdrawal: as its run does."""
        return withdrawal_workflow_id(self.merchant, self.request)

    def attempt(self, number: int) -> str:
        """How the payment of attempt ``number`` (from 1) names what it pays."""
        return f"{self.subject}{PAY}{number}"


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a request is recorded: whose account, which rules, what is needed, or why not."""

    account: int | None
    profile: str
    policy: str = ""
    levels: tuple[Level, ...] = ()
    auto_reason: str = ""
    refused: Sequence[Reason] = ()


async def read(connection: AsyncConnection, merchant: str, request: str) -> WithdrawalRow | None:
    """The withdrawal as it stands, or None."""
    rows = await fetch(connection, _READ, (merchant, request))
    return _row(rows[0]) if rows else None


async def listed(
    connection: AsyncConnection,
    *,
    merchant: str | None = None,
    states: Sequence[WithdrawalState] | None = None,
    since: datetime | None = None,
    limit: int,
) -> list[WithdrawalRow]:
    """Withdrawals, the oldest first; those asked for at ``since`` or later."""
    named = None if states is None else [state.value for state in states]
    return [_row(row) for row in await fetch(connection, _LISTED, (merchant, named, since, limit))]


async def waiting_runs(connection: AsyncConnection, merchant: str, currency: str) -> list[str]:
    """The workflow ids of a merchant's withdrawals that wait for an approval."""
    rows = await fetch(connection, _WAITING, (merchant, currency))
    return [withdrawal_workflow_id(merchant, row.request) for row in rows]


async def locked(connection: AsyncConnection, merchant: str, request: str) -> WithdrawalRow:
    """The withdrawal under its lock; its merchant's sheet is open. Raises REQUEST_UNKNOWN."""
    rows = await fetch(connection, _LOCK, (merchant, request))
    if not rows:
        raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such withdrawal")
    return _row(rows[0])


async def insert(
    connection: AsyncConnection, request: WithdrawalRequest, terms: Terms, at: datetime
) -> WithdrawalRow | None:
    """Record a request or its refusal with an audit row; None where the id is taken already."""
    refused = bool(terms.refused)
    state = WithdrawalState.REFUSED if refused else WithdrawalState.WAITING_APPROVAL
    values = (
        request.merchant, request.request, terms.account, request.currency, request.amount_minor,
        state.value, fingerprint(request), request.requested_by, request.entry_point,
        _json(_REASONS, tuple(terms.refused)), terms.profile, terms.policy,
        _json(_LEVELS, terms.levels), terms.auto_reason, at, at if refused else None,
        request.accept_suspension,
    )  # fmt: skip
    rows = await fetch(connection, _INSERT, values)
    if not rows:
        return None
    row = _row(rows[0])
    act = Act("request_withdrawal", request.requested_by, at, terms.profile)
    after = {**_audited(row), "policy": row.policy}
    await record_system_act(connection, act, row.subject, before={}, after=after)
    return row


async def change(
    connection: AsyncConnection,
    before: WithdrawalRow,
    act: Act,
    audit: Audit | None = None,
    **changes: Any,
) -> WithdrawalRow:
    """Write ``changes`` and an audit row, or nothing where nothing differs.

    ``audit`` seals what a person typed; an act without a reason needs none. Raises Broken where the
    state is not the one that was read.
    """
    after: WithdrawalRow = replace(before, **changes)
    if after == before:
        return before
    row = (
        after.id, before.state.value, after.state.value, after.payee_sealed, after.reason_sealed,
        after.failure, after.approved_at, after.remit_at, after.reminders, after.escalated_at,
        after.remitted_at, after.ended_at, after.payment, after.attempts,
    )  # fmt: skip
    if not await fetch(connection, _UPDATE, row):
        raise Broken("a withdrawal changed its state while it was locked")
    was, now = _audited(before), _audited(after)
    if audit is None:
        await record_system_act(connection, act, after.subject, before=was, after=now)
    else:
        await audit.record(connection, act, after.subject, before=was, after=now)
    return after


def payee_digest(ring: KeyRing, payee: PaymentParty) -> str:
    """Keyed digest that tells one payee from all others: what a decision names (P-69)."""
    return ring.digest(canonical(payee), purpose="withdrawal/payee").hex()


def sealed_payee(ring: KeyRing, row: WithdrawalRow, payee: PaymentParty) -> bytes:
    """The payee as the row keeps it."""
    return ring.seal_text(payee.model_dump_json(), purpose=f"{row.subject}/payee")


def opened_payee(ring: KeyRing, row: WithdrawalRow) -> PaymentParty | None:
    """Whom it pays, where that is frozen; personal data, so never logged."""
    if row.payee_sealed is None:
        return None
    text = ring.open_text(row.payee_sealed, purpose=f"{row.subject}/payee")
    return PaymentParty.model_validate_json(text)


def sealed_reason(ring: KeyRing, row: WithdrawalRow, reason: str) -> bytes:
    """Why it ended, as the row keeps it."""
    return ring.seal_text(reason, purpose=f"{row.subject}/reason")


def opened_reason(ring: KeyRing, row: WithdrawalRow) -> str:
    """Why it was rejected or cancelled, as the person typed it; otherwise nothing."""
    if row.reason_sealed is None:
        return ""
    return ring.open_text(row.reason_sealed, purpose=f"{row.subject}/reason")


def _audited(row: WithdrawalRow) -> dict[str, Any]:
    """The fields whose changes are audited."""
    return {
        "state": row.state.value,
        "failure": row.failure,
        "remit_at": None if row.remit_at is None else row.remit_at.isoformat(),
        "reminders": row.reminders,
        "escalated": row.escalated_at is not None,
        "payment": row.payment,
        "attempts": row.attempts,
    }


def _json(adapter: TypeAdapter[Any], value: Any) -> str:
    return adapter.dump_json(value).decode()


def _row(row: Any) -> WithdrawalRow:
    plain: dict[str, Any] = {
        "state": WithdrawalState(row.state),
        "reasons": _REASONS.validate_json(row.reasons),
        "levels": _LEVELS.validate_json(row.levels),
    }
    names = [f.name for f in fields(WithdrawalRow)]
    return WithdrawalRow(**{n: plain[n] if n in plain else getattr(row, n) for n in names})
