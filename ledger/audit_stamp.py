"""Stamps an audit row with a key that the owner of the database does not have (C-03, C-07).

A chain shows what was edited after it was chained; a stamp also what was edited before, and what
nobody of ours wrote. It covers all that the application says of a change, not the id and the time
that PostgreSQL gives the row. No two stamps are alike, so a row that was copied shows as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from tillkeeper.sealing import KeyRing

_PURPOSE: Final = "audit/row"
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_STAMPED: Final = 11
"""Fields of a row as it is chained: one more than before there were stamps."""


class Sent(NamedTuple):
    """An audit row as PostgreSQL sent it for the chain: each field's bytes, None for NULL."""

    fields: tuple[bytes | None, ...]
    stamp: bytes | None


def canonical(fields: dict[str, Any]) -> str:
    """JSON that is the same after PostgreSQL has kept it in its own order."""
    return json.dumps(fields, ensure_ascii=False, sort_keys=True)


def moment(at: datetime) -> bytes:
    """A time as PostgreSQL sends it: microseconds since 2000-01-01 UTC, 8 bytes, highest first."""
    return ((at - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True)


def stamp(
    ring: KeyRing,
    texts: tuple[str, str, str, str],
    changed: tuple[str, str],
    reason: bytes | None,
    at: datetime,
) -> bytes:
    """The stamp of a row: ``texts`` are subject, action, actor, profile, ``changed`` is canonical.

    Some ten microseconds.
    """
    subject, action, actor, profile = (text.encode() for text in texts)
    before, after = (text.encode() for text in changed)
    row = (subject, action, actor, reason, before, after, profile, moment(at))
    return ring.stamp(_framed(row), purpose=_PURPOSE)


def read(sent: bytes) -> Sent:
    """The fields of ``ledger.audit_chain.ROW``, without id and recorded_at, and the stamp."""
    fields = tuple(_fields(sent))
    if len(fields) < _STAMPED:
        return Sent(fields[1:-1], None)
    return Sent(fields[1:-2], fields[-2])


def made_by_us(ring: KeyRing, row: Sent) -> bool:
    """Whether the row says what was stamped with a key of the ring, and nothing else."""
    if row.stamp is None:
        return False
    subject, action, actor, reason, before, after, profile, at = row.fields
    try:
        changed = (_canonical_again(before), _canonical_again(after))
    except (ValueError, RecursionError):
        # Numbers or depths that we never write: the owner's own.
        return False
    message = _framed((subject, action, actor, reason, *changed, profile, at))
    return ring.stamped(message, row.stamp, purpose=_PURPOSE)


def changed_to(row: Sent) -> dict[str, Any]:
    """What a row that was found to be ours says it changed to."""
    found: dict[str, Any] = json.loads((row.fields[5] or b"")[1:])
    return found


def _canonical_again(sent: bytes | None) -> bytes:
    """Of a ``jsonb`` in PostgreSQL's binary form: a version, then its text."""
    return canonical(json.loads((sent or b"")[1:])).encode()


def _framed(row: tuple[bytes | None, ...]) -> bytes:
    """No two rows give the same bytes: each field with its length before, -1 for NULL."""
    parts: list[bytes] = []
    for field in row:
        if field is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            parts += (len(field).to_bytes(4, "big"), field)
    return b"".join(parts)


def _fields(sent: bytes) -> Iterator[bytes | None]:
    """Each field of what ``record_send`` gives: type, length (-1: NULL), bytes."""
    at = 4
    while at < len(sent):
        length = int.from_bytes(sent[at + 4 : at + 8], "big", signed=True)
        at += 8
        if length < 0:
            yield None
        else:
            yield sent[at : at + length]
            at += length
