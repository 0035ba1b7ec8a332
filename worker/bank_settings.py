"""Settings of the bank's side: our accounts there, the exchange of files, the bank's own door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, NoDecode

from gateways.bank.http import door_address
from gateways.bank.reading import is_charset
from tillkeeper.contracts.base import Name
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.payment import Bic, Max35, PaymentFormat, Rail
from tillkeeper.contracts.topup import ReceivingAccount
from tillkeeper.rules.names import compact_number

PREFIX = "TILLKEEPER_"
ANY_CURRENCY = "*"


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=_each_name_once)
    except (ValueError, RecursionError):
        raise ValueError("must be valid JSON in which no name stands twice") from None


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _not_blank(value: Any) -> Any:
    # An empty path would be the current directory.
    if isinstance(value, str) and not value.strip():
        raise ValueError("must name a directory")
    return value


Json = BeforeValidator(_from_json)
NotBlank = BeforeValidator(_not_blank)


class ReceivingBankAccount(BaseModel):
    """The platform's bank account that merchants transfer to (P-25); the platform's own, so no
    personal data.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: Name
    bank: Name
    number: Annotated[Name, Field(max_length=64)]
    bic: Bic | None = None
    clearing_code: Max35 | None = None
    aliases: Annotated[
        tuple[Annotated[Name, Field(max_length=64)], ...], Field(strict=False, max_length=16)
    ] = ()
    """Other forms in which the bank's own files write the number."""


DEV_RECEIVING = ReceivingBankAccount(
    name="Tillkeeper Development Platform", bank="Development Bank", number="0000000000"
)


class BankSettings(BaseSettings):
    """What a process is told about the bank. Amounts do not occur; times are in seconds."""

    bank_exchange: Annotated[Path, BeforeValidator(_not_blank)] | None = None
    bank_exchange_encoding: str | None = None
    bank_payment_format: PaymentFormat = PaymentFormat.PAIN_001_09
    receiving_accounts: Annotated[dict[str, ReceivingBankAccount], NoDecode, Json] = Field(
        default_factory=lambda: {ANY_CURRENCY: DEV_RECEIVING}
    )
    bank_door: str | None = None
    """Address of the bank's own door, on loopback; None: payments leave by files alone."""
    bank_rails: Annotated[tuple[Rail, ...], NoDecode, Json] = Field(
        default=(Rail.HTTP, Rail.FILE), min_length=1, strict=False
    )
    """By which way payments leave, the first that there is before the others."""
    bank_rate_per_s: float = Field(default=20.0, gt=0, le=1000)
    """Calls to the door a second, of all workers together."""
    bank_visibility_s: int = Field(default=300, ge=1, le=7 * 86_400)
    """How long after the sending the bank may not find a payment that it has."""

    def receiving_account(self, currency: str) -> ReceivingAccount | None:
        """The platform's account for a currency, or None where none is configured (P-25)."""
        found = self._receiving(currency)
        if found is None:
            return None
        return ReceivingAccount(
            name=found.name,
            bank=found.bank,
            number=found.number,
            currency=currency,
            bic=found.bic,
            clearing_code=found.clearing_code,
        )

    def own_number(self, number: str, currency: str) -> str | None:
        """How we write our account that a bank's file calls ``number``; None: it is not ours."""
        found = self._receiving(currency)
        if found is None:
            return None
        known = {compact_number(form).upper() for form in (found.number, *found.aliases)}
        ours = compact_number(number).upper() in known
        return compact_number(found.number) if ours else None

    def _receiving(self, currency: str) -> ReceivingBankAccount | None:
        accounts = self.receiving_accounts
        return accounts.get(currency) or accounts.get(ANY_CURRENCY)


def bank_problems(settings: BankSettings) -> list[str]:
    """Every sentence about what is wrong with the bank's settings."""
    problems = []
    exchange, encoding = settings.bank_exchange, settings.bank_exchange_encoding
    if exchange is not None and exchange.exists() and not exchange.is_dir():
        problems.append(f"{PREFIX}BANK_EXCHANGE names a file, not a directory")
    if encoding is not None and not is_charset(encoding):
        problems.append(f"{PREFIX}BANK_EXCHANGE_ENCODING names no encoding that is known")
    if settings.bank_door is not None:
        try:
            door_address(settings.bank_door)
        except Rejected:
            problems.append(f"{PREFIX}BANK_DOOR must be http://<loopback>:<port>")
    if len(set(settings.bank_rails)) != len(settings.bank_rails):
        problems.append(f"{PREFIX}BANK_RAILS names one way twice")
    return problems
