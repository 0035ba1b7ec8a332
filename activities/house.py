"""What every activity is made of: the database, the keys, the rules in force, our bank accounts.

Built once per worker by whoever wires it; it never reads settings itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.accounts import AccountRows
from ledger.lanes import Lanes
from tillkeeper.contracts.topup import ReceivingAccount
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

Receiving = Callable[[str], ReceivingAccount | None]
"""The platform's bank account that receives a currency, or None where none is configured (P-25)."""


@dataclass(frozen=True)
class House:
    """One per worker; ``profile`` is what new decisions are made by."""

    engine: AsyncEngine
    ring: KeyRing = field(repr=False)
    profile: PrepaidProfile
    receiving: Receiving
    lanes: Lanes

    @property
    def accounts(self) -> AccountRows:
        """The rows of the prepaid accounts, readable with this house's keys."""
        return AccountRows(self.ring)
