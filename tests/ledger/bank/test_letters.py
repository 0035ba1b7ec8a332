"""An MT940 that cannot say its letters: lost at first, read anew once they are declared."""

from __future__ import annotations

from typing import Final

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from gateways.bank.reading import read_bank_bytes
from ledger.bank.files import Arrival, receive_file
from ledger.engine import in_transaction
from tests.ledger.bank.till import CAME, COMPANY, Till
from tillkeeper.sealing import KeyRing

PARTY: Final = "?30COBADEFFXXX?31DE02120300000000202051?32"
DETAILS: Final = {
    "a field": f"166?00转账?20充值{PARTY}{COMPANY}",
    "a text": f"{COMPANY} 充值",
}


@pytest_asyncio.fixture(loop_scope="session")
async def till(engine: AsyncEngine, ring: KeyRing) -> Till:
    return Till(engine, ring)


def body(
    details: str, *, mark: str = "C", opening: str = "0,00", closing: str = "5000,00"
) -> bytes:
    lines = (
        ":20:X", ":25:6222000011112222", ":28C:1/1", f":60F:C240505CNY{opening}",
        f":61:2405060506{mark}5000,00NTRFNONREF//B1", f":86:{details}",
        f":62F:C240506CNY{closing}", "-",
    )  # fmt: skip
    return "\n".join(lines).encode("gb18030")


async def bring(till: Till, said: bytes, encoding: str | None) -> None:
    """Import the file with these letters declared."""
    found = read_bank_bytes(said, encoding=encoding)
    arrival = Arrival("file", "import", encoding, CAME)
    await in_transaction(
        till.engine, lambda c: receive_file(c, till.ring, found.digest.encode(), arrival)
    )
    await till.bring(found)


class TestDeclaredLater:
    @pytest.mark.parametrize("words", DETAILS)
    async def test_undeclared_letters_credit_nobody(self, till: Till, words: str) -> None:
        """C-02, P-21: the money is in the book; that letters are lost is work."""
        await till.ask("M1", "R1", 500_000)
        await bring(till, body(DETAILS[words]), None)
        assert await till.balances() == {"bank": 500_000, "unmatched_receipts": 500_000}
        assert await till.available("M1") == 0
        assert ("BANK_FILE_LOSSES", "BANK_FILE_ENCODING", "OPEN", None) in await till.items()
        assert await till.sound()

    async def test_declared_they_name_the_payer_once(self, till: Till) -> None:
        """C-02, P-21: the same file with its letters declared credits R1, told however often."""
        said = body(DETAILS["a field"])
        await till.ask("M1", "R1", 500_000)
        for encoding in (None, None, "gb18030", "gb18030", None):
            await bring(till, said, encoding)
        assert (await till.balances(), await till.available("M1")) == ({"bank": 500_000}, 500_000)
        assert [row[2] for row in await till.items()] == ["CLOSED"] * 2
        assert await till.rows("SELECT state, encoding FROM bank_files") == [("BOOKED", "gb18030")]
        assert await till.sound()

    async def test_declared_before_they_are_read_once(self, till: Till) -> None:
        """C-02: nothing was lost, so another declaration changes nothing."""
        await till.ask("M1", "R1", 500_000)
        for encoding in ("gb18030", "gbk"):
            await bring(till, body(DETAILS["a field"]), encoding)
        assert await till.rows("SELECT state, encoding FROM bank_files") == [("BOOKED", "gb18030")]
        assert await till.available("M1") == 500_000

    async def test_debit_is_told_with_what_can_be_read(self, till: Till) -> None:
        """C-12: a debit may name a payment of ours whatever letters are lost."""
        said = body(f"166?00X?20EREF+OURS?21SVWZ+充值{PARTY}{COMPANY}", mark="D", closing="0,00",
                    opening="5000,00")  # fmt: skip
        await bring(till, said, None)
        assert await till.rows("SELECT parts FROM bank_entries") == [(1,)]
