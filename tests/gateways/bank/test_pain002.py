"""pain.002: the lowest status present wins (C-12)."""

from __future__ import annotations

from tests.gateways.bank.support import own, read
from tillkeeper.contracts.bank import StatusLevel
from tillkeeper.contracts.errors import Code

STATUS = own("status.pain002.xml").decode()


class TestStatus:
    def test_transaction_wins_over_payment_over_group(self) -> None:
        """C-12: the outcome of a payment is what the bank says of it, at the lowest level."""
        found = read(STATUS)
        said = {
            name: found.status_of(end_to_end_id=name, payment_id=payment, message_id="PAY-1")
            for name, payment in (("E-1", "P-1"), ("E-2", "P-1"), ("E-3", "P-2"), ("E-9", "P-1"))
        }
        assert {name: one and (one.status, one.stated_at) for name, one in said.items()} == {
            "E-1": ("RJCT", StatusLevel.TRANSACTION),
            "E-2": ("ACSP", StatusLevel.PAYMENT),
            "E-3": ("PART", StatusLevel.GROUP),
            "E-9": ("ACSP", StatusLevel.PAYMENT),
        }
        assert said["E-1"] is not None
        assert (said["E-1"].reasons, said["E-1"].details) == (("AC04",), ("closed",))

    def test_other_message_is_no_answer(self) -> None:
        """C-12: what is not answered stays unknown."""
        found = read(STATUS)
        assert found.status_of(end_to_end_id="E-1", payment_id="P-1", message_id="X") is None

    def test_file_without_any_status_is_told(self) -> None:
        body = STATUS.replace("<GrpSts>PART</GrpSts>", "").replace(
            "<PmtInfSts>ACSP</PmtInfSts>", ""
        )
        found = read(body.replace("<TxSts>RJCT</TxSts>", ""))
        assert found.statuses == ()
        assert {one.code for one in found.warnings} == {Code.BANK_FILE_NO_STATUS}
