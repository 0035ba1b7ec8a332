"""pain.002 of every version: what became of payments sent, the lowest status present winning.

A transaction named without a status has its payment's, else its group's; a file that states no
status at all is an answer about nothing, never a success (C-12).
"""

from __future__ import annotations

from gateways.bank.findings import Findings
from gateways.bank.iso20022 import tables
from gateways.bank.iso20022.dates import moment_or_none
from gateways.bank.iso20022.document import Document, local, release
from gateways.bank.iso20022.shapes import Element, Fields, Shapes
from tillkeeper.contracts.bank import BankFile, PaymentStatus, StatusLevel
from tillkeeper.contracts.errors import Code


class StatusReader:
    """Reads one document; ``read`` may be called once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._findings = Findings()
        self._shapes = Shapes(tables.TRANSACTION_STATUS)
        self._header = Fields()
        self._original_id: str | None = None
        self._group: PaymentStatus | None = None
        self._pending: list[Fields] = []
        self._statuses: list[PaymentStatus] = []

    def read(self) -> BankFile:
        """All that the file says. Raises Rejected(BANK_FILE_…) and then nothing of it holds."""
        for element in self._document.elements(
            "GrpHdr", "OrgnlGrpInfAndSts", "OrgnlPmtInfAndSts", "TxInfAndSts"
        ):
            self._take(element)
        self._close_payment(Fields())
        if not self._statuses:
            self._findings.warn(
                Code.BANK_FILE_NO_STATUS, "file", detail="no status at any level: no answer"
            )
        return BankFile(
            kind=self._document.kind,
            version=self._document.version,
            digest=self._document.digest,
            message_id=self._header.get("message_id"),
            created_at=moment_or_none(self._header.get("created_at")),
            statuses=tuple(self._statuses),
            problems=tuple(self._findings.problems),
            warnings=tuple(self._findings.warnings),
        )

    def _take(self, element: Element) -> None:
        name = local(element)
        if name == "GrpHdr":
            self._header = Shapes(tables.HEADER).read(element)
        elif name == "OrgnlGrpInfAndSts":
            self._take_group(Shapes(tables.GROUP_STATUS).read(element))
        elif name == "TxInfAndSts":
            self._pending.append(self._shapes.read(element))
            release(element)
        else:
            self._close_payment(Shapes(tables.PAYMENT_STATUS).read(element))
            release(element)

    def _take_group(self, said: Fields) -> None:
        self._original_id = said.get("message_id")
        if "status" in said:
            self._group = self._status(said, StatusLevel.GROUP, None)
            self._statuses.append(self._group)

    def _close_payment(self, said: Fields) -> None:
        """A payment has ended: its own status, then its transactions' (they stand inside it)."""
        payment_id = said.get("payment_id")
        payment: PaymentStatus | None = None
        if "status" in said:
            payment = self._status(said, StatusLevel.PAYMENT, payment_id)
            self._statuses.append(payment)
        above = payment or self._group
        for number, one in enumerate(self._pending, start=1):
            if "status" in one:
                self._statuses.append(self._status(one, StatusLevel.TRANSACTION, payment_id))
            elif above is not None:
                self._statuses.append(self._inherited(one, above, payment_id))
            else:
                where = f"transaction {number} of a payment"
                self._findings.warn(Code.BANK_FILE_NO_STATUS, where, detail="no answer")
        self._pending = []

    def _status(self, said: Fields, level: StatusLevel, payment: str | None) -> PaymentStatus:
        return PaymentStatus(
            level=level,
            stated_at=level,
            status=said.get("status", ""),
            message_id=self._original_id,
            payment_id=payment,
            end_to_end_id=said.get("end_to_end_id"),
            instruction_id=said.get("instruction_id"),
            transaction_id=said.get("transaction_id"),
            reasons=tuple(said.many.get("reasons", ())),
            details=tuple(said.many.get("details", ())),
        )

    def _inherited(self, said: Fields, above: PaymentStatus, payment: str | None) -> PaymentStatus:
        own = self._status(said, StatusLevel.TRANSACTION, payment)
        reasons = own.reasons or above.reasons
        return own.model_copy(
            update={"status": above.status, "stated_at": above.stated_at, "reasons": reasons}
        )
