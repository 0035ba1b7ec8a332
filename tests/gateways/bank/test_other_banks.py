"""Files in the style of banks whose own are not beside us; what they say was written by hand.

All names and numbers are made up. Every statement also proves itself: opening + entries = closing.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from gateways.bank.reading import read_bank_bytes
from tests.gateways.bank.support import own
from tillkeeper.contracts.bank import BankFile, BankTransaction, FileKind, Side
from tillkeeper.contracts.receipt import PayerKind

_LETTERS: Final = {"bank-of-example-cn.sta": "gb18030"}
CREDIT, DEBIT = Side.CREDIT, Side.DEBIT

SAID: Final[dict[str, tuple[FileKind, str, list[dict[str, Any]]]]] = {
    # ?20 structure, wrapped in the middle of words and numbers; CR and DR; CRLF
    "sparkasse.sta": (
        FileKind.MT940,
        "50050201/0200123456",
        [
            {
                "amount_minor": 500000, "side": CREDIT, "end_to_end_id": "TOPUP-77",
                "debtor_name": "Muster Handel GmbH & Co. KG", "debtor_bic": "COBADEFFXXX",
                "debtor_account": "DE89370400440532013000",
                "remittance": "Aufladung Konto 4711 Rechnung 88", "bank_reference": None,
            },
            {"amount_minor": 1234, "side": DEBIT, "remittance": "Kontofuehrung Januar",
             "debtor_clearing_id": None},
        ],
    ),
    # a SWIFT envelope; a reversed debit; what was ordered in another currency is no amount
    "deutsche.fin": (
        FileKind.MT940,
        "DE91500700100175526303",
        [
            {
                "amount_minor": 300000, "side": CREDIT, "bank_reference": "DEUT0601260001",
                "debtor_name": "Beispiel Import GmbH", "end_to_end_id": "TOPUP-5",
                "remittance": "Top up five", "information": "/OCMT/USD3271,50/EXCH/1,0905/",
            },
            {"amount_minor": 50, "side": CREDIT, "reversal": True, "remittance": "Storno"},
        ],
    ),
    # code words between slashes, one of them wrapped in its middle; a text without any
    "abnamro.sta": (
        FileKind.MT940,
        "517852257",
        [
            {
                "amount_minor": 450000, "side": CREDIT, "debtor_name": "Jansen Handel B.V.",
                "debtor_account": "NL44RABO0123456789", "debtor_bic": "RABONL2U",
                "end_to_end_id": "TOPUP-31", "remittance": "Opwaardering 31 - bedankt",
            },
            {"amount_minor": 900, "side": DEBIT, "creditor_name": None},
        ],
    ),
    # the other account stands under the line; the currency behind our number is not part of it
    "rabobank.swi": (
        FileKind.MT940,
        "NL34RABO0142623393",
        [
            {
                "amount_minor": 300000, "side": CREDIT, "end_to_end_id": "TOPUP-9",
                "debtor_name": "Voorbeeld Groothandel B.V.", "entry_reference": None,
                "debtor_account": "NL44RABO0123456789", "remittance": "Opwaarderen 9",
            },
            {"amount_minor": 2503, "side": DEBIT, "creditor_name": "Testmelk B.V.",
             "creditor_account": "NL97DNBA8480000001", "debtor_account": None},
        ],
    ),
    # /TRCD/ under the line; /CNTP/ with account, bank and name; a sum after the balances
    "ing.940": (
        FileKind.MT940,
        "NL69INGB0123456789",
        [
            {
                "amount_minor": 350000, "side": CREDIT, "end_to_end_id": "TOPUP-12",
                "debtor_name": "Webwinkel Noord BV", "debtor_account": "NL32INGB0000012345",
                "debtor_bic": "INGBNL2A", "remittance": "Storting 12 januari",
                "bank_reference": "00000000001005", "information": "/TRCD/00100/",
            },
            {"amount_minor": 165, "side": DEBIT,
             "remittance": "Kosten 01-01-2026 tot 06-01-2026"},
        ],
    ),
    # GB18030 that an MT940 cannot declare itself
    "bank-of-example-cn.sta": (
        FileKind.MT940,
        "110060149012345678",
        [
            {"amount_minor": 500000, "side": CREDIT, "currency": "CNY",
             "remittance": "甲乙贸易有限公司 充值 TK-2601", "entry_reference": "充值2601",
             "bank_reference": "26010600001234"},
            {"amount_minor": 5000, "side": DEBIT, "remittance": "手续费"},
        ],
    ),
    # P-22: GB18030 declared; a company and a person, told apart by what kind of id they have
    "bank-of-example-cn.camt.053.xml": (
        FileKind.CAMT_053,
        "110060149012345678",
        [
            {
                "amount_minor": 500000, "debtor_name": "甲乙贸易（上海）有限公司",
                "debtor_account": "6225880112345678", "payer_kind": PayerKind.CORPORATE,
                "debtor_clearing_id": "102100099996", "debtor_bank": "中国工商银行",
                "remittance": "充值 TK-2601", "bank_reference": "26010600001234",
            },
            {"amount_minor": 300000, "debtor_name": "张三", "payer_kind": PayerKind.PERSONAL},
        ],
    ),
    # a lump: two payments in one entry, not detailed here
    "swiss-lump.camt.053.xml": (
        FileKind.CAMT_053,
        "CH5604835012345678009",
        [
            {"amount_minor": 950050, "currency": "CHF", "batch_count": 2, "parts": 1,
             "bank_reference": "QRI-20260106-1", "debtor_name": None,
             "information": "Sammelgutschrift QR-Rechnung"},
        ],
    ),
    # … and its details, each with a QR reference and its own bank reference
    "swiss-details.camt.054.xml": (
        FileKind.CAMT_054,
        "CH5604835012345678009",
        [
            {
                "amount_minor": 450050, "entry_amount_minor": 950050, "parts": 2,
                "debtor_name": "Muster & Söhne AG", "ultimate_debtor_name": "Muster Holding",
                "debtor_bic": "POFICHBEXXX", "debtor_bank": "PostFinance AG",
                "creditor_references": ("210000000003139471430009017",),
                "remittance": "210000000003139471430009017",
                "bank_reference": "QRI-20260106-1-1", "entry_bank_reference": "QRI-20260106-1",
            },
            {"amount_minor": 500000, "part": 2, "debtor_name": "Beispiel GmbH",
             "creditor_references": ("210000000003139471430009022",), "counts": True},
        ],
    ),
    # prefixes, Latin letters, proprietary codes, an overdrawn opening balance
    "danske.camt.053.xml": (
        FileKind.CAMT_053,
        "DK5000400440116243",
        [
            {
                "amount_minor": 450050, "debtor_name": "Købmand Øst A/S", "currency": "DKK",
                "debtor_account": "30000001234567", "debtor_bic": "DABADKKK",
                "remittance": "Indbetaling 6\nTak for handlen", "information": "Overførsel",
            },
            {"amount_minor": 7500, "side": DEBIT, "information": "Gebyr"},
        ],
    ),
    # BAI codes; what was ordered in EUR arrived in USD; a pending entry is no money
    "us-bai.camt.053.xml": (
        FileKind.CAMT_053,
        "000123456789",
        [
            {
                "amount_minor": 320000, "currency": "USD", "debtor_name": "ACME TRADING INC",
                "debtor_clearing_id": "026009593", "debtor_bank": "BANK OF AMERICA",
                "end_to_end_id": "TOPUP-US-1", "bank_reference": "260106-WIRE-88",
            },
            {"amount_minor": 1200, "side": DEBIT, "information": "WIRE FEE"},
            {"amount_minor": 70000, "side": CREDIT, "counts": False},
        ],
    ),
    # UTF-16, an envelope with a business header; our payment comes back (C-13)
    "app-header-utf16.camt.054.xml": (
        FileKind.CAMT_054,
        "FI2112345600000785",
        [
            {"amount_minor": 25000, "side": CREDIT, "reversal": True, "return_reason": "AC04",
             "end_to_end_id": "RETURN-4", "debtor_name": "Nordea Bank Abp"},
        ],
    ),
}  # fmt: skip


def read(name: str) -> BankFile:
    """The file, with its letters declared where it cannot do that itself."""
    return read_bank_bytes(own(f"others/{name}"), encoding=_LETTERS.get(name))


def signed(one: BankTransaction) -> int:
    """What it moved."""
    amount = one.amount_minor or 0
    return amount if one.side is CREDIT else -amount


class TestOtherBanks:
    @pytest.mark.parametrize("name", sorted(SAID))
    def test_file_says_what_was_written_by_hand(self, name: str) -> None:
        """P-21, P-23: payer, amount and references arrive whole, whoever the bank is."""
        found = read(name)
        kind, account, said = SAID[name]
        assert (found.kind, found.problems, found.warnings) == (kind, (), ())
        assert {one.account for one in found.statements} == {account}
        assert [
            {field: getattr(one, field) for field in fields}
            for one, fields in zip(found.transactions, said, strict=True)
        ] == said

    @pytest.mark.parametrize("name", sorted(SAID))
    def test_statement_adds_up(self, name: str) -> None:
        found = read(name)
        [statement] = found.statements
        if statement.opening is None or statement.closing is None:
            assert found.kind is FileKind.CAMT_054
            return
        moved = sum(signed(one) for one in found.transactions if one.counts)
        assert statement.opening.signed_minor + moved == statement.closing.signed_minor
