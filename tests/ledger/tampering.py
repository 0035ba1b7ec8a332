"""A small book with everything in it, and ways in which an owner without triggers could falsify it.

Each way is one edit of one row, and answers with the rows that the verifier may name for it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.book import Book
from ledger.engine import execute, fetch, in_transaction
from ledger.orders import OrderBook
from tests.ledger.support import DAY, hold, open_account, refund, release, settle, top_up
from tillkeeper.contracts.book import TransferKind, TransferRequest

Rows = set[tuple[str, str]]
Edit = Callable[[AsyncConnection, random.Random], Awaitable[Rows]]

_REQUEST = """
INSERT INTO topup_requests (merchant, request, account, currency, amount, state, fingerprint,
                            method, entry_point, profile, requested_at, decided_at, receipt)
SELECT p.merchant, $2, p.id, p.currency, $3, $4, '', 'wire', 'api', 'jd-prepaid@2023-11',
       $5, $5, $6
  FROM prepaid_accounts p WHERE p.merchant = $1"""

_RECEIPT = """
INSERT INTO receipts (digest, fingerprint, amount, currency, state, payer_sealed, payer_digest,
                      payer_kind, topup, booked_at, received_at)
SELECT $1, '', $2, 'CNY', $3, '', '', 'corporate',
       (SELECT id FROM topup_requests WHERE receipt = $1), $4, $4"""


async def make_book(engine: AsyncEngine) -> None:
    """Two merchants, orders in every state, a matched and an unmatched receipt, a refusal."""
    for merchant in ("M1", "M2"):
        await open_account(engine, merchant, fund=10_000)
    orders = OrderBook(engine)
    for merchant in ("M1", "M2"):
        await orders.apply(
            [
                hold(merchant, "O1", 3_600),
                release(merchant, "O1", 600),
                settle(merchant, "O1"),
                refund(merchant, "O1", 500),
                hold(merchant, "O2", 5_000),
                hold(merchant, "O3", 7_000),
                settle(merchant, "O3"),
                hold(merchant, "O4", 9_000),
                release(merchant, "O4", 1_000),
                hold(merchant, "O5", 900),
                refund(merchant, "O6", 10),
                settle(merchant, "O6"),
            ]
        )
        await top_up(engine, merchant, 12_000, number=2)
    await _credited_topup(engine)
    await orders.apply([hold("M1", f"P{n}", 100 + n) for n in range(6)])
    await orders.apply([settle("M1", f"P{n}") for n in range(4)])
    too_much = _request("too-much", TransferKind.WITHDRAWAL, 10**9, "withdrawal/1", "M1")
    await Book(engine).post([too_much])


def _request(
    name: str, kind: TransferKind, amount: int, subject: str, merchant: str | None = None
) -> TransferRequest:
    return TransferRequest(
        name=name, kind=kind, currency="CNY", amount_minor=amount, effective_at=DAY,
        merchant=merchant, subject=subject,
    )  # fmt: skip


async def _credited_topup(engine: AsyncEngine) -> None:
    await Book(engine).post(
        [
            _request("receipt/aa/booked", TransferKind.RECEIPT, 300_000, "receipt/aa"),
            _request("topup/M1/R1/credit", TransferKind.TOPUP, 300_000, "topup/R1", "M1"),
            _request("receipt/bb/booked", TransferKind.RECEIPT, 400_000, "receipt/bb"),
        ]
    )

    async def rows(connection: AsyncConnection) -> None:
        credited = ("M1", "R1", 300_000, "CREDITED", DAY, "aa")
        await execute(connection, _REQUEST, credited)
        waiting = ("M1", "R2", 500_000, "WAITING_REMITTANCE", DAY, None)
        await execute(connection, _REQUEST, waiting)
        await execute(connection, _RECEIPT, ("aa", 300_000, "CREDITED", DAY))
        await execute(connection, _RECEIPT, ("bb", 400_000, "UNMATCHED", DAY))

    await in_transaction(engine, rows)


async def _pick(connection: AsyncConnection, rng: random.Random, sql: str) -> Sequence[Any]:
    found: Sequence[Any] = rng.choice(await fetch(connection, sql, ()))
    return found


async def _set(
    connection: AsyncConnection, table: str, row: int | str, change: str, *values: Any
) -> Rows:
    key = "digest" if table == "receipts" else "id"
    statement = f"UPDATE {table} SET {change} WHERE {key} = $1"  # noqa: S608
    await execute(connection, statement, (row, *values))
    return {(table, str(row))}


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128))


async def edit_transfer(connection: AsyncConnection, rng: random.Random) -> Rows:
    """One column of one transfer."""
    row = (await _pick(connection, rng, "SELECT id FROM transfers ORDER BY id"))[0]
    others = [kind.value for kind in TransferKind]
    changes: list[tuple[str, Any]] = [
        ("amount = amount + $2", rng.randint(1, 9_999)),
        ("amount = greatest(amount / 2, 1) + CASE amount WHEN 1 THEN $2::int ELSE 0 END", 1),
        ("kind = CASE kind WHEN $2 THEN 'hold' ELSE $2 END", rng.choice(others[1:2] + others[3:])),
        ("currency = $2", "USD"),
        ("fingerprint = $2", _uuid(rng)),
        ("key = $2", _uuid(rng)),
        ("subject = subject || $2", "1"),
        ("effective_at = effective_at + $2", timedelta(milliseconds=rng.randint(1, 10**9))),
        ("debit_after = debit_after + $2", rng.choice([-1, 1]) * rng.randint(1, 999)),
        ("credit_after = credit_after + $2", rng.choice([-1, 1]) * rng.randint(1, 999)),
        ("debit_seq = debit_seq + $2", rng.choice([-1, 1]) * rng.randint(1, 60)),
        ("credit_seq = credit_seq + $2", rng.choice([-1, 1]) * rng.randint(1, 60)),
        ("debit_account = debit_account + $2", rng.choice([-1, 1]) * rng.randint(1, 50)),
        ("credit_account = credit_account + $2", rng.choice([-1, 1]) * rng.randint(1, 50)),
    ]
    return await _set(connection, "transfers", row, *rng.choice(changes))


async def delete_transfer(connection: AsyncConnection, rng: random.Random) -> Rows:
    """A transfer is gone: named is what now lacks its predecessor, or its last transfer."""
    row = await _pick(
        connection, rng,
        """SELECT id, debit_account, debit_seq, credit_account, credit_seq
             FROM transfers ORDER BY id""",
    )  # fmt: skip
    followers = await fetch(
        connection,
        """SELECT transfer FROM entries
            WHERE (account, seq) IN (($1::bigint, $2::bigint + 1), ($3::bigint, $4::bigint + 1))""",
        tuple(row[1:]),
    )
    await execute(connection, "DELETE FROM transfers WHERE id = $1", (row[0],))
    ends = {("accounts", str(row[1])), ("accounts", str(row[3]))}
    return ends | {("transfers", str(r[0])) for r in followers}


async def insert_transfer(connection: AsyncConnection, rng: random.Random) -> Rows:
    """A forged copy at the end of both chains, its running balances right."""
    row = (await _pick(connection, rng, "SELECT id FROM transfers ORDER BY id"))[0]
    made = await fetch(
        connection,
        """INSERT INTO transfers (key, fingerprint, kind, amount, currency, debit_account,
                debit_seq, debit_after, credit_account, credit_seq, credit_after, subject,
                effective_at)
           SELECT overlay(t.key::text PLACING '00' FROM 35)::uuid, t.fingerprint, t.kind, t.amount,
                  t.currency, d.id, d.seq + 1,
                  d.balance + CASE d.side WHEN 'D' THEN t.amount ELSE -t.amount END,
                  c.id, c.seq + 1,
                  c.balance + CASE c.side WHEN 'C' THEN t.amount ELSE -t.amount END,
                  t.subject, t.effective_at
             FROM transfers t JOIN accounts d ON d.id = t.debit_account
             JOIN accounts c ON c.id = t.credit_account
            WHERE t.id = $1 RETURNING id""",
        (row,),
    )
    return {("transfers", str(made[0][0]))}


async def swap_transfers(connection: AsyncConnection, rng: random.Random) -> Rows:
    """Two transfers change places in an account's chain."""
    side = rng.choice(["debit", "credit"])
    first, second = await _pick(
        connection, rng,
        f"""SELECT a.id, b.id FROM transfers a JOIN transfers b USING ({side}_account)
             WHERE a.id < b.id ORDER BY a.id, b.id""",  # noqa: S608
    )  # fmt: skip
    places = {
        row[0]: tuple(row[1:])
        for row in await fetch(
            connection,
            f"SELECT id, {side}_seq, {side}_after FROM transfers WHERE id IN ($1, $2)",  # noqa: S608
            (first, second),
        )
    }
    change = f"{side}_seq = $2, {side}_after = $3"
    await _set(connection, "transfers", first, change, -1, 0)
    await _set(connection, "transfers", second, change, *places[first])
    await _set(connection, "transfers", first, change, *places[second])
    return {("transfers", str(first)), ("transfers", str(second))}


