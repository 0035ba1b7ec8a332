"""``tillkeeper orders import`` on a real database: effects, rejects, running again (P-40 ff)."""

from __future__ import annotations

import asyncio
import csv
import gzip
import os
import random
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from console.generator import generate
from console.importing import OrderImport, patiently
from console.rejects import Rejects
from gateways.order_events import OrderEventFile
from ledger.book import Book
from ledger.engine import fetch, in_transaction
from ledger.orders import OrderBook
from ledger.verify import verify
from tests.console.support import CommandLine, event_file, standing
from tests.ledger.support import open_account
from tests.stack import Databases, engine_on
from tillkeeper.contracts.errors import Rejected, Unavailable
from tillkeeper.contracts.order import OrderMessage, OrderOutcome
from tillkeeper.rules.order_events import EventMapping
from tillkeeper.rules.profiles import JD_PREPAID_2023_11 as PROFILE

DAY = "2024-05-06"
KILLS = 5


def rejects(path: Path) -> list[tuple[int, str]]:
    """(line, code) of every refused row, by line."""
    with path.open() as stream:
        return sorted((int(row["line"]), row["code"]) for row in csv.DictReader(stream))


async def open_all(engine: AsyncEngine, file: Path, *, fund: int) -> None:
    """An account for every merchant of the file."""
    rows = OrderEventFile(file).rows()
    for merchant in sorted({row.merchant for row in rows if hasattr(row, "merchant")}):
        await open_account(engine, merchant, fund=fund)


