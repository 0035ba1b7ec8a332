"""MT940 and MT942: each line stands alone, and nothing cut off is taken for money."""

from __future__ import annotations

from datetime import date

import pytest

from gateways.bank.reading import read_bank_bytes
from tests.gateways.bank.support import own, read, refused
from tillkeeper.contracts.bank import FileKind, Side
from tillkeeper.contracts.errors import Code, Rejected

FILE = own("statements.mt940").decode()


def changed(old: str, new: str) -> str:
    """The file with the first ``old`` replaced."""
    assert old in FILE
    return FILE.replace(old, new, 1)


class TestLine:
    def test_structured_details_name_the_payer(self) -> None:
        one = read(FILE).transactions[0]
        assert (one.amount_minor, one.currency, one.side) == (500000, "EUR", Side.CREDIT)
        assert (one.debtor_name, one.debtor_account) == (
            "Muster Handel GmbH",
            "DE02120300000000202051",
        )
        assert (one.end_to_end_id, one.remittance) == ("TOPUP-1", "Rechnung 7")
        assert (one.bank_reference, one.booking_date) == ("2024050600001", date(2024, 5, 6))

    def test_reversed_credit_takes_and_reversed_debit_gives(self) -> None:
        *_, taken, given, _ = read(FILE).transactions
        assert (taken.side, taken.reversal, taken.amount_minor) == (Side.DEBIT, True, 100)
        assert (given.side, given.reversal, given.amount_minor) == (Side.CREDIT, True, 200)

    def test_statements_are_continuous_with_their_lines(self) -> None:
        file = read(FILE)
        assert file.problems == ()
        for statement in file.statements:
            assert statement.opening is not None
            assert statement.closing is not None
            moved = sum(
                (one.amount_minor or 0) * (1 if one.side is Side.CREDIT else -1)
                for one in file.transactions
                if one.statement == statement.index
            )
            assert statement.opening.signed_minor + moved == statement.closing.signed_minor

    def test_booking_day_may_lie_in_the_next_year(self) -> None:
        one = read(changed("2405060506C5000", "2312310102C5000")).transactions[0]
        assert (one.value_date, one.booking_date) == (date(2023, 12, 31), date(2024, 1, 2))

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("2405060506C50", Code.BANK_FILE_LINE),
            ("2405060506X5000,00NTRFNONREF", Code.BANK_FILE_LINE),
            ("2402300506C5000,00NTRFNONREF", Code.BANK_FILE_DATE),
            ("2303010229C5000,00NTRFNONREF", Code.BANK_FILE_DATE),
            ("2405060506C5,0,0NTRFNONREF", Code.BANK_FILE_AMOUNT),
            ("2405060506C٥٠٠NTRFNONREF", Code.BANK_FILE_AMOUNT),
            ("2405060506C5000,001NTRFNONREF", Code.AMOUNT_TOO_PRECISE),
        ],
    )
    def test_bad_line_costs_itself_alone(self, line: str, code: Code) -> None:
        found = read(changed("2405060506C5000,00NTRFNONREF//2024050600001", line))
        assert [one.amount_minor for one in found.transactions] == [2050, 100, 200, 100000]
        assert [(one.code, one.line) for one in found.problems] == [(code, 6)]

    @pytest.mark.parametrize(
        ("tail", "said"),
        [
            ("NTRFNONREF//B1", (None, "B1", "")),
            ("NTRFTOPUP-2024-05-06-0001//B1", ("TOPUP-2024-05-06-0001", "B1", "")),
            (f"NTRFNONREF//{'B' * 30}1", (None, f"{'B' * 30}1", "")),
            ("NTRFNONREF\n//B1", (None, "B1", "")),
            ("NTRF1234567890123456\n//B1\nINTEREST", ("1234567890123456", "B1", "INTEREST")),
            ("NTRFA//FORGED//B1", ("A//FORGED", "B1", "")),
            ("NTRFNONREF//B1\nINTEREST", (None, "B1", "INTEREST")),
            ("NTRFNONREF//12345678901234567890123 FEE", (None, "12345678901234567890123", " FEE")),
        ],
    )
    def test_references_are_whole_and_the_banks_is_the_last(
        self, tail: str, said: tuple[str | None, str, str]
    ) -> None:
        """P-26: a reference that is lost or cut is another's, or nobody's."""
        old = "2405060506C5000,00NTRFNONREF//2024050600001"
        one = read(changed(old, f"2405060506C5000,00{tail}")).transactions[0]
        assert (one.entry_reference, one.bank_reference, one.information) == said

    def test_account_is_whole(self) -> None:
        found = read(changed(":25:DE89370400440532013000", f":25:{'1' * 36}"))
        assert found.statements[0].account == "1" * 36

    def test_details_of_a_lost_line_are_not_given_to_another(self) -> None:
        found = read(changed("2405060506D20,5NMSCFEE", "2405060506D20,5"))
        assert [one.remittance for one in found.transactions][:2] == ["Rechnung 7", ""]