async def edit_account(connection: AsyncConnection, rng: random.Random) -> Rows:
    """A balance, a sequence or a rule of one bucket."""
    row = (await _pick(connection, rng, "SELECT id FROM accounts ORDER BY id"))[0]
    changes: list[tuple[str, Any]] = [
        ("balance = balance + $2", rng.randint(1, 999)),
        ("seq = seq + $2", rng.randint(1, 9)),
        ("seq = CASE seq WHEN 0 THEN $2 ELSE seq - 1 END", 1),
        ("floored = floored <> $2", True),
        ("lock_rank = lock_rank + $2", 1),
    ]
    return await _set(connection, "accounts", row, *rng.choice(changes))


_HOLD_CHANGES = {
    "held = held - 1, released = released + 1": "held > 0",
    "held = held - 1, settled = settled + 1": "held > 0",
    "fee = fee + 1, held = held + 1": "fee > 0",
    "dues = dues - 1, cancelled = cancelled + 1": "dues > 0",
    "dues = dues - 1, held = held + 1": "dues > 0",
    "settled = settled - 1, released = released + 1": "settled > refunded",
    "refunded = refunded + 1": "settled > refunded",
    "refunded = refunded - 1": "refunded > 0",
    "due_seq = due_seq + 1": "due_seq > 0",
    "due_seq = NULL": "due_seq > 0",
    "placed_at = placed_at - interval '1 day'": "placed_at IS NOT NULL",
    "completed_at = NULL": "settled > 0",
    "refused = 'FORMER_BILLING_MODE'": "fee > 0",
    "order_id = order_id || 'x'": "fee > 0",
}


