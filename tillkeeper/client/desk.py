"""Calls of the desk: what people do with work items (P-29, C-05, C-07)."""

from __future__ import annotations

from tillkeeper.client.calls import Calls


class DeskCalls(Calls):
    """Claim, propose, approve, reject."""
