"""The bank exchange: what the bank drops is kept, moved, booked; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from activities import bank_exchange as activities
from activities.bank_exchange import BankExchangeActivities
from activities.bank_file import BankFileActivities
from gateways.bank import exchange as folder
from gateways.bank.exchange import FolderExchange
from tests.workflows.bank_support import Moved, camt053, digest, imported, keep, standing
from tests.workflows.support import Platform, eventually
from tillkeeper.contracts.bank_file import (
    EXCHANGE_WORKFLOW_ID,
    BankExchangeView,
    BankFileCommand,
    WatchCommand,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.topup import TopUpState
from worker import service

EXACT = Moved(3_000_00, "REF-1")
REFUSED = "BANK_FILE_REFUSED"
OTHER = Moved(1_000_00, "REF-2", payer="无名公司")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities, "LOOK_S", 0.05)


@pytest_asyncio.fixture(loop_scope="session")
async def watched(idle: Platform, tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform with an exchange, its worker not running yet."""
    exchange = FolderExchange(tmp_path / "exchange", settle_s=0.1)
    idle.house = dataclasses.replace(idle.house, exchange=exchange)
    yield idle
    with suppress(RPCError):
        await idle.client.get_workflow_handle(EXCHANGE_WORKFLOW_ID).terminate()


def exchange_of(platform: Platform) -> FolderExchange:
    """The platform's exchange."""
    assert platform.house.exchange is not None
    return platform.house.exchange


def drop(platform: Platform, name: str, body: bytes) -> None:
    """What a bank does: a temporary name, then the right one."""
    inbox = exchange_of(platform).inbox
    (inbox / f".{name}").write_bytes(body)
    (inbox / f".{name}").rename(inbox / name)


async def worked_off(platform: Platform, name: str) -> None:
    """Wait until the file of that digest is booked or refused."""

    async def ended() -> bool:
        rows = await platform.rows("SELECT state FROM bank_files WHERE digest = $1", name)
        return bool(rows) and rows[0][0] in ("BOOKED", "REFUSED")

    await eventually(ended, within_s=30)


class TestInbox:
    async def test_file_is_kept_moved_and_credited(self, watched: Platform) -> None:
        """P-26: nobody does anything, and the merchant has its money."""
        body = camt053([EXACT])
        async with watched.worker():
            await watched.configured()
            await watched.till.request_topup(watched.topup())
            await watched.till.watch_exchange()
            drop(watched, "a.xml", body)
            await worked_off(watched, digest(body))

            async def credited() -> bool:
                topup = await watched.till.topup(watched.merchant, "T1")
                return topup.state is TopUpState.CREDITED

            await eventually(credited)
            taken = exchange_of(watched).taken / f"{digest(body)[:16]}-a.xml"
            assert taken.read_bytes() == body
            assert list(exchange_of(watched).inbox.iterdir()) == []
            handle = watched.client.get_workflow_handle(EXCHANGE_WORKFLOW_ID)
            view = await handle.query("view", result_type=BankExchangeView)
            assert view.taken == 1

    async def test_known_file_is_moved_and_changes_nothing(self, watched: Platform) -> None:
        """C-02: delivered again, and imported by a person before."""
        body = camt053([EXACT, OTHER])
        async with watched.worker():
            await imported(watched, body)
            before = await standing(watched)
            await watched.till.watch_exchange()
            drop(watched, "again.xml", body)

            async def moved() -> bool:
                return not list(exchange_of(watched).inbox.iterdir())

            await eventually(moved)
            assert await standing(watched) == before

    async def test_unreadable_file_is_put_aside_with_its_code(self, watched: Platform) -> None:
        """P-29: the same bytes again are put aside again, and ask nobody twice."""
        body = camt053([EXACT])[:-20]
        async with watched.worker():
            await watched.till.watch_exchange()
            for name in ("a.xml", "b.xml"):
                drop(watched, name, body)
                codes = exchange_of(watched).refused

                async def refused(name: str = name) -> bool:
                    found = codes / f"{digest(body)[:16]}-{name}.code"  # noqa: B023
                    return found.exists() and found.with_suffix("").exists()

                await eventually(refused)
                text = (codes / f"{digest(body)[:16]}-{name}.code").read_text()
                assert text == "BANK_FILE_TRUNCATED\n"
            assert len(await watched.rows("SELECT 1 FROM work_items")) == 1

    async def test_too_large_file_is_put_aside_and_asks_a_person(
        self, watched: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder, "FILE_BYTES_MAX", 10)
        async with watched.worker():
            await watched.till.watch_exchange()
            drop(watched, "large.xml", b"x" * 11)

            async def asked() -> bool:
                return bool(await watched.rows("SELECT 1 FROM work_items"))

            await eventually(asked)
        [item] = await watched.rows("SELECT kind, subject, reason FROM work_items")
        subject = f"bank-file/{digest(b'x' * 11)}"
        assert tuple(item) == ("BANK_FILE_REFUSED", subject, "BANK_FILE_TOO_LARGE")

    async def test_many_files_go_through_several_runs(self, watched: Platform) -> None:
        """Each run of the exchange stays short; the next goes on where it ended."""
        count = 150
        for number in range(count):
            drop(watched, f"{number}.txt", b"no bank's file %d" % number)
        async with watched.worker():
            await watched.till.watch_exchange()
            handle = watched.client.get_workflow_handle(EXCHANGE_WORKFLOW_ID)
            first = (await handle.describe()).run_id

            async def refused() -> bool:
                return len(list(exchange_of(watched).refused.glob("*.code"))) == count

            await eventually(refused, within_s=60)
            assert list(exchange_of(watched).inbox.iterdir()) == []
            assert (await handle.describe()).run_id != first
            view = await handle.query("view", result_type=BankExchangeView)
            assert view.taken == count


