"""camt.052/053/054: what our own small files say, field by field."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tests.gateways.bank.support import own, read
from tillkeeper.contracts.bank import BookingStatus, FileKind, Side
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.receipt import PayerKind

STATEMENT = own("statement.camt053.xml").decode()


def changed(old: str, new: str, *, count: int = 1) -> str:
    """The statement with ``old`` replaced."""
    assert old in STATEMENT
    return STATEMENT.replace(old, new, count)


class TestTransaction:
    def test_only_part_without_amount_has_the_entrys(self) -> None:
        """P-23: the amount is exact, to the fen."""
        one = read(STATEMENT).transactions[0]
        assert (one.amount_minor, one.currency, one.side) == (500000, "CNY", Side.CREDIT)
        assert (one.debtor_name, one.debtor_account) == ("甲乙贸易有限公司", "6225000000001234")
        assert (one.creditor_name, one.creditor_account) == ("平台公司", "0200000000000000001")
        assert (one.end_to_end_id, one.bank_reference) == ("TOPUP-1", "2024050600001")
        assert (one.remittance, one.creditor_references) == ("充值\nref A1", ("RF18",))
        assert (one.booking_date, one.value_date) == (date(2024, 5, 6), date(2024, 5, 6))
        assert one.booked_at == datetime(2024, 5, 6, 2, 0, tzinfo=UTC)
        assert one.booked
        assert one.counts

    def test_batch_gives_one_transaction_per_part_with_the_entrys_reference(self) -> None:
        _, first, second, *_ = read(STATEMENT).transactions
        assert [(x.amount_minor, x.part, x.parts) for x in (first, second)] == [
            (200000, 1, 2),
            (300000, 2, 2),
        ]
        assert {first.bank_reference, second.bank_reference} == {"2024050600002"}
        assert (first.debtor_name, first.debtor_account) == (
            "丙丁商贸有限公司",
            "DE89370400440532013000",
        )
        assert (second.debtor_name, second.batch_count, second.counts) == (None, 2, True)

    def test_reversal_and_return_reason_are_told(self) -> None:
        """C-13: a return names its reason."""
        one = read(STATEMENT).transactions[3]
        assert (one.side, one.reversal, one.return_reason) == (Side.DEBIT, True, "AC04")

    def test_pending_and_information_are_never_money(self) -> None:
        pending, information = read(STATEMENT).transactions[4:]
        assert (pending.status, information.status) == (
            BookingStatus.PENDING,
            BookingStatus.INFORMATION,
        )
        assert not any((pending.booked, pending.counts, information.booked, information.counts))

    def test_balances_and_entries_are_kept_for_continuity(self) -> None:
        file = read(STATEMENT)
        [statement] = file.statements
        assert (statement.account, statement.number, statement.entries) == (
            "0200000000000000001",
            "127",
            5,
        )
        assert statement.opening is not None
        assert statement.closing is not None
        moved = sum(
            (one.amount_minor or 0) * (1 if one.side is Side.CREDIT else -1)
            for one in file.transactions
            if one.counts
        )
        assert statement.opening.signed_minor + moved == statement.closing.signed_minor

    @pytest.mark.parametrize(
        "version",
        ["urn:iso:std:iso:20022:tech:xsd:camt.053.001.02", "https://bank.example/own", ""],
    )
    def test_any_namespace_reads_alike(self, version: str) -> None:
        other = changed("urn:iso:std:iso:20022:tech:xsd:camt.053.001.08", version)
        assert read(other).transactions == read(STATEMENT).transactions

    def test_prefixed_names_in_an_envelope_read_alike(self) -> None:
        body = STATEMENT.split("?>", 1)[1].replace("<", "<p:").replace("<p:/", "</p:")
        body = body.replace("xmlns=", "xmlns:p=").replace("p:Document xmlns", "p:Document xmlns", 1)
        found = read(f"<Envelope><Header/>{body}</Envelope>")
        assert found.version == "camt.053.001.08"
        assert [one.amount_minor for one in found.transactions] == [
            one.amount_minor for one in read(STATEMENT).transactions
        ]

    def test_comment_and_cdata_do_not_cut_a_value(self) -> None:
        body = changed("5000.00", "50<!-- x -->00<![CDATA[.00]]>").replace(
            "甲乙贸易有限公司", "甲乙<?x y?>贸易有限公司"
        )
        one = read(body).transactions[0]
        assert (one.amount_minor, one.debtor_name) == (500000, "甲乙贸易有限公司")


class TestPlace:
    def test_entry_outside_of_all_statements_is_a_loss(self) -> None:
        entry = "<Ntry><Amt Ccy='CNY'>1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Ntry>"
        found = read(changed("<Stmt>", f"{entry}<Stmt>"))
        assert [one.code for one in found.problems] == [Code.BANK_FILE_HEADER]
        assert found.transactions == read(STATEMENT).transactions


class TestPayer:
    @pytest.mark.parametrize(
        ("ids", "kind"),
        [
            ("", PayerKind.UNKNOWN),
            ("<Id><OrgId/></Id>", PayerKind.CORPORATE),
            ("<Id><OrgId><Othr><Id>9</Id></Othr></OrgId></Id>", PayerKind.CORPORATE),
            ("<Id><PrvtId><Othr><Id>9</Id></Othr></PrvtId></Id>", PayerKind.PERSONAL),
            ("<Id><OrgId/><PrvtId/></Id>", PayerKind.PERSONAL),
        ],
    )
    def test_kind_is_what_the_bank_says_of_the_debtor(self, ids: str, kind: PayerKind) -> None:
        """P-22: a person never pays; where the bank is silent, nothing is assumed."""
        name = "<Nm>甲乙贸易有限公司</Nm>"
        assert read(changed(name, name + ids)).transactions[0].payer_kind is kind
        old = changed(f"<Pty>{name}</Pty>", name + ids)
        assert read(old).transactions[0].payer_kind is kind

    def test_kind_of_the_creditor_is_no_matter(self) -> None:
        body = changed("<Nm>平台公司</Nm>", "<Nm>平台公司</Nm><Id><PrvtId/></Id>")
        assert read(body).transactions[0].payer_kind is PayerKind.UNKNOWN

    def test_debtors_bank_is_named_for_a_return(self) -> None:
        agent = (
            "<RltdAgts><DbtrAgt><FinInstnId><BICFI>ICBKCNBJ</BICFI><ClrSysMmbId>"
            "<MmbId>102100099996</MmbId></ClrSysMmbId><Nm>ICBC</Nm></FinInstnId></DbtrAgt>"
            "<CdtrAgt><FinInstnId><BICFI>OURSCNBJ</BICFI></FinInstnId></CdtrAgt></RltdAgts>"
        )
        one = read(changed("</RltdPties>", f"</RltdPties>{agent}")).transactions[0]
        assert (one.debtor_bic, one.debtor_clearing_id, one.debtor_bank) == (
            "ICBKCNBJ",
            "102100099996",
            "ICBC",
        )


class TestAmount:
    def test_zeros_after_the_last_decimal_are_exact(self) -> None:
        assert read(changed("5000.00", "5000.00000")).transactions[0].amount_minor == 500000

    @pytest.mark.parametrize(
        ("amount", "code"),
        [
            ("5000.001", Code.AMOUNT_TOO_PRECISE),
            ("5000.00001", Code.AMOUNT_TOO_PRECISE),
            ("-5000.00", Code.BANK_FILE_AMOUNT),
            ("5,000.00", Code.BANK_FILE_AMOUNT),
            ("5e3", Code.BANK_FILE_AMOUNT),
            ("５０００", Code.BANK_FILE_AMOUNT),
            ("", Code.BANK_FILE_AMOUNT),
            ("9" * 18, Code.AMOUNT_TOO_LARGE),
            ("5000<x/>.00", Code.BANK_FILE_AMOUNT),
        ],
    )
    def test_amount_that_is_not_exact_is_a_loss_and_never_rounded(
        self, amount: str, code: Code
    ) -> None:
        found = read(changed("5000.00", amount))
        assert len(found.transactions) == len(read(STATEMENT).transactions) - 1
        [problem] = found.problems
        assert (problem.code, problem.where) == (code, "statement 1, entry 1")
        assert problem.line == 12

    def test_unknown_currency_and_side_are_losses(self) -> None:
        found = read(changed('<Amt Ccy="CNY">5000.00', '<Amt Ccy="XYZ">5000.00'))
        assert [one.code for one in found.problems] == [Code.CURRENCY_UNKNOWN]
        found = read(changed("</Amt><CdtDbtInd>CRDT</CdtDbtInd><RvslInd>", "</Amt><RvslInd>"))
        assert [one.code for one in found.problems] == [Code.BANK_FILE_SIDE]

    @pytest.mark.parametrize(
        ("said", "reversal", "lost"),
        [("true", True, 0), ("1", True, 0), ("false", False, 0), ("0", False, 0),
         ("TRUE", True, 1), ("Y", True, 1)],
    )  # fmt: skip
    def test_reversal_that_is_neither_yes_nor_no_is_told(
        self, said: str, *, reversal: bool, lost: int
    ) -> None:
        """C-13: it may take something back, so it credits nobody."""
        found = read(changed("<RvslInd>false</RvslInd>", f"<RvslInd>{said}</RvslInd>"))
        assert found.transactions[0].reversal is reversal
        assert [one.code for one in found.problems] == [Code.BANK_FILE_STATUS] * lost

    def test_parts_that_do_not_make_up_the_entry_do_not_count(self) -> None:
        """P-23: what moved is the entry; a part alone must never be credited."""
        found = read(changed("2000.00", "2000.01"))
        assert [one.counts for one in found.transactions[1:3]] == [False, False]
        assert [(one.code, one.where) for one in found.warnings] == [
            (Code.BANK_FILE_PARTS_DIFFER, "statement 1, entry 2")
        ]
        assert found.problems == ()

    def test_several_parts_without_amounts_have_none(self) -> None:
        body = changed('<TxDtls><Amt Ccy="CNY">2000.00</Amt>', "<TxDtls>")
        one, two = read(body).transactions[1:3]
        assert (one.amount_minor, two.amount_minor) == (None, 300000)
        assert (one.counts, two.counts) == (False, False)
        assert one.entry_amount_minor == 500000

    def test_lost_part_keeps_its_siblings_from_counting(self) -> None:
        found = read(changed("2000.00", "2000.001"))
        [problem] = found.problems
        assert (problem.code, problem.where) == (
            Code.AMOUNT_TOO_PRECISE,
            "statement 1, entry 2, transaction 1",
        )
        assert [one.counts for one in found.transactions if one.entry == 2] == [False]


class TestStatus:
    def test_unknown_status_is_information_and_told(self) -> None:
        found = read(changed("<Cd>BOOK</Cd>", "<Cd>WHAT</Cd>"))
        assert [one.code for one in found.problems] == [Code.BANK_FILE_STATUS]
        assert not found.transactions[0].booked

    @pytest.mark.parametrize(
        ("message", "container", "kind", "booked"),
        [
            ("BkToCstmrStmt", "Stmt", FileKind.CAMT_053, True),
            ("BkToCstmrAcctRpt", "Rpt", FileKind.CAMT_052, False),
            ("BkToCstmrDbtCdtNtfctn", "Ntfctn", FileKind.CAMT_054, False),
        ],
    )
    def test_missing_status_is_booked_in_a_statement_only(
        self, message: str, container: str, kind: FileKind, booked: bool
    ) -> None:
        body = changed("<Sts><Cd>BOOK</Cd></Sts>", "")
        body = body.replace("BkToCstmrStmt", message).replace("Stmt>", f"{container}>")
        found = read(body)
        assert (found.kind, found.transactions[0].booked) == (kind, booked)

    def test_bad_date_is_told_and_costs_the_date_alone(self) -> None:
        found = read(changed("2024-05-06T10:00:00+08:00", "2024-02-30T10:00:00+08:00"))
        assert [one.code for one in found.problems] == [Code.BANK_FILE_DATE]
        assert (found.transactions[0].booking_date, found.transactions[0].counts) == (None, True)
