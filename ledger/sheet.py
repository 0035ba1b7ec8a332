"""One transaction's working copy of the accounts it touches: lock, decide in memory, write once.

A merchant's ``available`` row is the merchant's lock: whoever holds it may change all of the
merchant's buckets and orders. Locks are taken in one order for all (merchants, platform, platform
shards), each group by id, so that no two sheets can wait for each other in a circle. Shards of the
platform have no part in any decision and are therefore locked last, just before writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from time import perf_counter
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.chart import find_accounts, platform_account
from ledger.engine import copy_rows, execute, fetch, observer
from ledger.holds import HoldRow, HoldRows
from ledger.keys import effect_key, fingerprint
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import BookBroken, Code, Rejected
from tillkeeper.rules.guard import Thresholds, crossings
from tillkeeper.rules.orders import pay_dues
from tillkeeper.rules.postings import CHART, TEMPLATES

BALANCE_MAX: Final = 2**62
"""No balance may grow beyond this many minor units: a refusal, before 64 bits overflow."""

_LOCK: Final = """
SELECT id, balance, seq, side = 'C', floored FROM accounts
 WHERE id = ANY($1::bigint[]) ORDER BY lock_rank, id FOR NO KEY UPDATE"""

_READ_MERCHANTS: Final = """
SELECT p.id, p.merchant, p.currency, p.state, p.profile, p.billing_from,
       p.warning, p.suspend_below, p.hard_floor, p.resume_above,
       p.available, p.frozen, p.withdrawing, p.dues, p.fee_income, p.dues_unearned,
       f.balance, f.seq, w.balance, w.seq, d.balance, d.seq
  FROM prepaid_accounts p
  JOIN accounts f ON f.id = p.frozen JOIN accounts w ON w.id = p.withdrawing
  JOIN accounts d ON d.id = p.dues
 WHERE p.id = ANY($1::bigint[])"""

_TRANSFER: Final = (
    "key", "fingerprint", "kind", "amount", "currency", "debit_account", "debit_seq", "debit_after",
    "credit_account", "credit_seq", "credit_after", "subject", "effective_at",
)  # fmt: skip

_UPDATE_ACCOUNTS: Final = """
UPDATE accounts a SET balance = v.balance, seq = v.seq
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS v (id, balance, seq) WHERE a.id = v.id"""

_INSERT_OUTBOX: Final = """
INSERT INTO outbox (topic, account, threshold, available, effective_at)
SELECT 'guard', * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::timestamptz[])"""


class Mark(NamedTuple):
    """How much stood on a sheet: transfers, crossings, payments of dues."""

    lines: int
    crossed: int
    paid: int


class Effect(NamedTuple):
    """What a transfer is called for ever (``name``), what it belongs to, and its stated time."""

    name: str
    subject: str
    at: datetime


class BucketRow:
    """One account's balance (on its own side) and sequence while the sheet is open."""

    __slots__ = ("balance", "by_credit", "changed", "floored", "id", "seq")

    def __init__(self, row: Sequence[Any]) -> None:
        self.id: int = row[0]
        self.balance: int = row[1]
        self.seq: int = row[2]
        self.by_credit: bool = row[3]
        self.floored: bool = row[4]
        self.changed = False

    def check(self, amount: int, *, shrinks: bool) -> None:
        """Refuse a move of ``amount`` minor units below the floor, or beyond what 64 bits hold."""
        if shrinks and self.floored and self.balance < amount:
            raise Rejected(Code.INSUFFICIENT_FUNDS, detail="an account is short")
        if abs(self.balance) + amount > BALANCE_MAX:
            raise Rejected(Code.AMOUNT_TOO_LARGE, detail="more than an account can hold")


@dataclass(slots=True)
class MerchantAccount:
    """One prepaid account as it stands under the lock; bucket fields are account ids."""

    id: int
    merchant: str
    currency: str
    state: AccountState
    profile: str
    billing_from: datetime | None
    thresholds: Thresholds | None
    available: int
    frozen: int
    withdrawing: int
    dues: int
    fee_income: int
    dues_unearned: int


def _merchant_account(row: Sequence[Any]) -> MerchantAccount:
    lines = None if row[9] is None else Thresholds(row[6], row[7], row[8], row[9])
    buckets: list[int] = list(row[10:16])
    return MerchantAccount(
        row[0], row[1], row[2], AccountState(row[3]), row[4], row[5], lines, *buckets
    )


@dataclass(slots=True)
class _Move:
    """A posting template bound to the attributes that hold its accounts' ids."""

    kind: str
    debit: Bucket
    credit: Bucket
    debit_late: bool
    credit_late: bool


