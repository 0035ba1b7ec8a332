"""Judges a run by the bank's own book, which shares neither code paths nor a database with ours.

Lists what does not fit, one sentence each; an empty list is the only success (I1 … I7, I12).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateways.bank.simulator.models import Movement
from ledger.audit_proof import prove
from ledger.engine import fetch, in_transaction
from ledger.payment_rows import opened_terms, read_payment
from ledger.verify import verify
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.sealing import KeyRing

_PAYMENTS: Final = "SELECT end_to_end_id, state FROM payments ORDER BY id"

_WITHDRAWALS: Final = """
SELECT w.merchant, w.request, w.amount, w.state,
       coalesce(array_agg(p.end_to_end_id ORDER BY p.id) FILTER (WHERE p.id IS NOT NULL), '{}')
       AS payments
  FROM withdrawals w
  LEFT JOIN payments p
    ON p.subject LIKE 'withdrawal/' || w.merchant || '/' || w.request || '/pay/%'
 GROUP BY w.id ORDER BY w.id"""

FINAL: Final = ("PAID", "RETURNED", "REJECTED", "CANCELLED_BY_MERCHANT", "REFUSED")
_LEFT: Final = frozenset({PaymentState.PAID, PaymentState.RETURNED})


@dataclass(frozen=True, slots=True)
class Moved:
    """What one side says of one payment: minor units, and to whom."""

    amount: int
    currency: str
    account: str
    name: str


async def judge(
    engine: AsyncEngine, ring: KeyRing, bank: str, acknowledged: Mapping[tuple[str, str], int]
) -> list[str]:
    """Everything that does not fit; ``acknowledged`` is what the driver was told it has asked for.

    Keys are (merchant, request), values minor units.
    """
    movements = await _movements(bank)
    wrong = await in_transaction(engine, lambda c: _compare(c, ring, movements))
    wrong += await in_transaction(engine, lambda c: _complete(c, movements, acknowledged))
    verified = await verify(engine)
    if verified.broken is not None:
        wrong.append(f"the books do not verify: {verified.broken}")
    proved = await prove(engine, ring=ring)
    if proved.broken is not None or proved.unstamped:
        wrong.append(f"the audit is not ours: {proved}")
    return wrong


async def _movements(bank: str) -> list[Movement]:
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.get(f"{bank}/movements")
    return [Movement.model_validate_json(line) for line in answer.text.splitlines()]


async def _compare(
    connection: AsyncConnection, ring: KeyRing, movements: Sequence[Movement]
) -> list[str]:
    """Our payments and the bank's debits, one to one: id, amount, currency, payee (I5)."""
    ours: dict[str, Moved] = {}
    for row in await fetch(connection, _PAYMENTS, ()):
        if PaymentState(row.state) in _LEFT:
            payment = await read_payment(connection, row.end_to_end_id)
            payee = opened_terms(ring, payment).creditor
            ours[row.end_to_end_id] = Moved(
                payment.amount, payment.currency, payee.account, payee.name
            )
    debits = [one for one in movements if one.side == "debit" and not one.reversal]
    theirs = {
        one.end_to_end_id or one.bank_reference: Moved(
            one.amount_minor, one.currency, one.counterparty_account, one.counterparty_name
        )
        for one in debits
    }
    twice = [name for name, n in Counter(one.end_to_end_id for one in debits).items() if n > 1]
    wrong = [f"the bank paid {name} more than once" for name in twice]
    wrong += [f"only the bank paid {name}" for name in sorted(theirs.keys() - ours.keys())]
    wrong += [f"only we believe that {name} was paid" for name in sorted(ours.keys() - theirs)]
    wrong += [
        f"{name} differs: ours {ours[name]}, the bank's {theirs[name]}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    return wrong


async def _complete(
    connection: AsyncConnection,
    movements: Sequence[Movement],
    acknowledged: Mapping[tuple[str, str], int],
) -> list[str]:
    """Each withdrawal is there, final, and left the bank as its state says (I4, I6)."""
    net: dict[str, int] = defaultdict(int)
    for one in movements:
        net[one.end_to_end_id or ""] -= one.signed_minor
    rows = {(row.merchant, row.request): row for row in await fetch(connection, _WITHDRAWALS, ())}
    wrong = [f"{key} was acknowledged and is lost" for key in acknowledged if key not in rows]
    for key, row in rows.items():
        left = sum(net[name] for name in row.payments)
        due = row.amount if row.state == "PAID" else 0
        if row.state not in FINAL:
            wrong.append(f"{key} is not final: {row.state}")
        elif left != due:
            wrong.append(f"{key} is {row.state} but {left} left the bank instead of {due}")
        if key in acknowledged and acknowledged[key] != row.amount:
            wrong.append(f"{key} was asked with {acknowledged[key]} and stands with {row.amount}")
    return wrong


async def outcomes(engine: AsyncEngine) -> dict[str, int]:
    """How many withdrawals ended in which state."""

    async def work(connection: AsyncConnection) -> list[Any]:
        return await fetch(
            connection, "SELECT state, count(*) AS n FROM withdrawals GROUP BY 1 ORDER BY 1", ()
        )

    return {row.state: row.n for row in await in_transaction(engine, work)}
