"""When two company names are the same, and how personal data is shown (P-05, P-21, C-11)."""

from __future__ import annotations

import unicodedata

_DOTS = str.maketrans(dict.fromkeys("・‧•∙⋅", "·"))
_BRACKETS = str.maketrans("〔【［｛〈《「『〖[{<〕】］｝〉》」』〗]}>", "(" * 12 + ")" * 12)


def normalised_name(name: str) -> str:
    """The name with full width folded, brackets and middle dots of one kind, and case folded.

    Spaces and signs that nobody sees are removed.
    """
    folded = unicodedata.normalize("NFKC", name.translate(_BRACKETS)).translate(_BRACKETS)
    seen = (one for one in folded.translate(_DOTS) if unicodedata.category(one) != "Cf")
    return "".join("".join(seen).split()).casefold()


def same_company(left: str, right: str) -> bool:
    """Whether two names denote one company after normalisation (P-05, P-21)."""
    return normalised_name(left) == normalised_name(right)


def compact_number(number: str) -> str:
    """An account number as it is compared: width folded, without spaces."""
    return "".join(unicodedata.normalize("NFKC", number).split())


def masked_number(number: str) -> str:
    """``****1234``; a number of four characters or fewer shows none of them."""
    compact = "".join(number.split())
    return f"****{compact[-4:]}" if len(compact) > 4 else "****"


def masked_name(name: str) -> str:
    """First character and stars; their count tells nothing about the name's length."""
    return f"{name.strip()[:1]}***"