_MOVES: Final = {
    kind: _Move(
        kind.value,
        template.debit,
        template.credit,
        CHART[template.debit].shards > 1,
        CHART[template.credit].shards > 1,
    )
    for kind, template in TEMPLATES.items()
}
_OWN: Final = {
    bucket: attrgetter(bucket.value)
    for bucket, rule in CHART.items()
    if not rule.platform or rule.shards > 1
}


class Sheet:
    """The open working copy. ``post`` decides, ``write`` makes it so; the caller commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._opened = 0.0
        self._merchants: dict[tuple[str, str], MerchantAccount] = {}
        self._accounts: dict[int, BucketRow] = {}
        self._platform: dict[tuple[Bucket, str], int] = {}
        self._lines: list[list[Any]] = []
        self._crossed: list[tuple[int, str, int, datetime]] = []
        self._paid: list[tuple[HoldRow, int]] = []
        self.holds = HoldRows(connection)

    @classmethod
    async def open(
        cls,
        connection: AsyncConnection,
        *,
        merchants: Iterable[tuple[str, str]],
        platform: Iterable[tuple[Bucket, str]] = (),
    ) -> Sheet:
        """Lock the ``merchants``' accounts (id, currency), then the unsharded ``platform`` ones."""
        sheet = cls(connection)
        sheet._opened = perf_counter()
        ids = await find_accounts(connection, set(merchants))
        for bucket, currency in platform:
            account = await platform_account(connection, bucket, currency)
            sheet._platform[bucket, currency] = account
        locks = [available for _, available in ids.values()] + list(sheet._platform.values())
        if locks:
            await sheet._lock(locks)
        if ids:
            await sheet._read_merchants([account for account, _ in ids.values()])
        return sheet

    async def _lock(self, ids: list[int]) -> None:
        for row in await fetch(self.connection, _LOCK, (ids,)):
            self._accounts[row[0]] = BucketRow(row)

    async def _read_merchants(self, ids: list[int]) -> None:
        # A statement of its own: waiting for a lock does not refresh a statement's snapshot.
        for row in await fetch(self.connection, _READ_MERCHANTS, (ids,)):
            account = _merchant_account(row)
            self._merchants[account.merchant, account.currency] = account
            self._accounts[account.frozen] = BucketRow((account.frozen, *row[16:18], True, True))
            self._accounts[account.withdrawing] = BucketRow(
                (account.withdrawing, *row[18:20], True, True)
            )
            self._accounts[account.dues] = BucketRow((account.dues, *row[20:22], False, True))

    def merchant(self, merchant: str, currency: str) -> MerchantAccount | None:
        """The locked account, or None where none was ever opened."""
        return self._merchants.get((merchant, currency))

    def balance(self, account: int) -> int:
        """Balance of an account id in minor units, with everything posted so far."""
        return self._accounts[account].balance

    def sequence(self, account: int) -> int:
        """Last sequence of an account id, with everything posted so far."""
        return self._accounts[account].seq

    def post(
        self,
        kind: TransferKind,
        owner: MerchantAccount | None,
        *,
        currency: str,
        amount: int,
        effect: Effect,
    ) -> None:
        """Move ``amount`` minor units by the template of ``kind``.

        Raises Rejected(INSUFFICIENT_FUNDS | AMOUNT_TOO_LARGE).
        """
        before = self._accounts[owner.available].balance if owner is not None else 0
        self._move(kind, owner, currency=currency, amount=amount, effect=effect)
        if owner is not None:
            self._note_crossings(owner, before, effect.at)

    def _move(
        self,
        kind: TransferKind,
        owner: MerchantAccount | None,
        *,
        currency: str,
        amount: int,
        effect: Effect,
    ) -> None:
        move = _MOVES[kind]
        debit_id = self._account_id(move.debit, owner, currency)
        credit_id = self._account_id(move.credit, owner, currency)
        debit = None if move.debit_late else self._accounts[debit_id]
        credit = None if move.credit_late else self._accounts[credit_id]
        # A debit shrinks what grows by credit, a credit what grows by debit.
        for row, shrinks in ((debit, True), (credit, False)):
            if row is not None:
                row.check(amount, shrinks=row.by_credit is shrinks)
        name, subject, at = effect
        body = f"{move.kind}|{amount}|{currency}|{owner.merchant if owner else ''}|{subject}"
        line = [
            effect_key(name, at), fingerprint(body), move.kind, amount, currency,
            debit_id, 0, 0, credit_id, 0, 0, subject, at,
        ]  # fmt: skip
        if debit is not None:
            line[6], line[7] = self._apply(debit, -amount if debit.by_credit else amount)
        if credit is not None:
            line[9], line[10] = self._apply(credit, amount if credit.by_credit else -amount)
        self._lines.append(line)

    def _note_crossings(self, owner: MerchantAccount, before: int, at: datetime) -> None:
        after = self._accounts[owner.available].balance
        if after != before and owner.thresholds is not None:
            for threshold in crossings(before, after, owner.thresholds):
                self._crossed.append((owner.id, threshold.value, after, at))

    def _account_id(self, bucket: Bucket, owner: MerchantAccount | None, currency: str) -> int:
        own = _OWN.get(bucket)
        if own is None:
            return self._platform[bucket, currency]
        if owner is None or owner.currency != currency:
            raise Rejected(
                Code.BOOK_ACCOUNT_UNKNOWN, detail=f"{bucket} needs its merchant's account"
            )
        account: int = own(owner)
        return account

    @staticmethod
    def _apply(account: BucketRow, delta: int) -> tuple[int, int]:
        account.balance += delta
        account.seq += 1
        account.changed = True
        return account.seq, account.balance

    @property
    def mark(self) -> Mark:
        """A point to go back to with ``undo``."""
        return Mark(len(self._lines), len(self._crossed), len(self._paid))

    def undo(self, mark: Mark) -> None:
        """Take back what was posted since ``mark``, for requests that stand or fall together."""
        while len(self._lines) > mark.lines:
            line = self._lines.pop()
            for account_id, seq, is_credit in ((line[5], line[6], False), (line[8], line[9], True)):
                if seq:
                    account = self._accounts[account_id]
                    account.seq -= 1
                    account.balance -= line[3] if account.by_credit is is_credit else -line[3]
        del self._crossed[mark.crossed :]
        while len(self._paid) > mark.paid:
            self.holds.unpay(*self._paid.pop())

    async def credit(
        self, kind: TransferKind, owner: MerchantAccount, *, amount: int, effect: Effect
    ) -> None:
        """Increase available by ``amount`` minor units; the increase pays dues first (P-46).

        Oldest dues first, partly where it is not enough (Q-09, T10, T11). A guard threshold is
        crossed by what is left after that, if at all.
        """
        before = self.balance(owner.available)
        self._move(kind, owner, currency=owner.currency, amount=amount, effect=effect)
        increase = amount
        while increase and self.balance(owner.dues):
            order = await self.holds.oldest_due(owner.id)
            if order is None:
                raise BookBroken(f"dues of account {owner.id} belong to no order")
            paid = min(increase, order.dues)
            increase -= paid
            self._pay(owner, order, paid, effect)
        self._note_crossings(owner, before, effect.at)

    def _pay(self, owner: MerchantAccount, order: HoldRow, paid: int, cause: Effect) -> None:
        self._paid.append((order, paid))
        for step, (kind, part) in enumerate(pay_dues(order, paid)):
            name = f"{cause.name}/dues/{order.order_id}/{step}"
            effect = Effect(name, f"order/{order.order_id}", cause.at)
            self._move(kind, owner, currency=owner.currency, amount=part, effect=effect)
        self.holds.touch(order)

    async def write(self) -> None:
        """Write everything decided: one insert and one update per table, and the crossings."""
        await self.holds.write()
        if not self._lines:
            return
        await self._take_late_legs()
        await copy_rows(self.connection, "transfers", _TRANSFER, self._lines)
        changed = [a for a in self._accounts.values() if a.changed]
        await execute(
            self.connection,
            _UPDATE_ACCOUNTS,
            ([a.id for a in changed], [a.balance for a in changed], [a.seq for a in changed]),
        )
        if self._crossed:
            crossed = tuple(zip(*self._crossed, strict=True))
            await execute(self.connection, _INSERT_OUTBOX, crossed)
        observe = observer(self.connection)
        if observe is not None:
            observe(len(self._lines), perf_counter() - self._opened)

    async def _take_late_legs(self) -> None:
        late = {
            account
            for line in self._lines
            for account in (line[5] if not line[6] else 0, line[8] if not line[9] else 0)
            if account
        }
        if not late:
            return
        await self._lock(sorted(late))
        for line in self._lines:
            if not line[6]:
                account = self._accounts[line[5]]
                account.check(line[3], shrinks=False)
                line[6], line[7] = self._apply(account, -line[3] if account.by_credit else line[3])
            if not line[9]:
                account = self._accounts[line[8]]
                account.check(line[3], shrinks=False)
                line[9], line[10] = self._apply(account, line[3] if account.by_credit else -line[3])
