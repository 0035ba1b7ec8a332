"""Order messages into the book: hold, release, settle, refund, in any order, any number of times.

One call is one transaction for up to 500 messages, decided one after another under the merchants'
locks.
The business rows answer repeated messages; the transfers' keys are the second wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import in_transaction
from ledger.holds import HoldRow, Return
from ledger.sheet import Effect, MerchantAccount, Sheet
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import AMOUNT_MINOR_MAX
from tillkeeper.contracts.order import OrderEvent, OrderMessage, OrderOutcome, OrderResult
from tillkeeper.rules.orders import complete, give_back, place

BATCH_MAX: Final = 500

DUES_MAX: Final = AMOUNT_MINOR_MAX
"""A merchant's dues in minor units: further holds are refused before any sum could overflow."""

_TAKES_HOLDS: Final = (AccountState.ACTIVE, AccountState.ABNORMAL)
_APPLIED: Final = OrderOutcome(OrderResult.APPLIED)
_DUES: Final = OrderOutcome(OrderResult.DUES)
_PARKED: Final = OrderOutcome(OrderResult.PARKED)


def _refused(code: Code, *, replayed: bool = False) -> OrderOutcome:
    return OrderOutcome(OrderResult.REFUSED, replayed=replayed, code=code)


class OrderBook:
    """The door for order messages. Safe to call twice with the same messages."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def apply(self, messages: Sequence[OrderMessage]) -> list[OrderOutcome]:
        """Apply up to 500 messages in one transaction, in their order; one outcome each.

        Raises Rejected(TOO_MANY), Unavailable, BookBroken.
        """
        if len(messages) > BATCH_MAX:
            raise Rejected(Code.TOO_MANY, detail=f"at most {BATCH_MAX} messages at once")

        async def work(connection: AsyncConnection) -> list[OrderOutcome]:
            sheet = await Sheet.open(
                connection, merchants={(m.merchant, m.currency) for m in messages}
            )
            await _load(sheet, messages)
            outcomes = [await _decide(sheet, message) for message in messages]
            await sheet.write()
            return outcomes

        return await in_transaction(self._engine, work)


async def _load(sheet: Sheet, messages: Sequence[OrderMessage]) -> None:
    wanted: dict[tuple[int, str], None] = {}
    message_ids: list[str] = []
    for message in messages:
        account = sheet.merchant(message.merchant, message.currency)
        if account is not None:
            wanted[account.id, message.order] = None
            if message.message_id is not None:
                message_ids.append(message.message_id)
    if wanted:
        await sheet.holds.load(list(wanted), message_ids)


async def _decide(sheet: Sheet, message: OrderMessage) -> OrderOutcome:
    account = sheet.merchant(message.merchant, message.currency)
    if account is None:
        return _refused(Code.ACCOUNT_NOT_OPENED)
    order = sheet.holds.row(account.id, message.order)
    if message.event is OrderEvent.HOLD:
        return await _hold(sheet, account, order, message)
    if order.refused is not None:
        return _refused(Code(order.refused), replayed=True)
    if not order.stored and not order.changed and account.state not in _TAKES_HOLDS:
        return _refused(Code.ACCOUNT_NOT_ACTIVE)
    if message.event is OrderEvent.SETTLE:
        return await _settle(sheet, account, order, message)
    return await _return(sheet, account, order, message)


async def _hold(
    sheet: Sheet, account: MerchantAccount, order: HoldRow, message: OrderMessage
) -> OrderOutcome:
    fee = message.amount_minor or 0
    if order.refused is not None:
        return _refused(Code(order.refused), replayed=True)
    if order.fee is not None:
        same = (order.fee, order.fee_version) == (fee, message.fee_version)
        if same:
            first = OrderResult.DUES if order.due_seq is not None else OrderResult.APPLIED
            return OrderOutcome(first, replayed=True)
        reused = order.fee_version == message.fee_version
        return _refused(Code.KEY_REUSED if reused else Code.ORDER_ALREADY_HELD)
    order.placed_at = message.at
    order.fee_version = message.fee_version
    sheet.holds.touch(order)
    available = sheet.balance(account.available)
    refusal = _not_billed(account, message)
    if refusal is None and fee > available and sheet.balance(account.dues) + fee > DUES_MAX:
        refusal = Code.AMOUNT_TOO_LARGE
    if refusal is not None:
        order.refused = refusal.value
        _refuse_parked(sheet, order, refusal)
        return _refused(refusal)
    completed_at, order.completed_at = order.completed_at, None
    for kind, amount in place(order, fee, available):
        _post(sheet, account, kind, amount, _effect(account, order, "hold", message.at))
    outcome = _APPLIED
    if order.dues:
        sheet.holds.raised(order, sheet.sequence(account.dues))
        outcome = _DUES
    await _take_parked(sheet, account, order, OrderEvent.RELEASE)
    if completed_at is not None:
        await _finish(sheet, account, order, completed_at)
    return outcome


def _not_billed(account: MerchantAccount, message: OrderMessage) -> Code | None:
    """Why an order is not billed through this account at all (P-10, matrix 1.9)."""
    if account.state is AccountState.CLOSED:
        return Code.ACCOUNT_CLOSED
    if account.state not in _TAKES_HOLDS:
        return Code.ACCOUNT_NOT_ACTIVE
    if account.billing_from is not None and message.at < account.billing_from:
        return Code.FORMER_BILLING_MODE
    return None


async def _settle(
    sheet: Sheet, account: MerchantAccount, order: HoldRow, message: OrderMessage
) -> OrderOutcome:
    if order.completed_at is not None:
        return OrderOutcome(
            OrderResult.APPLIED if order.placed else OrderResult.PARKED, replayed=True
        )
    sheet.holds.touch(order)
    if not order.placed:
        order.completed_at = message.at
        return _PARKED
    await _finish(sheet, account, order, message.at)
    return _APPLIED


async def _finish(
    sheet: Sheet, account: MerchantAccount, order: HoldRow, completed_at: datetime
) -> None:
    """Settle a placed order at its own time, then apply the refunds that waited for that."""
    for kind, amount in complete(order, completed_at):
        _post(sheet, account, kind, amount, _effect(account, order, "settle", completed_at))
    await _take_parked(sheet, account, order, OrderEvent.REFUND)


async def _return(
    sheet: Sheet, account: MerchantAccount, order: HoldRow, message: OrderMessage
) -> OrderOutcome:
    known = order.returns.get(message.message_id or "")
    if known is not None:
        return _answer_again(known, message)
    note = Return(
        account.id, order.order_id, message.message_id or "", message.event.value,
        message.amount_minor or 0, OrderResult.PARKED.value, None, message.at,
    )  # fmt: skip
    waits = not order.placed or (message.event is OrderEvent.REFUND and not order.completed)
    if waits:
        sheet.holds.touch(order)
        sheet.holds.note(order, note)
        return _PARKED
    return await _apply_return(sheet, account, order, note)


def _answer_again(known: Return, message: OrderMessage) -> OrderOutcome:
    if (known.event, known.amount) != (message.event.value, message.amount_minor):
        return _refused(Code.KEY_REUSED)
    if known.code is not None:
        return _refused(Code(known.code), replayed=True)
    return OrderOutcome(OrderResult(known.result), replayed=True)


async def _apply_return(
    sheet: Sheet, account: MerchantAccount, order: HoldRow, note: Return
) -> OrderOutcome:
    effects = give_back(order, note.amount)
    if isinstance(effects, Code):
        note.result, note.code = OrderResult.REFUSED.value, effects.value
        sheet.holds.note(order, note)
        return _refused(effects)
    note.result = OrderResult.APPLIED.value
    sheet.holds.touch(order)
    sheet.holds.note(order, note)
    for kind, amount in effects:
        effect = _effect(account, order, f"{note.message_id}/{kind}", note.at)
        if kind is TransferKind.DUES_CANCELLED:
            _post(sheet, account, kind, amount, effect)
        else:
            await sheet.credit(kind, account, amount=amount, effect=effect)
    return _APPLIED


def _effect(account: MerchantAccount, order: HoldRow, part: str, at: datetime) -> Effect:
    subject = f"order/{order.order_id}"
    name = f"order/{account.merchant}/{account.currency}/{order.order_id}/{part}"
    return Effect(name, subject, at)


def _post(
    sheet: Sheet, account: MerchantAccount, kind: TransferKind, amount: int, effect: Effect
) -> None:
    sheet.post(kind, account, currency=account.currency, amount=amount, effect=effect)


async def _take_parked(
    sheet: Sheet, account: MerchantAccount, order: HoldRow, event: OrderEvent
) -> None:
    for note in list(order.returns.values()):
        if note.result == OrderResult.PARKED.value and note.event == event.value:
            await _apply_return(sheet, account, order, note)


def _refuse_parked(sheet: Sheet, order: HoldRow, code: Code) -> None:
    for note in list(order.returns.values()):
        if note.result == OrderResult.PARKED.value:
            note.result, note.code = OrderResult.REFUSED.value, code.value
            sheet.holds.note(order, note)
