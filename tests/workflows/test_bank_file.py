"""A bank's file: read once, booked once, told; a kill anywhere loses and doubles nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, date, datetime
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities import bank_file as activities
from ledger import sheet
from ledger.verify import verify
from tests.workflows.bank_support import Moved, camt053, digest, imported, keep, standing
from tests.workflows.support import OUR_NUMBER, Platform, eventually, refused
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.bank import FileKind
from tillkeeper.contracts.bank_file import (
    BankFileCommand,
    BankFileRequest,
    BankFileState,
    BankFileView,
    Batch,
)
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.topup import TopUpState

EXACT = Moved(3_000_00, "REF-1")
OTHER = Moved(1_000_00, "REF-2", payer="无名公司")


class TestImport:
    async def test_exact_receipt_credits_and_wakes_the_topup(self, platform: Platform) -> None:
        """P-26: the file's money credits its request; the account is active at once (P-09)."""
        await platform.configured()
        await platform.till.request_topup(platform.topup())
        view = await imported(platform, camt053([EXACT, OTHER]))
        assert (view.state, view.kind) == (BankFileState.BOOKED, FileKind.CAMT_053)
        assert (view.entries, view.new_entries, view.waiting) == (2, 2, 0)
        assert (view.credited, view.unmatched, view.losses) == (1, 1, 0)

        async def told() -> bool:
            topup = await platform.till.topup(platform.merchant, "T1")
            account = await platform.till.account(platform.merchant)
            return topup.state is TopUpState.CREDITED and account.state is AccountState.ACTIVE

        await eventually(told)
        assert (await platform.balances()).available == 3_000_00

    async def test_known_file_changes_nothing(self, platform: Platform) -> None:
        """C-02: the same bytes are the same file, while its run is known and after."""
        body = camt053([EXACT, OTHER])
        first = await imported(platform, body)
        before = await standing(platform)
        again = await imported(platform, body)
        assert again == first
        assert await standing(platform) == before

    async def test_pending_and_information_are_no_money(self, platform: Platform) -> None:
        """C-12: only what the bank booked is money."""
        view = await imported(
            platform,
            camt053([EXACT, Moved(5_00, "P", status="PDNG"), Moved(6_00, "I", status="INFO")]),
        )
        assert (view.entries, view.notices) == (1, 2)

    async def test_statement_of_another_account_books_nothing(self, platform: Platform) -> None:
        """P-25: money on an account that is not ours is not ours."""
        view = await imported(platform, camt053([EXACT], account="999888777666"))
        assert (view.state, view.entries, view.foreign_statements) == (BankFileState.BOOKED, 0, 1)
        assert await platform.rows("SELECT 1 FROM transfers") == []

    async def test_statement_under_another_form_of_our_number_is_ours(self, idle: Platform) -> None:
        """P-25: banks write one number in several forms; they are one account."""
        forms = {OUR_NUMBER, f"CN-{OUR_NUMBER}"}
        idle.house = dataclasses.replace(
            idle.house, aliases=lambda number, _: OUR_NUMBER if number in forms else None
        )
        async with idle.worker():
            await imported(idle, camt053([EXACT], account=f"CN-{OUR_NUMBER}"))
            following = camt053([OTHER], opening=EXACT.signed, day=date(2024, 5, 7))
            await imported(idle, following)
        assert [row[0] for row in await idle.rows("SELECT number FROM bank_accounts")] == [
            OUR_NUMBER
        ]

    async def test_more_entries_than_one_transaction_takes(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(activities, "ENTRIES_PER_TRANSACTION", 2)
        view = await imported(platform, camt053([Moved(100 + n, f"R{n}") for n in range(9)]))
        assert (view.entries, view.waiting, view.unmatched) == (9, 0, 9)
        assert (await verify(platform.engine)).broken is None


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", Code.BANK_FILE_EMPTY),
            (b"<!DOCTYPE a><a/>", Code.BANK_FILE_DOCTYPE),
            (camt053([EXACT])[:-20], Code.BANK_FILE_TRUNCATED),
            (b"hello", Code.BANK_FILE_KIND_UNKNOWN),
        ],
    )
    async def test_unreadable_file_ends_refused_with_its_item(
        self, platform: Platform, body: bytes, code: Code
    ) -> None:
        """P-29: nothing of it is taken, and a person is told."""
        view = await imported(platform, body)
        assert (view.state, view.refused, view.entries) == (BankFileState.REFUSED, code, 0)
        items = await platform.rows("SELECT kind, subject, reason FROM work_items")
        assert [tuple(row) for row in items] == [
            ("BANK_FILE_REFUSED", f"bank-file/{digest(body)}", code.value)
        ]
        assert await platform.rows("SELECT 1 FROM bank_entries") == []

    async def test_refused_file_is_read_when_its_encoding_is_declared(
        self, platform: Platform
    ) -> None:
        """P-29: the mistake was the importer's; the item closes by itself."""
        body = ":20:A\n:25:1\n:28C:1\n:60F:C240506CNY1,\n:86:Müller\n:62F:C240506CNY1,\n-\n"
        raw = body.encode("cp1252")
        first = await platform.till.import_bank_file(await keep(platform, raw, encoding="ascii"))
        assert first.refused is Code.BANK_FILE_ENCODING
        again = await platform.till.import_bank_file(await keep(platform, raw, encoding="cp1252"))
        assert again.state is BankFileState.BOOKED
        assert (
            await platform.rows(
                "SELECT 1 FROM work_items WHERE state <> 'CLOSED' AND kind = 'BANK_FILE_REFUSED'"
            )
            == []
        )

    async def test_file_that_is_not_kept_is_refused(self, platform: Platform) -> None:
        with refused(Code.BANK_FILE_UNKNOWN):
            await platform.till.import_bank_file("0" * 64)

    async def test_start_input_that_is_no_digest_is_refused(self, platform: Platform) -> None:
        handle = await platform.client.start_workflow(
            "BankFile", {"digest": "x"}, id="bank-file/x", task_queue=platform.task_queue
        )
        with pytest.raises(Exception, match=r".+") as error:
            await handle.result()
        assert "INPUT_NOT_UNDERSTOOD" in repr(error.value.__cause__)


