"""Finds the stack (``TILLKEEPER_*`` variables, or the one that runs on this home) and connects.

Never starts anything and never guesses: what is not there is one sentence. Secrets are neither
printed nor kept in an error.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, TLSConfig

from gateways.bank.simulator.client import SimulatorClient
from gateways.identity.issuer import ISSUER_FILE, DevelopmentIssuer
from gateways.identity.tokens import KeysRefused
from ledger.engine import make_engine
from tillkeeper.client import Tillkeeper
from tillkeeper.codec import data_converter
from tillkeeper.contracts.errors import Code, Rejected, Unavailable
from tillkeeper.sealing import KeyRing, KeyRingRefused

NOT_UP: Final = "The stack is not up: `make up` starts it."
_STACK_FILE: Final = "stack.json"
_KEY_RING_FILE: Final = "keyring.json"


def _not_blank(value: Any) -> Any:
    # An empty path would be the current directory.
    if isinstance(value, str) and not value.strip():
        raise ValueError("must name a directory")
    return value


class Surroundings(BaseSettings):
    """The variables that the console reads; `python -m worker` refuses the unknown ones."""

    model_config = SettingsConfigDict(
        env_prefix="TILLKEEPER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Annotated[Path, BeforeValidator(_not_blank)] = Path(".tillkeeper")
    database_url: SecretStr | None = None
    temporal_address: str | None = None
    temporal_namespace: str | None = None
    temporal_tls_ca: Path | None = None
    temporal_tls_cert: Path | None = None
    temporal_tls_key: Path | None = None
    key_ring_file: Path | None = None
    key_ring: SecretStr | None = None
    environment: str = "dev"
    token_keys_file: Path | None = None
    bank_simulator_port: int | None = None
    profile: str = "jd-prepaid@2023-11"


class _Stack(BaseModel):
    """What ``stack.json`` in the home says of the stack that runs there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    database_url: str
    temporal_address: str
    namespace: str
    ui: str | None = None
    key_ring_path: str
    bank: str | None = None