class TestStatement:
    def test_header_inside_the_body_does_not_change_the_account(self) -> None:
        found = read(changed(":86:Kontoauszug", ":25:DE00000000000000000000"))
        assert {one.account for one in found.transactions} == {"DE89370400440532013000"}
        assert [one.code for one in found.problems] == [Code.BANK_FILE_LINE]

    @pytest.mark.parametrize("length", range(200, len(FILE) - 60, 37))
    def test_cut_off_file_takes_no_half_amount(self, length: int) -> None:
        whole = [one.amount_minor for one in read(FILE).transactions]
        found = read(FILE[:length])
        assert [x.amount_minor for x in found.transactions] == whole[: len(found.transactions)]

    def test_missing_closing_balance_is_told(self) -> None:
        found = read(changed(":62F:C240506EUR5080,50\n", ""))
        assert [(one.code, one.where) for one in found.problems] == [
            (Code.BANK_FILE_TRUNCATED, "statement 1")
        ]

    def test_bad_balance_costs_itself(self) -> None:
        found = read(changed(":60F:C240505EUR100,00", ":60F:C240505EUR1x0,00"))
        assert [(one.code, one.line) for one in found.problems] == [(Code.BANK_FILE_BALANCE, 5)]
        assert found.statements[0].opening is None
        assert len(found.transactions) == len(read(FILE).transactions)

    def test_interim_report_is_pending(self) -> None:
        body = (
            ":20:R1\n:25:123\n:28C:1/1\n:34F:EUR0,\n:13D:2405061200+0800\n"
            ":61:2405060506C5,00NTRFNONREF\n:61:2405060506EC6,00NTRFNONREF\n:90C:2EUR11,00\n-\n"
        )
        found = read(body)
        assert (found.kind, found.problems) == (FileKind.MT942, ())
        assert [(one.amount_minor, one.booked) for one in found.transactions] == [
            (500, False),
            (600, False),
        ]

    def test_text_of_a_statement_does_not_make_it_interim(self) -> None:
        found = read(changed(":86:Kontoauszug", ":86:Kontoauszug\n942 00\n{2:O942"))
        assert found.kind is FileKind.MT940
        assert all(one.booked for one in found.transactions)


class TestLetters:
    BODY = changed("Kontoauszug", "甲乙贸易有限公司").encode("gb18030")

    def test_undeclared_letters_are_lost_and_told_but_no_amount(self) -> None:
        found = read(self.BODY)
        assert [one.amount_minor for one in found.transactions] == [
            one.amount_minor for one in read(FILE).transactions
        ]
        [problem] = found.problems
        assert (problem.code, problem.line) == (Code.BANK_FILE_ENCODING, 10)

    def test_declared_letters_are_read(self) -> None:
        found = read_bank_bytes(self.BODY, encoding="gb18030")
        assert found.problems == ()
        assert found.transactions[1].remittance == "甲乙贸易有限公司"

    @pytest.mark.parametrize("encoding", ["ascii", "hex", "no-such", "punycode", "\0", "utf-7"])
    def test_wrong_declaration_is_refused(self, encoding: str) -> None:
        with pytest.raises(Rejected) as error:
            read_bank_bytes(self.BODY, encoding=encoding)
        assert error.value.codes == (Code.BANK_FILE_ENCODING,)

    @pytest.mark.parametrize("encoding", ["unicode_escape", "raw_unicode_escape", "utf7", "hz"])
    def test_declaration_that_lets_a_text_begin_a_field_is_refused(self, encoding: str) -> None:
        """P-21: an escape in the payer's text is no line end."""
        body = changed("Kontoauszug", r"x\n:61:2405060506C1,00NTRFX").encode()
        with pytest.raises(Rejected) as error:
            read_bank_bytes(body, encoding=encoding)
        assert error.value.codes == (Code.BANK_FILE_ENCODING,)

    def test_text_without_any_tag_is_no_bank_file(self) -> None:
        assert refused("1\n2\n3\n") is Code.BANK_FILE_KIND_UNKNOWN
        assert refused("\n" * 300_000) is Code.BANK_FILE_EMPTY
        assert refused("x" + "\n" * 300_000) is Code.BANK_FILE_KIND_UNKNOWN

    def test_control_characters_are_replaced_and_told(self) -> None:
        """C-02: no book keeps a NUL; the rest of the file is booked all the same."""
        found = read(changed("Kontoauszug", "Konto\0\x1bauszug"))
        assert [one.amount_minor for one in found.transactions] == [
            one.amount_minor for one in read(FILE).transactions
        ]
        assert "\\u0000" not in found.model_dump_json()
        [problem] = found.problems
        assert (problem.code, problem.line) == (Code.BANK_FILE_ENCODING, 10)

    @pytest.mark.parametrize("end", ["\x1a", "\0\0", "\x03"])
    def test_marks_of_the_end_are_no_loss(self, end: str) -> None:
        assert read(FILE + end).problems == read(FILE).problems
