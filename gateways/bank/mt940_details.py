"""The details of an MT940 line: German ``?20``, Polish ``~20`` or Dutch ``/EREF/``, or a text.

Promises that nobody is named by what the payer wrote (P-21). No bank escapes its marks, so a
payer's text may hold them too. A name counts where it stands in the bank's order, once, and the
piece of text before it has no room for it; all else stays text, for people to read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import mt940
from mt940.processors import transaction_details_post_processor
from mt940.tags import TAG_BY_ID

_OPTIONS: Final = mt940.Options.all()
_NO_REFERENCE: Final = frozenset({"", "NONREF"})
_SUBFIELDS: Final = re.compile(
    r"(?:\d{3}(?P<german>\?)|(?:\d{1,4})?[ \n]*(?P<mark>[~<^]))\d\d", re.ASCII
)
"""A code of the operation, then subfields by two digits."""
_TEXTS: Final = frozenset([*range(20, 30), *range(60, 64)])
_NAMES: Final = frozenset([32, 33])
_PIECE: Final = 27
"""Characters of a subfield: what fills it goes on in the next one without a space."""
_WRITTEN_MAX: Final = 35
"""Characters that a payer writes between two marks of the bank: 27, with some banks 35."""
_BIC: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", re.ASCII)
_SLASHED: Final = re.compile(
    "/(TRTP|TRCD|EREF|PREF|KREF|MARF|CSID|CNTP|REMI|PURP|ULTB|ULTD|IBAN|BIC|NAME|NAAM"
    "|ORDP|BENM|ADDR|RTRN|ISDT|SVCL|SUM)/"
)
_REFERENCES: Final = frozenset({"EREF", "PREF", "KREF", "MARF", "CSID"})
"""Code words of what the payer wrote, of limited length."""
_FREE: Final = frozenset({"REMI", "ULTB", "ULTD"})
"""Code words of what the payer wrote at length: nothing behind them names anybody."""
_NAMING: Final = frozenset({"CNTP", "NAME", "NAAM"})
_PARTY: Final = _NAMING | {"IBAN", "BIC", "ORDP", "BENM", "ADDR", "REMI"}
"""Code words that behind a text are text."""

_Words = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Details:
    """One ``:86:`` or ``:NS:``: the text, and what its structure names (as of a credit)."""

    remittance: str
    fields: dict[str, str | None] = field(default_factory=dict)


def read_details(text: str, *, tag: str, paid_in: bool = True) -> Details:
    """German ``?20``, Polish ``~20``, Dutch ``/EREF/``; a name in a plain text stays text.

    Where nobody ``paid_in``, the text was not written by whoever is named.
    """
    if tag == "86" and (found := _SUBFIELDS.match(text)):
        return _subfields(text, found["german"] or found["mark"], sure=not paid_in)
    if tag == "86" and _SLASHED.match(text):
        return _slashed(text, sure=not paid_in)
    return Details(remittance=text)


def _subfields(text: str, mark: str, *, sure: bool) -> Details:
    """Subfields by number: ``20`` … ``29`` the text, ``30`` … ``33`` and ``38`` the other party.

    Banks write them in ascending order. Where the order breaks, somebody wrote a mark into his
    text: what stands behind it is not the bank's word for who paid (P-21), and all of it is text.
    """
    joined = text.replace("\n", "")
    _, *pieces = re.split(re.escape(mark) + r"(\d\d)", joined, flags=re.ASCII)
    numbers = [int(number) for number in pieces[::2]]
    if numbers != sorted(set(numbers)):
        return Details(remittance=text)
    said = dict(zip(numbers, pieces[1::2], strict=True))
    party = said if sure else _banks_own(said)
    fields = {
        "debtor_name": _together(party, _NAMES) if 32 in party else None,
        "debtor_account": _clean(party.get(38)) or _clean(party.get(31)),
        **_bank(_clean(party.get(30))),
    }
    if mark == "?":
        found = _german(joined, fields)
    else:
        remittance = _together(said, _TEXTS) or _clean(said.get(0)) or ""
        found = Details(remittance=remittance, fields=fields)
    if not _NAMES & said.keys() <= party.keys():
        found.remittance = text
    return found


def _banks_own(said: dict[int, str]) -> dict[int, str]:
    """The other party's subfields, but for those that the payer may have written.

    He cannot go on over the bank's next mark, which would break the order: his marks stand in one
    piece of text, and behind the first one that has no room there all is the bank's.
    """
    own: set[int] = set()
    sure, length = True, 0
    for number, piece in said.items():
        if number in _TEXTS:
            sure, length = False, len(piece)
            if length > _WRITTEN_MAX:
                # it keeps no measure: no telling whose the marks behind it are
                break
        elif number >= min(_TEXTS):
            length += len("?30") + len(piece)
            sure = sure or length > _WRITTEN_MAX
            own |= {number} if sure else set()
    # no bank goes on with a name that it did not begin, or tells an account before its bank
    own |= {32} if 33 in own else set()
    own |= {30} if own & {31, 38} else set()
    return {number: piece for number, piece in said.items() if number in own}


def _german(text: str, fields: dict[str, str | None]) -> Details:
    told = {"transaction_details": text}
    collection = mt940.models.Transactions(options=_OPTIONS)
    said: dict[str, Any] = transaction_details_post_processor(
        collection, TAG_BY_ID[86], told, dict(told)
    )
    purpose = _clean(said.get("purpose")) or _clean(said.get("posting_text"))
    reference = _reference(_clean(said.get("end_to_end_reference")))
    return Details(remittance=purpose or "", fields=fields | {"end_to_end_id": reference})


def _slashed(text: str, *, sure: bool) -> Details:
    """Code words between slashes, wrapped anywhere: the lines are one text."""
    _, *pieces = _SLASHED.split(text.replace("\n", ""))
    words = list(zip(pieces[::2], pieces[1::2], strict=True))
    free = next((n for n, (word, _) in enumerate(words) if word in _FREE), len(words))
    said: dict[str, str] = {}
    for word, value in words:
        said.setdefault(word, value.strip("/ "))
    party = _named_once(words[:free], sure=sure)
    fields = {
        **party,
        "end_to_end_id": _reference(said.get("EREF")),
        "return_reason": _clean(said.get("RTRN", "").partition("/")[0]),
    }
    if "debtor_name" not in party and _NAMING & said.keys():
        return Details(remittance=text, fields=fields)
    remittance = _written(words).removeprefix("USTD").strip("/ ")
    return Details(remittance=remittance or ("" if "REMI" in said else text), fields=fields)


def _written(words: _Words) -> str:
    """The payer's text, with the other party's code words in it."""
    place = next((n for n, (word, _) in enumerate(words) if word == "REMI"), len(words))
    text = words[place][1] if place < len(words) else ""
    for word, value in words[place + 1 :]:
        if word not in _PARTY:
            break
        text += f"/{word}/{value}"
    return text


def _named_once(words: _Words, *, sure: bool) -> dict[str, str | None]:
    """Whom these words, which stand before any text, name; nobody where two do."""
    heads = [word for word, _ in words]
    if len(_NAMING.intersection(heads)) > 1 or any(
        heads.count(word) > 1 for word in (*_NAMING, "IBAN", "BIC")
    ):
        return {}
    return _party(dict(words) if sure else _surely(words))


def _surely(words: _Words) -> dict[str, str]:
    """Words that the payer did not write into a reference before them: they had no room there."""
    own: dict[str, str] = {}
    sure, length = True, 0
    for place, (word, value) in enumerate(words):
        if word in _REFERENCES:
            sure, length = False, len(value)
            if length > _WRITTEN_MAX:
                return {}
        else:
            length += len(f"/{word}/") + len(value)
            sure = sure or length > _WRITTEN_MAX
            # a text may begin with a name; a bank writes more than that
            if sure and (place or word not in ("NAME", "NAAM")):
                own[word] = value
    return own


def _party(own: dict[str, str]) -> dict[str, str | None]:
    if "CNTP" in own:
        # account, bank, name and city; with more slashes nobody can tell where the name ends
        account, bic, name, _, *more = [*own["CNTP"].rstrip("/ ").split("/"), "", "", "", ""]
        name = "" if any(more) else name
    else:
        account, bic = own.get("IBAN", ""), own.get("BIC", "")
        name = own.get("NAME") or own.get("NAAM") or ""
    account, bic, name = (one.strip("/ ") for one in (account, bic, name))
    named = {"debtor_name": name} if name else {}
    return {**named, "debtor_account": _clean(account), **_bank(_clean(bic))}


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


def _reference(text: str | None) -> str | None:
    found = (text or "").strip()
    return None if found in _NO_REFERENCE else found


def _clean(text: str | None) -> str | None:
    return (text or "").strip() or None
