"""Event files, good and hostile: each row is read or refused with line and code (C-01)."""

from __future__ import annotations

import gzip
import os
import resource
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import pytest

from gateways.order_events import BAD_ROWS_RUNNING_MAX, BadRow, OrderEventFile
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.order_events import EventRow

HEADER = (
    "event_time,merchant_id,order_id,event,gross_minor,currency,installments,time_inferred,"
    "ref_order_id"
)
GOOD = "2024-05-06 10:00:00,M2,O1,PURCHASED,120000,CNY,6,0,"


def written(path: Path, lines: Iterable[str | bytes], *, end: bytes = b"\n") -> Path:
    """A plain file of these lines."""
    raw = [line.encode() if isinstance(line, str) else line for line in lines]
    path.write_bytes(end.join(raw) + end)
    return path


def read(path: Path, zone_name: str = "UTC") -> list[EventRow | BadRow]:
    """Every row of the file."""
    return list(OrderEventFile(path, zone_name=zone_name).rows())


def codes(path: Path) -> list[tuple[int, str]]:
    """(line, code) of every row, ``ok`` for good ones."""
    return [(r.line, r.reason.code if isinstance(r, BadRow) else "ok") for r in read(path)]


def refused(path: Path) -> tuple[list[EventRow | BadRow], Rejected]:
    """Rows read before the file was refused, and the refusal."""
    rows: list[EventRow | BadRow] = []
    with pytest.raises(Rejected) as refusal:
        rows.extend(OrderEventFile(path).rows())
    return rows, refusal.value


class TestRows:
    def test_row_is_read_with_all_its_columns(self, tmp_path: Path) -> None:
        """Naive times are UTC; an empty reference is none."""
        (row,) = read(written(tmp_path / "e.csv", [HEADER, GOOD]))
        assert row == EventRow(
            line=2, at=datetime(2024, 5, 6, 10, tzinfo=UTC), merchant="M2", order="O1",
            event="PURCHASED", gross_minor=120000, currency="CNY", instalments=6,
        )  # fmt: skip

    def test_zone_reads_naive_times_and_leaves_aware_ones(self, tmp_path: Path) -> None:
        """C-06: 10:00 in Shanghai is 02:00 UTC."""
        lines = [HEADER, GOOD, GOOD.replace("10:00:00", "10:00:00+01:00")]
        rows = read(written(tmp_path / "e.csv", lines), "Asia/Shanghai")
        hours = [row.at.hour for row in rows if isinstance(row, EventRow)]
        assert hours == [2, 9]

    def test_unknown_zone_is_refused(self, tmp_path: Path) -> None:
        """C-06."""
        with pytest.raises(Rejected):
            OrderEventFile(tmp_path / "e.csv", zone_name="Mars/Olympus")

    def test_gzip_bom_crlf_quotes_blank_lines_and_no_last_end_are_read(
        self, tmp_path: Path
    ) -> None:
        """The same row in every wrapping."""
        quoted = '"2024-05-06 10:00:00","M2","O1","PURCHASED",120000,"CNY",6,0,""'
        body = f"\ufeff{HEADER}\r\n{GOOD}\r\n\r\n{quoted}\n{GOOD}".encode()
        path = tmp_path / "events"
        path.write_bytes(gzip.compress(body))
        assert codes(path) == [(2, "ok"), (4, "ok"), (5, "ok")]

    def test_columns_may_stand_anywhere_and_instalments_may_be_absent(self, tmp_path: Path) -> None:
        """Only the names count; zero instalments mean that the file does not know."""
        header = "currency,gross_minor,event,order_id,merchant_id,event_time,more"
        lines = [header, "CNY,120000,PURCHASED,O1,M2,2024-05-06T10:00:00Z,x"]
        (row,) = read(written(tmp_path / "e.csv", lines))
        assert isinstance(row, EventRow)
        assert (row.merchant, row.instalments, row.ref_order) == ("M2", None, None)


class TestPipes:
    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
    def test_pipe_is_read_like_a_file(self, packed: bool) -> None:
        """A file that comes through a pipe, its first byte alone."""
        body = "\n".join([HEADER, GOOD, GOOD]).encode()
        body = gzip.compress(body) if packed else body
        reading, writing = os.pipe()

        def feed() -> None:
            os.write(writing, body[1:])
            os.close(writing)

        try:
            os.write(writing, body[:1])
            rest = Timer(0.05, feed)
            rest.start()
            file = OrderEventFile(Path(f"/dev/fd/{reading}"))
            assert file.size_bytes() == 0
            assert [row.line for row in file.rows()] == [2, 3]
            assert file.position_bytes == len(body)
            rest.join()
        finally:
            os.close(reading)

    def test_position_ends_at_the_size(self, tmp_path: Path) -> None:
        """Progress: what was read of the stored bytes."""
        file = OrderEventFile(written(tmp_path / "e.csv", [HEADER, GOOD]))
        assert file.position_bytes == 0
        list(file.rows())
        assert file.position_bytes == file.size_bytes()