class TestImport:
    async def test_each_event_has_its_effect(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """T2 … T6, P-41: 1,200.00 at six instalments is 36.00, wherever it goes."""
        await open_account(engine, "M2", fund=5_000_00)
        file = event_file(
            tmp_path / "e.csv",
            [
                f"{DAY} 10:00:00,M2,O1,PURCHASED,120000,CNY,6,0,",
                f"{DAY} 10:01:00,M2,O1,APPROVED,120000,CNY,6,0,",
                f"{DAY} 10:02:00,M2,O1,DELIVERED,120000,CNY,6,0,",
                f"{DAY} 10:03:00,M2,O2,PURCHASED,120000,CNY,6,0,",
                f"{DAY} 10:04:00,M2,R2,RETURNED,60000,CNY,6,0,O2",
                f"{DAY} 10:05:00,M2,O3,PURCHASED,120000,CNY,6,0,",
                f"{DAY} 10:06:00,M2,O3,CANCELED,120000,CNY,6,1,",
                f"{DAY} 10:07:00,M2,O4,PURCHASED,120000,CNY,6,0,",
                f"{DAY} 10:08:00,M2,O4,DELIVERED,120000,CNY,6,0,",
                f"{DAY} 10:09:00,M2,R4,RETURNED,120000,CNY,6,0,O4",
                f"{DAY} 10:10:00,M9,O5,PURCHASED,120000,CNY,6,0,",
                f"{DAY} 10:11:00,M2,O6,PURCHASED,120000.5,CNY,6,0,",
                f"{DAY} 10:12:00,M2,O6,DELIVERED,120000,CNY,6,0,",
                f"{DAY} 10:13:00,M2,O1,PURCHASED,130000,CNY,6,0,",
            ],
        )
        answer = command("orders", "import", str(file), "--json")
        assert answer.code == 0, answer.err
        said = answer.json
        assert (said["rows"], said["changed"], said["noted"], said["rejected"]) == (14, 9, 1, 4)
        found = await Book(engine).balances("M2", "CNY")
        assert (found.available, found.frozen, found.dues) == (5_000_00 - 54_00, 18_00, 0)
        assert rejects(tmp_path / said["rejects_file"]) == [
            (12, "ACCOUNT_NOT_OPENED"),
            (13, "AMOUNT_NOT_INTEGER"),
            (14, "ORDER_REFUSED"),
            (15, "KEY_REUSED"),
        ]
        assert (await verify(engine)).ok

    async def test_second_run_changes_nothing_and_says_so(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """C-02: the same messages again have no effect."""
        file = tmp_path / "e.csv.gz"
        generate(file, merchants=4, orders=300)
        await open_all(engine, file, fund=3_000_00)
        first = command("orders", "import", str(file), "--json").json
        before = await standing(engine)
        answer = command("orders", "import", str(file), "--batch", "37")
        assert answer.code == 0
        assert "Nothing changed" in answer.err
        again = command("orders", "import", str(file), "--json").json
        assert await standing(engine) == before
        assert first["changed"] > 400
        assert (again["changed"], again["rejected"]) == (0, first["rejected"])
        assert again["replayed"] == first["changed"] + first["replayed"]

    async def test_only_chosen_merchants_are_looked_at(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """Others are skipped, neither applied nor rejected."""
        for merchant in ("M1", "M2", "M3"):
            await open_account(engine, merchant, fund=100_00)
        rows = [f"{DAY} 10:00:00,M{n},O1,PURCHASED,120000,CNY,6,0," for n in (1, 2, 3, 4)]
        file = event_file(tmp_path / "e.csv", rows)
        (tmp_path / "chosen").write_text("M1\n\nM4\n")
        line = ("orders", "import", str(file), "--merchants", str(tmp_path / "chosen"))
        said = command(*line, "--only", "M2", "--json").json
        assert (said["changed"], said["skipped"]) == (2, 1)
        assert said["rejected_by_code"] == {"ACCOUNT_NOT_OPENED": 1}

    async def test_orders_before_prepaid_billing_are_refused(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-10 through the file: nothing is held, and the second run says the same."""
        began = datetime(2024, 5, 6, 10, tzinfo=UTC)
        await open_account(engine, "M2", fund=100_00, billing_from=began)
        rows = [
            f"{DAY} {at},M2,O{at[:2]},PURCHASED,120000,CNY,6,0," for at in ("09:59:59", "10:00:00")
        ]
        file = event_file(tmp_path / "e.csv", rows)
        for changed in (1, 0):
            said = command("orders", "import", str(file), "--json").json
            assert said["rejected_by_code"] == {"FORMER_BILLING_MODE": 1}
            assert said["changed"] == changed

    async def test_rows_of_one_merchant_keep_their_order_across_batches(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-44: with 100.00, two of three 36.00 are held and the third is due."""
        for merchant in ("M1", "M2", "M3", "M4"):
            await open_account(engine, merchant, fund=100_00)
        rows = [
            f"{DAY} 10:0{n}:00,{merchant},O{n},PURCHASED,120000,CNY,6,0,"
            for n in range(3)
            for merchant in ("M1", "M2", "M3", "M4")
        ]
        file = event_file(tmp_path / "e.csv", rows)
        with Rejects(tmp_path / "r.csv") as bad:
            run = OrderImport(OrderBook(engine), EventMapping(PROFILE), bad, batch=1)
            tally = await run.run(OrderEventFile(file))
        assert (tally.applied, tally.dues) == (8, 4)
        due = "SELECT DISTINCT order_id FROM holds WHERE dues > 0"
        assert [r[0] for r in await in_transaction(engine, lambda c: fetch(c, due, ()))] == ["O2"]


class TestAnyOrder:
    async def test_returns_before_their_purchase_end_like_those_after_it(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """C-09: 2 × 1003.00 of 2006.00 at three instalments, on the book, and run again."""
        bought = "10:00:00,{},O1,PURCHASED,200600,CNY,3,0,"
        parts = [f"10:0{n}:00,{{}},R{n},RETURNED,100300,CNY,3,0,O1" for n in (1, 2)]
        delivered = "10:03:00,{},O1,DELIVERED,200600,CNY,3,0,"
        orders = {
            "M1": [bought, *parts, delivered],
            "M2": [*parts, bought, delivered],
            "M3": [parts[0], delivered, bought, parts[1]],
        }
        for merchant in orders:
            await open_account(engine, merchant, fund=5_000_00)
        rows = [f"{DAY} {one.format(who)}" for who, lines in orders.items() for one in lines]
        file = event_file(tmp_path / "e.csv", rows)
        said = command("orders", "import", str(file), "--json").json
        assert (said["changed"], said["rejected"], said["still_parked"]) == (12, 0, 0)
        for merchant in orders:
            found = await Book(engine).balances(merchant, "CNY")
            assert (found.available, found.frozen, found.dues) == (5_000_00, 0, 0)
        holds = (await standing(engine))["holds"]
        assert holds[0][1:] == holds[1][1:]
        again = command("orders", "import", str(file), "--json").json
        assert (again["changed"], again["replayed"], again["rejected"]) == (0, 12, 0)
        assert (await verify(engine)).ok

    async def test_rows_whose_purchase_never_comes_are_parked_and_counted(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-49: the summary says how many notes of these accounts still wait."""
        await open_account(engine, "M2", fund=5_000_00)
        later = [
            f"{DAY} 10:01:00,M2,R1,RETURNED,60000,CNY,6,0,O1",
            f"{DAY} 10:02:00,M2,O2,DELIVERED,120000,CNY,6,0,",
        ]
        file = event_file(tmp_path / "e.csv", later)
        for changed in (2, 0):
            said = command("orders", "import", str(file), "--json").json
            assert (said["changed"], said["still_parked"]) == (changed, 2)
        event_file(file, [f"{DAY} 10:00:00,M2,O{n},PURCHASED,120000,CNY,6,0," for n in (1, 2)])
        assert command("orders", "import", str(file), "--json").json["still_parked"] == 0
        found = await Book(engine).balances("M2", "CNY")
        assert (found.available, found.frozen) == (5_000_00 - 54_00, 18_00)

    async def test_pipe_is_imported(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """The same rows through a pipe, plain and packed, and from standard input."""
        await open_account(engine, "M2", fund=5_000_00)
        event_file(tmp_path / "e.csv", [f"{DAY} 10:00:00,M2,O1,PURCHASED,120000,CNY,6,0,"])
        lines = ("<(cat e.csv)", "<(gzip -c e.csv)", "/dev/stdin < <(cat e.csv)")
        said = [command.shell(f"$T orders import --json {line}").json for line in lines]
        assert [(one["rows"], one["changed"]) for one in said] == [(1, 1), (1, 0), (1, 0)]


class TestKilled:
    async def test_killed_five_times_equals_the_uninterrupted_run(
        self, postgres: Databases, tmp_path: Path
    ) -> None:
        """C-02, C-03: killed with -9 at five moments and run again, every balance is the same."""
        file = tmp_path / "e.csv.gz"
        rows = generate(file, seed=5, merchants=5, orders=1_500)
        assert rows > 5_000
        async with (
            postgres.fresh() as whole,
            postgres.fresh() as killed,
            engine_on(whole.app_url) as quiet,
            engine_on(killed.app_url) as rough,
        ):
            for engine in (quiet, rough):
                await open_all(engine, file, fund=1_000_00)
            run = CommandLine(tmp_path, {"TILLKEEPER_DATABASE_URL": whole.app_url})
            assert run("orders", "import", str(file)).code == 0
            wanted = await standing(quiet)
            again = CommandLine(tmp_path, {"TILLKEEPER_DATABASE_URL": killed.app_url})
            await _kill(again, rough, file, len(wanted["holds"]))
            assert await standing(rough) != wanted
            final = again("orders", "import", str(file), "--json")
            assert final.code == 0
            assert final.json["replayed"] > 100
            assert await standing(rough) == wanted
            assert (await verify(rough)).ok


async def _kill(command: CommandLine, engine: AsyncEngine, file: Path, orders: int) -> None:
    """Kill the import at random moments (by seed) on its way through the file."""
    chance = random.Random(2023)  # noqa: S311 - no secret
    marks = sorted(chance.randrange(orders // 20, orders - orders // 10) for _ in range(KILLS))
    count = "SELECT count(*) FROM holds"
    for mark in marks:
        process = command.start("orders", "import", str(file), "--batch", "10")
        try:
            while process.poll() is None:
                seen = (await in_transaction(engine, lambda c: fetch(c, count, ())))[0][0]
                if seen >= mark:
                    break
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() / 20)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "FILE_UNREADABLE"),
            (os.urandom(5_000), "FILE_UNREADABLE"),
            (b"a,b\n1,2\n", "FIELD_MISSING"),
        ],
    )
    def test_file_that_is_no_event_file_ends_with_2(
        self, command: CommandLine, tmp_path: Path, body: bytes, code: str
    ) -> None:
        """C-03: a clear refusal, no traceback."""
        (tmp_path / "e.csv").write_bytes(body)
        answer = command("orders", "import", str(tmp_path / "e.csv"), "--json")
        assert (answer.code, set(answer.codes)) == (2, {code})
        assert "Traceback" not in answer.err

    def test_missing_file_and_directory_end_with_2(
        self, command: CommandLine, tmp_path: Path
    ) -> None:
        """C-03."""
        for path in (tmp_path, tmp_path / "none.csv"):
            answer = command("orders", "import", str(path), "--json")
            assert (answer.code, answer.codes) == (2, ["FILE_UNREADABLE"])

    async def test_truncated_gzip_applies_what_came_before_and_ends_with_2(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """The rows before the cut are in the books; the whole file later adds the rest."""
        whole = tmp_path / "whole.csv.gz"
        generate(whole, merchants=2, orders=400)
        await open_all(engine, whole, fund=3_000_00)
        cut = tmp_path / "cut.csv.gz"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        answer = command("orders", "import", str(cut), "--json")
        assert (answer.code, answer.codes) == (2, ["FILE_TRUNCATED"])
        assert answer.json["changed"] > 100
        assert answer.json["still_parked"] == 0
        rest = command("orders", "import", str(whole), "--json")
        assert (rest.code, rest.json["waiting"]) == (0, 0)
        assert rest.json["replayed"] >= answer.json["changed"]
        assert (await verify(engine)).ok

    async def test_row_before_the_cut_waits_for_the_whole_file(
        self, command: CommandLine, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """C-09: its purchase may come after the cut, so nothing of it is sent."""
        await open_account(engine, "M2", fund=5_000_00)
        names = (f"X{os.urandom(20).hex()}" for _ in range(9_000))
        filler = [f"{DAY} 10:00:00,M2,{name},SHIPPED,1,CNY,6,0," for name in names]
        early = f"{DAY} 10:01:00,M2,R1,RETURNED,60000,CNY,6,0,O1"
        bought = f"{DAY} 10:00:00,M2,O1,PURCHASED,120000,CNY,6,0,"
        packed = gzip.compress(event_file(tmp_path / "e", [early, *filler, bought]).read_bytes())
        cut = tmp_path / "cut.csv.gz"
        cut.write_bytes(packed[: len(packed) // 2])
        answer = command("orders", "import", str(cut), "--json")
        assert (answer.codes, answer.json["waiting"]) == (["FILE_TRUNCATED"], 1)
        assert (answer.json["messages"], answer.json["still_parked"]) == (0, 0)

    @pytest.mark.parametrize(
        "options",
        [["--instalments", "25"], ["--zone", "Mars"], ["--batch", "501"], ["--batch", "x"]],
    )
    def test_options_that_mean_nothing_end_with_2(
        self, command: CommandLine, tmp_path: Path, options: list[str]
    ) -> None:
        """C-03."""
        file = event_file(tmp_path / "e.csv", [])
        answer = command("orders", "import", str(file), *options, "--json")
        assert answer.code == 2
        assert answer.codes
        assert "Traceback" not in answer.err

    def test_rejects_never_replace_another_file(self, command: CommandLine, tmp_path: Path) -> None:
        """Nothing of a person's is overwritten, the input least of all."""
        file = event_file(tmp_path / "e.csv", ["bad"])
        other = tmp_path / "notes.txt"
        other.write_text("mine")
        for path in (file, other, tmp_path):
            answer = command("orders", "import", str(file), "--rejects", str(path), "--json")
            assert (answer.code, answer.codes) == (2, ["FILE_UNREADABLE"])
        assert other.read_text() == "mine"

    def test_rejects_hold_nothing_of_the_row(self, command: CommandLine, tmp_path: Path) -> None:
        """C-11: line, code and sentence only; gone again when nothing was refused."""
        path = tmp_path / "r.csv"
        bad = event_file(tmp_path / "e.csv", ["Wang Wei,13800000000"])
        command("orders", "import", str(bad), "--rejects", str(path))
        assert path.read_text().startswith("line,code,reason\n2,ROW_MALFORMED,")
        assert "Wang" not in path.read_text()
        command("orders", "import", str(event_file(bad, [])), "--rejects", str(path))
        assert not path.exists()


class TestUnavailable:
    def test_full_disk_is_one_sentence_and_devices_stay(
        self, command: CommandLine, tmp_path: Path
    ) -> None:
        """Design §6: what the system refuses may be sent again; a device is no file of ours."""
        bad = event_file(tmp_path / "e.csv", ["bad"])
        answer = command("orders", "import", str(bad), "--rejects", "/dev/full", "--json")
        assert (answer.code, "Traceback" in answer.err) == (3, False)
        assert command("orders", "import", str(bad), "--rejects", "/dev/null").code == 0
        event_file(bad, [])
        assert command("orders", "import", str(bad), "--rejects", "/dev/null").code == 0
        assert Path("/dev/null").exists()
        assert Path("/dev/full").exists()

    def test_without_a_stack_the_answer_is_make_up_and_3(self, tmp_path: Path) -> None:
        """Design §6: one sentence that says what to do."""
        file = event_file(tmp_path / "e.csv", [f"{DAY} 10:00:00,M2,O1,PURCHASED,120000,CNY,6,0,"])
        answer = CommandLine(tmp_path, {})("orders", "import", str(file))
        assert answer.code == 3
        assert "make up" in answer.err
        assert "Traceback" not in answer.err

    async def test_book_that_comes_back_takes_the_batch(self) -> None:
        """C-05: sending the same messages again is safe, so it is done, some times."""
        calls = 0

        async def apply(messages: object) -> list[OrderOutcome]:
            nonlocal calls
            calls += 1
            if calls < 3:
                raise Unavailable("away")
            return []

        assert await patiently(apply, [], (0.0, 0.0)) == []
        assert calls == 3

    async def test_book_that_stays_away_ends_the_run(self, tmp_path: Path) -> None:
        """C-05: not for ever; running again continues."""

        class Away(OrderBook):
            def __init__(self) -> None:
                self.calls = 0

            async def apply(self, messages: object) -> list[OrderOutcome]:
                self.calls += 1
                raise Unavailable("away")

        messages: list[OrderMessage] = []
        book = Away()
        with pytest.raises(Unavailable):
            await patiently(book.apply, messages, (0.0, 0.0, 0.0))
        assert book.calls == 4


class TestGenerated:
    def test_same_seed_gives_the_same_bytes(self, tmp_path: Path) -> None:
        """What is generated can be generated again."""
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            generate(tmp_path / name, seed=seed, merchants=3, orders=50)
        same, other, third = (gzip.decompress((tmp_path / n).read_bytes()) for n in "abc")
        assert same == other != third

    def test_every_kind_of_event_is_in_it(self, tmp_path: Path) -> None:
        """The demonstration shows cancellations, returns, duplicates and rows out of order."""
        path = tmp_path / "e.csv.gz"
        generate(path)
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
        assert {line.split(",")[3] for line in lines} == {
            "PURCHASED", "APPROVED", "SHIPPED", "DELIVERED", "CANCELED", "UNAVAILABLE",
            "RETURNED", "RETURN_UNMATCHED",
        }  # fmt: skip
        times = [line.split(",")[0] for line in lines]
        assert times != sorted(times)
        assert len(set(lines)) < len(lines)


class TestRejectsFile:
    def test_place_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        """C-03."""
        with pytest.raises(Rejected):
            Rejects(tmp_path / "none" / "r.csv")
