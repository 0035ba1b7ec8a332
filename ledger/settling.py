"""A debit in suspense that people settle with a payment of ours, whole or part by part (C-12).

Promises that a debit which names payments of ours is settled with those alone, that the part of one
never pays, and never clears, another one's, and that what a debit is less than its payment is named
by two people before it is booked. It moves nothing on its own: the desk asks under the item's lock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import fetch
from ledger.payment_rows import PaymentRow, read_payment
from ledger.payments import Moved, may_settle, payment_settled
from ledger.sheet import Effect, Sheet
from ledger.workitems import Item
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Broken, Code, Rejected

SHORTFALL_PARTS: Final = 100
"""A debit may be less than its payment by one part in so many: the bank's rounding. More than that
is another amount."""

_TARGET: Final = re.compile(r"([^/]+)(?:/less/([1-9][0-9]{0,17}))?", re.ASCII)

# What ended otherwise waits for no debit any more: given back, or a return that people pay anew.
_NAMES: Final = """
SELECT t.payment, CASE WHEN e.parts > 1 THEN t.amount END AS amount,
       p.state IN ('PAID', 'RETURNED') OR p.merchant IS NULL AND p.state = 'REJECTED'
       OR coalesce(w.state NOT IN ('REMITTING', 'FAILED_MANUAL'), false) AS paid
  FROM bank_transactions t JOIN bank_entries e ON e.id = t.entry JOIN payments p ON p.id = t.payment
  LEFT JOIN withdrawals w ON p.merchant IS NOT NULL AND w.merchant = split_part(p.subject, '/', 2)
   AND w.request = split_part(p.subject, '/', 3)
 WHERE t.entry = $1 ORDER BY t.part"""

_AMOUNT: Final = "SELECT amount FROM bank_entries WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Share:
    """What of a debit is one payment, in minor units.

    ``part`` is taken from the debit: the payment, less what it falls short by, and a charge on top.
    ``rest`` stays in suspense, for it names other payments.
    """

    row: PaymentRow
    entry: int
    part: int
    rest: int

    @property
    def charge(self) -> int:
        """What the bank took beyond the payment."""
        return max(self.part - self.row.amount, 0)

    @property
    def less(self) -> int:
        """What it took less than the payment; the platform's gain, until the bank corrects it."""
        return max(self.row.amount - self.part, 0)


def settled_name(target: str | None) -> str:
    """The end-to-end id of a target, which may say what is less. Raises Rejected."""
    return _said(target)[0]


async def share_of(connection: AsyncConnection, item: Item) -> Share:
    """What of an item's debit is the payment of its target.

    Raises Rejected(TARGET_MISSING | PAYMENT_UNKNOWN | DEBIT_OF_ANOTHER | AMOUNT_MISMATCH |
    REQUEST_DECIDED).
    """
    name, less = _said(item.target)
    row, left = await read_payment(connection, name), item.amount or 0
    may_settle(row, item.currency or "")
    names = await fetch(connection, _NAMES, (_entry(item),))
    mine = next((one for one in names if one.payment == row.id), None)
    if names and mine is None:
        detail = "the debit names another payment of ours: settle it with that"
        raise Rejected(Code.DEBIT_OF_ANOTHER, detail=detail)
    others = any(one.payment != row.id and not one.paid for one in names)
    part = min(_stated(mine, row), left) if others else left
    share = Share(row, _entry(item), part, left - part)
    # A debit of one payment may be a charge instead; a part of several has no other way out.
    too_much = len(names) < 2 and share.less * SHORTFALL_PARTS > row.amount
    if share.less != less or share.part <= 0 or too_much:
        detail = (
            f"the debit is {share.less} minor units less than the payment: at most one part in "
            f"{SHORTFALL_PARTS} is accepted, or any where it names several payments, and where "
            f"the target names it (ID/less/{share.less})"
        )
        raise Rejected(Code.AMOUNT_MISMATCH, detail=detail if share.less else "nothing is less")
    return share


async def settle(sheet: Sheet, item: Item, at: datetime) -> Share:
    """Pay the payment of the item's target out of its debit; what of the debit that was.

    The charge on top is still to be posted. The sheet has SETTLING and the merchant open.
    """
    share = await share_of(sheet.connection, item)
    if share.less:
        name = f"{item.subject}/shortfall/{share.row.end_to_end_id}"
        sheet.post(
            TransferKind.PAYMENT_SHORTFALL, None, currency=share.row.currency, amount=share.less,
            effect=Effect(name, item.subject, at),
        )  # fmt: skip
    settled = Moved(share.entry, share.part, at)
    await payment_settled(sheet.connection, sheet, share.row.id, settled)
    return share


async def may_charge(connection: AsyncConnection, item: Item) -> None:
    """Whether a debit in suspense may be a charge. Raises Rejected(PAYMENT_NAMED).

    The whole of it, or what names no payment that is still to be paid.
    """
    entry = _entry(item)
    rows = await fetch(connection, _AMOUNT, (entry,))
    if rows and item.amount == rows[0].amount:
        return
    if any(not one.paid for one in await fetch(connection, _NAMES, (entry,))):
        detail = "what is left of the debit names a payment of ours: settle it with that"
        raise Rejected(Code.PAYMENT_NAMED, detail=detail)


def _said(target: str | None) -> tuple[str, int]:
    """A payment's end-to-end id, and what its debit is less, in minor units."""
    found = _TARGET.fullmatch(target or "")
    if found is None:
        detail = "a payment's id, and what the debit is less in minor units: ID or ID/less/1"
        raise Rejected(Code.TARGET_MISSING, detail=detail)
    return found[1], int(found[2] or 0)


def _stated(mine: Any, row: PaymentRow) -> int:
    """The amount of the payment's part, as the file states it."""
    return row.amount if mine is None or mine.amount is None else int(mine.amount)


def _entry(item: Item) -> int:
    kind, _, number = item.subject.partition("/")
    if kind != "entry" or not number.isdecimal():
        raise Broken("an item about a debit that names no entry")
    return int(number)