class TestTrouble:
    async def test_cancel_loses_no_file_and_the_exchange_goes_on(self, watched: Platform) -> None:
        """C-05: a cancel that comes while lifecycles are started is noted, that is all."""
        bodies = [camt053([EXACT], account=f"999{number}") for number in range(30)]
        for number, body in enumerate(bodies):
            drop(watched, f"{number}.xml", body)
        async with watched.worker():
            await watched.till.watch_exchange()
            handle = watched.client.get_workflow_handle(EXCHANGE_WORKFLOW_ID)
            started = "start_child_workflow_execution_initiated_event_attributes"

            async def starting() -> bool:
                history = await handle.fetch_history()
                return sum(event.HasField(started) for event in history.events) >= 2  # type: ignore[arg-type]

            await eventually(starting)
            await handle.cancel()
            drop(watched, "later.xml", later := camt053([OTHER]))
            for body in (*bodies, later):
                await worked_off(watched, digest(body))
            view = await handle.query("view", result_type=BankExchangeView)
            assert [noted.name for noted in view.not_understood] == ["cancel"]

    async def test_files_that_cannot_be_moved_hold_nobody_up_and_ask_one_person(
        self, watched: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-05, C-10: they are tried more and more seldom; one item says so until they go."""
        monkeypatch.setattr(activities, "ANSWER_MAX", 3)
        monkeypatch.setattr(activities, "ASK_AFTER", 2)
        monkeypatch.setattr(folder, "PUT_OFF_MAX_S", 0.5)
        taken = exchange_of(watched).taken
        stuck = [camt053([Moved(100 + n, f"S{n}")], account=f"998{n}") for n in range(3)]
        for number, body in enumerate(stuck):
            (taken / f"{digest(body)[:16]}-{number}.xml" / "in the way").mkdir(parents=True)
            drop(watched, f"{number}.xml", body)
        async with watched.worker():
            await watched.till.watch_exchange()

            async def asked() -> bool:
                return bool(await watched.rows("SELECT 1 FROM work_items WHERE kind = $1", REFUSED))

            await eventually(asked)
            drop(watched, "good.xml", good := camt053([EXACT]))
            await worked_off(watched, digest(good))
            item = "SELECT subject, reason, outcome FROM work_items WHERE kind = $1"
            told = ("bank-exchange/inbox", "FILE_UNREADABLE")
            assert [tuple(row) for row in await watched.rows(item, REFUSED)] == [(*told, None)]
            for path in taken.glob("*/in the way"):
                path.rmdir()
                path.parent.rmdir()

            async def gone() -> bool:
                [row] = await watched.rows(item, REFUSED)
                return bool(row.outcome == "RESOLVED")

            await eventually(gone)
            assert len(list(taken.iterdir())) == 4

    async def test_inbox_that_is_gone_asks_a_person_until_it_is_back(
        self, watched: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-05: nothing is retried for ever unseen."""
        monkeypatch.setattr(activities, "BLIND_S", 0.2)
        inbox = exchange_of(watched).inbox
        inbox.rmdir()
        async with watched.worker():
            await watched.till.watch_exchange()
            item = "SELECT subject, reason, outcome FROM work_items"

            async def asked() -> bool:
                return bool(await watched.rows(item))

            await eventually(asked)
            [row] = await watched.rows(item)
            assert tuple(row) == ("bank-exchange/inbox", "UNAVAILABLE", None)
            inbox.mkdir()

            async def settled() -> bool:
                return bool((await watched.rows(item))[0].outcome == "RESOLVED")

            await eventually(settled, within_s=30)

    async def test_exchange_that_was_terminated_is_watched_again(
        self, watched: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-06: the worker makes sure of it."""
        monkeypatch.setattr(service, "WATCHED_EVERY_S", 0.1)
        await watched.till.watch_exchange()
        handle = watched.client.get_workflow_handle(EXCHANGE_WORKFLOW_ID)
        await handle.terminate()
        async with service.watched_again([watched.till.watch_exchange]):

            async def runs() -> bool:
                return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING

            await eventually(runs)


class TestLeftBehind:
    async def test_file_kept_by_somebody_who_died_is_worked_off(self, watched: Platform) -> None:
        """C-06: bytes are in the database, no lifecycle was ever started."""
        name = await keep(watched, camt053([EXACT]))
        async with watched.worker():
            await watched.till.watch_exchange()
            await worked_off(watched, name)

    async def test_file_kept_but_not_moved_is_moved_and_booked_once(
        self, watched: Platform
    ) -> None:
        """C-02: killed between keeping and moving."""
        body = camt053([EXACT])
        drop(watched, "a.xml", body)
        await keep(watched, body)
        async with watched.worker():
            await watched.till.watch_exchange()
            await worked_off(watched, digest(body))

            async def moved() -> bool:
                return not list(exchange_of(watched).inbox.iterdir())

            await eventually(moved)
        assert len(await watched.rows("SELECT 1 FROM bank_entries")) == 1
        assert len(await watched.rows("SELECT 1 FROM transfers")) == 1

    async def test_file_that_was_booked_and_told_nobody_is_told(self, watched: Platform) -> None:
        """C-06: its run was ended between booking and telling; the top-up hears of its money."""
        body = camt053([EXACT])
        async with watched.worker():
            await watched.configured()
            await watched.till.request_topup(watched.topup())
            name = await keep(watched, body)
            doors = BankFileActivities(watched.house)
            command = BankFileCommand(digest=name, at=datetime.now(UTC))
            await ActivityEnvironment().run(doors.read_bank_file, command)
            while (await ActivityEnvironment().run(doors.book_bank_file, command)).more:
                pass
            await watched.till.watch_exchange()

            async def told() -> bool:
                topup = await watched.till.topup(watched.merchant, "T1")
                view = await watched.till.bank_file(name)
                credited = topup.state is TopUpState.CREDITED
                return credited and view is not None and view.worked_off

            await eventually(told)

    async def test_all_files_left_behind_are_named_one_page_after_another(
        self, watched: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-10: files that wait for a person do not hide those that came after them."""
        monkeypatch.setattr(activities, "ANSWER_MAX", 2)
        names = [await keep(watched, camt053([Moved(100 + n, f"R{n}")])) for n in range(5)]
        watcher = BankExchangeActivities(watched.house)
        sweep, pages = WatchCommand(seconds=0, sweep=True), []
        for _ in range(4):
            pages.append((await ActivityEnvironment().run(watcher.watch_inbox, sweep)).digests)
        assert [list(page) for page in pages] == [names[:2], names[2:4], names[4:], names[:2]]

    async def test_worker_stops_at_once_while_it_watches(self, watched: Platform) -> None:
        async with watched.worker():
            await watched.till.watch_exchange()
            await asyncio.sleep(0.5)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 20  # far below the grace of 30 s


class TestSideBySide:
    async def test_two_workers_keep_and_move_each_file_once(
        self, watched: Platform, tmp_path: Path
    ) -> None:
        """C-02: two watchers on one folder neither lose nor double, nor do they fail."""
        bodies = [camt053([Moved(100 + n, f"R{n}")]) for n in range(30)]
        other = dataclasses.replace(
            watched.house, exchange=FolderExchange(tmp_path / "exchange", settle_s=0.1)
        )
        watchers = [BankExchangeActivities(watched.house), BankExchangeActivities(other)]
        for number, body in enumerate(bodies):
            drop(watched, f"{number}.xml", body)

        async def watch(one: BankExchangeActivities) -> set[str]:
            found: set[str] = set()
            while list(exchange_of(watched).inbox.iterdir()):
                command = WatchCommand(seconds=1)
                found |= set((await ActivityEnvironment().run(one.watch_inbox, command)).digests)
            return found

        named = await asyncio.gather(*map(watch, watchers))
        assert named[0] | named[1] == {digest(body) for body in bodies}
        kept = await watched.rows("SELECT digest FROM bank_files")
        assert {row[0] for row in kept} == {digest(body) for body in bodies}
        moved = exchange_of(watched).taken
        assert sorted(p.read_bytes() for p in moved.iterdir()) == sorted(bodies)

    async def test_worker_without_an_exchange_lets_another_watch(self, watched: Platform) -> None:
        """Its try is given back, and nothing else happens."""
        without = BankExchangeActivities(dataclasses.replace(watched.house, exchange=None))
        with pytest.raises(Exception, match="no bank exchange") as error:
            await ActivityEnvironment().run(without.watch_inbox, WatchCommand(seconds=1))
        assert getattr(error.value, "type", "") == Code.UNAVAILABLE
