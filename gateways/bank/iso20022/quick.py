"""Usual entries and their parts, straight from the values that a template took of them.

Makes what the entry's reader would make of the same fields; finds nothing and loses nothing. Of an
entry that is not usual it makes nothing: one whose only part says another money, or none exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from gateways.bank.amounts import exact_minor
from gateways.bank.iso20022.entry import (
    AMOUNT,
    CIRCUMSTANCES,
    CURRENCY,
    PAYER_KINDS,
    SIDES,
    Circumstances,
    Money,
    side_of,
)
from gateways.bank.iso20022.shapes import Groups
from tillkeeper.contracts.errors import Rejected

_OF_ENTRY: Final = {
    "bank_reference": "bank_reference",
    "entry_bank_reference": "bank_reference",
    "entry_reference": "entry_reference",
    "information": "information",
}
_NONE: Final = -1
"""Where the value is that a template has no group for: behind all others."""


class QuickPart:
    """What the parts of one template say, and their entry where it is read with its only part."""

    def __init__(self, part: Groups | None, entry: Groups | None = None) -> None:
        of_entry = entry.single if entry else {}
        picked = {name: of_entry[of] for name, of in _OF_ENTRY.items() if of in of_entry}
        if part is not None:
            picked.update(part.single)
        many = part.many if part else {}
        self._references = tuple(many.get("references", ()))
        self._lines = tuple(many.get("remittance", self._references))
        if len(self._lines) == 1:
            picked["remittance"] = self._lines[0]
        self.amount = picked.pop(AMOUNT, _NONE)
        self.side = picked.pop("side", _NONE)
        constant = part.constant if part else {}
        self.currency = constant.get(CURRENCY, "")
        kind = constant.get("payer_kind")
        self._payer_kind = None if kind is None else PAYER_KINDS[kind]
        self._names = tuple(picked)
        # two more that no name is for: of a single one a getter makes no tuple
        self._picked = itemgetter(*picked.values(), _NONE, _NONE)

    def money(self, values: Sequence[str | None], entry: Money) -> Money:
        """What one of several parts states, in the entry's currency unless it says otherwise.

        Raises Rejected when it cannot be read exactly.
        """
        currency, text = self.currency or entry.currency, values[self.amount]
        amount = None if text is None else exact_minor(text, currency)
        return Money(amount, currency, side_of(values[self.side], entry.side))

    def fill(self, fields: dict[str, Any], values: Sequence[str | None]) -> None:
        """Put all that is said, but the money, into the fields of a transaction."""
        fields.update(zip(self._names, self._picked(values), strict=False))
        if self._payer_kind is not None:
            fields["payer_kind"] = self._payer_kind
        if len(self._lines) > 1:
            fields["remittance"] = "\n".join([values[at] or "" for at in self._lines])
        if self._references:
            fields["creditor_references"] = tuple([values[at] for at in self._references])


class QuickEntry:
    """Entries of one template, with one part or none."""

    def __init__(self, entry: Groups, known: Mapping[Circumstances, dict[str, Any]]) -> None:
        """``known``: all fields, with what the entries of these circumstances have in common."""
        self._known = known
        self._part = QuickPart(entry.inner, entry)
        at = entry.single
        self._amount, self._side = at.get(AMOUNT, _NONE), at.get("side", _NONE)
        self._currency = entry.constant.get(CURRENCY, "")
        self._usable = self._part.currency in ("", self._currency)
        self._circumstances = itemgetter(*[at.get(name, _NONE) for name in CIRCUMSTANCES])

    def fields(self, values: Sequence[str | None]) -> dict[str, Any] | None:
        """All fields of the transaction but its place in the file; None where it is unusual."""
        part = self._part
        text, mark = values[self._amount], values[self._side]
        side = SIDES.get(mark or "")
        usual = self._usable and values[part.amount] in (None, text)
        if side is None or not usual or values[part.side] not in (None, mark):
            return None
        known = self._known.get(self._circumstances(values))
        if known is None:
            return None
        try:
            minor = exact_minor(text, self._currency)
        except Rejected:
            return None
        fields = known.copy()
        part.fill(fields, values)
        fields["amount_minor"] = fields["entry_amount_minor"] = minor
        fields["currency"] = fields["entry_currency"] = self._currency
        fields["side"] = fields["entry_side"] = side
        fields["adds_up"] = True
        return fields