class TestBroken:
    async def test_file_that_breaks_waits_for_a_person_and_goes_on(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-05: nothing is retried in silence, nothing is lost."""

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(activities, "read_bank_bytes", broken)
        name = await keep(platform, camt053([EXACT]))
        asked = asyncio.create_task(platform.till.import_bank_file(name))

        async def waits() -> bool:
            view = await platform.till.bank_file(name)
            return view is not None and view.needs_person == "read_bank_file: PROGRAMMING_ERROR"

        await eventually(waits)
        monkeypatch.undo()
        await platform.client.get_workflow_handle(f"bank-file/{name}").execute_update("resume")
        assert (await asked).state is BankFileState.BOOKED

    async def test_money_that_the_book_does_not_take_waits_for_a_person(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-05: a refusal while booking ends nothing; once there is room the file goes on."""
        monkeypatch.setattr(sheet, "BALANCE_MAX", 1_000)
        name = await keep(platform, camt053([EXACT]))
        asked = asyncio.create_task(platform.till.import_bank_file(name))

        async def waits() -> bool:
            view = await platform.till.bank_file(name)
            return view is not None and view.needs_person == "book_bank_file: AMOUNT_TOO_LARGE"

        await eventually(waits)
        monkeypatch.undo()
        await platform.client.get_workflow_handle(f"bank-file/{name}").execute_update("resume")
        view = await asked
        assert (view.state, view.waiting, view.told) == (BankFileState.BOOKED, 0, True)

    async def test_every_day_between_two_statements_is_compared(self, platform: Platform) -> None:
        """C-14: handed on by the activity that tells all whom the file concerns."""
        await imported(platform, camt053([Moved(100, "Z1")], day=date(2024, 4, 10)))
        body = camt053([Moved(100, "Z2")], opening=100, day=date(2024, 5, 6))
        view = await imported(platform, body)
        assert view.told

        async def compared() -> bool:
            return len(await platform.rows("SELECT 1 FROM reconciliations")) == 27

        await eventually(compared)
        handle = platform.client.get_workflow_handle(f"bank-file/{view.digest}")
        assert await _ran(handle) == {"read_bank_file", "book_bank_file", "hand_on_bank_file"}

    async def test_cancel_while_a_run_in_steps_hands_days_over_leaves_none_out(
        self, platform: Platform
    ) -> None:
        """C-14: the request is noted, every day is compared."""
        await imported(platform, camt053([Moved(100, "Z1")], day=date(2024, 4, 10)))
        last = camt053([Moved(100, "Z2")], opening=100, day=date(2024, 5, 6))
        name = await keep(platform, last)
        handle = await platform.client.start_workflow(
            "BankFile", BankFileRequest(digest=name), id=f"bank-file/{name}",
            task_queue=platform.task_queue, result_type=BankFileView,
        )  # fmt: skip
        started = "start_child_workflow_execution_initiated_event_attributes"

        async def starting() -> bool:
            history = await handle.fetch_history()
            return sum(event.HasField(started) for event in history.events) >= 2  # type: ignore[arg-type]

        await eventually(starting)
        await handle.cancel()
        view = await handle.result()
        assert [noted.name for noted in view.not_understood] == ["cancel"]
        assert view.told

        async def compared() -> bool:
            return len(await platform.rows("SELECT 1 FROM reconciliations")) == 27

        await eventually(compared)


class TestGoesOn:
    async def test_worker_that_dies_between_any_two_steps_changes_nothing(
        self, idle: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C-06: a new worker every moment, every task replayed from the start."""
        monkeypatch.setattr(activities, "ENTRIES_PER_TRANSACTION", 1)
        name = await keep(idle, camt053([Moved(100 + n, f"R{n}") for n in range(6)]))
        asked = asyncio.create_task(idle.till.import_bank_file(name))
        while not asked.done():
            async with idle.worker(cached=0):
                await asyncio.wait({asked}, timeout=0.15)
        view: BankFileView = await asked
        assert (view.entries, view.waiting) == (6, 0)
        booked = await idle.rows("SELECT subject, count(*) FROM transfers GROUP BY 1")
        assert sorted(row[1] for row in booked) == [1] * 6
        assert (await verify(idle.engine)).broken is None

    async def test_file_brought_again_while_its_booking_is_retried_is_read_anew(
        self, idle: Platform
    ) -> None:
        """C-02: the try that booked it lost its answer; foreign statements have it read again."""
        name = await keep(idle, foreign := camt053([EXACT], account="999888777666"))
        async with idle.worker():
            await idle.till.import_bank_file(name)
            assert await keep(idle, foreign) == name
            doors = activities.BankFileActivities(idle.house)
            command = BankFileCommand(digest=name, at=datetime.now(UTC))
            batch = await ActivityEnvironment().run(doors.book_bank_file, command)
            assert batch == Batch(entries=0, more=False)
            assert (await idle.till.import_bank_file(name)).state is BankFileState.BOOKED

    async def test_later_run_tells_nobody_again(self, platform: Platform) -> None:
        """A run that was continued begins where the one before ended."""
        name = await keep(platform, camt053([EXACT]))
        await platform.till.import_bank_file(name)
        handle = await platform.client.start_workflow(
            "BankFile", BankFileRequest(digest=name, told=True, days=1),
            id=f"bank-file/{name}", task_queue=platform.task_queue, result_type=BankFileView,
        )  # fmt: skip
        assert (await handle.result()).state is BankFileState.BOOKED
        assert await _ran(handle) == {"read_bank_file", "days_of_bank_file", "end_bank_file"}


async def _ran(handle: WorkflowHandle[Any, Any]) -> set[str]:
    """The activities of a run, by name."""
    events = (await handle.fetch_history()).events
    names = {event.activity_task_scheduled_event_attributes.activity_type.name for event in events}
    return names - {""}
