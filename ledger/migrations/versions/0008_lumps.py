"""Entries of statements that may sum up what was notified. The SQL stands in the file beside."""

from __future__ import annotations

from ledger.migrations.scripts import downgrade as downgrade
from ledger.migrations.scripts import run

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep lumps with what they said until it is sure whether they are known money."""
    run(__file__)
