"""No activity believes a time that is not the Temporal server's: what a command says is checked.

A workflow's time is the server's, and so is the time at which the server was asked for the call.
Whoever brings a worker of his own to schedule our activities can write any time into a command, and
could spend an expired token, cut a grace period short, or take a bank's "not found" too early.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from tillkeeper.contracts.base import Command
from tillkeeper.contracts.errors import TimeForged
from tillkeeper.failures import as_failure

EARLIER_MAX: Final = timedelta(minutes=1)
"""A workflow's task takes ten seconds at most, from the time that it goes by to its commands."""

LATER_MAX: Final = timedelta(seconds=5)
"""Two hosts of the server may differ by a little."""


class ServerTime(Interceptor):
    """Stops commands of another time than the server's, before they are looked at.

    An honest workflow meets that where the server's clock was set: it waits for ``resume``, which
    asks anew.
    """

    def intercept_activity(
        self,
        next: ActivityInboundInterceptor,  # noqa: A002 - the SDK names it so
    ) -> ActivityInboundInterceptor:
        """Wrap the calls of a worker."""
        return _Checked(next)


class _Checked(ActivityInboundInterceptor):
    async def execute_activity(
        self,
        input: ExecuteActivityInput,  # noqa: A002 - the SDK names it so
    ) -> Any:
        """Check the command, then run. Fails with COMMAND_TIME, which is not tried again."""
        for given in input.args:
            if isinstance(given, Command):
                _check(given)
        return await super().execute_activity(input)


def _check(command: Command) -> None:
    asked = activity.info().scheduled_time
    if not asked - EARLIER_MAX <= command.at <= asked + LATER_MAX:
        raise as_failure(TimeForged("the command's time is not the server's"))
