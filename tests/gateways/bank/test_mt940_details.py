"""The details of MT940 lines: subfields of German and Polish banks, and what passes for them."""

from __future__ import annotations

import pytest

from gateways.bank.mt940_details import Details, read_details
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
        text = "076~00VE02~20FAKTURA 1/2024 DOLADOWANIE T~21K-2601~22~23DZIEKUJEMY~30~31"
        text += f"~32{NAME}"
        assert read_details(text, tag="86").remittance == (
            "FAKTURA 1/2024 DOLADOWANIE TK-2601 DZIEKUJEMY"
        )

    def test_text_goes_on_behind_the_names(self) -> None:
        """A question mark within is text; a space on both sides of a cut is one space."""
        text = "944~00PRZELEW~20Zwrot? ~21 faktura 7~32FIRMA ~33 SP. Z O.O. ALFA~62 EUR"
        found = read_details(text, tag="86")
        assert found.remittance == "Zwrot? faktura 7 EUR"
        assert found.fields["debtor_name"] == "FIRMA SP. Z O.O. ALFA"

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

    @pytest.mark.parametrize(
        "text",
        [
            f"020~00X~20ZA~32{NAME}~30~31~38PL00",
            f"166?00X?20SVWZ+ZA?32{NAME}?30COBADEFFXXX?31DE02120300000000202051?33BETA",
            "166?00X?20SVWZ+ZA?32ALFA?33",
            "166?00X?20SVWZ+ZA?33ALFA",
            "166?00X?20SVWZ+ZA?\n32ALFA",
            "166?00X?20SVWZ+123456789012345678901?21ZA?3\n2ALFA",
            "166?00X?20ZA?31DE00?32ALFA",
            "166?00X?20ZA?60ZA?32ALFA",
            f"166?00X?20{'ZA' * 18}?32{NAME}?33{MORE}",
        ],
    )
    def test_name_that_has_room_in_the_text_names_nobody(self, text: str) -> None:
        """P-21: the bank may say nothing of the payer; what looks so is shown as text."""
        found = read_details(text, tag="86")
        assert found.fields.get("debtor_name") is None
        assert found.remittance == text

    def test_account_in_the_text_is_not_the_banks(self) -> None:
        """P-29: whoever paid does not say by his text where his money is paid back to."""
        found = read_details(f"020~00X~20ZA~31666~32{NAME}", tag="86")
        assert (found.fields["debtor_name"], found.fields["debtor_account"]) == (NAME, None)

    def test_whom_we_paid_is_named_whatever_the_text(self) -> None:
        """C-12: the text of a payment of ours is our own."""
        found = read_details("020~00X~20ZA~31666~32ALFA", tag="86", paid_in=False)
        assert (found.fields["debtor_name"], found.fields["debtor_account"]) == ("ALFA", "666")

    def test_plain_text_with_such_a_sign_is_text(self) -> None:
        assert read_details("ALFA <20 LAT", tag="86") == Details(remittance="ALFA <20 LAT")


class TestCodeWords:
    @pytest.mark.parametrize(
        "text",
        [
            "/CNTP/NL32INGB0000012345/INGBNL2A/ALFA B.V./Amsterdam///REMI/USTD//ZA /NAME/BETA",
            "/EREF/1//CNTP/NL32INGB0000012345/INGBNL2A/ALFA B.V./City/REMI/ZA/CNTP/1/2/BETA/x",
            "/TRTP/SEPA/IBAN/NL32INGB0000012345/BIC/INGBNL2A/NAME/ALFA B.V./REMI/ZA/NA\nME/BETA",
            "/EREF/TOPUP-9/ORDP//NAME/ALFA B.V. HANDEL IN WAREN/REMI/ZA/ULTD//NAME/BETA",
        ],
    )
    def test_who_stands_before_the_text_paid(self, text: str) -> None:
        """P-21: what the payer writes after it overrides nothing, and stays to be read."""
        found = read_details(text, tag="86")
        assert (found.fields["debtor_name"] or "").startswith("ALFA B.V.")

    @pytest.mark.parametrize(
        "text",
        [
            "/TRTP/SEPA/REMI/USTD//ZA /NAME/BETA/NAME/ALFA",
            "/TRTP/SEPA/REMI/USTD//ZA /NA\nME/BETA",
            "/EREF/1/NAME/BETA/ORDP//NAME/ALFA B.V. HANDEL IN WAREN/REMI/ZA",
            "/EREF/1/CNTP/1/2/BETA/ORDP//NAME/ALFA B.V. HANDEL IN WAREN/REMI/ZA",
            "/EREF/1/ORDP//NAME/BETA/REMI/ZA",
            f"/EREF/{'1' * 36}/ORDP//NAME/BETA/REMI/ZA",
            "/TRTP/SEPA/ULTD/ZA/NAME/BETA/REMI/ZA",
            "/EREF/1//CNTP/NL32INGB0000012345/INGBNL2A/BETA/CO A/S/City/REMI/ZA",
            "/NAME/BETA",
            "/NAME/BETA/REMI/ZA",
            "/trtp/SEPA/name/BETA",
            "ALFA /NAME/BETA",
            "ALFA\n/NAME/BETA",
            "ZA REK: NL65INGB0123456789/NAAM: BETA",
        ],
    )
    def test_who_may_stand_in_the_text_is_nobody(self, text: str) -> None:
        """P-21."""
        found = read_details(text, tag="86")
        assert found.fields.get("debtor_name") is None
        assert "BETA" in found.remittance.replace("\n", "")

    def test_no_account_leaves_the_bank_and_the_name_where_they_are(self) -> None:
        found = read_details("/EREF/1//CNTP//INGBNL2A/ALFA HANDEL IN WAREN B.V./City", tag="86")
        assert found.fields["debtor_name"] == "ALFA HANDEL IN WAREN B.V."
        assert (found.fields["debtor_account"], found.fields["debtor_bic"]) == (None, "INGBNL2A")


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
