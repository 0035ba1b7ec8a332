"""One chaos run from its seed: withdrawals under kills, then quiet, then the judge."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.simulator.client import SimulatorClient
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.desk import Operators
from tests.chaos.drive import Driver, Journal, prepare, requests
from tests.chaos.faults import BANK_CHANCES, keep_killing
from tests.chaos.judging import judge, outcomes
from tests.chaos.people import People, until_answered
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.withdrawal import WithdrawalRequest
from worker.settings import Settings

DAYS_AFTER: Final = 4
"""Bank days that are closed after the last fault: what is to come back has come."""

DAY_EVERY_S: Final = 20
"""How often the bank's day ends while the faults go on: early statuses are booked or refused."""

QUIET_WITHIN_S: Final = 900
AT_REST_WITHIN_S: Final = 120


@dataclass(frozen=True)
class Plan:
    """What a run is: the same plan draws the same requests and faults again."""

    withdrawals: int
    seed: int
    in_flight: int = 100
    every_s: float = 1.0


@dataclass
class Report:
    """What became of a run; ``wrong`` empty is success."""

    plan: Plan
    outcomes: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0
    wrong: Sequence[str] = ()


async def perform(plan: Plan, say: Callable[[str], None]) -> Report:
    """Run ``plan`` on a cluster of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tk-chaos-", ignore_cleanup_errors=True) as home:
        async with running_cluster(Path(home), plan.seed) as cluster:
            return await _perform(cluster, plan, say)


async def _perform(cluster: Cluster, plan: Plan, say: Callable[[str], None]) -> Report:
    report = Report(plan)
    till = Tillkeeper(await cluster.client())
    ours = Settings().receiving_account("CNY")
    assert ours is not None
    merchants = await prepare(till, SimulatorClient(cluster.bank.address), ours)
    say(f"{len(merchants)} merchants are funded; every bank fault is on, a kill each "
        f"{plan.every_s:g} s")  # fmt: skip
    started = time.monotonic()
    engine = cluster.engine()
    journal = Journal(cluster.home / "acknowledged.jsonl")
    people = People(cluster.issuer)
    operators = Operators(till, engine, people, cluster.bank.address, plan.seed)
    driver = Driver(till, engine, people, journal, operators, plan.seed)
    asked = requests(merchants, plan.withdrawals, plan.seed)
    await _set_chances(cluster, plan.seed, 0)
    faults = asyncio.create_task(keep_killing(cluster, seed=plan.seed, every_s=plan.every_s))
    days = asyncio.create_task(_close_days(cluster, plan.seed))
    driving = asyncio.create_task(_drive_all(driver, asked, plan.in_flight, say))
    try:
        await asyncio.wait({driving, faults, days}, return_when=asyncio.FIRST_COMPLETED)
        for broken in (faults, days):
            if broken.done():
                broken.result()
        await driving
    finally:
        for task in (faults, days, driving):
            task.cancel()
        await asyncio.gather(faults, days, driving, return_exceptions=True)
    await _quiet(cluster, driver, asked)
    report.seconds = time.monotonic() - started
    report.kills = dict(cluster.kills)
    report.wrong = await _judged(cluster, engine, journal)
    report.outcomes = await outcomes(engine)
    await engine.dispose()
    return report


async def _drive_all(
    driver: Driver, asked: Sequence[WithdrawalRequest], in_flight: int, say: Callable[[str], None]
) -> None:
    gate, done = asyncio.Semaphore(in_flight), 0

    async def one(request: WithdrawalRequest) -> None:
        nonlocal done
        async with gate:
            await driver.drive(request)
        done += 1
        if done % 25 == 0:
            say(f"{done} of {len(asked)} have come to an end")

    async with asyncio.TaskGroup() as together:
        for request in asked:
            together.create_task(one(request))


async def _quiet(cluster: Cluster, driver: Driver, asked: Sequence[WithdrawalRequest]) -> None:
    """Let what is still to come back come back, and everything come to rest."""
    for _ in range(DAYS_AFTER):
        await _lever(cluster, "POST", "/days/close", {})
        await asyncio.sleep(2)
    async with asyncio.timeout(QUIET_WITHIN_S):
        for request in asked:
            await driver.see_it_end(request)


async def _judged(cluster: Cluster, engine: AsyncEngine, journal: Journal) -> list[str]:
    """What is wrong once the last files of the bank are read, a minute later at most (I12)."""
    deadline = time.monotonic() + AT_REST_WITHIN_S
    while True:
        wrong = await judge(engine, cluster.ring, cluster.bank.address, journal.acknowledged)
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(2)


async def _set_chances(cluster: Cluster, seed: int, day: int) -> None:
    """The bank's faults of one day; what it leaves lying today it may take tomorrow."""
    rules = [{"fault": "silence", "seconds": 3, "times": 1}]
    drawn = seed * 1_000 + day
    await _lever(
        cluster, "PUT", "/faults", {"rules": rules, "chances": BANK_CHANCES, "seed": drawn}
    )


async def _close_days(cluster: Cluster, seed: int) -> None:
    for day in count(1):
        await asyncio.sleep(DAY_EVERY_S)
        await _lever(cluster, "POST", "/days/close", {})
        await _set_chances(cluster, seed, day)


async def _lever(cluster: Cluster, method: str, path: str, body: object) -> None:
    async def pull() -> None:
        async with httpx.AsyncClient(base_url=cluster.bank.address, timeout=30) as http:
            try:
                (await http.request(method, path, json=body)).raise_for_status()
            except httpx.HTTPError as error:
                raise OSError(str(error)) from error

    await until_answered(pull)
