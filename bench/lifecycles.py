"""Withdrawals a second through the whole lifecycle, beside a skeleton and beside plain calls.

All three run on the same servers in the same run, in interleaved rounds, each with as many in
flight. The bank answers at once, so what is measured is ours: submitted, approved by a token,
recorded, sent by a payout of its own, paid by the debit that a bank's file tells. There are as many
merchants as withdrawals in flight: who waits for his own account is not measured.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.bank_file import BankFileActivities
from activities.house import House
from activities.payout import PayoutActivities
from activities.withdrawal import WithdrawalActivities
from bench.prompt_bank import TOLD_EVERY_S, PromptBank, every, telling
from bench.skeleton import (
    WITHDRAWAL,
    Answers,
    SkeletonPayout,
    SkeletonWithdrawal,
    skeleton_activities,
    skeleton_call,
)
from bench.stage import running_server, stage_on
from bench.withdrawing import decision, open_merchants, request_of
from gateways.identity.issuer import DevelopmentIssuer
from ledger.bank.files import Arrival, receive_file
from ledger.engine import in_transaction
from ledger.lanes import Lanes
from ledger.orders import OrderBook
from tillkeeper.client import Tillkeeper
from tillkeeper.codec import data_converter
from tillkeeper.contracts.bank_file import BankFileCommand
from tillkeeper.contracts.payment import PayoutCommand
from tillkeeper.contracts.withdrawal import (
    WithdrawalCommand,
    WithdrawalRequest,
    WithdrawalStart,
    WithdrawalState,
    WithdrawalView,
    withdrawal_workflow_id,
)
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing
from worker.embedded.ports import free_port
from worker.embedded.temporal import EmbeddedTemporal, TemporalPorts
from worker.run import WORKFLOW_CODE, build_bank_worker, build_worker, workflow_runner
from worker.settings import Settings
from workflows.calls import bank_queue

IN_FLIGHT: Final = 120
BANK_RATE_PER_S: Final = 1_000.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Lengths:
    """How many rounds, and how many lifecycles of each kind in each of them."""

    rounds: int = 4
    each: int = 4 * IN_FLIGHT

    @property
    def merchants(self) -> int:
        """One for each withdrawal that is in flight."""
        return min(self.each, IN_FLIGHT)


class _Rate(NamedTuple):
    """How many ended in how many seconds."""

    ended: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Ends a second."""
        return self.ended / self.seconds


class _Round(NamedTuple):
    """The three of them, one after another."""

    ours: _Rate
    skeleton: _Rate
    plain: _Rate


@dataclass(frozen=True)
class _Place:
    """What every measure works with."""

    client: Client
    engine: AsyncEngine
    house: House
    bank: PromptBank
    till: Tillkeeper
    issuer: DevelopmentIssuer
    merchants: int


