"""Reference codes: what a merchant may write into a remittance to tell equal amounts apart (P-25).

Promises that a request's code is the same for ever and that a mistyped code is read as none. A
code alone never credits anything: payer and exact amount remain conditions (P-21, P-23).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

PREFIX: Final = "TK"

_LETTERS: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""31, a prime: the check finds every single wrong character and every two that changed places."""
_BODY: Final = 7
_CODE: Final = re.compile(f"(?={PREFIX}([{_LETTERS}]{{{_BODY + 1}}}))")
_WALL: Final = "x"
_JOINTS: Final = re.compile(f"[^A-Z0-9{_WALL}]+")


def reference_code(merchant: str, request: str) -> str:
    """``TK`` and eight characters, the last one a check; digits and letters that look unlike."""
    digest = hashlib.sha256(f"topup/{merchant}/{request}".encode()).digest()
    number = int.from_bytes(digest[:8], "big")
    body = "".join(_LETTERS[number // 31**place % 31] for place in range(_BODY))
    return f"{PREFIX}{body}{_check(body)}"


def codes_in(text: str) -> tuple[str, ...]:
    """The codes in ``text`` in order, each once, however width, case, spaces or breaks came."""
    folded = unicodedata.normalize("NFKC", text).upper()
    if not all(letter in folded for letter in PREFIX):
        return ()
    # A letter of another script parts words; spaces, dashes and invisible marks do not.
    walled = (_WALL if c.isalpha() and not c.isascii() else c for c in folded)
    compact = _JOINTS.sub("", "".join(walled))
    bodies = (found.group(1) for found in _CODE.finditer(compact))
    return tuple(dict.fromkeys(f"{PREFIX}{b}" for b in bodies if _check(b[:-1]) == b[-1]))


def _check(body: str) -> str:
    return _LETTERS[sum(n * _LETTERS.index(c) for n, c in enumerate(body, start=1)) % 31]
