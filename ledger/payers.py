"""Who paid a receipt, as the bank told: opened for matching and for paying back (P-21, P-29, C-11).

Holds personal data in the clear: whoever reads it masks what he shows, and logs none of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from ledger.bank.rows import open_said
from tillkeeper.contracts.payment import Bic, Max35, Max140
from tillkeeper.sealing import KeyRing

TOLD: Final = """
       r.digest, r.amount, r.currency, r.state, r.reason, r.payer_sealed, r.payer_digest,
       r.payer_kind, r.suggests, r.booked_at, r.received_at,
       t.entry, t.part, t.code, t.said_sealed
  FROM receipts r LEFT JOIN bank_transactions t ON t.entry = r.entry AND t.part = r.part"""
"""Columns of a receipt with what a bank's file says of its part; ``payer_of`` reads them."""

_BIC: Final = TypeAdapter(Bic)
_BANK: Final = TypeAdapter(Max140)
_CLEARING: Final = TypeAdapter(Max35)


@dataclass(frozen=True, slots=True)
class Payer:
    """The payer of one receipt; ``codes`` are the reference codes in its remittance text."""

    name: str | None = field(repr=False)
    account: str | None = field(repr=False)
    bank_name: str | None = None
    bic: str | None = None
    clearing_code: str | None = None
    codes: tuple[str, ...] = ()


def payer_of(ring: KeyRing, row: Any) -> Payer:
    """The payer of a row of ``TOLD``; what a payment file could not carry is left out."""
    sealed = ring.open_text(row.payer_sealed, purpose=f"receipt/{row.digest}/payer")
    told = json.loads(sealed)
    name, account = told.get("payer_name"), told.get("payer_account")
    # Where parts are lost, nobody knows whose words these are.
    if row.said_sealed is None or name is None:
        return Payer(name, account)
    said = open_said(ring, row.entry, row.part, row.said_sealed)
    return Payer(
        name,
        account,
        bank_name=_fit(_BANK, said.debtor_bank),
        bic=_fit(_BIC, said.debtor_bic),
        clearing_code=_fit(_CLEARING, said.debtor_clearing_id),
        codes=tuple((row.code or "").split()),
    )


def text_of(ring: KeyRing, row: Any) -> str:
    """What was written with the money of a row of ``TOLD``, where all of its entry is told."""
    if row.said_sealed is None:
        return ""
    said = open_said(ring, row.entry, row.part, row.said_sealed)
    return said.remittance if said.parts == 1 or said.adds_up else ""


def _fit(kind: TypeAdapter[str], value: str | None) -> str | None:
    try:
        return None if value is None else kind.validate_python(value)
    except ValidationError:
        return None
