"""Collects what a reader lost or found odd; it never repeats names, accounts or texts of a file."""

from __future__ import annotations

from typing import Final

from tillkeeper.contracts.bank import Finding
from tillkeeper.contracts.errors import Code, Rejected

PROBLEMS_MAX: Final = 10_000


class Findings:
    """Losses and oddities in the order in which they were met."""

    def __init__(self) -> None:
        self.problems: list[Finding] = []
        self.warnings: list[Finding] = []

    def lose(self, code: Code, where: str, *, detail: str, line: int | None = None) -> None:
        """Something of the file is not in the answer.

        Raises Rejected(BANK_FILE_MALFORMED) when so much is lost that it is no bank's file.
        """
        if len(self.problems) >= PROBLEMS_MAX:
            raise Rejected(Code.BANK_FILE_MALFORMED, detail="more than 10,000 losses")
        self.problems.append(Finding(code=code, where=where, detail=detail, line=line))

    def lose_for(self, error: Rejected, where: str, *, lost: str, line: int | None = None) -> None:
        """Something is lost because ``error`` refused it; ``lost`` names what."""
        for reason in error.reasons:
            self.lose(reason.code, where, detail=f"{lost}: {reason.detail}", line=line)

    def warn(self, code: Code, where: str, *, detail: str, line: int | None = None) -> None:
        """Something is odd; nothing is lost."""
        self.warnings.append(Finding(code=code, where=where, detail=detail, line=line))
