"""Receipts that are payments of ours which came back early. The SQL stands in the file beside."""

from __future__ import annotations

from ledger.migrations.scripts import downgrade as downgrade
from ledger.migrations.scripts import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let receipts be SENT_BACK."""
    run(__file__)
