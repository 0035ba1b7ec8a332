"""Stands for the lifecycle of a bank's file, which has days looked at."""

from __future__ import annotations

from datetime import date

from temporalio import workflow

from workflows.reconciliation import look_at_day


@workflow.defn(name="Nudger")
class Nudger:
    """Has days looked at and ends; what it started goes on."""

    @workflow.run
    async def run(self, account: int, days: list[str]) -> None:
        """Nudge them all."""
        for day in days:
            await look_at_day(account, date.fromisoformat(day))