async def measure_lifecycles(lengths: Lengths, say: Say) -> dict[str, float]:
    """Rates per second by name, and the ratios."""
    rounds: list[_Round] = []
    async with _place(lengths.merchants) as place:
        say(f"opening {place.merchants} accounts")
        await open_merchants(place.till, place.merchants)
        answers = await _answers(place)
        await _round(place, answers, "warm", max(10, lengths.each // 10))
        for number in range(lengths.rounds):
            say(f"round {number + 1} of {lengths.rounds}")
            rounds.append(await _round(place, answers, f"round{number}", lengths.each))
    return _figures(rounds)


def _figures(rounds: Sequence[_Round]) -> dict[str, float]:
    """Over all rounds together, for single ones differ; how much they do is told beside it."""
    ours, skeleton, plain = (
        _Rate(sum(one.ended for one in kind), sum(one.seconds for one in kind)).per_s
        for kind in zip(*rounds, strict=True)
    )
    ratios = [one.ours.per_s / one.skeleton.per_s for one in rounds]
    return {
        "withdrawal_over_skeleton": ours / skeleton,
        "withdrawal_over_skeleton_lowest": min(ratios),
        "withdrawal_over_skeleton_highest": max(ratios),
        "withdrawal_over_plain": ours / plain,
        "withdrawals_per_s": ours,
        "skeletons_per_s": skeleton,
        "plain_withdrawals_per_s": plain,
        "rounds": float(len(rounds)),
    }


async def _round(place: _Place, answers: Answers, tag: str, each: int) -> _Round:
    return _Round(
        await _withdrawals(place, tag, each),
        await _skeletons(place, answers, tag, each),
        await _plain(place, tag, each),
    )


async def _withdrawals(place: _Place, tag: str, each: int) -> _Rate:
    """The real thing, one approval each."""
    asked = _requests(place, f"{tag}-w", each)
    async with telling(place.bank, place.till, place.engine, place.house.ring):
        return await _rate([lambda r=r: _withdrawn(place, r) for r in asked])  # type: ignore[misc]


async def _withdrawn(place: _Place, request: WithdrawalRequest) -> Answers:
    """One withdrawal from the request to the debit, and what it answered."""
    submitted = await place.till.request_withdrawal(request)
    body = decision(place.issuer, submitted)
    decided = await place.till.decide_withdrawal(request.merchant, request.request, body)
    name = withdrawal_workflow_id(request.merchant, request.request)
    handle = place.client.get_workflow_handle(name, result_type=WithdrawalView)
    ended = await handle.result()
    assert ended.state is WithdrawalState.PAID
    assert decided.payment is not None
    assert ended.payment is not None
    return Answers(submitted, decided, decided.payment, ended.payment)


async def _answers(place: _Place) -> Answers:
    """What the skeleton answers, too."""
    async with telling(place.bank, place.till, place.engine, place.house.ring):
        return await _withdrawn(place, _requests(place, "first", 1)[0])


async def _skeletons(place: _Place, answers: Answers, tag: str, each: int) -> _Rate:
    """The same messages, child and activities, empty."""
    sent: list[str] = []
    queue = f"skeleton-{uuid.uuid4().hex[:8]}"

    async def tell() -> None:
        names, sent[:] = list(sent), []
        for name in names:
            handle = place.client.get_workflow_handle(f"skeleton-payout/{name}")
            await handle.signal("bank_outcome")

    async def one(request: WithdrawalRequest) -> None:
        name = f"skeleton/{request.request}"
        begun = WithdrawalStart(**dict(request))
        start: WithStartWorkflowOperation[Any, WithdrawalView] = WithStartWorkflowOperation(
            WITHDRAWAL, begun, id=name, task_queue=queue, result_type=WithdrawalView,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )  # fmt: skip
        view: WithdrawalView = await place.client.execute_update_with_start_workflow(
            "submitted", request, start_workflow_operation=start, result_type=WithdrawalView
        )
        handle = place.client.get_workflow_handle(name, result_type=WithdrawalView)
        await handle.execute_update(
            "decide", decision(place.issuer, view), result_type=WithdrawalView
        )
        assert (await handle.result()).payment == answers.paid

    asked = _requests(place, f"{tag}-s", each)
    worker = Worker(
        place.client, task_queue=queue, workflows=[SkeletonWithdrawal, SkeletonPayout],
        activities=skeleton_activities(answers),
        workflow_runner=workflow_runner(trusted=("bench", *WORKFLOW_CODE)),
    )  # fmt: skip
    caller = Worker(
        place.client, task_queue=bank_queue(queue),
        activities=[skeleton_call(answers, sent.append)],
        max_task_queue_activities_per_second=BANK_RATE_PER_S,
    )  # fmt: skip
    async with worker, caller, every(TOLD_EVERY_S, tell):
        return await _rate([lambda r=r: one(r) for r in asked])  # type: ignore[misc]


async def _plain(place: _Place, tag: str, each: int) -> _Rate:
    """The same activities as function calls, one after another: what durability is paid for."""
    doors, payouts = WithdrawalActivities(place.house), PayoutActivities(place.house)
    files, environment = BankFileActivities(place.house), ActivityEnvironment()

    async def one(request: WithdrawalRequest) -> None:
        names = {"merchant": request.merchant, "request": request.request}
        view = await doors.submit_withdrawal(
            WithdrawalCommand(**names, at=datetime.now(UTC), body=request)
        )
        view = await doors.decide_withdrawal(
            WithdrawalCommand(**names, at=datetime.now(UTC), body=decision(place.issuer, view))
        )
        assert view.payment is not None
        command = PayoutCommand(end_to_end_id=view.payment.end_to_end_id, at=datetime.now(UTC))
        await environment.run(payouts.submit_payment, command)

    async def book() -> None:
        arrival = Arrival("prompt.xml", "import", None, datetime.now(UTC))
        body = place.bank.file(place.bank.take())
        digest = await in_transaction(
            place.engine, lambda c: receive_file(c, place.house.ring, body, arrival)
        )
        command = BankFileCommand(digest=digest, at=datetime.now(UTC))
        await environment.run(files.read_bank_file, command)
        while (await environment.run(files.book_bank_file, command)).more:
            pass

    asked = _requests(place, f"{tag}-p", each)
    started = perf_counter()
    await _rate([lambda r=r: one(r) for r in asked])  # type: ignore[misc]
    await book()
    return _Rate(each, perf_counter() - started)


def _requests(place: _Place, tag: str, each: int) -> list[WithdrawalRequest]:
    """The merchants in turn; each id is used once."""
    return [request_of(f"{tag}-{n}", n % place.merchants) for n in range(each)]


async def _rate(work: list[Callable[[], Awaitable[object]]]) -> _Rate:
    """What ended; of a long row, what did between the filling and the draining of what flies."""
    gate, ends = asyncio.Semaphore(IN_FLIGHT), [perf_counter()]

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        async with gate:
            await call()
        ends.append(perf_counter())

    await asyncio.gather(*(one(call) for call in work))
    if len(work) >= 4 * IN_FLIGHT:
        ends = ends[IN_FLIGHT:-IN_FLIGHT]
    return _Rate(len(ends) - 1, ends[-1] - ends[0])


@asynccontextmanager
async def _place(merchants: int) -> AsyncIterator[_Place]:
    """Durable servers, a worker of ours for each queue, and a prompt bank."""
    ring, issuer, bank = (
        KeyRing.generate("bench"),
        DevelopmentIssuer.generate("bench"),
        PromptBank(),
    )
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server())
        made = await stack.enter_async_context(stage_on(server, "lifecycles", ring=ring))
        client = await stack.enter_async_context(_temporal(ring))
        house = House(
            made.engine, ring, JD_PREPAID_2023_11, Settings().receiving_account,
            Lanes(OrderBook(made.engine)), door=bank, verifier=issuer.verifier(),
        )  # fmt: skip
        await stack.enter_async_context(build_worker(client, house))
        await stack.enter_async_context(
            build_bank_worker(client, house, per_second=BANK_RATE_PER_S)
        )
        yield _Place(client, made.engine, house, bank, Tillkeeper(client), issuer, merchants)


@asynccontextmanager
async def _temporal(ring: KeyRing) -> AsyncIterator[Client]:
    with tempfile.TemporaryDirectory(prefix="tk-bench-", ignore_cleanup_errors=True) as home:
        ports = TemporalPorts(*(free_port(0, what="bench", setting="ui_port") for _ in range(3)))
        server = EmbeddedTemporal(Path(home), ports, namespace="default")
        try:
            await server.start()
            yield await _connected(server.address, ring)
        finally:
            await server.stop()


async def _connected(address: str, ring: KeyRing) -> Client:
    for _ in range(100):
        try:
            return await Client.connect(address, data_converter=data_converter(ring))
        except (RPCError, RuntimeError):
            await asyncio.sleep(0.1)
    raise AssertionError("Temporal does not serve")
