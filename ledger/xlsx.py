"""A statement as a workbook: expense red, income green, whatever the reader's country (P-78).

Memory stays flat: finished rows go to a temporary file beside the target. It never computes;
totals are those of the book.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.exceptions import XlsxFileError

from ledger.statements import COLOURS, HEADER, StatementLine
from tillkeeper.contracts.money import exponent, format_amount
from tillkeeper.rules.days import zone

SHEET_ROWS_MAX: Final = 1_048_576
"""Rows of one sheet by the format's own limit; further lines go to further sheets."""

EXACT_BELOW_MINOR: Final = 10**15
"""A spreadsheet keeps 15 digits."""

_AMOUNT, _TOTAL = HEADER.index("amount"), HEADER.index("total")
_WIDTHS: Final = (20, 20, 20, 9, 18, 18, 9, 12, 40)


class Workbook:
    """Writes lines to ``path``, at most ``rows_max`` rows a sheet; complete after ``close``."""

    def __init__(
        self, path: Path, *, currency: str, zone_name: str, rows_max: int = SHEET_ROWS_MAX
    ) -> None:
        options = {"constant_memory": True, "tmpdir": str(path.parent)}
        self._book = xlsxwriter.Workbook(str(path), options)
        self._book.use_zip64()
        self._currency = currency
        self._decimals = exponent(currency)
        self._zone: ZoneInfo = zone(zone_name)
        self._rows_max = rows_max
        places = "." + "0" * self._decimals if self._decimals else ""
        number = {"num_format": f"#,##0{places}", "align": "right"}
        self._bold = self._book.add_format({"bold": True})
        self._plain = self._book.add_format(number)
        self._time = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._coloured = {
            way: self._book.add_format({**number, "font_color": colour})
            for way, colour in COLOURS.items()
        }
        self._row = rows_max
        self._sheet: Any = None

    def write(self, lines: Sequence[StatementLine]) -> None:
        """Add lines at the end."""
        for line in lines:
            if self._row >= self._rows_max:
                self._next_sheet()
            self._write_line(line)
            self._row += 1

    def close(self) -> None:
        """Finish the file. Raises OSError."""
        try:
            self._book.close()
        except XlsxFileError as error:
            cause = error.args[0] if error.args else None
            raise (cause if isinstance(cause, OSError) else OSError(str(error))) from None

    def abandon(self) -> None:
        """Give up the file after a failure: close what is open, finish nothing."""
        for sheet in self._book.worksheets():
            if sheet.row_data_fh is not None:
                with suppress(OSError, ValueError):
                    sheet.row_data_fh.close()

    def _next_sheet(self) -> None:
        self._sheet = self._book.add_worksheet()
        for column, (name, width) in enumerate(zip(HEADER, _WIDTHS, strict=True)):
            self._sheet.set_column(column, column, width)
            self._sheet.write_string(0, column, name, self._bold)
        self._sheet.freeze_panes(1, 0)
        self._row = 1

    def _write_line(self, line: StatementLine) -> None:
        sheet, row = self._sheet, self._row
        for column, moment in enumerate((line.time, line.recorded_at)):
            if moment is not None:
                sheet.write_datetime(row, column, self._local(moment), self._time)
        sheet.write_string(row, 2, line.kind)
        if line.direction is not None:
            sheet.write_string(row, 3, line.direction.value)
        if line.amount is not None:
            tone = self._coloured.get(line.direction) if line.direction else None
            self._write_amount(_AMOUNT, line.amount, tone or self._plain)
        self._write_amount(_TOTAL, line.total, self._plain)
        sheet.write_string(row, 6, self._currency)
        if line.transfer is not None:
            sheet.write_number(row, 7, line.transfer)
        # A string cell is never taken for a formula, whatever it begins with.
        sheet.write_string(row, 8, line.reference)

    def _write_amount(self, column: int, minor: int, tone: Any) -> None:
        # A number, so that people can add it up. The file holds it as decimal text and readers keep
        # 15 digits: exact below 10^15 minor units. A larger amount is written as text rather than
        # rounded. A Decimal is written digit by digit: no float on the way.
        if abs(minor) < EXACT_BELOW_MINOR:
            value = Decimal(minor).scaleb(-self._decimals)
            self._sheet.write_number(self._row, column, value, tone)
        else:
            self._sheet.write_string(self._row, column, format_amount(minor, self._currency), tone)

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self._zone).replace(tzinfo=None)
