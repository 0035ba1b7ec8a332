"""Single fields of MT940/MT942 through the ``mt-940`` library; each refuses what it cannot read.

The library writes what it fails on into its log, names and accounts too: its log is silenced here.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import mt940
from mt940.tags import TAG_BY_ID, Tag

from gateways.bank.amounts import decimals, exact_minor
from tillkeeper.contracts.bank import Side, StatementBalance
from tillkeeper.contracts.errors import Code, Rejected

logging.getLogger("mt940").setLevel(logging.CRITICAL + 1)

BALANCE_TAGS: Final = ("60", "62", "64", "65")

_NO_REFERENCE: Final = frozenset({"", "NONREF"})
_ELSEWHERE: Final = frozenset({"EREF", "PREF", "MARF", "KREF"})
"""In place of a reference: it stands in the details."""
_MARKS: Final = {
    "C": (Side.CREDIT, False, False),
    "D": (Side.DEBIT, False, False),
    # a reversed credit takes money away, a reversed debit brings it back
    "RC": (Side.DEBIT, True, False),
    "RD": (Side.CREDIT, True, False),
    "EC": (Side.CREDIT, False, True),
    "ED": (Side.DEBIT, False, True),
}
_EXPECTED: Final = re.compile(r"^(?P<dates>[0-9 ]{6,10})E(?P<mark>[CD])", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]+,?[0-9]*|,[0-9]+", re.ASCII)
_CENTURY: Final = 2000
_HALF_A_YEAR: Final = timedelta(days=184)
_BALANCE_HEAD: Final = len("C240506EUR")
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}", re.ASCII)


@dataclass(slots=True)
class Line:
    """One ``:61:``; ``amount`` is the text in the file, ``side`` the effect on the account."""

    amount: str
    side: Side
    reversal: bool
    expected: bool
    value_date: date
    booking_date: date | None
    customer_reference: str | None
    bank_reference: str | None
    supplement: str

    def minor(self, currency: str | None) -> int:
        """Exact minor units in the statement's ``currency``. Raises Rejected."""
        if currency is None:
            raise Rejected(Code.CURRENCY_UNKNOWN, detail="no balance states the currency")
        return exact_minor(self.amount.replace(",", "."), currency)

    def signed_minor(self, currency: str | None) -> int:
        """As ``minor``, negative for a debit; an expected line moves nothing."""
        amount = 0 if self.expected else self.minor(currency)
        return amount if self.side is Side.CREDIT else -amount


def read_field(text: str, *, tag: str) -> dict[str, str | None]:
    """The named groups of a field. Raises Rejected(BANK_FILE_LINE)."""
    return _groups(_tag(tag), text)


def read_line(text: str) -> Line:
    """A statement line. Raises Rejected(BANK_FILE_LINE | BANK_FILE_DATE | BANK_FILE_AMOUNT)."""
    first, _, rest = text.partition("\n")
    expected = _EXPECTED.match(first)
    if expected:
        first = first[: expected.end("dates")] + first[expected.start("mark") :]
    said = _groups(TAG_BY_ID[61], first.rstrip())
    mark = ("E" if expected else "") + (said["status"] or "").upper()
    # a line that was cut off ends in its amount, and half an amount is a wrong one
    if mark not in _MARKS or not said.get("id"):
        raise Rejected(Code.BANK_FILE_LINE, detail="no transaction type after the amount")
    said, rest = _with_references(said, first, rest)
    side, reversal, pending = _MARKS[mark]
    amount = said["amount"] or ""
    if _DIGITS.fullmatch(amount) is None:
        raise Rejected(Code.BANK_FILE_AMOUNT, detail="no amount like 5000,00")
    value = _date(said["year"], said["month"], said["day"])
    customer = _reference(said.get("customer_reference"))
    return Line(
        amount=amount,
        side=side,
        reversal=reversal,
        expected=pending,
        value_date=value,
        booking_date=_entry_date(value, said.get("entry_month"), said.get("entry_day")),
        customer_reference=None if customer in _ELSEWHERE else customer,
        bank_reference=_reference(said.get("bank_reference")),
        supplement="\n".join(
            part for part in (said.get("extra_details") or "", rest.strip()) if part.strip()
        ),
    )


def _with_references(
    said: dict[str, str | None], first: str, rest: str
) -> tuple[dict[str, str | None], str]:
    """Both references whole, and what stands under them.

    The library cuts them at SWIFT's lengths; banks write longer ones, or the second on a line of
    its own.
    """
    head = f"{said['amount']}{said['id']}"
    customer, mark, bank = first[first.index(head) + len(head) :].rpartition("//")
    if mark and " " not in bank.strip():
        longer = {"customer_reference": customer, "bank_reference": bank, "extra_details": None}
        return {**said, **longer}, rest
    if not mark and rest.startswith("//"):
        bank, _, rest = rest.removeprefix("//").partition("\n")
        return {**said, "bank_reference": bank}, rest
    return said, rest


def read_balance(text: str, *, tag: str) -> StatementBalance:
    """A balance. Raises Rejected(BANK_FILE_BALANCE | CURRENCY_UNKNOWN | …)."""
    try:
        said = _groups(_tag(tag), text)
    except Rejected:
        raise Rejected(Code.BANK_FILE_BALANCE, detail="no balance like C240506EUR1,00") from None
    currency = said["currency"] or ""
    decimals(currency)
    amount = said["amount"] or ""
    # the library stops at the first odd sign and would take the digits before it
    rest = text.strip()[_BALANCE_HEAD + len(amount) :].strip()
    if rest or _DIGITS.fullmatch(amount) is None:
        raise Rejected(Code.BANK_FILE_BALANCE, detail="no balance like C240506EUR1,00")
    return StatementBalance(
        kind=tag,
        amount_minor=exact_minor(amount.replace(",", "."), currency),
        currency=currency,
        side=Side.CREDIT if (said["status"] or "").upper() == "C" else Side.DEBIT,
        on=_date(said["year"], said["month"], said["day"]),
    )


def account_of(supplement: str) -> str | None:
    """The other party's account, where it stands alone under the line."""
    return supplement if _IBAN.fullmatch(supplement) else None


def _tag(tag: str) -> Tag:
    number: int | str = int(tag[:2]) if tag[:2].isdecimal() else tag
    found: Tag = TAG_BY_ID.get(tag) or TAG_BY_ID[number]
    return found


def _groups(tag: Tag, text: str) -> dict[str, str | None]:
    try:
        return tag.parse(mt940.models.Transactions(), text)
    except (RuntimeError, ValueError):
        raise Rejected(Code.BANK_FILE_LINE, detail="not the form that the field has") from None


def _date(year: str | None, month: str | None, day: str | None) -> date:
    try:
        return date(_CENTURY + int(year or ""), int(month or ""), int(day or ""))
    except ValueError:
        raise Rejected(Code.BANK_FILE_DATE, detail="no date like 240506") from None


def _entry_date(value: date, month: str | None, day: str | None) -> date | None:
    """The booking day nearest to the value date: a year may end between the two."""
    if not (month or "").strip() or not (day or "").strip():
        return None
    near = []
    for year in (value.year - 1, value.year, value.year + 1):
        try:
            near.append(date(year, int(month or ""), int(day or "")))
        except ValueError:
            continue
    found = min(near, key=lambda one: abs(one - value), default=None)
    if found is None or abs(found - value) > _HALF_A_YEAR:
        raise Rejected(Code.BANK_FILE_DATE, detail="no booking day like 0506")
    return found


def _reference(text: str | None) -> str | None:
    found = (text or "").strip()
    return None if found in _NO_REFERENCE else found
