"""``tillkeeper token issue``: for development only, and nothing but the token is printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from console.app import main
from gateways.identity.issuer import DevelopmentIssuer
from tests.console.support import CommandLine
from tests.tokens import token_for
from tillkeeper.contracts.actor import Decision, decision_digest
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    DecidePolicy,
    Delegate,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.binding import (
    delegation_decision,
    item_proposal,
    policy_decision,
    policy_proposal,
)
from tillkeeper.contracts.workitem import ItemAction, Propose, ReturnTo

WHO = ("token", "issue", "--subject", "O2", "--role", "operations")
DIGEST = "ab" * 32
NAMED = ("--for", "withdrawal/M1/W1", "--verdict", "approve")
FOR = (*NAMED, "--amount", "2000.00", "--currency", "CNY", "--shown", DIGEST)
DECISION = Decision(
    subject="withdrawal/M1/W1",
    verdict="APPROVE",
    amount_minor=2_000_00,
    currency="CNY",
    shown=DIGEST,
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

    def test_without_more_it_is_for_every_merchant(
        self, tmp_path: Path, issuer: DevelopmentIssuer
    ) -> None:
        answer = CommandLine(tmp_path, {})(*WHO, *FOR, "--json")
        found = issuer.verifier().verify(answer.json["token"], datetime.now(UTC))
        assert (found.merchants, found.bound) == (("*",), decision_digest(DECISION))

    def test_each_kind_is_bound_to_what_its_command_sends(
        self, tmp_path: Path, issuer: DevelopmentIssuer
    ) -> None:
        """S3: the same functions make the token's decision and the ledger's."""
        (tmp_path / "policy.json").write_text(json.dumps({"bands": [{"auto_reason": "x"}]}))
        (tmp_path / "payee.json").write_text(json.dumps({"bank_name": "工商银行"}))
        policy = ApprovalPolicy(bands=(Band(auto_reason="x"),))
        until = datetime(2026, 12, 24, tzinfo=UTC)
        change = ProposePolicy(change="P1", policy=policy, effective_from=until, reason="其他")
        lent = Delegate(
            delegation="D1", delegate="O3", roles=("operations",), until=until, reason="休假"
        )
        back = Propose(
            action=ItemAction.RETURN, reason="任意", actor="O9",
            return_to=ReturnTo(bank_name="工商银行"),
        )  # fmt: skip
        yes = DecidePolicy(verdict=Verdict.APPROVE, policy_digest=DIGEST)
        for typed, decision in (
            (("policy/P1", "--verdict", "propose", "--policy", "policy.json",
              "--effective-from", "2026-12-24"), policy_proposal(change)),
            (("policy/P1", "--verdict", "approve", "--shown", DIGEST), policy_decision("P1", yes)),
            (("delegation/D1", "--verdict", "delegate", "--to", "O3", "--until", "2026-12-24",
              "--reason", "休假"), delegation_decision(lent)),
            (("item/7", "--verdict", "propose", "--action", "return", "--to", "payee.json"),
             item_proposal(7, back)),
        ):  # fmt: skip
            answer = CommandLine(tmp_path, {})(*WHO, "--for", *typed)
            assert answer.code == 0, answer
            found = issuer.verifier().verify(answer.out.strip(), datetime.now(UTC))
            assert found.bound == decision_digest(decision), typed

    @pytest.mark.parametrize(
        ("more", "code"),
        [
            ((), "FIELD_INVALID"),
            ((*FOR, "--minutes", "6"), "FIELD_INVALID"),
            ((*FOR, "--minutes", "0"), "FIELD_INVALID"),
            (("--verdict", "approve"), "FIELD_INVALID"),
            (("--for", "withdrawal/M1/W1"), "FIELD_INVALID"),
            (("--for", "withdrawal/M1/W1", "--verdict", "maybe"), "FIELD_INVALID"),
            (("--for", "withdrawal/M1/W1", "--verdict", "propose"), "FIELD_INVALID"),
            (("--for", "withdrawal/M1", "--verdict", "approve"), "FIELD_INVALID"),
            (("--for", "w\udcff", "--verdict", "approve"), "FIELD_INVALID"),
            (("--for", "policy/w\udcff", "--verdict", "approve"), "ID_MALFORMED"),
            ((*FOR, "--shown", "\udcff" * 64), "INPUT_NOT_UNDERSTOOD"),
            ((*FOR, "--action", "return"), "FIELD_INVALID"),
            (("--for", "item/7", "--verdict", "approve", "--amount", "1.00"), "FIELD_INVALID"),
            (("--for", "item/x", "--verdict", "approve"), "FIELD_INVALID"),
            (("--for", "item/7", "--verdict", "propose"), "FIELD_MISSING"),
            (("--for", "policy/P1", "--verdict", "propose"), "FIELD_MISSING"),
            (("--for", "delegation/D1", "--verdict", "delegate", "--to", "O3"), "FIELD_MISSING"),
            ((*FOR, "--amount", "-1"), "AMOUNT_NOT_POSITIVE"),
            ((*FOR, "--merchant", "M1/W1"), "ID_MALFORMED"),
            ((*FOR, "--merchant", "*", "--merchant", "M1"), "FIELD_INVALID"),
            ((*FOR, "--subject", "tillkeeper"), "FIELD_INVALID"),
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
        answer = CommandLine(tmp_path, variables)(*WHO, *FOR, "--json")
        assert (answer.code, answer.codes) == (2, ["SETTINGS_INVALID"])

    @pytest.mark.parametrize("content", [None, b"{}", b"\xff"])
    def test_a_home_without_a_good_issuer_is_one_sentence(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        (tmp_path / "home").mkdir()
        if content is not None:
            (tmp_path / "home" / "issuer.json").write_bytes(content)
        answer = CommandLine(tmp_path, {})(*WHO, *FOR)
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
