"""Parts of an entry are found by their own references. The SQL stands in the file beside."""

from __future__ import annotations

from ledger.migrations.scripts import downgrade as downgrade
from ledger.migrations.scripts import run

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let parts keep the reference by which the bank may take them back."""
    run(__file__)
