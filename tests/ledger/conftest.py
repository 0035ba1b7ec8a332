"""Fixtures for the book: a withdrawal's way to the bank and back."""

from __future__ import annotations

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.ledger.payout_support import Cashier
from tillkeeper.sealing import KeyRing


@pytest_asyncio.fixture(loop_scope="session")
async def cashier(engine: AsyncEngine, ring: KeyRing) -> Cashier:
    """A merchant with 5,000.00, of which a test may send something out."""
    made = Cashier(engine, ring)
    await made.counter.account()
    return made
