"""Migrations and logins of the book's database, each safe to run again; the worker itself never
runs as owner.
"""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ledger.migrations import upgrade
from worker.refusal import CannotStart, sentence_for

_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")


async def migrate(url: str, *, create_from: str | None = None) -> None:
    """Bring the database to this release's schema; `create_from` names the database to create it
    from.
    """
    try:
        if create_from is not None:
            await _create_database(url, create_from)
        await upgrade(url)
    except OSError as error:
        raise CannotStart(sentence_for(error, "reach PostgreSQL for the migrations")) from error
    except SQLAlchemyError as error:
        raise CannotStart(f"The migrations fail: {_said(error)}.") from error


async def make_login(url: str, name: str) -> None:
    """Make the application's login as a member of the writers' group; it can insert and read,
    never rewrite.
    """
    if not _NAME.match(name):
        raise CannotStart(f"{name} cannot be the name of a login.")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            known = await connection.scalar(
                text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}
            )
            if known is None:
                await connection.execute(
                    text(f"CREATE ROLE {name} LOGIN IN ROLE tillkeeper_writer")
                )
    except SQLAlchemyError as error:
        raise CannotStart(f"The login {name} cannot be made: {_said(error)}.") from error
    finally:
        await engine.dispose()


async def _create_database(url: str, create_from: str) -> None:
    target = make_url(url)
    name = target.database or ""
    if not _NAME.match(name):
        raise CannotStart(f"{name} cannot be the name of a database.")
    engine = create_async_engine(
        target.set(database=create_from), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            known = await connection.scalar(
                text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}
            )
            if known is None:
                await connection.execute(text(f'CREATE DATABASE "{name}"'))
    finally:
        await engine.dispose()


def _said(error: SQLAlchemyError) -> str:
    """The driver's own first line, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).splitlines() or [type(cause).__name__])[0][:300].rstrip(".")
