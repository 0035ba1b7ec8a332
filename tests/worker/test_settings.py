"""Settings fail closed: nonsense stops the process in one sentence that quotes no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tillkeeper.sealing import KeyRing
from worker.keys import first_key_ring, load_key_ring
from worker.refusal import CannotStart
from worker.settings import Settings, asyncpg_url, is_loopback, load_settings

ACCOUNTS = '{"CNY": {"name": "Platform", "bank": "Bank", "number": "123"}}'


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TILLKEEPER_"):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """Load settings from these variables alone."""
    for name, value in variables.items():
        monkeypatch.setenv(f"TILLKEEPER_{name.upper()}", value)
    return load_settings()


def production(tmp_path: Path) -> dict[str, str]:
    """Variables that production accepts."""
    ca, ring = tmp_path / "ca.pem", tmp_path / "ring.json"
    ca.write_text("certificate")
    ring.write_text(KeyRing.generate("k1").to_json())
    ring.chmod(0o600)
    return {
        "environment": "production",
        "database_url": "postgresql://tillkeeper:secret-word@db/tillkeeper",
        "temporal_address": "temporal:7233",
        "temporal_tls_ca": str(ca),
        "key_ring_file": str(ring),
        "codec_token": "0123456789abcdef",
        "receiving_accounts": ACCOUNTS,
    }


class TestLoad:
    def test_empty_environment_is_development(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = load(monkeypatch)
        account = settings.receiving_account("BRL")
        assert (settings.environment, settings.profile) == ("dev", "jd-prepaid@2023-11")
        assert account is not None
        assert account.currency == "BRL"

    def test_unknown_variable_is_refused_with_the_nearest_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(CannotStart, match=r"TILLKEEPER_DATABASE_ULR .*TILLKEEPER_DATABASE_URL"):
            load(monkeypatch, database_ulr="x")

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("environment", "staging", "ENVIRONMENT"),
            ("ui_port", "70000", "UI_PORT"),
            ("ui_port", "7233", "are both 7233"),
            ("database_url", "sqlite:///x", "must start with postgresql://"),
            ("database_url", "postgresql://", "host and a database"),
            ("database_url", "nonsense", "not a database URL"),
            ("migration_url", "postgresql://h/d", "needs TILLKEEPER_DATABASE_URL"),
            ("temporal_address", "temporal", "host:port"),
            ("temporal_address", "http://temporal:7233", "host:port"),
            ("temporal_tls_cert", "/nowhere", "go together"),
            ("temporal_tls_ca", "/nowhere", "names no file"),
            ("key_ring_file", "/nowhere", "names no file"),
            ("codec_token", "short", "16 characters"),
            ("bind", "0.0.0.0", "CODEC_TOKEN"),  # noqa: S104
            ("receiving_accounts", "{", "JSON"),
            ("receiving_accounts", '{"CNY": {"name": "x"}}', "RECEIVING_ACCOUNTS"),
            ("profile", "latest", "PROFILE"),
            ("log_level", "chatty", "LOG_LEVEL"),
        ],
    )
    def test_nonsense_is_refused_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
    ) -> None:
        with pytest.raises(CannotStart, match=said) as refused:
            load(monkeypatch, **{name: value})
        assert "\n" not in str(refused.value)

    def test_secrets_are_never_quoted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(CannotStart) as refused:
            load(monkeypatch, database_url="mysql://u:secret-word@h/d")
        assert "secret-word" not in str(refused.value)
        monkeypatch.setenv("TILLKEEPER_DATABASE_URL", "postgresql://u:secret-word@h/d")
        assert "secret-word" not in repr(load_settings())


class TestProduction:
    def test_complete_production_is_accepted(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        settings = load(monkeypatch, **production(tmp_path))
        assert settings.receiving_account("USD") is None
        assert load_key_ring(settings).active == "k1"

    @pytest.mark.parametrize(
        ("without", "said"),
        [
            ("key_ring_file", "needs TILLKEEPER_KEY_RING_FILE"),
            ("temporal_tls_ca", "in clear text"),
            ("receiving_accounts", "its own TILLKEEPER_RECEIVING_ACCOUNTS"),
            ("codec_token", "needs TILLKEEPER_CODEC_TOKEN"),
            ("database_url", "needs TILLKEEPER_DATABASE_URL"),
            ("temporal_address", "needs TILLKEEPER_TEMPORAL_ADDRESS"),
        ],
    )
    def test_development_defaults_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, without: str, said: str
    ) -> None:
        variables = production(tmp_path)
        del variables[without]
        with pytest.raises(CannotStart, match=said):
            load(monkeypatch, **variables)

    def test_clear_text_on_loopback_is_accepted(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        variables = production(tmp_path) | {"temporal_address": "127.0.0.1:7233"}
        del variables["temporal_tls_ca"]
        assert not load(monkeypatch, **variables).uses_tls


class TestAddresses:
    @pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9"])
    def test_loopback_is_recognised(self, address: str) -> None:
        assert is_loopback(address)

    @pytest.mark.parametrize("address", ["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "localhost.evil:1"])
    def test_everything_else_is_not_loopback(self, address: str) -> None:
        assert not is_loopback(address)

    def test_url_gets_the_one_driver(self) -> None:
        assert asyncpg_url("postgresql://u:p@h/d") == "postgresql+asyncpg://u:p@h/d"


class TestKeyRing:
    def test_first_start_makes_a_private_ring_and_keeps_it(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        first = first_key_ring(settings)
        assert (tmp_path / "keyring.json").stat().st_mode & 0o777 == 0o600
        assert first_key_ring(settings).to_json() == first.to_json()

    def test_ring_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        first_key_ring(Settings(home=tmp_path))
        (tmp_path / "keyring.json").chmod(0o644)
        with pytest.raises(CannotStart, match="chmod 600"):
            load_key_ring(Settings(home=tmp_path))

    def test_broken_ring_is_refused_without_quoting_it(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        path.write_text('{"active": "secret-word"')
        path.chmod(0o600)
        with pytest.raises(CannotStart) as refused:
            load_key_ring(Settings(home=tmp_path))
        assert "secret-word" not in str(refused.value)
