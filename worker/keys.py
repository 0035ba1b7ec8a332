"""Where keys come from: the key ring, and the keys of who vouches for people. Nothing secret is
printed, logged, or overwritten once made.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from gateways.identity.issuer import ISSUER_FILE, DevelopmentIssuer
from gateways.identity.tokens import KeysRefused, TokenVerifier, read_jwks
from tillkeeper.sealing import KeyRing, KeyRingRefused
from worker.refusal import CannotStart, sentence_for
from worker.settings import PREFIX, Settings

KEY_RING_FILE = "keyring.json"


def load_key_ring(settings: Settings) -> KeyRing:
    """The configured ring, or the one `up` made in the home; raises CannotStart where there is
    none.
    """
    if settings.key_ring is not None:
        return _parsed(settings.key_ring.get_secret_value(), f"{PREFIX}KEY_RING")
    path = key_ring_path(settings)
    if not path.is_file():
        raise CannotStart(
            f"There is no key ring: set {PREFIX}KEY_RING_FILE or {PREFIX}KEY_RING "
            "(`python -m worker up` makes one in its home)."
        )
    return _parsed(_secret(path, "the key ring"), str(path))


def first_key_ring(settings: Settings) -> KeyRing:
    """The configured ring, or for development one made on the first start (mode 0600)."""
    path = key_ring_path(settings)
    if settings.key_ring is None and settings.key_ring_file is None and not path.exists():
        _write(path, KeyRing.generate(f"dev-{datetime.now(UTC):%Y%m%d}").to_json())
    return load_key_ring(settings)


def first_issuer(settings: Settings) -> None:
    """For development, make the issuer of tokens on the first start (mode 0600)."""
    path = settings.home / ISSUER_FILE
    if settings.token_keys_file is None and not path.exists():
        _write(path, DevelopmentIssuer.generate(f"dev-{datetime.now(UTC):%Y%m%d}").to_json())


def load_verifier(settings: Settings) -> TokenVerifier | None:
    """What reads tokens: the configured issuer's public keys, or in development the home's issuer.

    None where there is neither: then nobody can decide anything. Raises CannotStart.
    """
    if settings.token_issuer is not None and settings.token_keys_file is not None:
        path = settings.token_keys_file
        text = _text(path, "the issuer's keys")
        try:
            return TokenVerifier(settings.token_issuer, read_jwks(text))
        except KeysRefused as refused:
            raise CannotStart(f"The issuer's keys in {path} are refused: {refused}.") from None
    path = settings.home / ISSUER_FILE
    if settings.environment == "production" or not path.is_file():
        return None
    text = _secret(path, "the issuer")
    try:
        return DevelopmentIssuer.from_json(text).verifier()
    except KeysRefused as refused:
        raise CannotStart(f"The issuer in {path} is refused: {refused}.") from None


def key_ring_path(settings: Settings) -> Path:
    """The file the ring is read from unless it came in a variable."""
    return settings.key_ring_file or settings.home / KEY_RING_FILE


def _secret(path: Path, what: str) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise CannotStart(f"{path} can be read by others: chmod 600 {path}.")
    except OSError as error:
        raise CannotStart(sentence_for(error, f"read {what}")) from error
    return _text(path, what)


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CannotStart(sentence_for(error, f"read {what}")) from error
    except UnicodeDecodeError:
        pass
    raise CannotStart(f"{what.capitalize()} in {path} is refused: it is not a text.")


def _parsed(text: str, where: str) -> KeyRing:
    try:
        return KeyRing.from_json(text)
    except KeyRingRefused as refused:
        raise CannotStart(f"The key ring in {where} is refused: {refused}.") from None


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    # link() refuses to replace: what was sealed or signed with a lost key is lost with it.
    os.link(fresh, path)
    fresh.unlink()
