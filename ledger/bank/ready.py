"""What a file says, made ready before its accounts are locked: cut, digested, written out.

Promises that nothing of it depends on what is known of an account, so that a file of any size keeps
the account's row for its look-ups and its writing only. It holds personal data: in memory alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ledger.accounts import AccountRows
from ledger.bank.told import Ours, Told, told_by
from tillkeeper.contracts.bank import BankFile, BankTransaction
from tillkeeper.rules.codes import codes_in
from tillkeeper.rules.names import normalised_name


@dataclass(frozen=True, slots=True)
class Said:
    """One part's reference codes, its payer's digest, and all of it as it will be sealed."""

    codes: str | None
    payer: bytes | None
    text: str = field(repr=False)


class Words:
    """What parts say, digested and written out."""

    def __init__(self, accounts: AccountRows) -> None:
        self._accounts = accounts
        self._payers: dict[str, bytes | None] = {}
        self._said: dict[int, tuple[BankTransaction, Said]] = {}

    def said(self, part: BankTransaction) -> Said:
        """What is written of a part, which is one of the file's or was made of one."""
        known = self._said.get(id(part))
        return known[1] if known is not None and known[0] is part else self._say(part)

    def _say(self, part: BankTransaction) -> Said:
        codes = " ".join(codes_in(part.remittance)) or None
        return Said(codes, self._payer(part.debtor_name or ""), part.model_dump_json())

    def _payer(self, name: str) -> bytes | None:
        if name not in self._payers:
            known = normalised_name(name)
            self._payers[name] = self._accounts.company_digest(name) if known else None
        return self._payers[name]


class Ready(Words):
    """A file that was read, ready to be staged."""

    def __init__(
        self, accounts: AccountRows, ours: Ours, found: BankFile, received_at: datetime
    ) -> None:
        """``received_at``: when the file came; it dates what names no day."""
        super().__init__(accounts)
        self.found = found
        self.told: Told = told_by(found, ours, received_at)
        entries = (entry for telling in self.told.tellings for entry in telling.entries)
        self._said = {
            id(part): (part, self._say(part)) for entry in entries for part in entry.details
        }
