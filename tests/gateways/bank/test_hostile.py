"""Hostile, broken and unmarked files: refused as a whole, by a stable code, nothing taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.bank import large_statement
from gateways.bank import mt940
from gateways.bank.findings import PROBLEMS_MAX
from gateways.bank.iso20022 import camt, document, entries
from gateways.bank.reading import read_bank_file
from tests.gateways.bank.support import own, read, refused
from tillkeeper.contracts.errors import Code, Rejected

STATEMENT = own("statement.camt053.xml").decode()
BODY = STATEMENT.split("?>", 1)[1]


class TestDocumentType:
    @pytest.mark.parametrize(
        "before",
        [
            "<!DOCTYPE Document>",
            '<!DOCTYPE Document [<!ENTITY a "5000.00">]>',
            '<!DOCTYPE Document [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
            '<!DOCTYPE Document SYSTEM "http://127.0.0.1:9/x.dtd">',
            '<!DOCTYPE Document [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>',
            '<!DOCTYPE Document [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]>',
        ],
    )
    def test_any_document_type_is_refused(self, before: str) -> None:
        assert refused(before + BODY) is Code.BANK_FILE_DOCTYPE
        assert refused((before + BODY).encode("utf-16")) is Code.BANK_FILE_DOCTYPE

    def test_one_behind_a_long_comment_is_refused_too(self) -> None:
        late = f"<!--{'x' * 100_000}--><!DOCTYPE Document>{BODY}"
        assert refused(late) is Code.BANK_FILE_KIND_UNKNOWN

    def test_undefined_entity_is_refused(self) -> None:
        assert refused(STATEMENT.replace("5000.00", "&amount;")) is Code.BANK_FILE_MALFORMED


class TestEncoding:
    def test_declared_gb18030_is_read(self) -> None:
        """P-21: the payer's name arrives as the bank wrote it."""
        body = STATEMENT.replace("UTF-8", "GB18030").encode("gb18030")
        assert read(body).transactions[0].debtor_name == "甲乙贸易有限公司"

    @pytest.mark.parametrize(
        "head", ["", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-8"?>']
    )
    def test_undeclared_gb18030_is_refused(self, head: str) -> None:
        assert refused((head + BODY).encode("gb18030")) is Code.BANK_FILE_ENCODING

    @pytest.mark.parametrize("name", ["UTF-7", "IBM037", "no-such", "x-user-defined"])
    def test_strange_encodings_are_refused(self, name: str) -> None:
        assert refused(f'<?xml version="1.0" encoding="{name}"?>{BODY}') is Code.BANK_FILE_ENCODING

    def test_utf16_needs_its_mark(self) -> None:
        assert read(BODY.encode("utf-16")).transactions == read(BODY).transactions
        assert refused(BODY.strip().encode("utf-16-le")) is Code.BANK_FILE_ENCODING

    def test_byte_order_mark_is_no_matter(self) -> None:
        assert read(STATEMENT.encode("utf-8-sig")).transactions == read(STATEMENT).transactions


class TestDamage:
    @pytest.mark.parametrize("missing", [1, 2, 20, 200, 2000, 2400])
    def test_cut_off_file_is_refused_whole(self, missing: int) -> None:
        assert refused(STATEMENT.strip()[:-missing]) is Code.BANK_FILE_TRUNCATED

    @pytest.mark.parametrize(
        ("damage", "code"),
        [
            (lambda text: text.replace("</Ntry>", "</Ntri>", 1), Code.BANK_FILE_MALFORMED),
            (lambda text: text + text, Code.BANK_FILE_MALFORMED),
            (lambda text: text.replace("充值", "\0"), Code.BANK_FILE_MALFORMED),
            (lambda text: text.replace("充值", "<x>" * 300), Code.BANK_FILE_TOO_DEEP),
            (lambda text: text.replace("充值", "x" * 11_000_000), Code.BANK_FILE_TOO_LARGE),
            (
                lambda text: text.replace("BkToCstmrStmt", "CstmrCdtTrfInitn"),
                Code.BANK_FILE_KIND_UNKNOWN,
            ),
            (lambda text: "<html><body>Sign in</body></html>", Code.BANK_FILE_KIND_UNKNOWN),
            (lambda text: "", Code.BANK_FILE_EMPTY),
            (lambda text: " \n ", Code.BANK_FILE_EMPTY),
            (lambda text: "<", Code.BANK_FILE_KIND_UNKNOWN),
        ],
    )
    def test_damage_has_its_code(self, damage: Callable[[str], str], code: Code) -> None:
        assert refused(damage(STATEMENT)) is code


class TestNamespace:
    @pytest.mark.parametrize("odd", ["{urn:", "urn:}", "urn:{{", "urn: "])
    def test_namespace_that_is_no_uri_is_refused(self, odd: str) -> None:
        """The fuzzer's find: a brace in it broke the library's own splitting of names."""
        assert refused(STATEMENT.replace('xmlns="urn:', f'xmlns="{odd}', 1)) is (
            Code.BANK_FILE_MALFORMED
        )


class TestSize:
    def test_file_over_the_limit_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(document, "FILE_BYTES_MAX", 1_000_000)
        path = large_statement(tmp_path / "big.xml", transactions=2_000, batch=1)
        with pytest.raises(Rejected) as error:
            read_bank_file(path)
        assert error.value.codes == (Code.BANK_FILE_TOO_LARGE,)

    def test_more_transactions_than_the_limit_are_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(entries, "TRANSACTIONS_MAX", 5)
        assert refused(STATEMENT) is Code.BANK_FILE_TOO_LARGE

    def test_more_statements_than_the_limit_are_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mt940, "STATEMENTS_MAX", 1)
        assert refused(own("statements.mt940")) is Code.BANK_FILE_TOO_LARGE
        monkeypatch.setattr(camt, "STATEMENTS_MAX", 1)
        assert refused(STATEMENT.replace("</Stmt>", "</Stmt><Stmt/>")) is Code.BANK_FILE_TOO_LARGE

    @pytest.mark.parametrize("place", ["<Stmt>", "<GrpHdr>", "<NtryDtls><TxDtls>"])
    def test_endless_elements_that_are_no_entries_are_refused(self, place: str) -> None:
        """Else a small file would fill the memory: an element takes 30 times its letters."""
        tree = "<x>" * 50 + "</x>" * 50
        endless = f"{place}<y>{tree * 30_000}</y>"
        assert refused(STATEMENT.replace(place, endless, 1)) is Code.BANK_FILE_TOO_LARGE

    def test_endless_losses_are_no_bank_file(self) -> None:
        assert refused(":20:x\n" * PROBLEMS_MAX) is Code.BANK_FILE_MALFORMED

    def test_missing_file_and_folder_are_unreadable(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none", Path("a\0b")):
            with pytest.raises(Rejected) as error:
                read_bank_file(path)
            assert error.value.codes == (Code.FILE_UNREADABLE,)
