"""Single fields of MT940/MT942 through the ``mt-940`` library; each refuses what it cannot read.

The library writes what it fails on into its log, names and accounts too: its log is silenced here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import mt940
from mt940.processors import transaction_details_post_processor
from mt940.tags import TAG_BY_ID, Tag

from gateways.bank.amounts import decimals, exact_minor
from tillkeeper.contracts.bank import Side, StatementBalance
from tillkeeper.contracts.errors import Code, Rejected

logging.getLogger("mt940").setLevel(logging.CRITICAL + 1)

BALANCE_TAGS: Final = ("60", "62", "64", "65")

_OPTIONS: Final = mt940.Options.all()
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
_BALANCE_HEAD: Final = len("C240506EUR")
_STRUCTURED: Final = re.compile(r"^\d{3}\?\d{2}", re.ASCII)
_SUBFIELDS: Final = re.compile(r"(?P<code>\d{1,4})?[ \n]*(?P<mark>[~<^])\d\d", re.ASCII)
"""Polish banks: a code of the operation, then subfields by two digits."""
_TEXTS: Final = frozenset([*range(20, 30), *range(60, 64)])
_NAMES: Final = frozenset([32, 33])
_PIECE: Final = 27
"""Characters of a subfield: what fills it goes on in the next one without a space."""
_BIC: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", re.ASCII)
_SLASHED: Final = re.compile(
    "/(TRTP|TRCD|EREF|PREF|KREF|MARF|CSID|CNTP|REMI|PURP|ULTB|ULTD|IBAN|BIC|NAME|NAAM"
    "|ORDP|BENM|ADDR|RTRN|ISDT|SVCL|SUM)/"
)
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}", re.ASCII)
_NAMED: Final = re.compile(r"/(?:NAAM|NAME)[:/] ?(?P<name>[^/\n]+)")
_ACCOUNT: Final = re.compile(r"(?:REK|IBAN)[:/] ?(?P<account>[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30})")


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


@dataclass(slots=True)
class Details:
    """One ``:86:`` or ``:NS:``: the text, and what its structure names (as of a credit)."""

    remittance: str
    fields: dict[str, str | None] = field(default_factory=dict)


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


def read_details(text: str, *, tag: str) -> Details:
    """The details: German ``?20``, Polish ``~20`` or Dutch ``/EREF/``, names in a text, or text."""
    if tag == "86" and _STRUCTURED.match(text):
        return _structured(text)
    if tag == "86" and (found := _SUBFIELDS.match(text)):
        return _subfields(text, found["mark"])
    if tag == "86" and _SLASHED.match(text):
        return _slashed(text)
    fields: dict[str, str | None] = {}
    name, account = _NAMED.search(text), _ACCOUNT.search(text)
    if name:
        fields["debtor_name"] = name["name"].strip()
    if account:
        fields["debtor_account"] = account["account"]
    return Details(remittance=text, fields=fields)


def _slashed(text: str) -> Details:
    """Code words between slashes, wrapped anywhere: the lines are one text."""
    _, *pieces = _SLASHED.split(text.replace("\n", ""))
    said: dict[str, str] = {}
    for code, value in zip(pieces[::2], pieces[1::2], strict=True):
        said.setdefault(code, value.strip("/ "))
    # account, bank, name and city of the other party
    account, bic, name, *_ = [*said.get("CNTP", "").split("/"), "", "", ""]
    remittance = said.get("REMI", "").removeprefix("USTD").strip("/ ")
    fields = {
        "debtor_name": _clean(said.get("NAME") or said.get("NAAM") or name),
        "debtor_account": _clean(said.get("IBAN") or account),
        "end_to_end_id": _reference(said.get("EREF")),
        "return_reason": _clean(said.get("RTRN", "").partition("/")[0]),
        **_bank(_clean(said.get("BIC") or bic)),
    }
    return Details(remittance=remittance or ("" if "REMI" in said else text), fields=fields)


def account_of(supplement: str) -> str | None:
    """The other party's account, where it stands alone under the line."""
    return supplement if _IBAN.fullmatch(supplement) else None


def _structured(text: str) -> Details:
    collection = mt940.models.Transactions(options=_OPTIONS)
    said: dict[str, Any] = transaction_details_post_processor(
        collection,
        TAG_BY_ID[86],
        {"transaction_details": text},
        {"transaction_details": text},
    )
    fields = {
        "debtor_name": _clean(said.get("applicant_name")),
        "debtor_account": _clean(said.get("applicant_iban")),
        "end_to_end_id": _reference(_clean(said.get("end_to_end_reference"))),
        **_bank(_clean(said.get("applicant_bin"))),
    }
    purpose = _clean(said.get("purpose")) or _clean(said.get("posting_text"))
    return Details(remittance=purpose or "", fields=fields)


def _subfields(text: str, mark: str) -> Details:
    """Subfields that ``~``, ``<`` or ``^`` begins, numbered as the German ones, ``38`` the IBAN.

    Banks write them in ascending order. Where the order breaks, somebody wrote a mark into his
    text: what stands behind it is not the bank's word for who paid (P-21), and all of it is text.
    """
    _, *pieces = re.split(re.escape(mark) + r"(\d\d)", text.replace("\n", ""), flags=re.ASCII)
    numbers = [int(number) for number in pieces[::2]]
    if numbers != sorted(set(numbers)):
        return Details(remittance=text)
    said = dict(zip(numbers, pieces[1::2], strict=True))
    fields = {
        "debtor_name": _together(said, _NAMES),
        "debtor_account": _clean(said.get(38)) or _clean(said.get(31)),
        **_bank(_clean(said.get(30))),
    }
    return Details(remittance=_together(said, _TEXTS) or _clean(said.get(0)) or "", fields=fields)


def _together(said: dict[int, str], numbers: Collection[int]) -> str | None:
    """The subfields of these numbers as one text."""
    pieces = [piece for number, piece in said.items() if number in numbers and piece.strip()]
    text = "".join(one if len(one) >= _PIECE else f"{one.rstrip()} " for one in pieces)
    return _clean(re.sub(" {2,}", " ", text))


def _bank(code: str | None) -> dict[str, str | None]:
    """The other party's bank: a BIC, else the national clearing's number."""
    if code is None:
        return {}
    return {"debtor_bic" if _BIC.fullmatch(code) else "debtor_clearing_id": code}


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
    if not near:
        raise Rejected(Code.BANK_FILE_DATE, detail="no booking day like 0506")
    return min(near, key=lambda one: abs(one - value))


def _reference(text: str | None) -> str | None:
    found = (text or "").strip()
    return None if found in _NO_REFERENCE else found


def _clean(text: str | None) -> str | None:
    return (text or "").strip() or None
