"""The money of an entry and of its parts: amount, currency, side; exact or refused, no guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateways.bank.amounts import exact_minor
from gateways.bank.iso20022.shapes import Fields
from tillkeeper.contracts.bank import Side
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.receipt import PayerKind

SIDES: Final = {"CRDT": Side.CREDIT, "DBIT": Side.DEBIT}

PAYER_KINDS: Final = {kind.value: kind for kind in PayerKind}
CIRCUMSTANCES: Final = (
    *("status", "reversal", "batch_count"),
    *("booked_day", "booked_time", "value_day", "value_time"),
)
"""What thousands of entries have in common."""

AMOUNT: Final = "amount@"
CURRENCY: Final = "amount@currency"

Circumstances = tuple[str | None, ...]
"""What an entry says of each of ``CIRCUMSTANCES``."""


class Money(NamedTuple):
    """Minor units of a currency and the way they went; None where no amount is stated."""

    amount_minor: int | None
    currency: str
    side: Side


def entry_money(said: Fields, *, default: Side | None = None) -> Money:
    """What an entry or a balance states. Raises Rejected when it cannot be read exactly."""
    side = side_of(said.get("side"), default)
    currency = said.get(CURRENCY)
    amount = exact_minor(said.get(AMOUNT), currency)
    return Money(amount, currency or "", side)


def part_money(said: Fields, entry: Money, entry_said: Fields, *, alone: bool) -> Money:
    """What a part states; an only part without an amount has the entry's. Raises Rejected."""
    side = side_of(said.get("side"), entry.side)
    text = said.get(AMOUNT)
    currency = said.get(CURRENCY) or entry.currency
    if alone and text is None:
        currency, text = entry.currency, entry_said.get(AMOUNT)
    if currency == entry.currency and text == entry_said.get(AMOUNT):
        return entry if side is entry.side else Money(entry.amount_minor, currency, side)
    return Money(None if text is None else exact_minor(text, currency), currency, side)


def adds_up(parts: Sequence[Money], entry: Money) -> bool:
    """Whether the parts make up the entry exactly, in its currency."""
    total = 0
    for part in parts:
        if part.amount_minor is None or part.currency != entry.currency:
            return False
        total += part.amount_minor if part.side is entry.side else -part.amount_minor
    return total == entry.amount_minor


def side_of(text: str | None, default: Side | None) -> Side:
    """What ``CRDT`` or ``DBIT`` says, the default where nothing is said. Raises Rejected."""
    side = default if text is None else SIDES.get(text)
    if side is None:
        raise Rejected(Code.BANK_FILE_SIDE, detail="neither CRDT nor DBIT")
    return side
