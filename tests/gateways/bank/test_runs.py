"""Entries that are taken out of a file's text: never otherwise than the parser would read them."""

from __future__ import annotations

from io import BytesIO
from typing import Final

import pytest

from gateways.bank import reading
from gateways.bank.iso20022 import camt, document, entries, runs
from gateways.bank.iso20022.camt import CamtReader
from gateways.bank.iso20022.document import Document
from gateways.bank.reading import read_bank_bytes
from tests.gateways.bank.support import alone
from tillkeeper.contracts.bank import BankFile
from tillkeeper.contracts.errors import Code, Rejected

PART: Final = "<TxDtls><Refs><EndToEndId>E</EndToEndId></Refs><Amt Ccy='EUR'>5.00</Amt></TxDtls>"
ENTRY: Final = (
    "<Ntry><Amt Ccy='EUR'>5.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts>"
    f"<NtryDtls>{PART}</NtryDtls></Ntry>"
)
LOT: Final = ENTRY.replace("5.00", "15.00", 1).replace(PART, PART * 3)
SPACE: Final = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"


def statement(*inside: str, before: str = "", behind: str = "") -> str:
    """A file with six usual entries, three in a lot, and in the middle what is ``inside``."""
    stated = f"<Id>S</Id><Acct><Id><IBAN>A</IBAN></Id></Acct>{ENTRY * 3}{LOT}"
    return (
        f"<Document xmlns='{SPACE}'><BkToCstmrStmt>{before}<Stmt>{stated}{''.join(inside)}"
        f"{ENTRY * 3}</Stmt>{behind}</BkToCstmrStmt></Document>"
    )


def outcome(body: bytes, *, quick: bool) -> BankFile | Code:
    """What is said, or why nothing is."""
    try:
        return read_bank_bytes(body) if quick else alone(body)
    except Rejected as error:
        return error.codes[0]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "TEMPLATE_AFTER", 1)


ODD: Final = [
    ENTRY,
    ENTRY.replace(">E<", "> E\n<"),
    ENTRY.replace(">E<", ">\x01<"),
    ENTRY.replace(">E<", ">\uffff<"),
    ENTRY.replace(">E<", ">a]]>b<"),
    ENTRY.replace(">E<", ">a & b<"),
    ENTRY.replace(">E<", ">&none;<"),
    ENTRY.replace(">E<", ">&#1;<"),
    ENTRY.replace(">E<", ">a\rb<"),
    ENTRY.replace(">E<", ">\x85\u2028<"),
    ENTRY.replace("><", ">\r\n<"),
    ENTRY.replace("15.00", "5.0"),
    ENTRY.replace("5.00", "5.001"),
    ENTRY.replace("5.00", "-5.00"),
    ENTRY.replace(">5.00", ">+5.00", 1),
    ENTRY.replace("5.00", "99999999999999999999.00"),
    ENTRY.replace("5.00", "٣.00"),
    ENTRY.replace("CRDT", "OTHR"),
    ENTRY.replace("BOOK", "OTHR"),
    ENTRY.replace("5.00", "6.00", 1),
    f"<!-- {ENTRY} -->",
    f"<!-- {ENTRY} -- {ENTRY} -->",
    f"<x><![CDATA[{ENTRY}]]></x>",
    f"<?x {ENTRY}?>",
    f"<!x {ENTRY}>",
    f"<!-- {ENTRY}",
    f'<x y="{ENTRY}"/>',
    f"<x y='>{ENTRY}'/>",
    f"<x y=' <!-- '/>{ENTRY}<x y=' --> '/>",
    f"<x {ENTRY}/>",
    f"&{ENTRY};",
    f"<x>{ENTRY}</x>",
    f"<Ntry>{ENTRY}</Ntry>",
    f"<Stmt>{ENTRY}</Stmt>",
    f"</Stmt>{ENTRY}<Stmt>",
    f"</Stmt><Stmt>{ENTRY}",
    ENTRY.replace(PART, f"<TxDtls>{PART}</TxDtls>"),
    ENTRY.replace(PART, f"<x>{PART}{PART}</x>{PART}"),
    ENTRY.replace(f"<NtryDtls>{PART}</NtryDtls>", PART),
    ENTRY.replace(PART, "<TxDtls/>"),
    ENTRY.replace(PART, ""),
    LOT,
    LOT.replace(PART, f"{PART}<x/>", 1),
    LOT.replace(PART, PART.replace("Ccy='EUR'", "Ccy='USD'"), 1),
    LOT.replace("</NtryDtls>", f"</NtryDtls><NtryDtls>{PART * 2}</NtryDtls>"),
    LOT.replace("</NtryDtls>", f"</NtryDtls>{PART * 2}"),
    PART * 3,
    ENTRY.replace("<", "<p:").replace("<p:/", "</p:"),
    ENTRY.replace("</Ntry>", "</Ntry >"),
    ENTRY.replace("</Ntry>", "</Ntri>"),
    ENTRY.replace("<Ntry>", f"<Ntry xmlns='{SPACE}'>"),
    ENTRY.replace("<Ntry>", "<Ntry\nx='1'>\n"),
    ENTRY.replace("<Sts>", "<Sts x='>'>"),
    ENTRY.replace("<Sts>", "<Sts x='1' x='1'>"),
    f"<Acct><Id><IBAN>B</IBAN></Id></Acct>{ENTRY}",
    "<Run at='1'/><run-0 at='1'/>",
]


