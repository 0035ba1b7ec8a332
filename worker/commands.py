"""The commands of `python -m worker`: each turns any reason not to start into one sentence on
standard error.
"""

from __future__ import annotations

import sys

import structlog

from worker.addresses import asyncpg_url
from worker.client import connect
from worker.database import migrate
from worker.keys import load_key_ring
from worker.refusal import CannotStart, sentence_for
from worker.search_attributes import make_search_attributes
from worker.service import Doors, Targets, service
from worker.settings import PREFIX, Settings, load_settings
from worker.signals import run_until_stopped
from worker.telemetry import configure_logging

_log = structlog.get_logger("worker")


def perform(command: str, *, detach: bool) -> int:
    """Run one command of the command line; returns its exit code (1: it could not start or go
    on).
    """
    try:
        settings = load_settings()
        if command == "up":
            return _up(settings, detach=detach)
        if command == "down":
            from worker.embedded.control import down

            return down(settings)
        configure_logging(settings.log_level)
        return run_until_stopped(_run(settings) if command == "run" else _migrate(settings))
    except ModuleNotFoundError:
        raise  # `__main__` names the package
    except CannotStart as reason:
        sys.stderr.write(f"{reason}\n")
    except OSError as error:
        sys.stderr.write(f"{sentence_for(error, f'go on with `{command}`')}\n")
    except Exception as error:
        _log.exception("broken")
        sys.stderr.write(f"`{command}` is broken by {type(error).__name__}; the log says where.\n")
    return 1


def _up(settings: Settings, *, detach: bool) -> int:
    if detach:
        from worker.embedded.control import up_detached

        return up_detached(settings)
    from worker.embedded.stack import up

    return run_until_stopped(up(settings))


async def _run(settings: Settings) -> int:
    if settings.database_url is None or settings.temporal_address is None:
        raise CannotStart(
            f"`run` needs {PREFIX}DATABASE_URL and {PREFIX}TEMPORAL_ADDRESS; "
            "`python -m worker up` brings both."
        )
    targets = Targets(
        asyncpg_url(settings.database_url.get_secret_value()),
        settings.temporal_address,
        settings.codec_origins,
    )
    ring = load_key_ring(settings)
    doors = Doors(settings)
    try:
        async with service(settings, targets, ring, doors) as serving:
            _log.info("serving", address=serving.health, namespace=settings.temporal_namespace)
            await serving.ended
    finally:
        doors.close()
    raise CannotStart("The worker has ended by itself; see its log.")


async def _migrate(settings: Settings) -> int:
    secret = settings.migration_url or settings.database_url
    if secret is None:
        raise CannotStart(f"`migrate` needs {PREFIX}MIGRATION_URL or {PREFIX}DATABASE_URL.")
    await migrate(asyncpg_url(secret.get_secret_value()))
    if settings.temporal_address is not None:
        await make_search_attributes(await connect(settings, settings.temporal_address, None))
    _log.info("migrated")
    return 0
