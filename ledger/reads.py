"""What merchants and operators look up: the account's summary, its flows, its orders, its requests.

Everything comes from PostgreSQL, never from a workflow's history. Pages go from the newest back,
by a cursor that stays right while money moves. Nothing here writes or locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import fetch, in_transaction
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.order import HoldState, HoldView
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.rules.postings import CHART, TEMPLATES

PAGE_MAX: Final = 500
ORDERS_MAX: Final = 500

_K = TransferKind


class Tab(StrEnum):
    """The five tabs of the trade flow (P-50.2), and funds, a group of its own (P-76)."""

    HELD = "held"
    """冻结"""
    RELEASED = "released"
    """退款"""
    SETTLED = "settled"
    """已结算"""
    SETTLED_REFUND = "settled_refund"
    """已结算退款"""
    DUES = "dues"
    """待缴费"""
    FUNDS = "funds"
    """充值、提现"""


TABS: Final = {
    Tab.HELD: (_K.HOLD, _K.DUES_HELD),
    Tab.RELEASED: (_K.RELEASE,),
    Tab.SETTLED: (_K.SETTLEMENT, _K.DUES_SETTLED),
    Tab.SETTLED_REFUND: (_K.SETTLED_REFUND,),
    Tab.DUES: (_K.DUES_RAISED, _K.DUES_CLEARED, _K.DUES_CANCELLED),
    Tab.FUNDS: (_K.TOPUP, _K.WITHDRAWAL, _K.WITHDRAWAL_PAID, _K.WITHDRAWAL_RETURNED),
}
"""Which transfers a tab lists (rules.md 1.4, column "trade query tab")."""


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """What to list: business times from ``since`` up to, not including, ``until``; one order;
    orders that stand in ``state`` now. Nothing given means no limit.
    """

    since: datetime | None = None
    until: datetime | None = None
    order: str | None = None
    state: HoldState | None = None


@dataclass(frozen=True, slots=True)
class FlowLine:
    """One transfer of an account; ``amount_minor`` in minor units, unsigned: the kind tells.

    ``state`` is where its order stands now; None for top-ups and withdrawals.
    """

    transfer: int
    kind: TransferKind
    amount_minor: int
    subject: str
    order: str | None
    state: HoldState | None
    effective_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class FlowPage:
    """Lines, newest first, and the cursor of the next page, None at the end."""

    lines: tuple[FlowLine, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class HomeSummary:
    """The home module (P-11); amounts in minor units.

    ``suspended`` is derived from the balance (available < suspend_below) until the budget guard
    keeps its own record. ``pending_withdrawals_minor`` is the money on its way out.
    """

    merchant: str
    currency: str
    state: AccountState
    available_minor: int
    frozen_minor: int
    dues_minor: int
    suspended: bool
    warning_minor: int | None
    last_topup_minor: int | None
    last_topup_at: datetime | None
    pending_withdrawals_minor: int


@dataclass(frozen=True, slots=True)
class TopUpLine:
    """One top-up request in the list of requests; ``amount_minor`` in minor units."""

    request: str
    state: TopUpState
    amount_minor: int
    requested_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class TopUpPage:
    """Requests, newest first, and the cursor of the next page, None at the end."""

    lines: tuple[TopUpLine, ...]
    after: str | None


_HOME: Final = """
SELECT p.state, a.balance, f.balance, d.balance, coalesce(a.balance < p.suspend_below, false),
       p.warning, t.amount, t.decided_at, w.balance
  FROM prepaid_accounts p
  JOIN accounts a ON a.id = p.available JOIN accounts f ON f.id = p.frozen
  JOIN accounts d ON d.id = p.dues JOIN accounts w ON w.id = p.withdrawing
  LEFT JOIN LATERAL (
       SELECT q.amount, q.decided_at FROM topup_requests q
        WHERE q.merchant = p.merchant AND q.account = p.id AND q.state = 'CREDITED'
        ORDER BY q.decided_at DESC LIMIT 1) t ON true
 WHERE p.merchant = $1 AND p.currency = $2"""

_ACCOUNT: Final = """
SELECT id, available, frozen, withdrawing, dues FROM prepaid_accounts
 WHERE merchant = $1 AND currency = $2"""

_STREAM: Final = """
(SELECT {number} AS stream, t.{side}_seq AS seq, t.id, t.kind, t.amount, t.subject, h.order_id,
        h.state, t.effective_at, t.recorded_at
   FROM transfers t LEFT JOIN holds h ON h.account = $1
        AND t.subject LIKE 'order/%' AND h.order_id = substr(t.subject, 7)
  WHERE t.{side}_account = {account} AND t.{side}_seq < {before} AND t.kind IN ({kinds})
    AND ($2::timestamptz IS NULL OR t.effective_at >= $2)
    AND ($3::timestamptz IS NULL OR t.effective_at < $3)
    AND ($4::text IS NULL OR t.subject = 'order/' || $4)
    AND ($5::text IS NULL OR h.state = $5)
  ORDER BY t.{side}_seq DESC LIMIT $6)"""

_ORDERS: Final = """
SELECT order_id, state, fee, held, dues, released, cancelled, settled, refunded,
       placed_at, completed_at
  FROM holds WHERE account = $1 AND order_id = ANY($2::text[])"""

_TOPUPS: Final = """
SELECT id, request, state, amount, requested_at, expires_at, decided_at FROM topup_requests
 WHERE merchant = $1 AND currency = $2 AND ($3::text IS NULL OR state = $3)
   AND ($4::bigint IS NULL OR id < $4)
 ORDER BY id DESC LIMIT $5"""

_NEWEST: Final = 2**63 - 1


class Reads:
    """The door for look-ups. Every call is one short transaction that reads only."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def home(self, merchant: str, currency: str) -> HomeSummary:
        """The summary of an opened account (P-11). Raises Rejected(ACCOUNT_NOT_OPENED)."""
        rows = await self._fetch(_HOME, (merchant, currency))
        unopened = (AccountState.OPENING, AccountState.WAITING_BANK_INFO)
        if not rows or rows[0][0] in unopened:
            raise _not_opened()
        state, *figures = rows[0]
        return HomeSummary(merchant, currency, AccountState(state), *figures)

    async def flow(
        self,
        merchant: str,
        currency: str,
        tab: Tab,
        wanted: FlowFilter | None = None,
        *,
        page: tuple[int, str | None] = (100, None),
    ) -> FlowPage:
        """One page of a tab; ``page`` is its number of lines, up to 500, and the cursor before it.

        Raises Rejected(ACCOUNT_NOT_OPENED | FIELD_INVALID).
        """
        size, after = page
        _check_size(size)
        seek = wanted or FlowFilter()

        async def work(connection: AsyncConnection) -> FlowPage:
            account = await _account(connection, merchant, currency)
            streams = _streams(tab, account)
            places = _places(after, len(streams))
            rows = await fetch(
                connection,
                _merged(streams, places),
                (account[0], seek.since, seek.until, seek.order, seek.state, size + 1),
            )
            shown = rows[:size]
            for row in shown:
                places[row[0]] = row[1]
            more = len(rows) > size
            return FlowPage(
                lines=tuple(_flow_line(row) for row in shown),
                after=".".join(str(place) for place in places) if more else None,
            )

        return await in_transaction(self._engine, work)

    async def orders(
        self, merchant: str, currency: str, orders: Sequence[str]
    ) -> dict[str, HoldView]:
        """Where the fees of up to 500 orders stand; orders never heard of are not in the answer.

        Raises Rejected(ACCOUNT_NOT_OPENED | TOO_MANY).
        """
        if len(orders) > ORDERS_MAX:
            raise Rejected(Code.TOO_MANY, detail=f"at most {ORDERS_MAX} orders at once")

        async def work(connection: AsyncConnection) -> dict[str, HoldView]:
            account = await _account(connection, merchant, currency)
            rows = await fetch(connection, _ORDERS, (account[0], list(orders)))
            return {row[0]: _hold_view(merchant, currency, row) for row in rows}

        return await in_transaction(self._engine, work)

    async def topups(
        self,
        merchant: str,
        currency: str,
        *,
        state: TopUpState | None = None,
        page: tuple[int, str | None] = (100, None),
    ) -> TopUpPage:
        """The merchant's top-up requests in every state, refused ones too (P-27, P-76).

        Raises Rejected(FIELD_INVALID).
        """
        size, after = page
        _check_size(size)
        place = _places(after, 1)[0]
        rows = await self._fetch(_TOPUPS, (merchant, currency, state, place, size + 1))
        shown = rows[:size]
        lines = tuple(TopUpLine(row[1], TopUpState(row[2]), *row[3:]) for row in shown)
        return TopUpPage(lines, str(shown[-1][0]) if len(rows) > size else None)

    async def _fetch(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        return await in_transaction(self._engine, lambda c: fetch(c, statement, parameters))


@dataclass(frozen=True, slots=True)
class _Stream:
    """One side of one bucket's chain, read from its end by the chain's own unique index."""

    side: str
    account: int
    kinds: tuple[TransferKind, ...]


_SHORTEST_FIRST: Final = (Bucket.WITHDRAWING, Bucket.DUES, Bucket.FROZEN, Bucket.AVAILABLE)


def _streams(tab: Tab, account: Sequence[int]) -> list[_Stream]:
    """Where a tab's transfers are found: each kind in the least crowded of its buckets."""
    ids: dict[Bucket, int] = dict(
        zip(
            (Bucket.AVAILABLE, Bucket.FROZEN, Bucket.WITHDRAWING, Bucket.DUES),
            account[1:],
            strict=True,
        )
    )
    found: dict[tuple[str, int], list[TransferKind]] = {}
    for kind in TABS[tab]:
        sides = {TEMPLATES[kind].credit: "credit", TEMPLATES[kind].debit: "debit"}
        bucket = min(
            (b for b in sides if not CHART[b].platform), key=lambda b: _SHORTEST_FIRST.index(b)
        )
        found.setdefault((sides[bucket], ids[bucket]), []).append(kind)
    return [_Stream(side, place, tuple(kinds)) for (side, place), kinds in found.items()]


def _merged(streams: Sequence[_Stream], places: Sequence[int]) -> str:
    parts = (
        _STREAM.format(
            number=number,
            side=stream.side,
            account=stream.account,
            before=place,
            kinds=", ".join(f"'{kind.value}'" for kind in stream.kinds),
        )
        for number, (stream, place) in enumerate(zip(streams, places, strict=True))
    )
    return f"SELECT * FROM ({' UNION ALL '.join(parts)}) f ORDER BY id DESC LIMIT $6"


def _places(after: str | None, count: int) -> list[int]:
    """Where each stream goes on; a cursor that is not ours is refused."""
    if after is None:
        return [_NEWEST] * count
    parts = after.split(".")
    if len(parts) != count or not all(p.isascii() and p.isdigit() for p in parts):
        raise Rejected(Code.FIELD_INVALID, detail="not a cursor of this list")
    return [min(int(part), _NEWEST) for part in parts]


async def _account(connection: AsyncConnection, merchant: str, currency: str) -> Sequence[int]:
    rows = await fetch(connection, _ACCOUNT, (merchant, currency))
    if not rows:
        raise _not_opened()
    account: Sequence[int] = rows[0]
    return account


def _flow_line(row: Sequence[Any]) -> FlowLine:
    _, _, transfer, kind, amount, subject, order, state, effective_at, recorded_at = row
    return FlowLine(
        transfer, TransferKind(kind), amount, subject, order,
        HoldState(state) if state else None, effective_at, recorded_at,
    )  # fmt: skip


def _hold_view(merchant: str, currency: str, row: Sequence[Any]) -> HoldView:
    order, state, fee, held, dues, released, cancelled, settled, refunded, placed, done = row
    return HoldView(
        merchant=merchant, currency=currency, order=order, state=HoldState(state), fee_minor=fee,
        held_minor=held, dues_minor=dues, released_minor=released, cancelled_minor=cancelled,
        settled_minor=settled, refunded_minor=refunded, placed_at=placed, completed_at=done,
    )  # fmt: skip


def _check_size(size: int) -> None:
    if not 1 <= size <= PAGE_MAX:
        raise Rejected(Code.FIELD_INVALID, detail=f"a page has 1 to {PAGE_MAX} lines")


def _not_opened() -> Rejected:
    return Rejected(Code.ACCOUNT_NOT_OPENED, detail="no account of this merchant")
