"""The rows of top-up requests: submitted once, decided once, found again for ever (P-20 … P-32).

Promises that a request id answers the same for ever and that a decided request never changes again.
Callers hold the merchant's lock where an account exists.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act, Audit
from ledger.engine import execute, fetch
from tillkeeper.contracts.base import Step
from tillkeeper.contracts.errors import Broken, Reason
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.topup import ReceivingAccount, TopUpRequest, TopUpState, TopUpView
from tillkeeper.rules.codes import reference_code

_COLUMNS: Final = """
       t.id, t.merchant, t.request, t.account, t.currency, t.amount, t.state, t.fingerprint,
       t.entry_point, t.reasons::text AS reasons, t.requested_at, t.expires_at, t.decided_at,
       coalesce(r.activated, false) AS activated, t.code
  FROM topup_requests t LEFT JOIN receipts r ON r.digest = t.receipt"""

_READ: Final = f"SELECT {_COLUMNS} WHERE t.merchant = $1 AND t.request = $2"

_INSERT: Final = """
INSERT INTO topup_requests (
    merchant, request, account, currency, amount, state, fingerprint, method, entry_point, reasons,
    profile, payer_digest, requested_at, expires_at, decided_at, code)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, $14, $15, $16)
ON CONFLICT (merchant, request) DO NOTHING RETURNING id"""

_EQUAL_OPEN: Final = """
SELECT EXISTS (SELECT FROM topup_requests
                WHERE account = $1 AND amount = $2 AND state = 'WAITING_REMITTANCE')"""

_EXPIRE_OVERDUE: Final = """
UPDATE topup_requests SET state = 'EXPIRED', decided_at = $2
 WHERE account = $1 AND state = 'WAITING_REMITTANCE' AND expires_at < $2
RETURNING merchant, request"""

_DECIDE: Final = """
UPDATE topup_requests SET state = $2, decided_at = $3, receipt = $4
 WHERE id = $1 AND state = 'WAITING_REMITTANCE' RETURNING id"""

_CREDIT: Final = """
UPDATE topup_requests t SET state = 'CREDITED', decided_at = $3, receipt = c.receipt
  FROM unnest($1::bigint[], $2::text[]) AS c (id, receipt)
 WHERE t.id = c.id AND t.state = 'WAITING_REMITTANCE' RETURNING t.id"""


@dataclass(frozen=True, slots=True)
class TopUpRow:
    """One request as it stands; the amount in minor units."""

    id: int
    merchant: str
    request: str
    account: int | None
    currency: str
    amount: int
    state: TopUpState
    fingerprint: str
    entry_point: str
    reasons: tuple[Reason, ...]
    requested_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    activated: bool
    code: str | None

    @property
    def waits(self) -> bool:
        """Whether the request is still to be decided."""
        return self.state is TopUpState.WAITING_REMITTANCE


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as it is recorded: for whom, until when, or why not."""

    account: int | None
    payer_digest: bytes | None
    profile: str
    at: datetime
    expires_at: datetime
    refused: Sequence[Reason] = ()


async def read_topup(connection: AsyncConnection, merchant: str, request: str) -> TopUpRow | None:
    """The request as it stands, or None."""
    rows = await fetch(connection, _READ, (merchant, request))
    return _row(rows[0]) if rows else None


async def equal_request_open(connection: AsyncConnection, account: int, amount_minor: int) -> bool:
    """Whether the account has an open request of exactly this amount (P-32)."""
    found: bool = (await fetch(connection, _EQUAL_OPEN, (account, amount_minor)))[0][0]
    return found


async def expire_overdue(connection: AsyncConnection, audit: Audit, account: int, act: Act) -> None:
    """Expire what is overdue, for its own run may have been stopped (P-31)."""
    for row in await fetch(connection, _EXPIRE_OVERDUE, (account, act.at)):
        subject = f"topup/{row.merchant}/{row.request}"
        before, after = {"state": "WAITING_REMITTANCE"}, {"state": "EXPIRED"}
        await audit.record(connection, act, subject, before=before, after=after)


async def insert_topup(
    connection: AsyncConnection, request: TopUpRequest, submission: Submission
) -> None:
    """Record a request or its refusal; does nothing where the request id is recorded already."""
    refused = submission.refused
    state = TopUpState.REFUSED if refused else TopUpState.WAITING_REMITTANCE
    reasons = json.dumps([reason.model_dump(mode="json") for reason in refused])
    row = (
        request.merchant, request.request, submission.account, request.currency,
        request.amount_minor, state.value, fingerprint(request), request.method.value,
        request.entry_point, reasons, submission.profile, submission.payer_digest, submission.at,
        None if refused else submission.expires_at, submission.at if refused else None,
        None if refused else reference_code(request.merchant, request.request),
    )  # fmt: skip
    await execute(connection, _INSERT, row)


async def decide_topup(
    connection: AsyncConnection,
    row: TopUpRow,
    state: TopUpState,
    *,
    at: datetime,
    receipt: str | None = None,
) -> bool:
    """Credit, expire or cancel a waiting request; False where it was decided meanwhile."""
    return bool(await fetch(connection, _DECIDE, (row.id, state.value, at, receipt)))


async def credit_topups(
    connection: AsyncConnection, paid: Sequence[tuple[int, str]], *, at: datetime
) -> None:
    """Credit waiting requests by row id, each with its receipt's digest. Raises Broken."""
    columns = ([topup for topup, _ in paid], [receipt for _, receipt in paid])
    if len(await fetch(connection, _CREDIT, (*columns, at))) != len(paid):
        raise Broken("a request was decided while its merchant was locked")


def topup_view(row: TopUpRow, receiving: ReceivingAccount | None) -> TopUpView:
    """What people see; where to pay, and with which code, while the request waits (P-25, P-27)."""
    return TopUpView(
        merchant=row.merchant,
        currency=row.currency,
        request=row.request,
        amount_minor=row.amount,
        state=row.state,
        entry_point=row.entry_point,
        refused=row.reasons,
        receiving_account=receiving if row.waits else None,
        reference_code=(row.code or "") if row.waits else "",
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        decided_at=row.decided_at,
        steps=topup_steps(row),
        activated=row.activated,
        fingerprint=row.fingerprint,
    )


def topup_steps(row: TopUpRow) -> tuple[Step, ...]:
    """Submitted, waiting for the remittance, and how it ended, each dated when done (P-27)."""
    submitted = Step(name="submitted", at=row.requested_at)
    if row.state is TopUpState.REFUSED:
        return (submitted, Step(name="refused", at=row.decided_at))
    ended = row.state.value.lower() if row.decided_at else "credited"
    return (
        submitted,
        Step(name="waiting_remittance", at=row.decided_at, current=row.waits),
        Step(name=ended, at=row.decided_at),
    )


def _row(row: Any) -> TopUpRow:
    return TopUpRow(
        id=row.id,
        merchant=row.merchant,
        request=row.request,
        account=row.account,
        currency=row.currency,
        amount=row.amount,
        state=TopUpState(row.state),
        fingerprint=row.fingerprint,
        entry_point=row.entry_point,
        reasons=tuple(Reason.model_validate(r) for r in json.loads(row.reasons)),
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        decided_at=row.decided_at,
        activated=row.activated,
        code=row.code,
    )
