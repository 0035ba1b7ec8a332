"""The details of MT940 lines: subfields of German and Polish banks, and what passes for them."""

from __future__ import annotations

import pytest

from gateways.bank.mt940_fields import Details, read_details
from tests.gateways.bank.support import own, read

TEXT = (
    "020{m}00PRZELEW PRZYCHODZACY{m}20DOLADOWANIE TK-2601{m}30{b}{m}31{a}{m}32{n}{m}33{o}{m}38{i}"
)
NAME, MORE = "PRZEDSIEBIORSTWO HANDLOWE A", "LFA SP. Z O.O."
IBAN = "PL61109010140000071219812874"


def details(mark: str, **more: str) -> Details:
    said = {"b": "10901014", "a": "0000071219812874", "n": NAME, "o": MORE, "i": IBAN} | more
    return read_details(TEXT.format(m=mark, **said), tag="86")


class TestSubfields:
    @pytest.mark.parametrize("mark", ["~", "\n~", "<", "^"])
    def test_payer_account_bank_and_text_are_named(self, mark: str) -> None:
        """P-21, P-22: a name that fills its subfield goes on in the next one."""
        found = details(mark)
        assert found.fields == {
            "debtor_name": f"{NAME}{MORE}", "debtor_account": IBAN,
            "debtor_clearing_id": "10901014",
        }  # fmt: skip
        assert found.remittance == "DOLADOWANIE TK-2601"

    def test_short_name_is_not_cut_before_its_second_line(self) -> None:
        """P-21: the first line alone may be another company's whole name."""
        assert details("~", n="ALFA", o="INTERNATIONAL S.A.").fields["debtor_name"] == (
            "ALFA INTERNATIONAL S.A."
        )

    def test_without_an_iban_the_account_is_the_banks_number(self) -> None:
        assert details("~", i="").fields["debtor_account"] == "0000071219812874"

    def test_text_goes_on_in_the_next_subfields(self) -> None:
        text = "076~00VE02~20FAKTURA 1/2024 DOLADOWANIE T~21K-2601~22~23DZIEKUJEMY~32ALFA"
        assert read_details(text, tag="86").remittance == (
            "FAKTURA 1/2024 DOLADOWANIE TK-2601 DZIEKUJEMY"
        )

    def test_text_goes_on_behind_the_names(self) -> None:
        """A question mark within is text; a space on both sides of a cut is one space."""
        text = "944~00PRZELEW~20Zwrot? ~21 faktura 7~32FIRMA ~33 SP. Z O.O.~38X1~62 EUR"
        found = read_details(text, tag="86")
        assert found.remittance == "Zwrot? faktura 7 EUR"
        assert found.fields["debtor_name"] == "FIRMA SP. Z O.O."

    def test_without_a_text_the_kind_of_posting_is_told(self) -> None:
        assert read_details("034~00OPLATA", tag="86") == Details(
            remittance="OPLATA", fields={"debtor_name": None, "debtor_account": None}
        )

    @pytest.mark.parametrize(
        "text",
        [
            "020~00X~20ZA~32ALFA SP. Z O.O.~21FAKTURA~30~31~32BETA SP. Z O.O.",
            "020~00X~20ZA FAKTURE~32ALFA SP. Z O.O.~30~31~32BETA SP. Z O.O.",
            "020~00X~20ZA FAKTURE~38PL00~31123~32BETA SP. Z O.O.",
        ],
    )
    def test_marks_that_the_payer_wrote_name_nobody(self, text: str) -> None:
        """P-21: whoever writes a subfield into his text is not taken for somebody else."""
        assert read_details(text, tag="86") == Details(remittance=text)

    def test_plain_text_with_such_a_sign_is_text(self) -> None:
        assert read_details("ALFA <20 LAT", tag="86") == Details(remittance="ALFA <20 LAT")


class TestFile:
    def test_lines_of_a_file_are_read_so(self) -> None:
        """A credit's other party paid, a debit's was paid."""
        file = own("statements.mt940").decode()
        first = file.index(":86:")
        end = file.index("\n:61:", first)
        swapped = file[:first] + ":86:" + TEXT.format(
            m="\n~", b="10901014", a="", n="ALFA", o="SP. Z O.O.", i=IBAN
        ) + file[end:]  # fmt: skip
        one = read(swapped).transactions[0]
        assert (one.debtor_name, one.debtor_account) == ("ALFA SP. Z O.O.", IBAN)
        assert one.remittance == "DOLADOWANIE TK-2601"
