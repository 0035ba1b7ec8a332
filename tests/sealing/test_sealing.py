"""C-11: what is sealed opens only with its key and purpose, and a weak ring is never used."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillkeeper.contracts.errors import Broken, Code, KeyUnknown, SealBroken
from tillkeeper.sealing import KeyRing, KeyRingRefused

RING = KeyRing.generate("k1")
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
INDEX_KEY = bytes(range(100, 132))


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def ring_text(**changes: object) -> str:
    fields: dict[str, object] = {
        "active": "k1",
        "keys": {"k1": encoded(KEY)},
        "index_key": encoded(INDEX_KEY),
    }
    return json.dumps({**fields, **changes})


class TestSeal:
    @given(plain=st.binary(max_size=300), purpose=st.text(min_size=1, max_size=40))
    def test_same_purpose_opens_to_the_same_bytes(self, plain: bytes, purpose: str) -> None:
        sealed = RING.seal(plain, purpose=purpose)
        assert RING.open(sealed, purpose=purpose) == plain

    @given(text=st.text(max_size=100))
    def test_text_opens_to_the_same_text(self, text: str) -> None:
        assert RING.open_text(RING.seal_text(text, purpose="name"), purpose="name") == text

    def test_layout_is_version_key_id_nonce_ciphertext_and_tag(self) -> None:
        sealed = RING.seal(b"abc", purpose="name")
        assert sealed[:4] == b"\x01\x02k1"
        assert len(sealed) == 4 + 12 + 3 + 16

    def test_same_plain_twice_looks_different(self) -> None:
        assert RING.seal(b"abc", purpose="name") != RING.seal(b"abc", purpose="name")

    def test_plain_text_is_not_in_the_sealed_bytes(self) -> None:
        assert b"canary" not in RING.seal(b"the canary sings", purpose="name")

    def test_empty_purpose_is_refused(self) -> None:
        with pytest.raises(ValueError, match="purpose"):
            RING.seal(b"abc", purpose="")


class TestOpen:
    def test_other_purpose_is_broken(self) -> None:
        sealed = RING.seal(b"abc", purpose="name")
        with pytest.raises(SealBroken) as caught:
            RING.open(sealed, purpose="bank-account")
        assert caught.value.code == "SEAL_BROKEN"

    def test_purpose_cannot_borrow_from_the_key_id(self) -> None:
        ring = KeyRing(active="k", keys={"k": KEY, "k1": OTHER_KEY}, index_key=INDEX_KEY)
        sealed = ring.seal(b"abc", purpose="1name")
        with pytest.raises(Broken):
            ring.open(b"\x01\x02k1" + sealed[3:], purpose="name")

    @given(data=st.data())
    def test_any_altered_byte_is_refused(self, data: st.DataObject) -> None:
        sealed = bytearray(RING.seal(b"150.00 to Li Lei", purpose="name"))
        place = data.draw(st.integers(0, len(sealed) - 1))
        sealed[place] ^= data.draw(st.integers(1, 255))
        with pytest.raises((SealBroken, KeyUnknown)):
            RING.open(bytes(sealed), purpose="name")

    def test_every_truncation_is_broken(self) -> None:
        sealed = RING.seal(b"abc", purpose="name")
        for length in range(len(sealed)):
            with pytest.raises(SealBroken):
                RING.open(sealed[:length], purpose="name")

    @given(noise=st.binary(max_size=120))
    def test_noise_is_refused(self, noise: bytes) -> None:
        with pytest.raises((SealBroken, KeyUnknown)):
            RING.open(noise, purpose="name")

    def test_key_id_not_in_the_ring_is_unknown(self) -> None:
        sealed = KeyRing.generate("k9").seal(b"abc", purpose="name")
        with pytest.raises(KeyUnknown, match="k9") as caught:
            RING.open(sealed, purpose="name")
        assert caught.value.code == "KEY_UNKNOWN"

    def test_other_key_under_the_same_id_is_broken(self) -> None:
        sealed = KeyRing.generate("k1").seal(b"abc", purpose="name")
        with pytest.raises(SealBroken):
            RING.open(sealed, purpose="name")

    def test_sealed_bytes_that_are_no_text_are_broken(self) -> None:
        with pytest.raises(SealBroken):
            RING.open_text(RING.seal(b"\xff\xfe", purpose="name"), purpose="name")


class TestRotate:
    def test_old_seals_still_open_and_new_ones_use_the_new_key(self) -> None:
        old = RING.seal(b"abc", purpose="name")
        ring = RING.rotated("k2")
        assert ring.open(old, purpose="name") == b"abc"
        assert ring.seal(b"abc", purpose="name")[2:4] == b"k2"
        with pytest.raises(KeyUnknown):
            RING.open(ring.seal(b"abc", purpose="name"), purpose="name")

    def test_digests_stay_the_same(self) -> None:
        before = RING.digest("6222", purpose="account")
        assert RING.rotated("k2").digest("6222", purpose="account") == before

    def test_key_can_be_distributed_before_it_is_used(self) -> None:
        readers = RING.added("k2")
        assert readers.active == "k1"
        sealed = readers.activated("k2").seal(b"abc", purpose="name")
        assert readers.open(sealed, purpose="name") == b"abc"

    def test_id_used_before_is_refused(self) -> None:
        with pytest.raises(KeyRingRefused):
            RING.rotated("k1")

    def test_activating_an_absent_key_is_refused(self) -> None:
        with pytest.raises(KeyRingRefused):
            RING.activated("k2")


class TestDigest:
    def test_equal_text_and_purpose_give_equal_16_bytes(self) -> None:
        assert RING.digest("6222", purpose="account") == RING.digest("6222", purpose="account")
        assert len(RING.digest("", purpose="account")) == 16

    def test_known_value_never_changes(self) -> None:
        ring = KeyRing(active="k1", keys={"k1": KEY}, index_key=INDEX_KEY)
        expected = "da811c728e983034cbedb17649c6863a"
        assert ring.digest("6222020200012345678", purpose="account").hex() == expected

    def test_purposes_and_keys_separate_digests(self) -> None:
        other = KeyRing.generate("k1")
        digests = {
            RING.digest("ab", purpose="c"),
            RING.digest("b", purpose="ca"),
            RING.digest("ab", purpose="d"),
            other.digest("ab", purpose="c"),
        }
        assert len(digests) == 4


class TestStamp:
    @given(message=st.binary(max_size=300), purpose=st.text(min_size=1, max_size=40))
    def test_same_message_and_purpose_are_proved(self, message: bytes, purpose: str) -> None:
        stamp = RING.stamp(message, purpose=purpose)
        assert RING.stamped(message, stamp, purpose=purpose)
        assert not RING.stamped(message + b"x", stamp, purpose=purpose)
        assert not RING.stamped(message, stamp, purpose=purpose + "x")

    def test_layout_is_version_key_id_nonce_and_mark(self) -> None:
        stamp = RING.stamp(b"abc", purpose="row")
        assert stamp[:4] == b"\x01\x02k1"
        assert len(stamp) == 4 + 12 + 32

    def test_no_two_are_alike(self) -> None:
        assert RING.stamp(b"abc", purpose="row") != RING.stamp(b"abc", purpose="row")

    def test_any_changed_byte_or_length_is_no_stamp(self) -> None:
        stamp = RING.stamp(b"abc", purpose="row")
        for at in range(len(stamp)):
            changed = stamp[:at] + bytes((stamp[at] ^ 1,)) + stamp[at + 1 :]
            assert not RING.stamped(b"abc", changed, purpose="row")
            assert not RING.stamped(b"abc", stamp[:at], purpose="row")
        assert not RING.stamped(b"abc", stamp + b"x", purpose="row")

    def test_another_key_of_the_same_name_makes_no_stamp_of_ours(self) -> None:
        stamp = KeyRing.generate("k1").stamp(b"abc", purpose="row")
        assert not RING.stamped(b"abc", stamp, purpose="row")

    def test_a_rotated_ring_proves_what_the_old_key_stamped(self) -> None:
        stamp, rotated = RING.stamp(b"abc", purpose="row"), RING.rotated("k2")
        assert rotated.stamped(b"abc", stamp, purpose="row")
        assert not RING.stamped(b"abc", rotated.stamp(b"abc", purpose="row"), purpose="row")

    def test_what_is_sealed_is_no_stamp(self) -> None:
        assert not RING.stamped(b"", RING.seal(b"a" * 16, purpose="row"), purpose="row")


class TestReadRing:
    def test_written_ring_reads_back(self) -> None:
        ring = RING.rotated("k2")
        assert KeyRing.from_json(ring.to_json()) == ring

    def test_keys_are_not_shown(self) -> None:
        ring = KeyRing.from_json(ring_text())
        assert repr(ring) == str(ring) == f"{ring}" == "KeyRing(active='k1', keys=['k1'])"

    def test_keys_cannot_be_changed_afterwards(self) -> None:
        keys = {"k1": KEY}
        ring = KeyRing(active="k1", keys=keys, index_key=INDEX_KEY)
        keys["k2"] = OTHER_KEY
        assert dict(ring.keys) == {"k1": KEY}
        with pytest.raises(TypeError):
            ring.keys["k2"] = OTHER_KEY  # type: ignore[index]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[]",
            "{}",
            "[" * 100_000,
            ring_text()[:-1],
            ring_text(active="k2"),
            ring_text(active=1),
            ring_text(active=None),
            ring_text(more=1),
            ring_text(keys={}),
            ring_text(keys=[]),
            ring_text(keys={"k1": encoded(KEY[:31])}),
            ring_text(keys={"k1": encoded(KEY + b"x")}),
            ring_text(keys={"k1": encoded(KEY) + "!"}),
            ring_text(keys={"k1": "é"}),
            ring_text(keys={"k1": 7}),
            ring_text(keys={"k1": encoded(bytes(32))}),
            ring_text(keys={"k1": encoded(KEY), "k2": encoded(bytes(32))}),
            ring_text(keys={"k1": encoded(KEY), "k2": encoded(KEY)}),
            ring_text(keys={"k1": encoded(KEY), "": encoded(OTHER_KEY)}),
            ring_text(keys={"k1": encoded(KEY), "k" * 33: encoded(OTHER_KEY)}),
            ring_text(keys={"k1": encoded(KEY), "k\n": encoded(OTHER_KEY)}),
            ring_text(keys={"k1": encoded(KEY), "钥": encoded(OTHER_KEY)}),
            ring_text(index_key=encoded(bytes(32))),
            ring_text(index_key=encoded(KEY)),
            ring_text(index_key=""),
            ring_text(index_key=None),
            ring_text().replace('"active"', '"active": "k1", "active"', 1),
        ],
    )
    def test_malformed_ring_is_refused_without_showing_it(self, text: str) -> None:
        with pytest.raises(KeyRingRefused) as caught:
            KeyRing.from_json(text)
        assert caught.value.code is Code.SETTINGS_INVALID
        assert encoded(KEY)[:8] not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
