"""Money is an integer count of minor units and an ISO 4217 currency; text has exactly its decimals.

Never a float, never a rounded parse: what does not fit is refused with a code (C-01).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from tillkeeper.contracts.errors import Code, Rejected, flaw

AMOUNT_MINOR_MAX: Final = 10**15
"""Largest amount of one request in minor units: a thousand of them still fit into 64 bits."""

EXPONENTS: Final = {
    "AED": 2, "AUD": 2, "BHD": 3, "BRL": 2, "CAD": 2, "CHF": 2, "CNY": 2, "CZK": 2, "DKK": 2,
    "EUR": 2, "GBP": 2, "HKD": 2, "HUF": 2, "IDR": 2, "INR": 2, "JPY": 0, "KRW": 0, "KWD": 3,
    "MOP": 2, "MXN": 2, "MYR": 2, "NOK": 2, "NZD": 2, "PHP": 2, "PLN": 2, "RUB": 2, "SAR": 2,
    "SEK": 2, "SGD": 2, "THB": 2, "TND": 3, "TRY": 2, "TWD": 2, "USD": 2, "VND": 0, "ZAR": 2,
}  # fmt: skip
"""Decimals of each currency that may be kept (ISO 4217)."""

_AMOUNT = re.compile(r"(?P<whole>0|[1-9][0-9]{0,17})(?:\.(?P<part>[0-9]+))?", re.ASCII)


def _minor(value: Any) -> int:
    if type(value) is not int:
        raise flaw(Code.AMOUNT_NOT_INTEGER, "an amount is a whole number of minor units")
    if value <= 0:
        raise flaw(Code.AMOUNT_NOT_POSITIVE, "an amount is greater than zero")
    if value > AMOUNT_MINOR_MAX:
        raise flaw(Code.AMOUNT_TOO_LARGE, "an amount is at most 10^15 minor units")
    return value


def _threshold(value: Any) -> int:
    return 0 if type(value) is int and value == 0 else _minor(value)


def _currency(value: Any) -> str:
    if not isinstance(value, str) or value not in EXPONENTS:
        raise flaw(Code.CURRENCY_UNKNOWN, "not a currency that is kept here")
    return value


AmountMinor = Annotated[int, BeforeValidator(_minor)]
"""Minor units, 1 … 10^15."""

ThresholdMinor = Annotated[int, BeforeValidator(_threshold)]
"""Minor units, 0 … 10^15."""

Currency = Annotated[str, BeforeValidator(_currency)]
"""ISO 4217 code out of ``EXPONENTS``."""


def exponent(currency: str) -> int:
    """Decimals of ``currency``. Raises Rejected(CURRENCY_UNKNOWN)."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise Rejected(Code.CURRENCY_UNKNOWN, detail="not a currency that is kept here") from None


def parse_amount(text: str, currency: str) -> int:
    """Minor units of ``"5000.00"``; positive only, ASCII digits, no sign, no grouping.

    Fewer decimals than the currency's are read (``"5000"``), more are refused.
    Raises Rejected(AMOUNT_MALFORMED | AMOUNT_TOO_PRECISE | AMOUNT_NOT_POSITIVE | AMOUNT_TOO_LARGE).
    """
    decimals = exponent(currency)
    found = _AMOUNT.fullmatch(text)
    if found is None:
        if re.fullmatch(r"-[0-9.]+", text, re.ASCII):
            raise Rejected(Code.AMOUNT_NOT_POSITIVE, detail="an amount is greater than zero")
        raise Rejected(Code.AMOUNT_MALFORMED, detail="write an amount like 5000.00")
    part = found["part"] or ""
    if len(part) > decimals:
        raise Rejected(Code.AMOUNT_TOO_PRECISE, detail=f"{currency} has {decimals} decimals")
    minor: int = int(found["whole"]) * 10**decimals + int(part.ljust(decimals, "0") or "0")
    if minor == 0:
        raise Rejected(Code.AMOUNT_NOT_POSITIVE, detail="an amount is greater than zero")
    if minor > AMOUNT_MINOR_MAX:
        raise Rejected(Code.AMOUNT_TOO_LARGE, detail="an amount is at most 10^15 minor units")
    return minor


def format_amount(minor: int, currency: str, *, grouped: bool = False) -> str:
    """``-1234.50`` for -123450 CNY; with ``grouped``, ``-1,234.50`` for people."""
    decimals = exponent(currency)
    whole, part = divmod(abs(minor), 10**decimals)
    sign = "-" if minor < 0 else ""
    text = f"{whole:,}" if grouped else str(whole)
    return f"{sign}{text}.{part:0{decimals}d}" if decimals else f"{sign}{text}"
