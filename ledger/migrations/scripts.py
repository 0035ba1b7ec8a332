"""What every migration does: runs the SQL file beside it, once and never back."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run(migration: str) -> None:
    """Run the script that stands beside the file ``migration``, in the open transaction."""
    script = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    raw = op.get_bind().connection.dbapi_connection
    # A script of many statements needs the simple protocol, which only the driver itself speaks.
    raw.run_async(lambda driver: driver.execute(script))  # type: ignore[union-attr]


def downgrade() -> None:
    """Never: a book is not unmade."""
    raise NotImplementedError("a book is not unmade; restore a backup instead")
