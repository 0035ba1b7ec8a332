"""Money that a withdrawal takes out of available, and gives back (T7, T9, P-66, P-70).

Promises one name for each effect, whoever posts it, so that none is posted twice. Decides nothing:
who calls it holds the merchant's lock and has looked at the withdrawal's state.
"""

from __future__ import annotations

from datetime import datetime

from ledger.sheet import Effect, MerchantAccount, Sheet
from ledger.withdrawal_rows import WithdrawalRow
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Broken, Code
from tillkeeper.rules.withdrawals import approval_blocks


def reserve(sheet: Sheet, row: WithdrawalRow) -> None:
    """T7: the amount leaves available in the transaction that records the request (P-66)."""
    effect = Effect(f"{row.subject}/reserve", row.subject, row.requested_at)
    sheet.post(
        TransferKind.WITHDRAWAL, owner_of(sheet, row),
        currency=row.currency, amount=row.amount, effect=effect,
    )  # fmt: skip


async def give_back(sheet: Sheet, row: WithdrawalRow, at: datetime) -> None:
    """T9: the amount is available again; dues are paid first (P-46, P-70)."""
    effect = Effect(f"{row.subject}/return", row.subject, at)
    await sheet.credit(
        TransferKind.WITHDRAWAL_RETURNED, owner_of(sheet, row), amount=row.amount, effect=effect
    )


def blocks_of(sheet: Sheet, row: WithdrawalRow) -> tuple[Code, ...]:
    """What forbids to approve, to remit or to pay it again now (P-45, 1.9)."""
    owner = owner_of(sheet, row)
    return approval_blocks(sheet.balance(owner.dues), owner.state)


def owner_of(sheet: Sheet, row: WithdrawalRow) -> MerchantAccount:
    """Whose money it is, under its lock. Raises Broken where the sheet has it not open."""
    owner = sheet.merchant(row.merchant, row.currency)
    if owner is None:
        raise Broken("a withdrawal is worked on without its merchant's lock")
    return owner
