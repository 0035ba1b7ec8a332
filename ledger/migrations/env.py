"""Alembic's entry; the connection and its transaction come from ``ledger.migrations.upgrade``."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
