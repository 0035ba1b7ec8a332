"""The head of the audit's chain, as it is kept outside: where no owner of the database writes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from tillkeeper.contracts.base import Model, Moment

HASH_HEX: Final = 64
"""Characters of a SHA-256 in hexadecimal."""


class AuditHead(Model):
    """Where the chain stood: the last ``place`` (0: none yet), its ``hash``, how many ``rows`` it
    held, and when it was read.
    """

    place: Annotated[int, Field(ge=0)]
    hash: Annotated[str, Field(pattern=f"^[0-9a-f]{{{HASH_HEX}}}$")]
    rows: Annotated[int, Field(ge=0)]
    taken_at: Moment
