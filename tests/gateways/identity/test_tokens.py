"""Tokens of those who decide: S3, C-07. Whatever is not exactly one is refused, and told nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import string
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateways.identity.tokens import KeysRefused, TokenVerifier, read_jwks
from tillkeeper.contracts.actor import ActorToken, Decision, decision_digest
from tillkeeper.contracts.errors import Code, Rejected

AT = datetime(2026, 11, 6, 10, 0, tzinfo=UTC)
NOW = int(AT.timestamp())
MINUTE = 60
DIGITS = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}-_"
KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
VERIFIER = TokenVerifier("https://id.example", {"k1": KEY.public_key()})
DECISION = Decision(
    subject="withdrawal/M1/W1", verdict="APPROVE", amount_minor=2_000_00, currency="CNY", shown="ab"
)


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted, but for the changes; None takes a claim away."""
    made = {
        "iss": "https://id.example", "aud": "tillkeeper", "sub": "O2", "roles": ["operations"],
        "merchants": ["M1"], "jti": "t1", "iat": NOW, "exp": NOW + 5 * MINUTE, **changes,
    }  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


def signed(body: dict[str, Any] | None = None, key: Any = KEY, **header: Any) -> str:
    return jwt.encode(
        claims() if body is None else body,
        key,
        algorithm=header.pop("alg", "EdDSA"),
        headers={"kid": "k1", **header},
    )


def b64(data: bytes | dict[str, Any]) -> str:
    raw = json.dumps(data).encode() if isinstance(data, dict) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], body: bytes | dict[str, Any], key: Any = KEY) -> str:
    """Signed whatever it says, where the library would not write it."""
    text = f"{b64(header)}.{b64(body)}"
    return f"{text}.{b64(key.sign(text.encode()))}"


def why_not(token: str, at: datetime = AT) -> Code:
    """The one code it is refused with; nothing of it is in the error or behind it."""
    with pytest.raises(Rejected) as refused:
        VERIFIER.verify(token, at)
    error = refused.value
    assert (error.__cause__, error.__context__) == (None, None)
    told = "".join(traceback.format_exception(error))
    assert not any(part in told for part in token.split(".") if len(part) > 8)
    (code,) = error.codes
    return code


