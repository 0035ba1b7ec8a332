"""The official schemas: a note beside what was read, never a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from gateways.bank.iso20022 import schemas
from gateways.bank.reading import read_bank_bytes, read_bank_file
from tests.gateways.bank.support import REAL, expected, own
from tillkeeper.contracts.bank import BankFile, Finding
from tillkeeper.contracts.errors import Code

SCHEMAS: Final = REAL.parent / "schemas"
JUDGED: Final = [
    one
    for one in expected("camt", "pain.002")
    if one.get("xsd_valid") is not None and (SCHEMAS / f"{one['type']}.xsd").is_file()
]
OWN_SCHEMA: Final = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
 targetNamespace="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08" elementFormDefault="qualified">
 <xs:element name="Document"><xs:complexType><xs:sequence>
 <xs:any processContents="skip" maxOccurs="{most}"/></xs:sequence></xs:complexType></xs:element>
</xs:schema>"""
BODY: Final = own("statement.camt053.xml")
TWO: Final = BODY.replace(b"</Document>", b"<Own>secret</Own>\n</Document>")


def notes(found: BankFile) -> list[Finding]:
    """What the schema says."""
    return [one for one in found.warnings if one.code is Code.BANK_FILE_SCHEMA]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A schema by which a document has one message and nothing else."""
    (tmp_path / "camt.053.001.08.xsd").write_text(OWN_SCHEMA.format(most=1))
    return tmp_path


class TestOwn:
    def test_valid_file_has_no_note(self, folder: Path) -> None:
        assert read_bank_bytes(BODY, schemas=folder) == read_bank_bytes(BODY)

    def test_flaw_is_noted_with_its_line_and_without_its_text(self, folder: Path) -> None:
        found = read_bank_bytes(TWO, schemas=folder)
        [note] = notes(found)
        assert note.line == BODY.count(b"\n", 0, BODY.index(b"</Document>")) + 1
        assert "secret" not in note.detail
        assert found.transactions == read_bank_bytes(BODY).transactions
        assert found.problems == ()

    def test_envelope_is_no_flaw(self, folder: Path) -> None:
        body = BODY.split(b"?>", 1)[1]
        found = read_bank_bytes(b"<Envelope><AppHdr/>" + body + b"</Envelope>", schemas=folder)
        assert notes(found) == []

    def test_what_is_not_checked_is_said(
        self, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [note] = notes(read_bank_bytes(BODY, schemas=tmp_path / "none"))
        assert "not checked" in note.detail
        monkeypatch.setattr(schemas, "CHECKED_BYTES_MAX", 100)
        [note] = notes(read_bank_bytes(BODY, schemas=folder))
        assert "not checked" in note.detail

    def test_swift_file_has_no_schema(self, folder: Path) -> None:
        assert read_bank_bytes(own("statements.mt940"), schemas=folder).warnings == ()


@pytest.mark.skipif(not JUDGED, reason="official schemas are not beside this checkout")
class TestReal:
    @pytest.mark.parametrize("reference", JUDGED, ids=lambda one: one["file"])
    def test_note_agrees_with_the_reference_and_costs_nothing(
        self, reference: dict[str, Any]
    ) -> None:
        plain = read_bank_file(REAL / reference["file"])
        found = read_bank_file(REAL / reference["file"], schemas=SCHEMAS)
        assert bool(notes(found)) is not reference["xsd_valid"]
        assert found.transactions == plain.transactions
        assert found.statuses == plain.statuses
        assert found.problems == plain.problems
