"""Calls about banks' files; the bytes are in the database before anything is asked here."""

from __future__ import annotations

from tillkeeper.client.calls import ANEW, Calls
from tillkeeper.contracts import bank_file
from tillkeeper.contracts.bank_file import (
    AGAIN,
    EXCHANGE_WORKFLOW,
    EXCHANGE_WORKFLOW_ID,
    BankExchangeRequest,
    BankFileRequest,
    BankFileView,
    bank_file_workflow_id,
)
from tillkeeper.contracts.errors import Code


class BankCalls(Calls):
    """Work off a file that is kept; watch the exchange."""

    async def import_bank_file(self, digest: str) -> BankFileView:
        """Work off the kept file and wait for what became of it; again, the same answer (C-02).

        Raises Rejected(BANK_FILE_UNKNOWN), Unavailable where it takes longer than a call may.
        """
        request = BankFileRequest(digest=digest, hands_on=True)
        workflow_id = bank_file_workflow_id(digest)
        await self._started(bank_file.WORKFLOW, workflow_id, request, reuse=ANEW, nudge=AGAIN)
        return await self._recorded(workflow_id, BankFileView, missing=Code.BANK_FILE_UNKNOWN)

    async def bank_file(self, digest: str) -> BankFileView | None:
        """How far the file's lifecycle has come; None where none is known."""
        return await self._view(bank_file_workflow_id(digest), BankFileView)

    async def watch_exchange(self) -> None:
        """Have the exchange watched, for ever; where it is watched already, nothing changes."""
        request = BankExchangeRequest()
        await self._started(EXCHANGE_WORKFLOW, EXCHANGE_WORKFLOW_ID, request, reuse=ANEW)
