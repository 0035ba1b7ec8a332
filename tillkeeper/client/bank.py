"""Calls about banks' files."""

from __future__ import annotations

from tillkeeper.client.calls import Calls


class BankCalls(Calls):
    """Import a bank's file."""
