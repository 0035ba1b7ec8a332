"""What a payer writes into an MT940 names nobody; what the bank writes does (P-21), end to end."""

from __future__ import annotations

from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.reading import read_bank_bytes
from ledger.unmatched import Unmatched
from tests.ledger.bank.till import COMPANY, Till
from tillkeeper.contracts.bank import BankFile
from tillkeeper.sealing import KeyRing

LINE: Final = ":61:2405060506C5000,00NTRFNONREF//B"
IBAN: Final = "DE02120300000000202051"
GERMAN: Final = f"?30COBADEFFXXX?31{IBAN}?32"
TEXT_27: Final = "SVWZ+0123456789 0123456789 "

SPOOFED: Final = {
    "behind the bank's name": f"/CNTP/NL1/BIC/EVIL CO/city/REMI/USTD//x /NAME/{COMPANY}",
    "before another": f"/TRTP/SEPA/REMI/USTD//pay /NAME/{COMPANY}/NAME/EVIL",
    "in a plain text": f"PAYMENT FROM EVIL /NAME/{COMPANY}",
    "on a line of a plain text": f"PAYMENT FROM EVIL\n/NAME/{COMPANY}",
    "as a plain text": f"/NAME/{COMPANY}",
    "Polish": f"020~20pay~32{COMPANY}",
    "Polish, with an account": f"020~20pay~31X~32{COMPANY}",
    "Polish, before the bank's name": f"020~20pay~32{COMPANY}~33x~32EVIL CO",
    "German": f"166?00GUTSCHRIFT?20SVWZ+pay?32{COMPANY}?33",
    "German, before the bank's": f"166?00G?20SVWZ+pay?32{COMPANY}?30BANK?31ACC?33EVIL CO",
    "German, cut at the end of a piece": f"166?00G?20{TEXT_27}?21pay?32{COMPANY}?34000",
    "German, over the end of a line": f"166?00GUTSCHRIFT?20SVWZ+pay?\n32{COMPANY}",
    "German, behind the bank's": f"166?00G?20pay{GERMAN}EVIL CO?60x?32{COMPANY}",
    "in a reference": f"/EREF/x/ORDP//NAME/{COMPANY}/REMI/y",
    "in a reference, before the bank's": f"/EREF/x/NAME/{COMPANY}/ORDP//NAME/EVIL/REMI/y",
    "as another's word in a reference": f"/EREF/x/CNTP/1/2/{COMPANY}/ORDP//NAME/EVIL/REMI/",
    "over the end of a line": f"/TRTP/SEPA/REMI/USTD//pay /NA\nME/{COMPANY}/",
    "behind the ultimate debtor": f"/TRTP/SEPA/ULTD//{COMPANY}/NAME/{COMPANY}/REMI/y",
    "in lower case": f"/trtp/sepa/name/{COMPANY}",
    "as details of its own": f"EVIL CO\n:86:166?00G?20y{GERMAN}{COMPANY}",
    "as details that go on": f"166?00G?20pay{GERMAN}EVIL CO\n:86:166?00G?20y{GERMAN}{COMPANY}",
    "as a line of its own": f"EVIL CO\n{LINE}2\n:86:166?00G?20y{GERMAN}{COMPANY}",
    "as a balance too": (
        f"EVIL CO\n{LINE}2\n:86:166?00G?20y{GERMAN}{COMPANY}\n:62F:C240506CNY10000,00"
    ),
}

NAMED: Final = {
    "German": f"166?00GUTSCHRIFT?20SVWZ+pay{GERMAN}{COMPANY}",
    "German, wrapped": f"166?00G?20{TEXT_27}?21pay{GERMAN}甲乙贸易\n?33有限公司",
    "Polish": f"020~00X~20pay~3010901014~310000071219812874~32{COMPANY}~33~38PL61109010140000",
    "ING": f"/EREF/x//CNTP/NL32INGB0000012345/INGBNL2A/{COMPANY}/City///REMI/USTD//pay/",
    "ABN AMRO": f"/TRTP/SEPA OVERBOEKING/IBAN/NL32INGB0000012345/NAME/{COMPANY}/REMI/y/EREF/x",
    "Rabobank": f"/EREF/TOP-UP-2024-05-06/ORDP//NAME/{COMPANY}/REMI/pay/ISDT/2024-05-06",
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def credited(details: str) -> BankFile:
    """A statement of one credit of 5,000.00 with these details."""
    lines = (
        ":20:X", ":25:6222000011112222", ":28C:1/1", ":60F:C240505CNY0,00", f"{LINE}1",
        f":86:{details}", ":62F:C240506CNY5000,00", "-",
    )  # fmt: skip
    return read_bank_bytes("\n".join(lines).encode())


class TestPayerTexts:
    @pytest.mark.parametrize("text", SPOOFED)
    async def test_name_that_the_payer_may_have_written_credits_nobody(
        self, till: Till, text: str
    ) -> None:
        """P-21: somebody else pays and writes the name of M1's company into his text."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(credited(SPOOFED[text]))
        assert await till.available("M1") == 0
        assert {row[0] for row in await till.receipts()} == {"UNMATCHED"}
        assert await till.sound()

    @pytest.mark.parametrize("text", NAMED)
    async def test_name_that_the_bank_writes_is_the_payers(self, till: Till, text: str) -> None:
        """P-21, P-23."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(credited(NAMED[text]))
        assert await till.available("M1") == 500_000

    async def test_a_text_alone_suggests_the_request_of_its_amount(self, till: Till) -> None:
        """P-29: nobody is named, and the desk sees whose 5,000.00 they may be."""
        await till.ask("M1", "R1", 500_000)
        await till.bring(credited(SPOOFED["in a plain text"]))
        assert await till.receipts() == [("UNMATCHED", "PAYER_UNKNOWN", 500_000, None, "R1")]

    async def test_the_desk_sees_the_text(self, till: Till) -> None:
        """P-29, C-11: it proves nothing, and no list shows it."""
        await till.bring(credited(SPOOFED["in a plain text"]))
        desk = Unmatched(till.engine, till.ring)
        [listed] = await desk.oldest(1)
        shown = await desk.one(listed.digest)
        assert (listed.payer, listed.text, shown.payer) == ("", "", "")
        assert shown.text == SPOOFED["in a plain text"]