class TestVerify:
    def test_s3_who_acts_is_what_the_token_says(self) -> None:
        digest = decision_digest(DECISION)
        assert VERIFIER.verify(signed(claims(decision=digest)), AT) == ActorToken(
            subject="O2", roles=("operations",), merchants=("M1",), token_id="t1",  # noqa: S106 - an id
            issued_at=AT, expires_at=AT + timedelta(minutes=5), bound=digest,
        )  # fmt: skip

    def test_an_unknown_claim_is_no_fault(self) -> None:
        body = claims(email="o2@example.com", nbf=NOW, aud=["other", "tillkeeper"])
        assert VERIFIER.verify(signed(body), AT).bound is None

    def test_every_merchant_is_a_star_alone(self) -> None:
        assert VERIFIER.verify(signed(claims(merchants=["*"])), AT).acts_for("M9")
        assert not VERIFIER.verify(signed(claims(merchants=[])), AT).acts_for("M1")
        assert why_not(signed(claims(merchants=["*", "M1"]))) is Code.TOKEN_INVALID

    def test_nothing_at_all_is_missing(self) -> None:
        assert why_not("") is Code.TOKEN_MISSING

    @pytest.mark.parametrize(
        ("at", "code"),
        [
            (AT + timedelta(minutes=5), Code.TOKEN_EXPIRED),
            (AT + timedelta(days=40), Code.TOKEN_EXPIRED),
            (AT - timedelta(seconds=30, microseconds=1), Code.TOKEN_INVALID),
        ],
    )
    def test_b13_expired_at_its_end_and_unborn_before_its_time(
        self, at: datetime, code: Code
    ) -> None:
        assert why_not(signed(), at) is code

    @pytest.mark.parametrize(
        "at", [AT - timedelta(seconds=30), AT + timedelta(minutes=5, microseconds=-1)]
    )
    def test_good_from_thirty_seconds_before_to_its_end(self, at: datetime) -> None:
        assert VERIFIER.verify(signed(), at).subject == "O2"

    @pytest.mark.parametrize(("life", "good"), [(300, True), (301, False), (0, False), (-1, False)])
    def test_s3_a_life_of_five_minutes_at_most(self, life: int, good: bool) -> None:
        token = signed(claims(exp=NOW + life))
        if good:
            assert VERIFIER.verify(token, AT).expires_at == AT + timedelta(seconds=life)
        else:
            assert why_not(token) is Code.TOKEN_INVALID

    @pytest.mark.parametrize(
        "name", ["iss", "aud", "sub", "roles", "merchants", "jti", "iat", "exp"]
    )
    def test_a_claim_that_is_missing(self, name: str) -> None:
        assert why_not(signed(claims(**{name: None}))) is Code.TOKEN_INVALID

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://evil.example"},
            {"iss": "https://id.example/"},
            {"iss": ["https://id.example"]},
            {"aud": "tillkeeper-test"},
            {"aud": ["other"]},
            {"sub": ""},
            {"sub": "a/b"},
            {"sub": "Tillkeeper"},
            {"sub": "o\u0000"},
            {"roles": "operations"},
            {"roles": ["operations", ""]},
            {"roles": {"operations": True}},
            {"merchants": "*"},
            {"merchants": ["**"]},
            {"merchants": ["M1/W1"]},
            {"jti": "x" * 65},
            {"iat": float(NOW)},
            {"iat": str(NOW)},
            {"iat": True},
            {"iat": NOW + 31},
            {"exp": 2**80},
            {"exp": -1},
            {"nbf": NOW + 31},
            {"decision": "ab"},
            {"decision": "A" * 64},
            {"decision": f"{'a' * 64}\n"},
        ],
    )
    def test_a_claim_that_is_wrong(self, changes: dict[str, Any]) -> None:
        body = claims(**changes)
        assert why_not(by_hand({"alg": "EdDSA", "kid": "k1"}, body)) is Code.TOKEN_INVALID

    @pytest.mark.parametrize(
        ("key", "header"),
        [
            (OTHER, {}),
            (KEY, {"kid": "k2"}),
            (KEY, {"kid": ""}),
            (KEY, {"crit": ["exp"]}),
            (KEY, {"crit": ["b64"], "b64": False}),
        ],
    )
    def test_another_key_or_an_unknown_header(self, key: Any, header: dict[str, Any]) -> None:
        token = by_hand({"alg": "EdDSA", "typ": "JWT", "kid": "k1", **header}, claims(), key)
        assert why_not(token) is Code.TOKEN_INVALID

    @pytest.mark.parametrize("kid", [None, 1, ["k1"], {"k1": 1}])
    def test_a_key_id_that_is_no_text(self, kid: Any) -> None:
        assert why_not(by_hand({"alg": "EdDSA", "kid": kid}, claims())) is Code.TOKEN_INVALID

    def test_keys_that_the_header_points_to_are_not_looked_at(self) -> None:
        """A stranger's key in the header, or an address of his, makes nobody trusted."""
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(OTHER.public_key().public_bytes_raw())}
        pointers: dict[str, Any] = {
            "jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/x", "jwk": jwk,
            "x5c": ["AAAA"],
        }  # fmt: skip
        assert VERIFIER.verify(signed(**pointers), AT).subject == "O2"
        assert why_not(signed(key=OTHER, **pointers)) is Code.TOKEN_INVALID

    @pytest.mark.parametrize(
        "alg", ["none", "None", "NONE", "", "HS256", "ES256", "eddsa", "RS256"]
    )
    def test_another_algorithm_in_the_header_of_a_good_signature(self, alg: str) -> None:
        assert why_not(by_hand({"alg": alg, "kid": "k1"}, claims())) is Code.TOKEN_INVALID

    def test_no_signature_under_alg_none(self) -> None:
        text = f"{b64({'alg': 'none', 'kid': 'k1'})}.{b64(claims())}"
        assert why_not(f"{text}.") is Code.TOKEN_INVALID
        assert why_not(text) is Code.TOKEN_INVALID

    def test_the_public_key_is_no_secret_to_sign_with(self) -> None:
        """HS256 over the public key's bytes: the classic confusion."""
        public = KEY.public_key().public_bytes_raw()
        for secret in (public, base64.b64encode(public), b64(public).encode()):
            text = f"{b64({'alg': 'HS256', 'kid': 'k1'})}.{b64(claims())}"
            mark = hmac.digest(secret, text.encode(), hashlib.sha256)
            assert why_not(f"{text}.{b64(mark)}") is Code.TOKEN_INVALID

    def test_an_elliptic_key_of_a_stranger(self) -> None:
        key = generate_private_key(SECP256R1())
        assert why_not(signed(key=key, alg="ES256")) is Code.TOKEN_INVALID

    def test_any_byte_altered(self) -> None:
        token = signed()
        for place, old in enumerate(token):
            # The first of a digit's six bits: the last bits of the last one are not read.
            new = "A" if old == "." else DIGITS[DIGITS.index(old) ^ 32]
            assert why_not(f"{token[:place]}{new}{token[place + 1 :]}") is Code.TOKEN_INVALID

    def test_the_body_of_another_token_under_this_signature(self) -> None:
        mine, his = signed().split("."), signed(claims(sub="O9")).split(".")
        assert why_not(".".join((mine[0], his[1], mine[2]))) is Code.TOKEN_INVALID

    @pytest.mark.parametrize(
        "body", [b"[]", b'"x"', b"{", b"\xff\xfe", b"[" * 3000, b"null", b"1e999"]
    )
    def test_a_body_that_is_no_object(self, body: bytes) -> None:
        assert why_not(by_hand({"alg": "EdDSA", "kid": "k1"}, body)) is Code.TOKEN_INVALID

    def test_a_huge_token_is_not_even_decoded(self) -> None:
        good = signed(claims(note="x" * 5000))
        assert len(good) > 4096
        for token in (good, "A" * 50_000_000, f"{'[' * 5_000_000}.."):
            with pytest.raises(Rejected) as refused:
                VERIFIER.verify(token, AT)
            assert refused.value.codes == (Code.TOKEN_INVALID,)

    @settings(max_examples=500, deadline=None)
    @given(
        text=st.one_of(
            st.text(min_size=1),
            st.binary(min_size=1).map(lambda b: b.decode("latin1")),
            st.lists(st.binary().map(b64), min_size=1, max_size=5).map(".".join),
        )
    )
    @example(text="..")
    @example(text="a.b.c.d.e")
    @example(text="\ud800")
    @example(text="\x00")
    def test_garbage(self, text: str) -> None:
        with pytest.raises(Rejected) as refused:
            VERIFIER.verify(text or ".", AT)
        assert refused.value.codes == (Code.TOKEN_INVALID,)


