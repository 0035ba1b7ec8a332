"""Where the key ring comes from. A ring is never printed, never logged, and never overwritten
once made.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

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
    return _read(path)


def first_key_ring(settings: Settings) -> KeyRing:
    """The configured ring, or for development one made on the first start (mode 0600)."""
    path = key_ring_path(settings)
    if settings.key_ring is None and settings.key_ring_file is None and not path.exists():
        _write(path, KeyRing.generate(f"dev-{datetime.now(UTC):%Y%m%d}"))
    return load_key_ring(settings)


def key_ring_path(settings: Settings) -> Path:
    """The file the ring is read from unless it came in a variable."""
    return settings.key_ring_file or settings.home / KEY_RING_FILE


def _read(path: Path) -> KeyRing:
    try:
        if path.stat().st_mode & 0o077:
            raise CannotStart(f"{path} can be read by others: chmod 600 {path}.")
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise CannotStart(sentence_for(error, "read the key ring")) from error
    except UnicodeDecodeError:
        raise CannotStart(f"The key ring in {path} is refused: it is not a text.") from None


def _parsed(text: str, where: str) -> KeyRing:
    try:
        return KeyRing.from_json(text)
    except KeyRingRefused as refused:
        raise CannotStart(f"The key ring in {where} is refused: {refused}.") from None


def _write(path: Path, ring: KeyRing) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(ring.to_json() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    # link() refuses to replace: what is sealed with a lost ring is lost with it.
    os.link(fresh, path)
    fresh.unlink()
