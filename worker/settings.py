"""Settings from `TILLKEEPER_*` variables. Nonsense stops the process: no setting is ever ignored
or guessed.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tillkeeper.contracts.topup import ReceivingAccount
from worker.refusal import CannotStart

PREFIX = "TILLKEEPER_"
DEFAULT_PROFILE = "jd-prepaid@2023-11"
ANY_CURRENCY = "*"

Port = Annotated[int, Field(ge=0, le=65535)]
_ADDRESS = re.compile(r"^(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/@]+):(?P<port>\d{1,5})$")


class ReceivingBankAccount(BaseModel):
    """The platform's bank account that merchants transfer to (P-25); the platform's own, so no
    personal data.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    bank: str = Field(min_length=1, max_length=200)
    number: str = Field(min_length=1, max_length=64)


DEV_RECEIVING = ReceivingBankAccount(
    name="Tillkeeper Development Platform", bank="Development Bank", number="0000000000"
)


class Settings(BaseSettings):
    """What one process is told about its surroundings; production refuses every development
    default.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    environment: Literal["dev", "production"] = "dev"
    home: Path = Path(".tillkeeper")

    database_url: SecretStr | None = None
    migration_url: SecretStr | None = None
    database_pool: int = Field(default=8, ge=1, le=100)

    temporal_address: str | None = None
    temporal_namespace: str = Field(default="default", pattern=r"^[A-Za-z0-9._-]{2,255}$")
    temporal_tls_ca: Path | None = None
    temporal_tls_cert: Path | None = None
    temporal_tls_key: Path | None = None

    key_ring_file: Path | None = None
    key_ring: SecretStr | None = None
    codec_token: SecretStr | None = None
    codec_origins: tuple[str, ...] = ()

    bind: str = "127.0.0.1"
    temporal_port: Port = 7233
    ui_port: Port = 8233
    codec_port: Port = 8234
    health_port: Port = 8235
    sdk_metrics_port: Port = 0

    receiving_accounts: dict[str, ReceivingBankAccount] = Field(
        default_factory=lambda: {ANY_CURRENCY: DEV_RECEIVING}
    )
    profile: str = Field(default=DEFAULT_PROFILE, pattern=r"^[a-z0-9-]+@\d{4}-\d{2}$")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def receiving_account(self, currency: str) -> ReceivingAccount | None:
        """The platform's account for a currency, or None where none is configured (P-25)."""
        accounts = self.receiving_accounts
        found = accounts.get(currency) or accounts.get(ANY_CURRENCY)
        if found is None:
            return None
        return ReceivingAccount(
            name=found.name, bank=found.bank, number=found.number, currency=currency
        )

    @property
    def uses_tls(self) -> bool:
        """Whether the connection to Temporal is encrypted."""
        return self.temporal_tls_ca is not None or self.temporal_tls_cert is not None

    @model_validator(mode="after")
    def _refuse_nonsense(self) -> Self:
        problems = [
            *_url_problems(self),
            *_temporal_problems(self),
            *_key_problems(self),
            *_port_problems(self),
            *(_production_problems(self) if self.environment == "production" else ()),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def load_settings() -> Settings:
    """Read the environment once; raises CannotStart with one sentence that names every wrong
    variable.
    """
    _refuse_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as invalid:
        raise CannotStart(_sentence(invalid)) from None
    except SettingsError as invalid:
        raise CannotStart(f"{str(invalid).rstrip('.')}: it must be valid JSON.") from None


def asyncpg_url(url: str) -> str:
    """The same database through the one driver we use."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def is_loopback(address: str) -> bool:
    """Whether `host:port` (or a bare host) can only be reached from this machine."""
    match = _ADDRESS.match(address)
    host = (match["host"] if match else address).strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.0)
            raise CannotStart(f"{name} is not a setting; did you mean {near[0]}?")


def _sentence(invalid: ValidationError) -> str:
    parts = []
    for error in invalid.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in error["loc"])
        said = error["msg"].removeprefix("Value error, ")
        parts.append(f"{PREFIX}{where.upper()}: {said}" if where else said)
    return "; ".join(parts) + "."


def _url_problems(settings: Settings) -> list[str]:
    problems = []
    for name in ("database_url", "migration_url"):
        secret: SecretStr | None = getattr(settings, name)
        if secret is None:
            continue
        variable = f"{PREFIX}{name.upper()}"
        try:
            url = make_url(secret.get_secret_value())
        except ArgumentError:
            problems.append(f"{variable} is not a database URL")
            continue
        if url.drivername not in ("postgresql", "postgresql+asyncpg"):
            problems.append(
                f"{variable} must start with postgresql:// (Tillkeeper's only database)"
            )
        elif not url.database or not (url.host or url.query.get("host")):
            problems.append(f"{variable} must name a host and a database")
    if settings.migration_url is not None and settings.database_url is None:
        problems.append(f"{PREFIX}MIGRATION_URL needs {PREFIX}DATABASE_URL beside it")
    return problems


def _temporal_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.temporal_address is not None:
        match = _ADDRESS.match(settings.temporal_address)
        if match is None or not 0 < int(match["port"]) <= 65535:
            problems.append(f"{PREFIX}TEMPORAL_ADDRESS must be host:port")
    if (settings.temporal_tls_cert is None) != (settings.temporal_tls_key is None):
        problems.append(f"{PREFIX}TEMPORAL_TLS_CERT and {PREFIX}TEMPORAL_TLS_KEY go together")
    for name in ("temporal_tls_ca", "temporal_tls_cert", "temporal_tls_key"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            problems.append(f"{PREFIX}{name.upper()} names no file")
    return problems


def _key_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.key_ring is not None and settings.key_ring_file is not None:
        problems.append(f"set {PREFIX}KEY_RING or {PREFIX}KEY_RING_FILE, not both")
    if settings.key_ring_file is not None and not settings.key_ring_file.is_file():
        problems.append(f"{PREFIX}KEY_RING_FILE names no file")
    if settings.codec_token is not None and len(settings.codec_token.get_secret_value()) < 16:
        problems.append(f"{PREFIX}CODEC_TOKEN must have 16 characters or more")
    if settings.codec_token is None and not is_loopback(settings.bind):
        problems.append(f"{PREFIX}BIND outside loopback needs {PREFIX}CODEC_TOKEN")
    return problems


def _port_problems(settings: Settings) -> list[str]:
    names = ("temporal_port", "ui_port", "codec_port", "health_port", "sdk_metrics_port")
    taken: dict[int, str] = {}
    problems = []
    for name in names:
        port: int = getattr(settings, name)
        if port and port in taken:
            problems.append(
                f"{PREFIX}{name.upper()} and {PREFIX}{taken[port].upper()} are both {port}"
            )
        taken[port] = name
    return problems


def _production_problems(settings: Settings) -> list[str]:
    problems = []
    if settings.database_url is None:
        problems.append(f"production needs {PREFIX}DATABASE_URL")
    if settings.temporal_address is None:
        problems.append(f"production needs {PREFIX}TEMPORAL_ADDRESS")
    elif not settings.uses_tls and not is_loopback(settings.temporal_address):
        problems.append(
            f"production speaks to Temporal at {settings.temporal_address} in clear text; "
            f"set {PREFIX}TEMPORAL_TLS_CA (and _CERT, _KEY)"
        )
    if settings.key_ring is None and settings.key_ring_file is None:
        problems.append(f"production needs {PREFIX}KEY_RING_FILE or {PREFIX}KEY_RING")
    if DEV_RECEIVING in settings.receiving_accounts.values():
        problems.append(f"production needs its own {PREFIX}RECEIVING_ACCOUNTS")
    if settings.codec_token is None:
        problems.append(f"production needs {PREFIX}CODEC_TOKEN")
    return problems
