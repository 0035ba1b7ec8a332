"""``tillkeeper token issue``: for development only, and nothing but the token is printed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from console.app import main
from gateways.identity.issuer import DevelopmentIssuer
from tests.console.support import CommandLine
from tests.tokens import token_for
from tillkeeper.contracts.actor import Decision, decision_digest

WHO = ("token", "issue", "--subject", "O2", "--role", "operations")
FOR = ("--for", "withdrawal/M1/W1", "--verdict", "approve", "--amount", "2000.00", "--shown", "ab")
DECISION = Decision(
    subject="withdrawal/M1/W1", verdict="APPROVE", amount_minor=2_000_00, currency="CNY", shown="ab"
)


@pytest.fixture
def issuer(tmp_path: Path) -> DevelopmentIssuer:
    """The issuer of the home that the commands use."""
    made = DevelopmentIssuer.generate("k1")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "issuer.json").write_text(made.to_json())
    return made


class TestIssue:
    def test_the_token_alone_is_printed_and_says_who(
        self, tmp_path: Path, issuer: DevelopmentIssuer
    ) -> None:
        answer = CommandLine(tmp_path, {})(
            *WHO, "--role", "clerk", "--merchant", "M1", "--minutes", "2", *FOR
        )
        assert (answer.code, answer.err, answer.out.count("\n")) == (0, "", 1)
        found = issuer.verifier().verify(answer.out.strip(), datetime.now(UTC))
        assert (found.subject, found.roles, found.merchants) == (
            "O2", ("operations", "clerk"), ("M1",),
        )  # fmt: skip
        assert found.expires_at - found.issued_at == timedelta(minutes=2)
        assert found.bound == decision_digest(DECISION)

    def test_without_more_it_is_for_every_merchant_and_any_decision(
        self, tmp_path: Path, issuer: DevelopmentIssuer
    ) -> None:
        answer = CommandLine(tmp_path, {})(*WHO, "--json")
        found = issuer.verifier().verify(answer.json["token"], datetime.now(UTC))
        assert (found.merchants, found.bound) == (("*",), None)

    @pytest.mark.parametrize(
        ("more", "code"),
        [
            (("--minutes", "6"), "FIELD_INVALID"),
            (("--minutes", "0"), "FIELD_INVALID"),
            (("--verdict", "approve"), "FIELD_INVALID"),
            (("--for", "withdrawal/M1/W1"), "FIELD_MISSING"),
            (("--for", "withdrawal/M1/W1", "--verdict", "maybe"), "FIELD_INVALID"),
            ((*FOR, "--amount", "-1"), "AMOUNT_NOT_POSITIVE"),
            (("--merchant", "M1/W1"), "ID_MALFORMED"),
            (("--merchant", "*", "--merchant", "M1"), "FIELD_INVALID"),
            (("--subject", "tillkeeper"), "FIELD_INVALID"),
        ],
    )
    @pytest.mark.usefixtures("issuer")
    def test_nonsense_is_refused(self, tmp_path: Path, more: tuple[str, ...], code: str) -> None:
        answer = CommandLine(tmp_path, {})(*WHO, *more, "--json")
        assert (answer.code, answer.codes) == (2, [code])

    @pytest.mark.parametrize(
        "variables",
        [{"TILLKEEPER_ENVIRONMENT": "production"}, {"TILLKEEPER_TOKEN_KEYS_FILE": "jwks.json"}],
    )
    @pytest.mark.usefixtures("issuer")
    def test_s12_refused_where_another_issuer_counts(
        self, tmp_path: Path, variables: dict[str, str]
    ) -> None:
        answer = CommandLine(tmp_path, variables)(*WHO, "--json")
        assert (answer.code, answer.codes) == (2, ["SETTINGS_INVALID"])

    @pytest.mark.parametrize("content", [None, b"{}", b"\xff"])
    def test_a_home_without_a_good_issuer_is_one_sentence(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        (tmp_path / "home").mkdir()
        if content is not None:
            (tmp_path / "home" / "issuer.json").write_bytes(content)
        answer = CommandLine(tmp_path, {})(*WHO)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("SETTINGS_INVALID: the issuer ")
        assert "Traceback" not in answer.err


class TestArguments:
    @pytest.mark.parametrize("more", [(), ("--json",)])
    @pytest.mark.parametrize("place", ["argument", "option"])
    def test_a_token_typed_where_none_belongs_is_not_repeated(
        self, capsys: pytest.CaptureFixture[str], place: str, more: tuple[str, ...]
    ) -> None:
        """S3: not even by the sentence that refuses it."""
        token = token_for("O2", "operations")
        typed = (token,) if place == "argument" else ("--state", token)
        assert main(["withdrawal", "list", *typed, *more]) == 2
        said = "".join(capsys.readouterr())
        assert "a token" in said
        assert not any(part in said for part in token.split("."))
