"""Seals personal data with AES-256-GCM under a ring of named keys, and digests it for look-ups.

Promises that what it seals opens only with the same key and for the same purpose (C-11), that
nobody without the key makes a stamp (C-07), and that keys replaced by rotation still open what they
sealed and prove what they stamped. It must never show a key or a plain text in an error, a repr or
a log, and never work with a weak or half-read ring.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tillkeeper.contracts.errors import Code, KeyUnknown, SealBroken

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
DIGEST_BYTES: Final = 16
STAMP_BYTES: Final = 32
KEYS_MAX: Final = 64
_VERSION: Final = 1
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", re.ASCII)
_STAMPS: Final = b"tillkeeper/stamps"
_RING_FIELDS: Final = frozenset({"active", "keys", "index_key"})


class KeyRingRefused(ValueError):  # noqa: N818 - named like the tree in contracts.errors
    """The text or the keys given make no usable ring; a ValueError, so that settings report it."""

    code = Code.SETTINGS_INVALID


@dataclass(frozen=True, repr=False)
class KeyRing:
    """Named 32-byte keys, one of them active for sealing, and one key for digests.

    Random nonces allow 2**32 seals under one key: rotate long before. Distribute a new key
    (`added`) to every reader before anybody seals with it (`rotated`, `activated`).
    """

    active: str
    keys: Mapping[str, bytes]
    index_key: bytes
    _ciphers: Mapping[str, AESGCM] = field(init=False, compare=False)
    _stampers: Mapping[str, bytes] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        keys = dict(self.keys)
        _refuse_unusable(self.active, keys, self.index_key)
        object.__setattr__(self, "keys", MappingProxyType(keys))
        object.__setattr__(self, "_ciphers", {name: AESGCM(key) for name, key in keys.items()})
        # A key that seals is not used for anything else: stamps have one derived from it.
        stampers = {name: hmac.digest(key, _STAMPS, hashlib.sha256) for name, key in keys.items()}
        object.__setattr__(self, "_stampers", stampers)

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, keys={sorted(self.keys)!r})"

    @classmethod
    def generate(cls, key_id: str) -> "KeyRing":
        """Return a new ring with one random key named `key_id` and a random digest key."""
        key, index_key = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)
        return cls(active=key_id, keys={key_id: key}, index_key=index_key)

    @classmethod
    def from_json(cls, text: str) -> "KeyRing":
        """Read a ring from the text of the secret file; KeyRingRefused on anything unexpected."""
        ring = _parse_object(text)
        if ring is None or ring.keys() != _RING_FIELDS:
            raise KeyRingRefused("the key ring is not a JSON object of active, keys and index_key")
        active, keys = ring["active"], ring["keys"]
        if not isinstance(active, str) or not isinstance(keys, dict):
            raise KeyRingRefused("the key ring names no active key or no keys")
        return cls(
            active=active,
            keys={name: _key_from_base64(value) for name, value in keys.items()},
            index_key=_key_from_base64(ring["index_key"]),
        )

    def to_json(self) -> str:
        """Return the text of the secret file; whoever has it can open everything sealed."""
        keys = {name: base64.b64encode(key).decode() for name, key in self.keys.items()}
        index_key = base64.b64encode(self.index_key).decode()
        return json.dumps({"active": self.active, "keys": keys, "index_key": index_key}, indent=2)

    def added(self, new_id: str) -> "KeyRing":
        """Return a ring that can also open what a new random key `new_id` will seal."""
        if new_id in self.keys:
            raise KeyRingRefused(f"the key id {new_id!r} is already used")
        return KeyRing(
            active=self.active,
            keys={**self.keys, new_id: secrets.token_bytes(KEY_BYTES)},
            index_key=self.index_key,
        )

    def activated(self, key_id: str) -> "KeyRing":
        """Return a ring that seals with its key `key_id` from now on."""
        return KeyRing(active=key_id, keys=self.keys, index_key=self.index_key)

    def rotated(self, new_id: str) -> "KeyRing":
        """Return a ring that seals with a new random key; the old keys still open."""
        return self.added(new_id).activated(new_id)

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """Encrypt under the active key so that only `open` with the same purpose reads it."""
        key_id = self.active.encode("ascii")
        header = bytes((_VERSION, len(key_id))) + key_id
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = self._ciphers[self.active]
        return header + nonce + cipher.encrypt(nonce, plain, _bound(header, purpose))

    def open(self, sealed: bytes, *, purpose: str) -> bytes:
        """Decrypt what `seal` made; SealBroken if altered or of another purpose, KeyUnknown."""
        key_id = _key_id_of(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyUnknown(f"no key {key_id} in the ring")
        body = 2 + len(key_id)
        nonce, secret = sealed[body : body + NONCE_BYTES], sealed[body + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, secret, _bound(sealed[:body], purpose))
        except InvalidTag:
            raise SealBroken("altered, or sealed for another purpose") from None

    def seal_text(self, text: str, *, purpose: str) -> bytes:
        """Seal the UTF-8 form of `text`."""
        return self.seal(text.encode(), purpose=purpose)

    def open_text(self, sealed: bytes, *, purpose: str) -> str:
        """Open what `seal_text` made; the errors of `open`."""
        try:
            return self.open(sealed, purpose=purpose).decode()
        except UnicodeDecodeError:
            raise SealBroken("sealed bytes are no text") from None

    def stamp(self, message: bytes, *, purpose: str) -> bytes:
        """A mark on `message` that only a ring with the active key makes, no two of them alike."""
        key_id = self.active.encode("ascii")
        head = bytes((_VERSION, len(key_id))) + key_id + secrets.token_bytes(NONCE_BYTES)
        return head + _mark(self._stampers[self.active], head, message, purpose)

    def stamped(self, message: bytes, stamp: bytes, *, purpose: str) -> bool:
        """Whether a key of this ring made `stamp`, on this message and for this purpose."""
        key = self._stampers.get(key_id_of(stamp) or "")
        if key is None:
            return False
        head, mark = stamp[:-STAMP_BYTES], stamp[-STAMP_BYTES:]
        return hmac.compare_digest(mark, _mark(key, head, message, purpose))

    def digest(self, text: str, *, purpose: str) -> bytes:
        """Return 16 bytes equal for equal text and purpose, for look-ups beside sealed data.

        The caller normalises the text first. The digest key never rotates: old rows stay findable.
        """
        named = _purpose_bytes(purpose)
        message = len(named).to_bytes(2, "big") + named + text.encode()
        return hmac.digest(self.index_key, message, hashlib.sha256)[:DIGEST_BYTES]


def key_id_of(sealed: bytes) -> str | None:
    """Return the key id a sealed value names, unproven, or None if it is no sealed value."""
    try:
        return _key_id_of(sealed)
    except SealBroken:
        return None


def _key_id_of(sealed: bytes) -> str:
    if len(sealed) < 2 or sealed[0] != _VERSION:
        raise SealBroken("not a sealed value of this version")
    end = 2 + sealed[1]
    key_id = sealed[2:end].decode("ascii", "replace")
    if len(sealed) < end + NONCE_BYTES + TAG_BYTES or not _KEY_ID.fullmatch(key_id):
        raise SealBroken("not a whole sealed value")
    return key_id


def _mark(key: bytes, head: bytes, message: bytes, purpose: str) -> bytes:
    named = _purpose_bytes(purpose)
    return hmac.digest(key, head + len(named).to_bytes(2, "big") + named + message, hashlib.sha256)


def _bound(header: bytes, purpose: str) -> bytes:
    return header + _purpose_bytes(purpose)


def _purpose_bytes(purpose: str) -> bytes:
    if not purpose:
        raise ValueError("a purpose is required")
    return purpose.encode()


def _refuse_unusable(active: str, keys: Mapping[str, bytes], index_key: bytes) -> None:
    if not 1 <= len(keys) <= KEYS_MAX:
        raise KeyRingRefused(f"a key ring holds 1 to {KEYS_MAX} keys")
    if not all(_KEY_ID.fullmatch(name) for name in keys):
        raise KeyRingRefused("a key id is 1 to 32 letters, digits, dots, dashes or underscores")
    if active not in keys:
        raise KeyRingRefused("the active key is not in the ring")
    secrets_held = [*keys.values(), index_key]
    if any(len(secret) != KEY_BYTES for secret in secrets_held):
        raise KeyRingRefused(f"every key is exactly {KEY_BYTES} bytes")
    if any(len(set(secret)) == 1 for secret in secrets_held):
        raise KeyRingRefused("a key of one repeated byte is no key")
    if len(set(secrets_held)) != len(secrets_held):
        raise KeyRingRefused("two names share one key")


def _parse_object(text: str) -> dict[str, object] | None:
    try:
        parsed = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        # JSONDecodeError carries the whole text: it must not travel on as a cause.
        return None
    return parsed if isinstance(parsed, dict) else None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _key_from_base64(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