class TestRecognise:
    def test_a_token_that_has_expired_since_is_still_known(self) -> None:
        """So the same act, sent again, is answered alike; whoever decides anew must verify."""
        later = AT + timedelta(days=400)
        assert VERIFIER.recognise(signed(), later) == VERIFIER.verify(signed(), AT)

    def test_nothing_else_is_forgiven(self) -> None:
        for token, code in ((signed(key=OTHER), Code.TOKEN_INVALID), ("", Code.TOKEN_MISSING)):
            with pytest.raises(Rejected) as refused:
                VERIFIER.recognise(token, AT)
            assert refused.value.codes == (code,)


class TestSilence:
    def test_s13_no_log_and_no_repr_holds_a_token(self, caplog: pytest.LogCaptureFixture) -> None:
        token = signed()
        with caplog.at_level(logging.DEBUG):
            found = VERIFIER.verify(token, AT)
            why_not(token[:-8])
        assert caplog.text == ""
        assert all(part not in f"{found!r}{VERIFIER!r}" for part in token.split("."))


def jwk(**changes: Any) -> dict[str, Any]:
    made = {
        "kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "alg": "EdDSA",
        "x": b64(KEY.public_key().public_bytes_raw()), **changes,
    }  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


class TestReadJwks:
    def test_the_keys_read_verify(self) -> None:
        keys = read_jwks(json.dumps({"keys": [jwk(), jwk(kid="k2", use=None, alg=None)]}))
        assert TokenVerifier("https://id.example", keys).verify(signed(), AT).subject == "O2"
        assert sorted(keys) == ["k1", "k2"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "list of keys"),
            ("[]", "list of keys"),
            ("[" * 100_000, "list of keys"),
            ('{"keys": {}}', "list of keys"),
            ('{"keys": []}', "1 to 64 keys"),
            (json.dumps({"keys": [jwk()] * 65}), "1 to 64 keys"),
            (json.dumps({"keys": ["x"]}), "key 1 is no Ed25519 key"),
            (json.dumps({"keys": [jwk(), jwk(kty="RSA")]}), "key 2 is no Ed25519 key"),
            (json.dumps({"keys": [jwk(crv="X25519")]}), "no Ed25519 key"),
            (json.dumps({"keys": [jwk(d=b64(KEY.private_bytes_raw()))]}), "private key"),
            (json.dumps({"keys": [jwk(use="enc")]}), "not for signatures"),
            (json.dumps({"keys": [jwk(alg="HS256")]}), "not for signatures"),
            (json.dumps({"keys": [jwk(kid=None)]}), "needs a kid"),
            (json.dumps({"keys": [jwk(kid=" ")]}), "needs a kid"),
            (json.dumps({"keys": [jwk(x="AAAA")]}), "32 bytes"),
            (json.dumps({"keys": [jwk(x=None)]}), "32 bytes"),
            (json.dumps({"keys": [jwk(x="A" * 43)]}), "one repeated byte"),
            (json.dumps({"keys": [jwk(), jwk()]}), "kid of another"),
        ],
    )
    def test_nonsense_is_refused_in_one_sentence_without_keys(self, text: str, said: str) -> None:
        with pytest.raises(KeysRefused, match=said) as refused:
            read_jwks(text)
        assert refused.value.__context__ is None
        assert b64(KEY.private_bytes_raw()) not in str(refused.value)
