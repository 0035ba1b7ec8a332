"""What every activity is made of: the database, the keys, the rules in force, our bank accounts.

Built once per worker by whoever wires it; it never reads settings itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.exchange import FolderExchange
from gateways.bank.http import BankDoor
from gateways.identity.tokens import TokenVerifier
from ledger.accounts import AccountRows
from ledger.lanes import Lanes
from tillkeeper.contracts.actor import ActorToken
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.payment import PaymentFormat, Rail
from tillkeeper.contracts.topup import ReceivingAccount
from tillkeeper.rules.names import compact_number
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing

Receiving = Callable[[str], ReceivingAccount | None]
"""The platform's bank account that receives a currency, or None where none is configured (P-25)."""

Ours = Callable[[str, str], str | None]
"""How we write the account that a bank's file calls (number, currency); None: it is not ours."""


@dataclass(frozen=True)
class House:
    """One per worker; ``profile`` is what new decisions are made by."""

    engine: AsyncEngine
    ring: KeyRing = field(repr=False)
    profile: PrepaidProfile
    receiving: Receiving
    lanes: Lanes
    exchange: FolderExchange | None = None
    """Where files go to the bank and come from it; None: people import them."""
    exchange_encoding: str | None = None
    """Letters of the MT940 files in the exchange, which cannot say it themselves."""
    aliases: Ours | None = None
    """Knows other forms of our numbers too."""
    payment_format: PaymentFormat = PaymentFormat.PAIN_001_09
    """Which version of the payment file the bank reads."""
    door: BankDoor | None = None
    """The bank's own door; None: payments leave by files alone."""
    ways: tuple[Rail, ...] = (Rail.HTTP, Rail.FILE)
    """By which way payments leave, the first that there is before the others."""
    visibility: timedelta = timedelta(minutes=5)
    """How long after the sending the bank may not find a payment that it has (E-09)."""
    verifier: TokenVerifier | None = None
    """Reads the tokens of those who decide; None: nobody can decide anything."""

    @property
    def accounts(self) -> AccountRows:
        """The rows of the prepaid accounts, readable with this house's keys."""
        return AccountRows(self.ring)

    @property
    def rails(self) -> tuple[Rail, ...]:
        """The ways by which payments can leave, in the order of the settings."""
        there = {Rail.HTTP: self.door is not None, Rail.FILE: self.exchange is not None}
        return tuple(rail for rail in self.ways if there[rail])

    def rail(self, currency: str) -> Rail | None:
        """By which way a first attempt in ``currency`` leaves; None where nothing can pay it."""
        return self.rails[0] if self.rails and self.receiving(currency) is not None else None

    def recognise(self, token: str, at: datetime) -> ActorToken:
        """Who signed in with this token, whether or not it has expired since (S3).

        Raises Rejected(TOKEN_MISSING | TOKEN_INVALID).
        """
        if self.verifier is None:
            raise Rejected(Code.TOKEN_INVALID, detail="no issuer of tokens is known here")
        return self.verifier.recognise(token, at)

    def ours(self, number: str, currency: str) -> str | None:
        """Our account that a bank's file calls ``number``, as we write it (compact); else None."""
        if self.aliases is not None:
            return self.aliases(number, currency)
        found = self.receiving(currency)
        if found is None or compact_number(found.number) != compact_number(number):
            return None
        return compact_number(found.number)
