"""Bank receipts: every one is booked once, and credited when it pays exactly one request.

Promises that money which arrived is in the book whatever comes of it, that one receipt never
credits twice (P-26), and that a receipt is either credited or unmatched with a reason, never both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows
from ledger.audit import SYSTEM, Act
from ledger.engine import fetch
from ledger.sheet import Effect, Sheet
from ledger.topups import TopUpRow, decide_topup, read_topup_by_id
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.fingerprint import canonical, fingerprint
from tillkeeper.contracts.receipt import ReceiptReport, ReceiptState, ReceiptView, receipt_digest
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.rules.matching import Arrived, Candidate, Match, match
from tillkeeper.rules.opening import activates, billing_start
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

CANDIDATES_MAX: Final = 1_000
"""Requests looked at for one receipt: the newest, which are the ones that may still be open."""

_FIND_NAMED: Final = """
SELECT id FROM topup_requests WHERE payer_digest = $1 AND currency = $2 AND state <> 'REFUSED'
 ORDER BY id DESC LIMIT $3"""

_FIND_EQUAL: Final = """
SELECT id FROM topup_requests
 WHERE currency = $1 AND amount = $2 AND state = 'WAITING_REMITTANCE' ORDER BY id DESC LIMIT $3"""

_MERCHANTS: Final = """
SELECT DISTINCT merchant FROM topup_requests
 WHERE id = ANY($1::bigint[]) AND payer_digest = $2 AND amount = $3
   AND state = 'WAITING_REMITTANCE'"""

_CANDIDATES: Final = """
SELECT id, amount, state, expires_at, payer_digest = $2 AS same_name
  FROM topup_requests WHERE id = ANY($1::bigint[]) ORDER BY id"""

_INSERT: Final = """
INSERT INTO receipts (
    digest, fingerprint, amount, currency, state, reason, payer_sealed, payer_digest, payer_kind,
    topup, suggests, activated, booked_at, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (digest) DO NOTHING RETURNING digest"""

_READ: Final = """
SELECT r.digest, r.fingerprint, r.amount, r.currency, r.state, r.reason, r.activated, r.booked_at,
       t.merchant, t.request, s.merchant AS suggested_merchant, s.request AS suggested_request
  FROM receipts r LEFT JOIN topup_requests t ON t.id = r.topup
  LEFT JOIN topup_requests s ON s.id = r.suggests
 WHERE r.digest = $1"""


@dataclass(frozen=True, slots=True)
class Receiver:
    """What receipts are decided with."""

    ring: KeyRing
    accounts: AccountRows
    profile: PrepaidProfile


async def book_receipt(
    connection: AsyncConnection, receiver: Receiver, report: ReceiptReport, *, at: datetime
) -> ReceiptView:
    """Book the money, then credit the one request that it pays (P-21 … P-26, P-31).

    The same receipt is answered from its row. Raises Rejected(KEY_REUSED) for another body.
    """
    recorded = await _recorded(connection, receiver, report)
    if recorded is not None:
        return recorded
    payer = receiver.accounts.company_digest(report.payer_name)
    found = await _find(connection, payer, report)
    merchants = await fetch(connection, _MERCHANTS, (found, payer, report.amount_minor))
    sheet = await Sheet.open(
        connection,
        merchants=[(row.merchant, report.currency) for row in merchants],
        platform=[(Bucket.BANK, report.currency), (Bucket.UNMATCHED_RECEIPTS, report.currency)],
    )
    # Only requests that stood before the locks are candidates, read again under them: a request
    # submitted in between came after this receipt.
    decided = match(
        Arrived(report.amount_minor, report.payer_kind, at),
        [_candidate(row) for row in await fetch(connection, _CANDIDATES, (found, payer))],
    )
    request = (
        None if decided.credits is None else await read_topup_by_id(connection, decided.credits.id)
    )
    activated = request is not None and _activates(sheet, request)
    row = _new_row(receiver, report, decided, activated=activated, at=at)
    if not await fetch(connection, _INSERT, row):
        return await _answer(connection, receiver, report)
    await _post(sheet, report, request, at=at)
    if request is not None:
        await _credited(connection, receiver, request, receipt_digest(report), at=at)
    await sheet.write()
    return await _answer(connection, receiver, report)


async def _find(connection: AsyncConnection, payer: bytes, report: ReceiptReport) -> list[int]:
    named = await fetch(connection, _FIND_NAMED, (payer, report.currency, CANDIDATES_MAX))
    equal = await fetch(
        connection, _FIND_EQUAL, (report.currency, report.amount_minor, CANDIDATES_MAX)
    )
    return sorted({row.id for row in (*named, *equal)})


async def _post(
    sheet: Sheet, report: ReceiptReport, request: TopUpRow | None, *, at: datetime
) -> None:
    subject = f"receipt/{receipt_digest(report)}"
    sheet.post(
        TransferKind.RECEIPT, None, currency=report.currency, amount=report.amount_minor,
        effect=Effect(f"{subject}/booked", subject, report.booked_at),
    )  # fmt: skip
    if request is None:
        return
    account = sheet.merchant(request.merchant, request.currency)
    if account is None:
        raise Broken("a request to credit belongs to no account")
    name = f"topup/{request.merchant}/{request.request}/credit"
    effect = Effect(name, f"topup/{request.request}", at)
    await sheet.credit(TransferKind.TOPUP, account, amount=request.amount, effect=effect)


async def _credited(
    connection: AsyncConnection,
    receiver: Receiver,
    request: TopUpRow,
    digest: str,
    *,
    at: datetime,
) -> None:
    """Decide the request; the first credit makes the account active, once (P-09, P-10)."""
    if not await decide_topup(connection, request, TopUpState.CREDITED, at=at, receipt=digest):
        raise Broken("a request was decided while its merchant was locked")
    act = Act("credit_topup", SYSTEM, at, receiver.profile.name)
    before, after = {"state": request.state.value}, {"state": "CREDITED", "receipt": digest}
    await receiver.accounts.audit.record(
        connection, act, f"topup/{request.merchant}/{request.request}", before=before, after=after
    )
    account = await receiver.accounts.read(connection, request.merchant, request.currency)
    if account is None or not activates(account.state):
        return
    await receiver.accounts.change(
        connection, account, Act("activate", SYSTEM, at, receiver.profile.name), receiver.profile,
        state=AccountState.ACTIVE, activated_at=at,
        billing_from=billing_start(account.billing_from, at),
    )  # fmt: skip


def _activates(sheet: Sheet, request: TopUpRow) -> bool:
    account = sheet.merchant(request.merchant, request.currency)
    return account is not None and activates(account.state)


def _candidate(row: Any) -> Candidate:
    return Candidate(row.id, row.amount, TopUpState(row.state), row.expires_at, row.same_name)


def _new_row(
    receiver: Receiver, report: ReceiptReport, decided: Match, *, activated: bool, at: datetime
) -> tuple[Any, ...]:
    digest = receipt_digest(report)
    state = ReceiptState.UNMATCHED if decided.credits is None else ReceiptState.CREDITED
    payer = receiver.ring.seal_text(
        report.model_dump_json(include={"payer_name", "payer_account", "bank_reference"}),
        purpose=f"receipt/{digest}/payer",
    )
    return (
        digest, _fingerprint(receiver, report), report.amount_minor, report.currency, state.value,
        None if decided.reason is None else decided.reason.value, payer,
        receiver.accounts.company_digest(report.payer_name), report.payer_kind.value,
        None if decided.credits is None else decided.credits.id,
        None if decided.suggests is None else decided.suggests.id,
        activated, report.booked_at, at,
    )  # fmt: skip


def _fingerprint(receiver: Receiver, report: ReceiptReport) -> str:
    return receiver.ring.digest(canonical(report), purpose="receipt-report").hex()


async def _answer(
    connection: AsyncConnection, receiver: Receiver, report: ReceiptReport
) -> ReceiptView:
    recorded = await _recorded(connection, receiver, report)
    if recorded is None:
        raise Broken("a receipt that was recorded cannot be read")
    return recorded


async def _recorded(
    connection: AsyncConnection, receiver: Receiver, report: ReceiptReport
) -> ReceiptView | None:
    rows = await fetch(connection, _READ, (receipt_digest(report),))
    if not rows:
        return None
    row = rows[0]
    if row.fingerprint != _fingerprint(receiver, report):
        raise Rejected(Code.KEY_REUSED, detail="this bank reference came with another receipt")
    suggested = row.suggested_request
    return ReceiptView(
        state=ReceiptState(row.state),
        digest=row.digest,
        amount_minor=row.amount,
        currency=row.currency,
        reason=None if row.reason is None else Code(row.reason),
        merchant=row.merchant,
        request=row.request,
        suggests=None if suggested is None else f"{row.suggested_merchant}/{suggested}",
        activated=row.activated,
        booked_at=row.booked_at,
        fingerprint=fingerprint(report),
    )
