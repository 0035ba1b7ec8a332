"""Settings fail closed: nonsense stops the process in one sentence that quotes no secret."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateways.identity.issuer import DEVELOPMENT_ISSUER, DevelopmentIssuer, Grant
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.sealing import KeyRing
from worker.addresses import asyncpg_url, is_loopback, is_origin
from worker.codec_server import codec_app
from worker.keys import first_issuer, first_key_ring, load_key_ring, load_verifier
from worker.refusal import CannotStart
from worker.settings import Settings, load_settings

AT = datetime(2026, 11, 6, 10, 0, tzinfo=UTC)
ACCOUNT = '{"name": "Platform", "bank": "Bank", "number": "123"}'
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
"""The public key of RFC 8037, appendix A."""
ACCOUNTS = f'{{"CNY": {ACCOUNT}}}'


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
    ca, ring, keys = (tmp_path / name for name in ("ca.pem", "ring.json", "jwks.json"))
    ca.write_text("certificate")
    ring.write_text(KeyRing.generate("k1").to_json())
    ring.chmod(0o600)
    keys.write_text(json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": X}]}))
    return {
        "environment": "production",
        "database_url": "postgresql://tillkeeper:secret-word@db/tillkeeper",
        "temporal_address": "temporal:7233",
        "temporal_tls_ca": str(ca),
        "key_ring_file": str(ring),
        "codec_token": "0123456789abcdef",
        "token_issuer": "https://id.example",
        "token_keys_file": str(keys),
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

    def test_a_persons_token_is_nothing_for_a_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """C-11: whoever decides on the command line does not hand his token to a process."""
        with pytest.raises(CannotStart, match=r"TILLKEEPER_TOKEN is a person's") as refusal:
            load(monkeypatch, **{"token": "secret-word"})
        assert "secret-word" not in str(refusal.value)

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
            ("receiving_accounts", f'{{"cny": {ACCOUNT}}}', "'cny' is neither a currency"),
            ("receiving_accounts", f'{{"a\\nb": {ACCOUNT}}}', "neither a currency"),
            ("receiving_accounts", f'{{"CNY": {ACCOUNT}, "CNY": {ACCOUNT}}}', "stands twice"),
            ("receiving_accounts", ACCOUNTS.replace('"bank"', '"name"'), "stands twice"),
            ("receiving_accounts", ACCOUNTS.replace("Platform", " "), "not empty"),
            ("receiving_accounts", ACCOUNTS.replace("Bank", "a\\nb"), "control or invisible"),
            ("receiving_accounts", ACCOUNTS.replace("123", "\u200b"), "control or invisible"),
            ("receiving_accounts", ACCOUNTS.replace('"bank"', '"a\\nb"'), "RECEIVING_ACCOUNTS"),
            ("receiving_accounts", "[" * 100_000, "JSON"),
            ("codec_origins", '["*"]', "exact origins"),
            ("codec_origins", '["http://127.0.0.1:8233", "https://ui/"]', "exact origins"),
            ("codec_origins", "http://127.0.0.1:8233", "JSON"),
            ("codec_token", " " * 16, "without spaces"),
            ("codec_token", "0123456789abcde ", "without spaces"),
            ("bind", "nonsense", "BIND must be an IP address"),
            ("bind", "", "BIND must be an IP address"),
            ("token_issuer", "https://id.example", "go together"),
            ("token_issuer", "a b", "TOKEN_ISSUER"),
            ("token_keys_file", __file__, "go together"),
            ("token_keys_file", "/none", "TOKEN_KEYS_FILE names no file"),
            ("home", "", "HOME: must name a directory"),
            ("home", " ", "HOME: must name a directory"),
            ("bank_exchange", " ", "BANK_EXCHANGE: must name a directory"),
            ("bank_exchange", __file__, "a file, not a directory"),
            ("bank_exchange_encoding", "latin-99", "BANK_EXCHANGE_ENCODING names no encoding"),
            ("bank_exchange_encoding", "utf-7", "BANK_EXCHANGE_ENCODING names no encoding"),
            ("bank_simulator_port", "8235", "are both 8235"),
            ("bank_door", "http://bank.example:80", "BANK_DOOR must be http://<loopback>"),
            ("bank_door", "https://127.0.0.1:8236", "BANK_DOOR must be http://<loopback>"),
            ("bank_rails", '["pigeon"]', "BANK_RAILS"),
            ("bank_rails", "[]", "BANK_RAILS"),
            ("bank_rails", '["file", "file"]', "BANK_RAILS names one way twice"),
            ("bank_rate_per_s", "0", "BANK_RATE_PER_S"),
            ("bank_visibility_s", "0", "BANK_VISIBILITY_S"),
            ("receiving_accounts", ACCOUNTS.replace("}}", ', "bic": "x"}}'), "BIC"),
            ("receiving_accounts", ACCOUNTS.replace("}}", ', "aliases": [""]}}'), "not empty"),
            ("receiving_accounts", ACCOUNTS.replace("}}", ', "aliases": "1"}}'), "aliases"),
            ("profile", "latest", "PROFILE"),
            ("profile", "jd-prepaid@2031-01", "known: jd-prepaid@2023-11"),
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

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://till:ab@cd:s3cret@h/d",
            "postgresql://till:ab@s3cret@h/d",
            "postgresql://till:ab@cd/s3cret@h/d",
            "postgresql://till@h:s3cret/d",
            "postgresql://till@h/d?port=s3cret",
            "postgresql://till:s3cret@h:70000/d",
        ],
    )
    @pytest.mark.parametrize("name", ["database_url", "migration_url"])
    def test_misread_password_is_never_quoted(
        self, monkeypatch: pytest.MonkeyPatch, name: str, url: str
    ) -> None:
        with pytest.raises(CannotStart, match="not a database URL") as refused:
            load(monkeypatch, **({"database_url": "postgresql://h/d"} | {name: url}))
        assert "s3cret" not in str(refused.value)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__

    def test_good_values_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = load(
            monkeypatch,
            receiving_accounts=ACCOUNTS,
            codec_origins='["http://[::1]:8233", "https://ui.example"]',
            bind="::1",
            database_url="postgresql://u:p%40ss@/d?host=/tmp/socket&port=5433",
        )
        account = settings.receiving_account("CNY")
        assert account is not None
        assert account.number == "123"
        assert settings.codec_origins == ("http://[::1]:8233", "https://ui.example")


class TestOwnNumber:
    def test_our_number_is_known_in_every_form_and_no_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-25: banks write one number in several forms; it stays one account."""
        account = ACCOUNT.replace('"123"', '"DE12 3456", "aliases": ["10020030/3456"]')
        settings = load(monkeypatch, receiving_accounts=f'{{"EUR": {account}}}')
        for form in ("DE12 3456", "DE123456", "de123456", "\uff24E123456", "10020030 / 3456"):
            assert settings.own_number(form, "EUR") == "DE123456"
        assert settings.own_number("DE123457", "EUR") is None
        assert settings.own_number("DE123456", "CNY") is None


