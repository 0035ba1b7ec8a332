"""Withdrawals, approvals and payout attempts. The SQL stands in the file beside this one."""

from __future__ import annotations

from ledger.migrations.scripts import downgrade as downgrade
from ledger.migrations.scripts import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make everything that withdrawals need."""
    run(__file__)
