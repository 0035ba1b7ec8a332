"""The book, the business rows beside it, the roles. The SQL stands in the file beside this one."""

from __future__ import annotations

from ledger.migrations.scripts import downgrade as downgrade
from ledger.migrations.scripts import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make everything of release 0.1."""
    run(__file__)