class TestReading:
    @pytest.mark.parametrize("piece", [64, 1 << 18])
    @pytest.mark.parametrize("odd", ODD)
    def test_odd_text_is_read_as_the_parser_reads_it(
        self, odd: str, piece: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-23: the same money, losses and lines; a refused file has the same code."""
        monkeypatch.setattr(reading, "HEAD_BYTES", max(piece, 256))
        monkeypatch.setattr(document, "CHUNK_BYTES", piece)
        for text in (statement(odd), statement(f"{odd}\n", odd), statement(before=odd)):
            body = text.encode()
            assert outcome(body, quick=True) == outcome(body, quick=False)

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        body = statement(ENTRY.replace(">E<", ">é<")).encode("latin-1")
        assert outcome(body, quick=True) is Code.BANK_FILE_ENCODING

    def test_entry_deeper_than_the_parser_allows_is_refused(self) -> None:
        for depth in (20, 248, 251, 253, 260):
            body = f"{'<x>' * depth}{statement()}{'</x>' * depth}".encode()
            assert outcome(body, quick=True) == outcome(body, quick=False)

    def test_more_entries_than_the_limit_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(entries, "TRANSACTIONS_MAX", 8)
        assert outcome(statement().encode(), quick=True) is Code.BANK_FILE_TOO_LARGE


class TestRuns:
    def test_usual_entries_are_not_shown_to_the_parser(self) -> None:
        """Else all of this would be in vain, and no other test would see it."""
        body = statement(ENTRY * 100, LOT * 10).encode()
        reader = CamtReader(Document(BytesIO(), head=body), quick=True)
        sieve = reader._entry.runs
        seen = sieve.condensed(body) + sieve.rest()
        assert seen.count(b"<TxDtls>") == 1
        assert len(read_bank_bytes(body).transactions) == 3 + 3 + 100 + 30 + 3

    def test_entries_that_no_template_takes_teach_none(self) -> None:
        """Thousands of them would be tried by dozens of templates that are all alike."""
        body = statement(ENTRY.replace(">E<", ">A &#38; B<") * 100).encode()
        sieve = CamtReader(Document(BytesIO(), head=body), quick=True)._entry.runs
        sieve.condensed(body)
        assert sum(map(len, sieve._known.values())) == 2

    def test_odd_run_is_read_once_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[bool] = []

        class Counted(CamtReader):
            def __init__(self, document: Document, *, quick: bool = False) -> None:
                made.append(quick)
                super().__init__(document, quick=quick)

        monkeypatch.setattr(camt, "CamtReader", Counted)
        read_bank_bytes(statement().encode())
        assert made == [True]
        read_bank_bytes(statement(f"<x>{ENTRY}</x>").encode())
        assert made == [True, True, False]


class TestParts:
    @pytest.mark.parametrize(
        "odd",
        [
            LOT.replace(PART, PART.replace("<Refs>", "<TxDtls/><Refs>"), 1),
            LOT.replace(PART, f"<x>{PART}</x>{PART}", 1),
            LOT.replace("<NtryDtls>", f"{PART}<NtryDtls>"),
            LOT.replace("</NtryDtls>", f"</NtryDtls><NtryDtls>{PART}</NtryDtls>"),
        ],
    )
    @pytest.mark.parametrize("quick", [True, False])
    def test_part_in_an_odd_place_is_one_wherever_pieces_are_cut(
        self, odd: str, quick: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-23: four parts do not make up the entry: it is told, and is no money."""
        body = statement(odd).encode()
        whole = outcome(body, quick=quick)
        assert isinstance(whole, BankFile)
        assert [one.counts for one in whole.transactions if one.entry == 5] == [False] * 4
        assert [one.code for one in whole.warnings] == [Code.BANK_FILE_PARTS_DIFFER]
        monkeypatch.setattr(reading, "HEAD_BYTES", 512)
        for piece in (1, 7, 64):
            monkeypatch.setattr(document, "CHUNK_BYTES", piece)
            assert outcome(body, quick=quick) == whole
