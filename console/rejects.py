"""The rejects file of an import: line number, code and sentence of every refused row.

Holds nothing of the rows themselves. Never written over a file that is not a rejects file.
"""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from tillkeeper.contracts.errors import Code, Reason, Rejected

HEADER: Final = ("line", "code", "reason")


class Rejects:
    """Open while an import runs; the file disappears again when nothing was refused."""

    def __init__(self, path: Path) -> None:
        """Raises Rejected(FILE_UNREADABLE) when ``path`` cannot be written or is another file."""
        self.path = path
        self.count = 0
        try:
            _refuse_foreign(path)
            self._stream: TextIO = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            detail = f"the rejects file {path} cannot be written: {reason}"
            raise Rejected(Code.FILE_UNREADABLE, detail=detail) from None
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerow(HEADER)

    def write(self, line: int, reason: Reason) -> None:
        """Note one refused row by its line (1-based)."""
        self.count += 1
        self._writer.writerow((line, reason.code.value, reason.detail))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if not self.count and self.path.is_file():  # /dev/null is no file of ours to remove
            self.path.unlink()


def _refuse_foreign(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as stream:
        first = stream.readline(200).strip()
    if first != ",".join(HEADER).encode():
        detail = f"{path} exists and is not a rejects file; name another with --rejects"
        raise Rejected(Code.FILE_UNREADABLE, detail=detail)
