"""The development issuer: what it signs is read, its key is shown to nobody."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from gateways.identity.issuer import DevelopmentIssuer, Grant
from gateways.identity.tokens import KeysRefused
from tests.tokens import VERIFIER, token_for
from tillkeeper.contracts.actor import Decision, decision_digest
from tillkeeper.contracts.errors import Code, Rejected

AT = datetime(2026, 11, 6, 10, 0, 0, 999_999, tzinfo=UTC)
DECISION = Decision(subject="policy/c1", verdict="REJECT", shown="ab")


class TestIssue:
    def test_what_was_granted_is_read(self) -> None:
        token = token_for("O2", "operations", "clerk", merchants=("M1",), at=AT).to(DECISION)
        found = VERIFIER.verify(token, AT)
        assert (found.subject, found.roles, found.merchants, found.bound) == (
            "O2", ("operations", "clerk"), ("M1",), decision_digest(DECISION),
        )  # fmt: skip
        assert found.expires_at - found.issued_at == timedelta(minutes=5)

    def test_every_token_has_an_id_of_its_own(self) -> None:
        ids = {VERIFIER.verify(token_for("O2", at=AT), AT).token_id for _ in range(100)}
        assert len(ids) == 100

    def test_another_stacks_issuer_is_a_stranger(self) -> None:
        other = DevelopmentIssuer.generate("test")
        with pytest.raises(Rejected) as refused:
            VERIFIER.verify(other.issue(Grant(subject="O2", roles=()), AT), AT)
        assert refused.value.codes == (Code.TOKEN_INVALID,)

    @pytest.mark.parametrize("life", [timedelta(0), timedelta(minutes=5, seconds=1)])
    def test_s3_a_longer_life_is_not_granted(self, life: timedelta) -> None:
        with pytest.raises(ValidationError):
            Grant(subject="O2", roles=("operations",), life=life)


class TestFile:
    def test_a_file_written_and_read_signs_for_the_same_verifier(self) -> None:
        made = DevelopmentIssuer.generate("k1")
        read = DevelopmentIssuer.from_json(made.to_json())
        token = read.issue(Grant(subject="O2", roles=()), AT)
        assert made.verifier().verify(token, AT).subject == "O2"

    def test_s13_no_repr_shows_the_key(self) -> None:
        made = DevelopmentIssuer.generate("k1")
        key = json.loads(made.to_json())["private_key"]
        assert key not in repr(made)
        assert repr(base64.b64decode(key)) not in f"{made!r}{vars(made)}"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"issuer": "https://id.example"}, "not a file of the development issuer"),
            ({"extra": 1}, "not a file of the development issuer"),
            ({"kid": ""}, "kid"),
            ({"private_key": "AAAA"}, "32 bytes"),
            ({"private_key": None}, "32 bytes"),
        ],
    )
    def test_nonsense_is_refused(self, change: dict[str, object], said: str) -> None:
        fields = {**json.loads(DevelopmentIssuer.generate("k1").to_json()), **change}
        with pytest.raises(KeysRefused, match=said):
            DevelopmentIssuer.from_json(json.dumps(fields))

    @pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
    def test_what_is_no_json_object_is_refused_without_its_text(self, text: str) -> None:
        with pytest.raises(KeysRefused) as refused:
            DevelopmentIssuer.from_json(text)
        assert refused.value.__context__ is None
