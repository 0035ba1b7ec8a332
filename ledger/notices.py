"""What merchants are to be told, written in the transaction that makes it true (P-70, C-13).

Promises that one effect makes one notice, however often it is written. What a person typed is
sealed. It sends nothing: whoever does reads it from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import execute
from ledger.withdrawal_rows import WithdrawalRow
from tillkeeper.sealing import KeyRing

WITHDRAWAL: Final = "PM-8"
"""The message of rules 1.10 that tells how a withdrawal went on."""

REASON: Final = "notice/reason"
"""What a reason is sealed for."""

_INSERT: Final = """
INSERT INTO notices (key, code, event, merchant, currency, subject, amount, reason_sealed, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (key) DO NOTHING"""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice: the message's code, what happened, to whom; the amount in minor units.

    ``key`` names the effect for ever (``withdrawal/<merchant>/<request>/rejected``).
    """

    key: str
    code: str
    event: str
    merchant: str
    currency: str
    subject: str
    amount: int | None = None
    reason: str = field(default="", repr=False)


def withdrawal_notice(row: WithdrawalRow, event: str, reason: str = "") -> Notice:
    """What became of a withdrawal: ``approved``, ``rejected``, ``paid``, ``failed``, ``returned``.

    A failure may come again with each attempt, hence its number in the key.
    """
    key = f"{row.subject}/{event}/{row.attempts}"
    return Notice(
        key, WITHDRAWAL, event, row.merchant, row.currency, row.subject, row.amount, reason
    )


async def record_notice(
    connection: AsyncConnection, ring: KeyRing, notice: Notice, at: datetime
) -> None:
    """Write a notice down; the same effect again writes nothing."""
    sealed = ring.seal_text(notice.reason, purpose=REASON) if notice.reason else None
    await _write(connection, notice, sealed, at)


async def record_system_notice(connection: AsyncConnection, notice: Notice, at: datetime) -> None:
    """Write down a notice for which nobody typed a reason: nothing is to be sealed."""
    await _write(connection, notice, None, at)


async def _write(
    connection: AsyncConnection, notice: Notice, sealed: bytes | None, at: datetime
) -> None:
    row = (
        notice.key, notice.code, notice.event, notice.merchant, notice.currency, notice.subject,
        notice.amount, sealed, at,
    )  # fmt: skip
    await execute(connection, _INSERT, row)
