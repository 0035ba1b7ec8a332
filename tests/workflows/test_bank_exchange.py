"""The bank exchange: what the bank drops is kept, moved, booked; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from activities import bank_exchange as activities
from activities.bank_exchange import BankExchangeActivities
from gateways.bank import exchange as folder
from gateways.bank.exchange import FolderExchange
from tests.workflows.bank_support import Moved, camt053, digest, imported, keep, standing
from tests.workflows.support import Platform, eventually
from tillkeeper.contracts.bank_file import (
    EXCHANGE_WORKFLOW_ID,
    BankExchangeView,
    WatchCommand,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.topup import TopUpState

EXACT = Moved(3_000_00, "REF-1")
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

    async def test_worker_stops_at_once_while_it_watches(self, watched: Platform) -> None:
        async with watched.worker():
            await watched.till.watch_exchange()
            await asyncio.sleep(0.5)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 3


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