async def edit_hold(connection: AsyncConnection, rng: random.Random) -> Rows:
    """Where an order's fee stands, within the row's own constraints."""
    change = rng.choice(list(_HOLD_CHANGES))
    row = await _pick(
        connection,
        rng,
        f"SELECT id, account, order_id FROM holds WHERE {_HOLD_CHANGES[change]} ORDER BY id",  # noqa: S608
    )
    named = await _set(connection, "holds", row[0], change)
    if change.startswith("order_id"):
        return named | await _first_transfer(connection, row[1], row[2])
    return named


async def delete_hold(connection: AsyncConnection, rng: random.Random) -> Rows:
    """An order's row is gone: its first transfer is named."""
    row = await _pick(
        connection, rng, "SELECT id, account, order_id FROM holds WHERE fee > 0 ORDER BY id"
    )
    await execute(connection, "DELETE FROM holds WHERE id = $1", (row[0],))
    return await _first_transfer(connection, row[1], row[2])


async def _first_transfer(connection: AsyncConnection, account: int, order: str) -> Rows:
    found = await fetch(
        connection,
        """SELECT min(t.id) FROM transfers t JOIN prepaid_accounts p ON p.id = $1
            WHERE t.subject = 'order/' || $2
              AND (t.debit_account IN (p.available, p.frozen, p.dues)
                   OR t.credit_account IN (p.available, p.frozen, p.dues))""",
        (account, order),
    )
    return {("transfers", str(found[0][0]))}


async def edit_return(connection: AsyncConnection, rng: random.Random) -> Rows:
    """A release or refund of another amount, or never applied."""
    row = await _pick(
        connection, rng, "SELECT id FROM hold_returns WHERE result = 'applied' ORDER BY id"
    )
    change = rng.choice(["amount = amount + 1", "result = 'parked'", "result = 'refused'"])
    named = await _set(connection, "hold_returns", row[0], change)
    rows = await fetch(
        connection,
        """SELECT min(r.id) FROM hold_returns r JOIN hold_returns o USING (account, order_id)
            WHERE o.id = $1""",
        (row[0],),
    )
    return named | {("hold_returns", str(rows[0][0]))}


async def edit_topup(connection: AsyncConnection, rng: random.Random) -> Rows:
    """A request of another amount or state, or a receipt of another amount or state."""
    request = (await fetch(connection, "SELECT id FROM topup_requests WHERE request = 'R1'", ()))[0]
    waiting = (await fetch(connection, "SELECT id FROM topup_requests WHERE request = 'R2'", ()))[0]
    table, row, change = rng.choice(
        [
            ("topup_requests", request[0], "amount = amount + 1"),
            ("topup_requests", request[0], "state = 'EXPIRED'"),
            ("topup_requests", waiting[0], "state = 'CREDITED'"),
            ("receipts", "aa", "amount = amount + 1"),
            ("receipts", "bb", "amount = amount + 1"),
            ("receipts", "aa", "state = 'UNMATCHED'"),
            ("receipts", "bb", "state = 'CREDITED'"),
            ("receipts", "bb", "currency = 'USD'"),
        ]
    )
    return await _set(connection, table, row, change)


async def refuse_posted_key(connection: AsyncConnection, rng: random.Random) -> Rows:
    """A key that was posted is refused as well."""
    row = await _pick(connection, rng, "SELECT key, fingerprint FROM transfers ORDER BY id")
    forge = "INSERT INTO refusals (key, fingerprint, code) VALUES ($1, $2, 'INSUFFICIENT_FUNDS')"
    await execute(connection, forge, tuple(row))
    return {("refusals", str(row[0]))}


EDITS: tuple[tuple[Edit, int], ...] = (
    (edit_transfer, 140),
    (delete_transfer, 20),
    (insert_transfer, 15),
    (swap_transfers, 20),
    (edit_account, 25),
    (edit_hold, 40),
    (delete_hold, 8),
    (edit_return, 10),
    (edit_topup, 16),
    (refuse_posted_key, 4),
)
"""Every way, and how many times it is tried."""
