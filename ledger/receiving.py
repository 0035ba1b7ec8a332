"""Money that arrived becomes receipts: matched to requests, credited or kept for people.

Promises that a request is credited by one receipt only, the first in order (P-26), that every
receipt without one opens a work item (P-29), and that a batch takes few statements. The money
itself is booked by the caller, on the same sheet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows
from ledger.audit import SYSTEM, Act
from ledger.engine import copy_rows
from ledger.meant import Incoming, Request, Requests
from ledger.sheet import Effect, Sheet
from ledger.topups import credit_topups
from ledger.workitems import NewItem, open_items
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Broken
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.contracts.workitem import ItemKind
from tillkeeper.rules.matching import Match
from tillkeeper.rules.opening import activates, billing_start
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

_COLUMNS: Final = (
    "digest", "fingerprint", "amount", "currency", "state", "reason", "payer_sealed",
    "payer_digest", "payer_kind", "topup", "suggests", "activated", "booked_at", "received_at",
    "entry", "part", "reference_digest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receiver:
    """What receipts are decided with."""

    ring: KeyRing
    accounts: AccountRows
    profile: PrepaidProfile


@dataclass(frozen=True, slots=True)
class Credited:
    """A request that was paid; ``activated``: this made its account active (P-09)."""

    merchant: str
    currency: str
    request: str
    activated: bool


async def receive(
    sheet: Sheet,
    receiver: Receiver,
    requests: Requests,
    incoming: Sequence[Incoming],
    *,
    at: datetime,
) -> list[Credited]:
    """Record receipts in order, credit what they pay, open items for the others (P-26, P-29).

    Their money stands on the sheet already. Raises Broken.
    """
    rows: list[tuple[Any, ...]] = []
    items: list[NewItem] = []
    paid: list[tuple[Incoming, Request, bool]] = []
    activated: set[tuple[str, str]] = set()
    for money in incoming:
        decided = requests.decide(money)
        request = None if decided.credits is None else requests[decided.credits.id]
        first = request is not None and _activates(sheet, request, activated)
        rows.append(_row(money, decided, activated=first))
        if request is None:
            meant = None if decided.suggests is None else requests[decided.suggests.id]
            items.append(_item(money, decided, meant))
        else:
            paid.append((money, request, first))
            await _credit(sheet, request, at=at)
    await copy_rows(sheet.connection, "receipts", _COLUMNS, rows)
    await open_items(sheet.connection, items, at=at)
    await _decide(sheet.connection, receiver, paid, at=at)
    return [Credited(r.merchant, r.currency, r.request, first) for _, r, first in paid]


def receiving_buckets(currencies: Iterable[str]) -> list[tuple[Bucket, str]]:
    """The platform accounts that receipts move, for a sheet."""
    return [
        (bucket, currency)
        for currency in sorted(set(currencies))
        for bucket in (Bucket.BANK, Bucket.UNMATCHED_RECEIPTS)
    ]


def _activates(sheet: Sheet, request: Request, activated: set[tuple[str, str]]) -> bool:
    key = (request.merchant, request.currency)
    account = sheet.merchant(*key)
    if account is None or key in activated or not activates(account.state):
        return False
    activated.add(key)
    return True


async def _credit(sheet: Sheet, request: Request, *, at: datetime) -> None:
    account = sheet.merchant(request.merchant, request.currency)
    if account is None:
        raise Broken("a request to credit belongs to no account")
    name = f"topup/{request.merchant}/{request.request}/credit"
    effect = Effect(name, f"topup/{request.request}", at)
    await sheet.credit(TransferKind.TOPUP, account, amount=request.amount, effect=effect)


async def _decide(
    connection: AsyncConnection,
    receiver: Receiver,
    paid: Sequence[tuple[Incoming, Request, bool]],
    *,
    at: datetime,
) -> None:
    """Decide the requests; the first credit makes an account active, once (P-09, P-10)."""
    if not paid:
        return
    await credit_topups(connection, [(r.id, money.digest) for money, r, _ in paid], at=at)
    await receiver.accounts.audit.record_all(
        connection,
        Act("credit_topup", SYSTEM, at, receiver.profile.name),
        [
            (
                f"topup/{r.merchant}/{r.request}",
                {"state": TopUpState.WAITING_REMITTANCE.value},
                {"state": TopUpState.CREDITED.value, "receipt": money.digest},
            )
            for money, r, _ in paid
        ],
    )
    for _, request, first in paid:
        if first:
            await activate(connection, receiver, request.merchant, request.currency, at=at)


async def activate(
    connection: AsyncConnection, receiver: Receiver, merchant: str, currency: str, *, at: datetime
) -> None:
    """Make a configured account active, once: at its first credit (P-09, P-10)."""
    account = await receiver.accounts.read(connection, merchant, currency)
    if account is None or not activates(account.state):
        return
    await receiver.accounts.change(
        connection, account, Act("activate", SYSTEM, at, receiver.profile.name), receiver.profile,
        state=AccountState.ACTIVE, activated_at=at,
        billing_from=billing_start(account.billing_from, at),
    )  # fmt: skip


def _row(money: Incoming, decided: Match, *, activated: bool) -> tuple[Any, ...]:
    state = ReceiptState.UNMATCHED if decided.credits is None else ReceiptState.CREDITED
    return (
        money.digest, money.fingerprint, money.amount, money.currency, state.value,
        None if decided.reason is None else decided.reason.value,
        money.payer_sealed, money.payer_digest, money.payer_kind.value,
        None if decided.credits is None else decided.credits.id,
        None if decided.suggests is None else decided.suggests.id,
        activated, money.booked_at, money.received_at,
        money.entry, money.part, money.reference_digest,
    )  # fmt: skip


def _item(money: Incoming, decided: Match, meant: Request | None) -> NewItem:
    return NewItem(
        ItemKind.UNMATCHED_RECEIPT,
        f"receipt/{money.digest}",
        "" if decided.reason is None else decided.reason.value,
        money.amount,
        money.currency,
        {
            "suggests": None if meant is None else f"{meant.merchant}/{meant.request}",
            "entry": money.entry,
        },
    )
