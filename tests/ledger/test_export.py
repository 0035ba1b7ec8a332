"""Statements as files: P-78, P-79, C-01."""

from __future__ import annotations

import csv
import io
import resource
import signal
from datetime import date, datetime
from pathlib import Path

import pytest
from openpyxl import load_workbook
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute, make_engine
from ledger.export import export_csv, export_xlsx
from ledger.orders import OrderBook
from ledger.statements import COLOURS, Direction, StatementFigures, StatementWanted, guarded
from ledger.xlsx import Workbook
from tests.ledger.statement_support import ALWAYS, days_of, first_month
from tests.ledger.support import hold, open_account, settle, top_up
from tillkeeper.contracts.errors import Code, Rejected, Unavailable


def _read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


class TestCsv:
    async def test_file_adds_up_and_tells_directions(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-78, P-79: IN and OUT, two decimals, opening + Σ entries = closing."""
        await first_month(engine)
        target = tmp_path / "may.csv"
        figures = await export_csv(engine, days_of(date(2024, 5, 1), date(2024, 6, 1)), target)
        assert figures == StatementFigures(0, 309_000, -12_600, 0, 296_400, 4)
        rows = _read_csv(target)
        assert [(r["kind"], r["direction"], r["amount"], r["total"]) for r in rows] == [
            ("opening", "", "", "0.00"),
            ("topup", "IN", "3000.00", "3000.00"),
            ("settlement", "OUT", "-36.00", "2964.00"),
            ("settlement", "OUT", "-90.00", "2874.00"),
            ("settled_refund", "IN", "90.00", "2964.00"),
            ("closing", "", "", "2964.00"),
        ]
        assert [rows[2]["time"], rows[2]["reference"]] == ["2024-05-07 18:00:00+08", "order/O1"]

    async def test_file_says_the_same_as_thelines_of(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: PostgreSQL's text and our own are the same, cents below one included."""
        await open_account(engine, "M1", fund=5)
        await OrderBook(engine).apply([hold("M1", "O1", 5), settle("M1", "O1")])
        await export_csv(engine, ALWAYS, tmp_path / "a.csv")
        rows = _read_csv(tmp_path / "a.csv")
        assert [(row["amount"], row["total"]) for row in rows] == [
            ("", "0.00"), ("0.05", "0.05"), ("-0.05", "0.00"), ("", "0.00"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("currency", "amount", "text"), [("JPY", 5_000, "5000"), ("KWD", 5_007, "5.007")]
    )
    async def test_amounts_have_the_decimals_of_their_currency(
        self, engine: AsyncEngine, tmp_path: Path, currency: str, amount: int, text: str
    ) -> None:
        """C-01: yen have no decimals, Kuwaiti dinars three."""
        await open_account(engine, "M1", currency, fund=amount)
        wanted = StatementWanted("M1", currency, date(2024, 1, 1), date(2025, 1, 1))
        await export_csv(engine, wanted, tmp_path / "a.csv")
        assert [row["total"] for row in _read_csv(tmp_path / "a.csv")][1:] == [text, text]

    @pytest.mark.parametrize("subject", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "＝1", 'a"b,c'])
    async def test_text_is_never_a_formula(
        self, engine: AsyncEngine, owner_url: str, tmp_path: Path, subject: str
    ) -> None:
        """P-79: what a spreadsheet would run is quoted; other text comes back as it was."""
        await open_account(engine, "M1", fund=100)
        owner = make_engine(owner_url, pool_size=1)
        async with owner.begin() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, "UPDATE transfers SET subject = $1", (subject,))
        await owner.dispose()
        await export_csv(engine, ALWAYS, tmp_path / "a.csv")
        shown = _read_csv(tmp_path / "a.csv")[1]["reference"]
        assert shown == guarded(subject)
        assert shown == (subject if subject == 'a"b,c' else f"'{subject}")

    async def test_memory_stays_flat(self, engine: AsyncEngine, tmp_path: Path) -> None:
        """P-79: 30,000 lines more need no more memory than pieces of a file."""
        await open_account(engine, "M1", fund=10**9)
        book = OrderBook(engine)
        await export_csv(engine, ALWAYS, tmp_path / "warm.csv")
        for start in range(0, 30_000, 250):
            names = [f"O{n}" for n in range(start, start + 250)]
            await book.apply([hold("M1", n, 7) for n in names] + [settle("M1", n) for n in names])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures = await export_csv(engine, ALWAYS, tmp_path / "many.csv")
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert figures.lines == 30_001
        assert grown_kib < 8 * 1024