class TestOrigins:
    @pytest.mark.parametrize("origin", ["http://127.0.0.1:8233", "http://[::1]:1", "https://a.b"])
    def test_exact_origin_is_accepted_here_and_by_the_codec(self, origin: str) -> None:
        assert is_origin(origin)
        codec_app(KeyRing.generate("k1"), allowed_origins=[origin], token=None)

    @pytest.mark.parametrize(
        "origin",
        [
            "*",
            "http://*.a.b",
            "http://a/",
            "http://u@a",
            "ftp://a",
            "a",
            "",
            "http://",
            "http://[x",
        ],
    )
    def test_what_the_codec_refuses_is_refused_here(self, origin: str) -> None:
        assert not is_origin(origin)
        with pytest.raises(ValueError, match=r".+"):
            codec_app(KeyRing.generate("k1"), allowed_origins=[origin], token=None)

    @pytest.mark.parametrize("origin", ["http://a:0", "http://a:70000", "http://A", "http://a b"])
    def test_what_no_browser_sends_is_refused(self, origin: str) -> None:
        assert not is_origin(origin)


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
            ("token_issuer", "needs TILLKEEPER_TOKEN_ISSUER and TILLKEEPER_TOKEN_KEYS_FILE"),
            ("token_keys_file", "needs TILLKEEPER_TOKEN_ISSUER and TILLKEEPER_TOKEN_KEYS_FILE"),
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

    def test_exchange_that_is_not_there_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A worker that made its own empty folder would wait for the bank for ever."""
        variables = production(tmp_path) | {"bank_exchange": str(tmp_path / "none")}
        with pytest.raises(CannotStart, match="BANK_EXCHANGE must be there"):
            load(monkeypatch, **variables)

    def test_s12_the_issuer_of_development_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        variables = production(tmp_path) | {"token_issuer": DEVELOPMENT_ISSUER}
        with pytest.raises(CannotStart, match="refuses the TILLKEEPER_TOKEN_ISSUER of development"):
            load(monkeypatch, **variables)

    def test_no_receiving_account_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        variables = production(tmp_path) | {"receiving_accounts": "{}"}
        with pytest.raises(CannotStart, match="its own TILLKEEPER_RECEIVING_ACCOUNTS"):
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

    def test_binary_ring_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        path.write_bytes(b"\xff\xfe\x00secret-word")
        path.chmod(0o600)
        with pytest.raises(CannotStart, match=r"keyring\.json is refused: it is not a text") as no:
            load_key_ring(Settings(home=tmp_path))
        assert "secret-word" not in str(no.value)


def signed_in_at(home: Path) -> str:
    """A token of the issuer that this home has."""
    issuer = DevelopmentIssuer.from_json((home / "issuer.json").read_text())
    return issuer.issue(Grant(subject="O2", roles=("operations",)), AT)


class TestVerifier:
    def test_first_start_makes_a_private_issuer_and_keeps_it(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        first_issuer(settings)
        token = signed_in_at(tmp_path)
        first_issuer(settings)
        verifier = load_verifier(settings)
        assert (tmp_path / "issuer.json").stat().st_mode & 0o777 == 0o600
        assert verifier is not None
        assert verifier.verify(token, AT).subject == "O2"

    def test_a_home_without_issuer_has_no_verifier(self, tmp_path: Path) -> None:
        assert load_verifier(Settings(home=tmp_path)) is None

    def test_s3_production_never_reads_the_issuer_of_development(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first_issuer(Settings(home=tmp_path))
        settings = load(monkeypatch, **production(tmp_path), home=str(tmp_path))
        verifier = load_verifier(settings)
        assert verifier is not None
        with pytest.raises(Rejected) as refused:
            verifier.verify(signed_in_at(tmp_path), AT)
        assert refused.value.codes == (Code.TOKEN_INVALID,)

    def test_an_issuer_of_its_own_needs_none_of_ours(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        keys = production(tmp_path)
        mine = {name: keys[name] for name in ("token_issuer", "token_keys_file")}
        settings = load(monkeypatch, home=str(tmp_path), **mine)
        first_issuer(settings)
        assert not (tmp_path / "issuer.json").exists()
        assert load_verifier(settings) is not None

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"{", "are refused: it is not a JSON object with a list of keys"),
            (b'{"keys": []}', "must list 1 to 64 keys"),
            (b"\xff\xfe", "it is not a text"),
        ],
    )
    def test_s12_keys_that_are_none_stop_the_process(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, said: str
    ) -> None:
        variables = production(tmp_path)
        Path(variables["token_keys_file"]).write_bytes(content)
        with pytest.raises(CannotStart, match=said):
            load_verifier(load(monkeypatch, **variables))

    def test_an_issuer_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        first_issuer(Settings(home=tmp_path))
        (tmp_path / "issuer.json").chmod(0o640)
        with pytest.raises(CannotStart, match="chmod 600"):
            load_verifier(Settings(home=tmp_path))

    def test_a_broken_issuer_is_refused_without_quoting_it(self, tmp_path: Path) -> None:
        path = tmp_path / "issuer.json"
        path.write_text('{"private_key": "secret-word"}')
        path.chmod(0o600)
        with pytest.raises(CannotStart, match=r"issuer\.json is refused") as refused:
            load_verifier(Settings(home=tmp_path))
        assert "secret-word" not in str(refused.value)
