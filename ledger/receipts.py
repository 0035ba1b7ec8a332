"""Receipts reported one by one: each is booked once, and credited when it pays one request.

Promises that money which arrived is in the book whatever comes of it, that one receipt never
credits twice, whether it is reported or told by a bank's file (P-26), and that a receipt is either
credited or unmatched with a reason, never both.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.bank.reported import told_as
from ledger.engine import fetch
from ledger.meant import Incoming, Requests, find_requests
from ledger.receiving import Receiver, receive, receiving_buckets
from ledger.sheet import Effect, Sheet
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.contracts.fingerprint import canonical, fingerprint
from tillkeeper.contracts.receipt import ReceiptReport, ReceiptState, ReceiptView, receipt_digest
from tillkeeper.rules.days import day_bounds

_RECEIPT: Final = """
SELECT r.digest, r.fingerprint, r.amount, r.currency, r.state, r.reason, r.activated, r.booked_at,
       t.merchant, t.request, s.merchant AS suggested_merchant, s.request AS suggested_request,
       r.digest = $1 AS reported
  FROM receipts r LEFT JOIN topup_requests t ON t.id = r.topup
  LEFT JOIN topup_requests s ON s.id = r.suggests"""

# What was reported itself, then what a file told under this bank reference.
_READ: Final = f"""{_RECEIPT}
 WHERE r.digest = $1 OR r.reference_digest = $1
 ORDER BY r.digest = $1 AND r.reference_digest IS NOT NULL DESC, r.reference_digest IS NULL,
          r.amount = $2 DESC, r.state = 'DETAILED',
          abs(extract(epoch FROM r.booked_at - $3::timestamptz)), r.entry, r.part LIMIT 1"""

_ONE: Final = f"{_RECEIPT} WHERE r.digest = $1"

# What a file told under this bank reference and what made no receipt: a credit that took back a
# debit or brought back a payment, else a debit that nobody could explain yet.
_TOLD: Final = """
SELECT e.side, e.amount, e.day, split_part(p.subject, '/', 2) AS paid_back
  FROM bank_accounts a JOIN bank_entries e ON e.account = a.id AND e.reference_digest = $1
  LEFT JOIN payments p ON e.booked_as LIKE 'payment/%/returned'
   AND p.end_to_end_id = split_part(e.booked_as, '/', 2)
 WHERE a.currency = $2 AND e.booked_as IS NOT NULL
   AND (e.side = 'C' OR e.amount = $3 AND EXISTS (
        SELECT FROM work_items i WHERE i.subject = 'entry/' || e.id AND i.state <> 'CLOSED'
           AND i.kind = 'UNKNOWN_DEBIT'))
 ORDER BY e.side, e.amount = $3 DESC, e.id LIMIT 1"""


async def book_receipt(
    connection: AsyncConnection, receiver: Receiver, report: ReceiptReport, *, at: datetime
) -> ReceiptView:
    """Book the money, then credit the one request that it pays (P-21 … P-26, P-31).

    The same receipt is answered from its row, also where a bank's file told it first. Raises
    Rejected(KEY_REUSED) for another body.
    """
    recorded = await _recorded(connection, receiver, report)
    if recorded is not None:
        return recorded
    incoming = _incoming(receiver, report, at=at)
    asked = await find_requests(connection, [incoming])
    sheet = await Sheet.open(
        connection, merchants=asked.merchants, platform=receiving_buckets([report.currency])
    )
    # Whoever books money on this account holds these locks: what is not told now is new.
    recorded = await _recorded(connection, receiver, report)
    if recorded is not None:
        return recorded
    told = await fetch(connection, _TOLD, (incoming.digest, report.currency, report.amount_minor))
    if told and told[0].side == "C":
        return await _answered(connection, report, told[0])
    # What the bank took already, or may be taking back by this, is nobody's top-up.
    incoming = replace(incoming, for_topup=not told)
    # Only requests that stood before the locks are candidates, read again under them: a request
    # submitted in between came after this receipt.
    requests = await Requests.read(connection, asked.ids)
    subject = f"receipt/{incoming.digest}"
    sheet.post(
        TransferKind.RECEIPT, None, currency=report.currency, amount=report.amount_minor,
        effect=Effect(f"{subject}/booked", subject, report.booked_at),
    )  # fmt: skip
    await receive(sheet, receiver, requests, [incoming], at=at)
    await sheet.write()
    recorded = await _recorded(connection, receiver, report)
    if recorded is None:
        raise Broken("a receipt that was recorded cannot be read")
    return recorded


def _incoming(receiver: Receiver, report: ReceiptReport, *, at: datetime) -> Incoming:
    digest = receipt_digest(report)
    payer = receiver.ring.seal_text(
        report.model_dump_json(include={"payer_name", "payer_account", "bank_reference"}),
        purpose=f"receipt/{digest}/payer",
    )
    return Incoming(
        digest=digest,
        fingerprint=_fingerprint(receiver, report),
        amount=report.amount_minor,
        currency=report.currency,
        payer_sealed=payer,
        payer_digest=receiver.accounts.company_digest(report.payer_name),
        payer_kind=report.payer_kind,
        booked_at=report.booked_at,
        received_at=at,
        reference_digest=digest,
    )


def _fingerprint(receiver: Receiver, report: ReceiptReport) -> str:
    return receiver.ring.digest(canonical(report), purpose="receipt-report").hex()


async def _recorded(
    connection: AsyncConnection, receiver: Receiver, report: ReceiptReport
) -> ReceiptView | None:
    key = (receipt_digest(report), report.amount_minor, report.booked_at)
    rows = await fetch(connection, _READ, key)
    if not rows:
        payer = receiver.accounts.company_digest(report.payer_name)
        told = await told_as(connection, receiver.ring, report, payer)
        if told is None:
            return None
        rows = await fetch(connection, _ONE, (told,))
        return _view(rows[0], report)
    row = rows[0]
    if not _same(receiver, report, row):
        raise Rejected(Code.KEY_REUSED, detail="this bank reference came with another receipt")
    return _view(row, report)


def _view(row: Any, report: ReceiptReport) -> ReceiptView:
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


async def _answered(connection: AsyncConnection, report: ReceiptReport, told: Any) -> ReceiptView:
    """What became of money that a file told and that made no receipt of its own (P-26).

    It is with the receipt that it was paid back for, or it took back a debit.
    """
    if told.amount != report.amount_minor:
        raise Rejected(Code.KEY_REUSED, detail="this bank reference came with another receipt")
    if told.paid_back:
        rows = await fetch(connection, _ONE, (told.paid_back,))
        return _view(rows[0], report)
    return ReceiptView(
        state=ReceiptState.REVERSED,
        digest=receipt_digest(report),
        amount_minor=told.amount,
        currency=report.currency,
        booked_at=day_bounds(told.day)[0],
        fingerprint=fingerprint(report),
    )


def _same(receiver: Receiver, report: ReceiptReport, row: Any) -> bool:
    """A file writes names its own way: of what it told, the money alone must agree."""
    if row.reported:
        return bool(row.fingerprint == _fingerprint(receiver, report))
    return bool((row.amount, row.currency) == (report.amount_minor, report.currency))
