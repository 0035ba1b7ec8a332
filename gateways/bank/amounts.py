"""Amounts as files write them, to exact minor units; more digits than the currency has are refused.

Knows all ISO 4217 currencies, historic ones too, for a file may name what is not kept here.
Never rounds: ``8.850 EUR`` is 885 exactly, ``8.855 EUR`` is refused. A comma is no point.
"""

from __future__ import annotations

import re
from typing import Final

from tillkeeper.contracts.bank import FILE_AMOUNT_MINOR_MAX
from tillkeeper.contracts.errors import Code, Rejected

_BY_DECIMALS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF ITL ESP BEF LUF PTE",
    2: (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP "
        "BYN BZD CAD CDF CHE CHF CHW CNH CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB "
        "EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS "
        "KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV "
        "MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG "
        "SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD "
        "USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL "
        "ATS CYP DEM EEK FIM FRF IEP LTL LVL MTL NLG SIT SKK"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DECIMALS: Final = {code: n for n, codes in _BY_DECIMALS.items() for code in codes.split()}
_CENTS: Final = frozenset(_BY_DECIMALS[2].split())
_USUAL: Final = re.compile(r"([0-9]{1,15})\.([0-9]{2})", re.ASCII)
_AMOUNT: Final = re.compile(r"\+?([0-9]{0,18})(?:\.([0-9]{0,18}))?", re.ASCII)


def decimals(currency: str | None) -> int:
    """Decimals of ``currency``. Raises Rejected(CURRENCY_UNKNOWN)."""
    found = _DECIMALS.get(currency or "")
    if found is None:
        raise Rejected(Code.CURRENCY_UNKNOWN, detail="no currency of ISO 4217")
    return found


def exact_minor(text: str | None, currency: str | None) -> int:
    """Minor units of ``8.850``, zero allowed, zeros after the last decimal too.

    Raises Rejected(CURRENCY_UNKNOWN | BANK_FILE_AMOUNT | AMOUNT_TOO_PRECISE | AMOUNT_TOO_LARGE).
    """
    if text is not None and (usual := _USUAL.fullmatch(text)) and currency in _CENTS:
        return int(usual[1] + usual[2])
    found = _AMOUNT.fullmatch((text or "").strip())
    whole, part = found.groups("") if found is not None else ("", "")
    if not (whole or part):
        raise Rejected(Code.BANK_FILE_AMOUNT, detail="no amount like 5000.00")
    digits = decimals(currency)
    if len(part) > digits:
        part = part.rstrip("0")
    if len(part) > digits:
        raise Rejected(Code.AMOUNT_TOO_PRECISE, detail=f"{currency} has {digits} decimals")
    minor = int(whole + part.ljust(digits, "0") or "0")
    if minor > FILE_AMOUNT_MINOR_MAX:
        raise Rejected(Code.AMOUNT_TOO_LARGE, detail="an amount is at most 10^18 minor units")
    return minor