class TestTarget:
    async def test_existing_file_is_refused_unless_overwritten(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: somebody's file is not lost by accident."""
        await first_month(engine)
        target = tmp_path / "may.csv"
        target.write_text("precious")
        with pytest.raises(Rejected) as refusal:
            await export_csv(engine, ALWAYS, target)
        assert refusal.value.codes == (Code.FILE_EXISTS,)
        assert target.read_text() == "precious"
        await export_csv(engine, ALWAYS, target, overwrite=True)
        assert _read_csv(target)[-1]["total"] == "2964.00"

    async def test_refused_statement_leaves_nothing_behind(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: complete or not there at all."""
        with pytest.raises(Rejected):
            await export_csv(engine, ALWAYS, tmp_path / "a.csv")
        assert _names(tmp_path) == []

    async def test_directory_that_cannot_be_written_is_told(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: one clear sentence, the caller's fault, no stack trace of the database."""
        await first_month(engine)
        for export, name in ((export_csv, "a.csv"), (export_xlsx, "a.xlsx")):
            with pytest.raises(Rejected, match="No such file or directory") as refusal:
                await export(engine, ALWAYS, tmp_path / "missing" / name)
            assert refusal.value.codes == (Code.FILE_UNWRITABLE,)

    async def test_full_disk_is_told_and_leaves_nothing(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: the first error is told, finishing the file does not hide it; ours, not theirs."""
        await first_month(engine)
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, usual[1]))
            for export, name in ((export_csv, "a.csv"), (export_xlsx, "a.xlsx")):
                with pytest.raises(Unavailable, match="cannot be written: File too large"):
                    await export(engine, ALWAYS, tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
            signal.signal(signal.SIGXFSZ, before)
        assert _names(tmp_path) == []

    async def test_failure_between_lines_leaves_nothing(
        self, engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-79: no part of a workbook stays behind, the error is the first one."""
        await first_month(engine)

        def fail(*_: object) -> None:
            raise LookupError("first")

        monkeypatch.setattr(Workbook, "_write_line", fail)
        with pytest.raises(LookupError, match="first"):
            await export_xlsx(engine, ALWAYS, tmp_path / "a.xlsx")
        assert _names(tmp_path) == []

    async def test_finished_file_stands_alone(self, engine: AsyncEngine, tmp_path: Path) -> None:
        """P-79: no temporary file stays."""
        await first_month(engine)
        await export_csv(engine, ALWAYS, tmp_path / "a.csv")
        assert _names(tmp_path) == ["a.csv"]

    async def test_reading_role_is_enough(self, owner_url: str, tmp_path: Path) -> None:
        """P-79: a statement needs no right to write."""
        owner = make_engine(owner_url, pool_size=1)
        await first_month(owner)
        await owner.dispose()
        reader = make_engine(owner_url, pool_size=1)
        async with reader.connect() as connection:
            await connection.exec_driver_sql("SET ROLE tillkeeper_reader")
            await connection.commit()
        figures = await export_csv(reader, ALWAYS, tmp_path / "a.csv")
        assert figures.closing == 296_400
        await reader.dispose()


class TestXlsx:
    async def test_amounts_are_exact_numbers_in_red_and_green(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-78, C-01: numbers of two decimals; expense red, income green, fixed by format."""
        await first_month(engine)
        await export_xlsx(engine, ALWAYS, tmp_path / "may.xlsx")
        sheet = load_workbook(tmp_path / "may.xlsx").worksheets[0]
        rows = list(sheet.iter_rows(min_row=2))
        assert [row[2].value for row in rows] == [
            "opening", "topup", "settlement", "settlement", "settled_refund", "closing",
        ]  # fmt: skip
        assert [str(row[4].value) for row in rows[1:-1]] == [
            "3000.0", "-36.0", "-90.0", "90.0",
        ]  # fmt: skip
        assert rows[-1][5].value == 2964
        tones = [row[4].font.color.rgb for row in rows[1:-1]]
        red, green = (f"FF{COLOURS[way][1:]}" for way in (Direction.OUT, Direction.IN))
        assert tones == [green, red, red, green]
        assert rows[1][4].number_format == "#,##0.00"
        assert rows[2][0].value == datetime(2024, 5, 7, 18, 0)  # noqa: DTZ001

    async def test_lines_beyond_one_sheet_go_to_the_next(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """P-79: the format's limit of rows cuts sheets, never lines."""
        await first_month(engine)
        await export_xlsx(engine, ALWAYS, tmp_path / "may.xlsx", rows_max=4)
        sheets = load_workbook(tmp_path / "may.xlsx").worksheets
        kinds = [[row[2].value for row in sheet.iter_rows(min_row=2)] for sheet in sheets]
        assert kinds == [
            ["opening", "topup", "settlement"], ["settlement", "settled_refund", "closing"],
        ]  # fmt: skip

    async def test_amount_beyond_fifteen_digits_is_text(
        self, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        """C-01: 10,000,000,000,000.01 is written as text rather than rounded."""
        await open_account(engine, "M1", fund=10**15)
        await top_up(engine, "M1", 1, number=2)
        await export_xlsx(engine, ALWAYS, tmp_path / "a.xlsx")
        sheet = load_workbook(tmp_path / "a.xlsx").worksheets[0]
        totals = [row[5].value for row in sheet.iter_rows(min_row=2)]
        assert totals == [0, "10000000000000.00", "10000000000000.01", "10000000000000.01"]
