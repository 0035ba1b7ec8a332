"""The audit's stamps. The SQL stands in the file beside."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let audit rows have stamps."""
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Never: a book is not unmade."""
    raise NotImplementedError("a book is not unmade; restore a backup instead")