class TestBadRows:
    @pytest.mark.parametrize(
        ("value", "code"),
        [
            ("1200.00", Code.AMOUNT_NOT_INTEGER),
            ("1e5", Code.AMOUNT_NOT_INTEGER),
            ("-1", Code.AMOUNT_NOT_POSITIVE),
            ("-0.5", Code.AMOUNT_NOT_POSITIVE),
            ("0", Code.AMOUNT_NOT_POSITIVE),
            (str(10**15 + 1), Code.AMOUNT_TOO_LARGE),
            (str(2**63), Code.AMOUNT_TOO_LARGE),
            ("9" * 5_000, Code.AMOUNT_TOO_LARGE),
            ("", Code.AMOUNT_MALFORMED),
            ("１２", Code.AMOUNT_MALFORMED),
            ("0x10", Code.AMOUNT_MALFORMED),
            ("NaN", Code.AMOUNT_MALFORMED),
        ],
    )
    def test_amount_that_is_none_is_refused(self, tmp_path: Path, value: str, code: Code) -> None:
        """C-01: integer minor units, greater than zero, no float."""
        lines = [HEADER, GOOD.replace("120000", value), GOOD]
        assert codes(written(tmp_path / "e.csv", lines)) == [(2, code), (3, "ok")]

    @pytest.mark.parametrize(
        ("old", "new", "code"),
        [
            ("CNY", "XXX", Code.CURRENCY_UNKNOWN),
            ("CNY", "cny", Code.CURRENCY_UNKNOWN),
            ("M2", "", Code.ID_MALFORMED),
            ("M2", "a/b", Code.ID_MALFORMED),
            ("O1", "O" * 65, Code.ID_MALFORMED),
            ("2024-05-06 10:00:00", "1969-12-31 23:59:59", Code.TIME_OUT_OF_RANGE),
            ("2024-05-06 10:00:00", "2200-01-01 00:00:00", Code.TIME_OUT_OF_RANGE),
            ("2024-05-06 10:00:00", "0001-01-01 00:00:00+14:00", Code.ROW_MALFORMED),
            ("2024-05-06 10:00:00", "yesterday", Code.ROW_MALFORMED),
            ("2024-05-06 10:00:00", "2024-05-06", Code.ROW_MALFORMED),
            ("PURCHASED", "", Code.TEXT_EMPTY),
            (",6,", ",six,", Code.ROW_MALFORMED),
            (",6,", ",-6,", Code.ROW_MALFORMED),
            ("CNY", "CN\0Y", Code.ROW_MALFORMED),
            (",0,", ",0,,", Code.ROW_MALFORMED),
            ("O1", '"O1', Code.ROW_MALFORMED),
        ],
    )
    def test_bad_value_is_refused_and_reading_goes_on(
        self, tmp_path: Path, old: str, new: str, code: Code
    ) -> None:
        """C-03: a clear refusal; the next row is read."""
        lines = [HEADER, GOOD.replace(old, new, 1), GOOD]
        assert codes(written(tmp_path / "e.csv", lines)) == [(2, code), (3, "ok")]

    def test_wrong_encoding_is_refused_by_row(self, tmp_path: Path) -> None:
        """GB18030 text in one row does not spoil the others."""
        lines: list[str | bytes] = [HEADER, GOOD.replace("M2", "甲乙").encode("gb18030"), GOOD]
        assert codes(written(tmp_path / "e.csv", lines)) == [(2, Code.ROW_MALFORMED), (3, "ok")]

    def test_refusal_never_repeats_the_row(self, tmp_path: Path) -> None:
        """C-11: what a row holds may be personal."""
        (row,) = read(written(tmp_path / "e.csv", [HEADER, GOOD.replace("M2", "secret name")]))
        assert isinstance(row, BadRow)
        assert "secret" not in row.reason.detail

    def test_bad_purchase_says_whose_it_is(self, tmp_path: Path) -> None:
        """P-41: so that the order's later rows can be refused."""
        (row,) = read(written(tmp_path / "e.csv", [HEADER, GOOD.replace("120000", "0")]))
        assert isinstance(row, BadRow)
        assert row.purchase == ("M2", "CNY", "O1")

    def test_line_of_100_mb_is_refused_in_bounded_memory(self, tmp_path: Path) -> None:
        """Design §2: every string has a limit."""
        path = tmp_path / "e.csv"
        with path.open("wb") as stream:
            stream.write(f"{HEADER}\n".encode())
            for _ in range(100):
                stream.write(b"x" * 1_000_000)
            stream.write(f"\n{GOOD}\n".encode())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert codes(path) == [(2, Code.LINE_TOO_LONG), (3, "ok")]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000

    @pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
    def test_limit_of_a_line_is_exact(self, tmp_path: Path, size: int) -> None:
        """64 KiB is read (and has too few values), one byte more is not."""
        code = Code.ROW_MALFORMED if size == 64 * 1024 else Code.LINE_TOO_LONG
        path = written(tmp_path / "e.csv", [HEADER, "x" * size, GOOD])
        assert codes(path) == [(2, code), (3, "ok")]


