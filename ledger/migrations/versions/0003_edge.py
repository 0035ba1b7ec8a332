"""What is reported and told by files is found by its amount. The SQL stands in the file beside."""

from __future__ import annotations

from ledger.migrations.scripts import downgrade as downgrade
from ledger.migrations.scripts import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    run(__file__)
