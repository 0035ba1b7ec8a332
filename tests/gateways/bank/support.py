"""Small files of our own, the real ones beside the repository, and a camt.053 of any size."""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

from gateways.bank.amounts import decimals
from gateways.bank.reading import read_bank_bytes, read_bank_stream
from tillkeeper.contracts.bank import BankFile, BankTransaction
from tillkeeper.contracts.errors import Code, Rejected

FILES: Final = Path(__file__).parent / "files"
REAL: Final = Path(__file__).resolve().parents[4] / "shared" / "data" / "bank"

needs_real_files = pytest.mark.skipif(
    not (REAL / "expected.jsonl").is_file(),
    reason="real bank files are not beside this checkout (../shared/data/bank): see its README",
)


def own(name: str) -> bytes:
    """One of our own small files."""
    return (FILES / name).read_bytes()


def read(body: bytes | str) -> BankFile:
    """What the readers make of a body."""
    return read_bank_bytes(body.encode() if isinstance(body, str) else body)


class _Unseekable(BytesIO):
    def seekable(self) -> bool:
        return False


def alone(body: bytes) -> BankFile:
    """What the parser alone makes of a file: what cannot be read twice is not read quickly."""
    return read_bank_stream(_Unseekable(body))


def refused(body: bytes | str) -> Code:
    """The code with which a body is refused as a whole."""
    with pytest.raises(Rejected) as error:
        read(body)
    [code] = error.value.codes
    return code


def expected(*kinds: str) -> list[dict[str, Any]]:
    """Lines of ``expected.jsonl`` whose type begins with one of ``kinds``; none without them."""
    if not (REAL / "expected.jsonl").is_file():
        return []
    lines = (REAL / "expected.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["type"].startswith(kinds)]


def decimal_of(transaction: BankTransaction) -> Decimal | None:
    """The amount as a decimal, to compare with a file's text."""
    if transaction.amount_minor is None:
        return None
    return Decimal(transaction.amount_minor).scaleb(-decimals(transaction.currency))