class TestRefusedFiles:
    @pytest.mark.parametrize(
        "body",
        [b"", b"\0" * 4096, os.urandom(4096), b"x" * 200_000, b"\xff\xfe\n", b"\x1f\x8bjunk" * 9],
        ids=["empty", "nul", "random", "endless line", "not UTF-8", "damaged gzip"],
    )
    def test_file_that_is_no_event_file_is_refused(self, tmp_path: Path, body: bytes) -> None:
        """No row is made of junk."""
        path = tmp_path / "e.csv"
        path.write_bytes(body)
        rows, refusal = refused(path)
        assert not rows
        assert set(refusal.codes) <= {Code.FILE_UNREADABLE, Code.FIELD_MISSING}

    def test_name_of_gzip_without_gzip_inside_is_refused(self, tmp_path: Path) -> None:
        """A file that was renamed."""
        rows, refusal = refused(written(tmp_path / "e.csv.gz", [HEADER, GOOD]))
        assert (rows, refusal.codes) == ([], (Code.FILE_UNREADABLE,))

    def test_missing_and_doubled_columns_are_all_named(self, tmp_path: Path) -> None:
        """C-03: every failing reason at once."""
        header = HEADER.replace("gross_minor", "gross").replace("currency", "event")
        _, refusal = refused(written(tmp_path / "e.csv", [header, GOOD]))
        assert refusal.codes == (Code.FIELD_MISSING, Code.FIELD_MISSING, Code.FIELD_INVALID)

    def test_directory_missing_file_and_locked_file_are_refused(self, tmp_path: Path) -> None:
        """One sentence, no traceback."""
        locked = written(tmp_path / "locked.csv", [HEADER])
        locked.chmod(0)
        paths = [tmp_path, tmp_path / "none.csv"]
        if os.geteuid() != 0:
            paths.append(locked)
        assert [refused(path)[1].codes for path in paths] == [(Code.FILE_UNREADABLE,)] * len(paths)

    def test_truncated_gzip_gives_the_rows_before_the_cut(self, tmp_path: Path) -> None:
        """The rows before it are applied; the last one, cut, is not."""
        rows = [GOOD.replace("O1", f"O{n}-{os.urandom(8).hex()}") for n in range(20_000)]
        whole = gzip.compress("\n".join([HEADER, *rows]).encode())
        path = tmp_path / "e.csv.gz"
        path.write_bytes(whole[: len(whole) * 2 // 3])
        read_rows, refusal = refused(path)
        assert refusal.codes == (Code.FILE_TRUNCATED,)
        assert 12_000 < len(read_rows) < 14_500
        assert all(isinstance(row, EventRow) for row in read_rows)

    def test_damaged_gzip_gives_the_rows_and_the_refusal(self, tmp_path: Path) -> None:
        """A wrong checksum is found at the end only."""
        packed = bytearray(gzip.compress("\n".join([HEADER, GOOD, GOOD]).encode()))
        packed[-6] ^= 1
        path = tmp_path / "e.csv.gz"
        path.write_bytes(packed)
        rows, refusal = refused(path)
        assert refusal.codes == (Code.FILE_UNREADABLE,)
        assert len(rows) >= 1

    def test_gzip_bomb_of_junk_rows_ends_early(self, tmp_path: Path) -> None:
        """Some kilobytes cannot fill the disk with rejects."""
        path = tmp_path / "e.csv.gz"
        path.write_bytes(gzip.compress(HEADER.encode() + b"\n" + b"x\n" * 2_000_000))
        rows, refusal = refused(path)
        assert refusal.codes == (Code.FILE_UNREADABLE,)
        assert len(rows) == BAD_ROWS_RUNNING_MAX

    def test_gzip_bomb_of_one_line_is_bounded(self, tmp_path: Path) -> None:
        """200 MB of zeros out of 200 KB: one refused line, bounded memory."""
        path = tmp_path / "e.csv.gz"
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(f"{HEADER}\n".encode())
            for _ in range(200):
                stream.write(b"\0" * 1_000_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert codes(path) == [(2, Code.LINE_TOO_LONG)]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
