"""The business rows of orders while a sheet is open: read, change in memory, write once.

Whoever uses them holds the merchant's lock. Rows are the truth about where an order's fee stands;
the verifier holds them against the transfers.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import copy_rows, execute, fetch
from tillkeeper.rules.orders import OrderFee

DUE_PAGE: Final = 200

_COLUMNS: Final = """h.fee, h.fee_version, h.held, h.dues, h.released, h.cancelled, h.settled,
       h.refunded, h.refused, h.placed_at, h.completed_at, h.account, h.order_id, h.due_seq"""

_READ: Final = f"""
SELECT {_COLUMNS} FROM holds h
  JOIN unnest($1::bigint[], $2::text[]) AS k (account, order_id) USING (account, order_id)"""

_READ_DUE: Final = f"""
SELECT {_COLUMNS} FROM holds h
 WHERE h.account = $1 AND h.dues > 0 AND h.due_seq > $2 ORDER BY h.due_seq LIMIT {DUE_PAGE}"""

_READ_RETURNS: Final = """
SELECT r.account, r.order_id, r.message_id, r.event, r.amount, r.result, r.code, r.effective_at
  FROM hold_returns r
  JOIN unnest($1::bigint[], $2::text[]) AS k (account, order_id) USING (account, order_id)
 WHERE r.result = 'parked' OR r.message_id = ANY($3::text[])
 ORDER BY r.id"""

_VALUES: Final = """unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[],
       $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::timestamptz[], $11::timestamptz[],
       $12::bigint[], $13::text[], $14::bigint[])"""

_STORED: Final = (
    "fee", "fee_version", "held", "dues", "released", "cancelled", "settled", "refunded",
    "refused", "placed_at", "completed_at", "account", "order_id", "due_seq",
)  # fmt: skip

_UPDATE: Final = f"""
UPDATE holds h
   SET fee = v.fee, fee_version = v.fee_version, held = v.held, dues = v.dues,
       released = v.released, cancelled = v.cancelled, settled = v.settled,
       refunded = v.refunded, refused = v.refused, placed_at = v.placed_at,
       completed_at = v.completed_at, due_seq = v.due_seq
  FROM {_VALUES} AS v (fee, fee_version, held, dues, released, cancelled, settled, refunded,
                       refused, placed_at, completed_at, account, order_id, due_seq)
 WHERE h.account = v.account AND h.order_id = v.order_id"""

_WRITE_RETURNS: Final = """
INSERT INTO hold_returns (account, order_id, message_id, event, amount, result, code, effective_at)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                     $7::text[], $8::timestamptz[])
ON CONFLICT (account, order_id, message_id)
DO UPDATE SET result = EXCLUDED.result, code = EXCLUDED.code"""


@dataclass(slots=True)
class Return:
    """One release or refund message and what became of it; ``amount`` in minor units."""

    account: int
    order_id: str
    message_id: str
    event: str
    amount: int
    result: str
    code: str | None
    at: datetime


@dataclass(slots=True)
class HoldRow(OrderFee):
    """One order's row; ``due_seq`` is the place of its dues in the merchant's dues account."""

    account: int = 0
    order_id: str = ""
    due_seq: int | None = None
    stored: bool = False
    changed: bool = False
    returns: dict[str, Return] = field(default_factory=dict)

    def values(self) -> tuple[Any, ...]:
        """The row in the order of the statements above."""
        return (
            self.fee, self.fee_version, self.held, self.dues, self.released, self.cancelled,
            self.settled, self.refunded, self.refused, self.placed_at, self.completed_at,
            self.account, self.order_id, self.due_seq,
        )  # fmt: skip


class HoldRows:
    """Orders of the merchants that the sheet has locked."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._rows: dict[tuple[int, str], HoldRow] = {}
        self._changed: list[HoldRow] = []
        self._returns: dict[tuple[int, str, str], Return] = {}
        self._due: defaultdict[int, deque[HoldRow]] = defaultdict(deque)
        self._due_read: dict[int, int | None] = {}
        self._raised: defaultdict[int, deque[HoldRow]] = defaultdict(deque)

    async def load(self, wanted: Sequence[tuple[int, str]], message_ids: Sequence[str]) -> None:
        """Read rows of (account, order), with parked returns and those of ``message_ids``."""
        keys = ([account for account, _ in wanted], [order for _, order in wanted])
        for row in await fetch(self._connection, _READ, keys):
            self._keep(row)
        if not self._rows:
            return
        found = await fetch(self._connection, _READ_RETURNS, (*keys, list(message_ids)))
        for row in found:
            note = Return(*row)
            self._rows[note.account, note.order_id].returns[note.message_id] = note

    def row(self, account: int, order_id: str) -> HoldRow:
        """The order's row; an empty one for an order never heard of (call ``load`` before)."""
        key = (account, order_id)
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = HoldRow(account=account, order_id=order_id)
        return found

    def touch(self, row: HoldRow) -> None:
        """Note that ``row`` has to be written."""
        if not row.changed:
            row.changed = True
            self._changed.append(row)

    def note(self, row: HoldRow, message: Return) -> None:
        """Note a return's outcome on its order."""
        row.returns[message.message_id] = message
        self._returns[message.account, message.order_id, message.message_id] = message

    def raised(self, row: HoldRow, due_seq: int) -> None:
        """Note dues raised on this sheet: younger than all that the table knows."""
        row.due_seq = due_seq
        self._raised[row.account].append(row)

    def unpay(self, row: HoldRow, amount: int) -> None:
        """Take back a payment of dues that was made on this sheet."""
        row.dues += amount
        if row.completed:
            row.settled -= amount
        else:
            row.held -= amount
        # The queue has moved on; read anew, it begins with the oldest that is due again.
        self._due.pop(row.account, None)
        self._due_read.pop(row.account, None)

    async def oldest_due(self, account: int) -> HoldRow | None:
        """The order with the oldest unpaid dues of an account."""
        while True:
            waiting = self._due[account]
            while waiting:
                if waiting[0].dues:
                    return waiting[0]
                waiting.popleft()
            after = self._due_read.get(account, 0)
            if after is None:
                break
            found = await fetch(self._connection, _READ_DUE, (account, after))
            rows = [self._keep(row) for row in found]
            waiting.extend(rows)
            self._due_read[account] = rows[-1].due_seq if len(rows) == DUE_PAGE else None
        young = self._raised[account]
        while young and not young[0].dues:
            young.popleft()
        return young[0] if young else None

    def _keep(self, row: Sequence[Any]) -> HoldRow:
        key = (row[11], row[12])
        if key not in self._rows:
            self._rows[key] = HoldRow(*row)
            self._rows[key].stored = True
        return self._rows[key]

    async def write(self) -> None:
        """Write what changed: one insert, one update, one upsert of returns."""
        fresh = [row.values() for row in self._changed if not row.stored]
        if fresh:
            await copy_rows(self._connection, "holds", _STORED, fresh)
        known = [row.values() for row in self._changed if row.stored]
        if known:
            await execute(self._connection, _UPDATE, tuple(zip(*known, strict=True)))
        if self._returns:
            notes = [
                (n.account, n.order_id, n.message_id, n.event, n.amount, n.result, n.code, n.at)
                for n in self._returns.values()
            ]
            await execute(self._connection, _WRITE_RETURNS, tuple(zip(*notes, strict=True)))
