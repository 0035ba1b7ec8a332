"""Settings from `TILLKEEPER_*` variables. Nonsense stops the process: no setting is ever ignored
or guessed.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from gateways.identity.issuer import DEVELOPMENT_ISSUER
from tillkeeper.contracts.money import EXPONENTS
from tillkeeper.rules.profiles import PROFILES
from worker.addresses import is_host_and_port, is_ip_address, is_loopback, is_origin, parsed_url
from worker.bank_settings import (
    ANY_CURRENCY,
    DEV_RECEIVING,
    BankSettings,
    Json,
    NotBlank,
    bank_problems,
)
from worker.bank_settings import (
    PREFIX as PREFIX,
)
from worker.refusal import CannotStart

DEFAULT_PROFILE = "jd-prepaid@2023-11"

_PERSONS = f"{PREFIX}TOKEN"

_TOKEN = re.compile(r"[!-~]{16,}")


Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BankSettings):
    """What one process is told about its surroundings; production refuses every development
    default.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    environment: Literal["dev", "production"] = "dev"
    home: Annotated[Path, NotBlank] = Path(".tillkeeper")
    spare_mb: int = Field(default=256, ge=1, le=1 << 40)

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
    token_issuer: Annotated[str, Field(pattern=r"^[!-~]{1,255}$")] | None = None
    token_keys_file: Path | None = None
    codec_token: SecretStr | None = None
    codec_origins: Annotated[tuple[str, ...], NoDecode, Json] = ()

    bind: str = "127.0.0.1"
    temporal_port: Port = 7233
    ui_port: Port = 8233
    codec_port: Port = 8234
    health_port: Port = 8235
    sdk_metrics_port: Port = 0
    bank_simulator_port: Port = 8236

    profile: str = DEFAULT_PROFILE
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

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
            *_codec_problems(self),
            *_rule_problems(self),
            *_port_problems(self),
            *bank_problems(self),
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


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    if _PERSONS in environ:
        raise CannotStart(f"{_PERSONS} is a person's, for the command line: a worker has no token.")
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.0)
            raise CannotStart(f"{name} is not a setting; did you mean {near[0]}?")


def _sentence(invalid: ValidationError) -> str:
    parts = []
    for error in invalid.errors(include_input=False, include_url=False):
        said = error["msg"].removeprefix("Value error, ")
        if error["loc"]:
            name, *inside = (str(part) for part in error["loc"])
            where = "".join(f"[{part!a}]" for part in inside)
            said = f"{PREFIX}{name.upper()}{where}: {said}"
        parts.append(said)
    return "; ".join(parts) + "."


def _url_problems(settings: Settings) -> list[str]:
    problems = []
    for name in ("database_url", "migration_url"):
        secret: SecretStr | None = getattr(settings, name)
        if secret is None:
            continue
        variable = f"{PREFIX}{name.upper()}"
        url = parsed_url(secret.get_secret_value())
        if url is None:
            problems.append(f"{variable} is not a database URL (a password is percent-encoded)")
        elif url.drivername not in ("postgresql", "postgresql+asyncpg"):
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
    if settings.temporal_address is not None and not is_host_and_port(settings.temporal_address):
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
    if (settings.token_issuer is None) != (settings.token_keys_file is None):
        problems.append(f"{PREFIX}TOKEN_ISSUER and {PREFIX}TOKEN_KEYS_FILE go together")
    if settings.token_keys_file is not None and not settings.token_keys_file.is_file():
        problems.append(f"{PREFIX}TOKEN_KEYS_FILE names no file")
    return problems


def _codec_problems(settings: Settings) -> list[str]:
    problems = []
    token = settings.codec_token
    if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
        problems.append(
            f"{PREFIX}CODEC_TOKEN must have 16 characters or more, visible ASCII without spaces"
        )
    if settings.bind != "localhost" and not is_ip_address(settings.bind):
        problems.append(f"{PREFIX}BIND must be an IP address of this machine, or localhost")
    elif token is None and not is_loopback(settings.bind):
        problems.append(f"{PREFIX}BIND outside loopback needs {PREFIX}CODEC_TOKEN")
    if not all(is_origin(origin) for origin in settings.codec_origins):
        problems.append(
            f"{PREFIX}CODEC_ORIGINS must hold exact origins, each http(s)://host[:port] in "
            "lower case without a path or wildcard"
        )
    return problems


def _rule_problems(settings: Settings) -> list[str]:
    problems = []
    for currency in sorted(settings.receiving_accounts.keys() - {ANY_CURRENCY, *EXPONENTS}):
        problems.append(
            f"{PREFIX}RECEIVING_ACCOUNTS: {currency!a} is neither a currency that is kept "
            f'here (like CNY) nor "{ANY_CURRENCY}"'
        )
    if settings.profile not in PROFILES:
        problems.append(f"{PREFIX}PROFILE names no rule profile; known: {', '.join(PROFILES)}")
    return problems


def _port_problems(settings: Settings) -> list[str]:
    names = (
        *("temporal_port", "ui_port", "codec_port", "health_port"),
        *("sdk_metrics_port", "bank_simulator_port"),
    )
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
    if settings.token_issuer is None or settings.token_keys_file is None:
        problems.append(f"production needs {PREFIX}TOKEN_ISSUER and {PREFIX}TOKEN_KEYS_FILE")
    elif settings.token_issuer == DEVELOPMENT_ISSUER:
        problems.append(f"production refuses the {PREFIX}TOKEN_ISSUER of development")
    if not settings.receiving_accounts or DEV_RECEIVING in settings.receiving_accounts.values():
        problems.append(f"production needs its own {PREFIX}RECEIVING_ACCOUNTS")
    if settings.codec_token is None:
        problems.append(f"production needs {PREFIX}CODEC_TOKEN")
    if settings.bank_exchange is not None and not settings.bank_exchange.is_dir():
        problems.append(f"{PREFIX}BANK_EXCHANGE must be there in production: it is the bank's door")
    return problems