class House:
    """The connections of one command; each is made when it is first asked for."""

    def __init__(self, surroundings: Surroundings, stack: _Stack | None) -> None:
        self._surroundings = surroundings
        self._stack = stack
        self._engine: AsyncEngine | None = None
        self._ring: KeyRing | None = None
        self._tillkeeper: Tillkeeper | None = None

    @property
    def ui(self) -> str | None:
        """Address of the embedded Temporal UI."""
        return None if self._stack is None else self._stack.ui

    @property
    def bank(self) -> SimulatorClient | None:
        """The bank simulator of the stack, or the one at the port that is set; None: none runs."""
        port = self._surroundings.bank_simulator_port
        if self._stack is not None:
            return SimulatorClient(self._stack.bank) if self._stack.bank else None
        return SimulatorClient(f"http://127.0.0.1:{port}") if port else None

    @property
    def home(self) -> Path:
        """Where the embedded stack keeps its files."""
        return self._surroundings.home

    @property
    def profile(self) -> str:
        """Name of the rule profile in force."""
        return self._surroundings.profile

    @property
    def engine(self) -> AsyncEngine:
        """The book's database. Raises Unavailable, Rejected(SETTINGS_INVALID)."""
        if self._engine is None:
            configured = self._surroundings.database_url
            url = configured.get_secret_value() if configured else self._running().database_url
            self._engine = make_engine(_asyncpg_url(url))
        return self._engine

    @property
    def ring(self) -> KeyRing:
        """The key ring that payloads are sealed with. Raises Rejected(SETTINGS_INVALID)."""
        if self._ring is None:
            self._ring = self._read_ring()
        return self._ring

    @property
    def issuer(self) -> DevelopmentIssuer:
        """The issuer of tokens that `up` made. Raises Rejected(SETTINGS_INVALID)."""
        wanted = self._surroundings
        if wanted.environment != "dev" or wanted.token_keys_file is not None:
            raise _invalid("tokens come from your own issuer here; this one is for development")
        path = wanted.home / ISSUER_FILE
        try:
            return DevelopmentIssuer.from_json(path.read_text(encoding="utf-8"))
        except OSError:
            raise _invalid(f"the issuer {path} cannot be read: `make up` makes it") from None
        except KeysRefused as refused:
            raise _invalid(f"the issuer {path} is refused: {refused}") from None
        except UnicodeDecodeError:
            raise _invalid(f"the issuer {path} is refused: it is not a text") from None

    async def tillkeeper(self) -> Tillkeeper:
        """The workflows. Raises Unavailable, Rejected(SETTINGS_INVALID)."""
        if self._tillkeeper is None:
            self._tillkeeper = Tillkeeper(await self._connect())
        return self._tillkeeper

    async def close(self) -> None:
        """Give the connections back."""
        if self._engine is not None:
            await self._engine.dispose()

    async def _connect(self) -> Client:
        address = self._surroundings.temporal_address or self._running().temporal_address
        namespace = self._surroundings.temporal_namespace
        if namespace is None:
            namespace = self._stack.namespace if self._stack else "default"
        converter = data_converter(self.ring)
        try:
            return await Client.connect(
                address, namespace=namespace, data_converter=converter, tls=self._tls()
            )
        except (RuntimeError, RPCError, OSError):
            raise Unavailable(f"Temporal at {address} does not answer. {NOT_UP}") from None

    def _running(self) -> _Stack:
        if self._stack is None:
            raise Unavailable(NOT_UP)
        return self._stack

    def _read_ring(self) -> KeyRing:
        given = self._surroundings.key_ring
        path = self._surroundings.key_ring_file
        if path is None:
            known = self._stack.key_ring_path if self._stack else None
            path = Path(known) if known else self._surroundings.home / _KEY_RING_FILE
        try:
            text = given.get_secret_value() if given else path.read_text(encoding="utf-8")
            return KeyRing.from_json(text)
        except OSError:
            raise _invalid(f"the key ring {path} cannot be read") from None
        except KeyRingRefused as refused:
            raise _invalid(f"the key ring is refused: {refused}") from None
        except UnicodeDecodeError:
            raise _invalid(f"the key ring {path} is refused: it is not a text") from None

    def _tls(self) -> TLSConfig | bool:
        wanted = self._surroundings
        paths = (wanted.temporal_tls_ca, wanted.temporal_tls_cert, wanted.temporal_tls_key)
        if paths[0] is None and paths[1] is None:
            return False
        try:
            ca, cert, key = (path.read_bytes() if path else None for path in paths)
        except OSError:
            raise _invalid("the TLS files for Temporal cannot be read") from None
        return TLSConfig(server_root_ca_cert=ca, client_cert=cert, client_private_key=key)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """The stack's connections for one command. Raises Rejected(SETTINGS_INVALID)."""
    try:
        surroundings = Surroundings()
    except ValidationError as error:
        names = sorted({str(item["loc"][0]).upper() for item in error.errors()})
        raise _invalid(", ".join(f"TILLKEEPER_{name} is not valid" for name in names)) from None
    made = House(surroundings, _find_stack(surroundings.home))
    try:
        yield made
    finally:
        await made.close()


def _find_stack(home: Path) -> _Stack | None:
    """The stack on this home; a file that a killed one left behind is not believed."""
    try:
        found = _Stack.model_validate_json((home / _STACK_FILE).read_bytes())
        os.kill(found.pid, 0)
    except (OSError, ValidationError):
        return None
    return found


def _asyncpg_url(text: str) -> str:
    # SQLAlchemy's own sentences quote what it took for a port: often a part of the password.
    try:
        url = make_url(text).set(drivername="postgresql+asyncpg")
        url.get_dialect()().create_connect_args(url)
        misread = "@" in f"{url.host or ''}{url.database or ''}"
        if not misread and (url.port is None or url.port in range(1, 65536)):
            return url.render_as_string(hide_password=False)
    except (ArgumentError, ValueError):
        pass
    raise _invalid("TILLKEEPER_DATABASE_URL is not a database URL (a password is percent-encoded)")


def _invalid(sentence: str) -> Rejected:
    return Rejected(Code.SETTINGS_INVALID, detail=sentence)
