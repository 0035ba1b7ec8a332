"""Which debit in suspense a payment was paid out of. The SQL stands in the file beside."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let payments say which debit they were paid out of."""
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    raw = op.get_bind().connection.dbapi_connection
    # A script of many statements needs the simple protocol, which only the driver itself speaks.
    raw.run_async(lambda driver: driver.execute(script))  # type: ignore[union-attr]


def downgrade() -> None:
    """Never: a book is not unmade."""
    raise NotImplementedError("a book is not unmade; restore a backup instead")
