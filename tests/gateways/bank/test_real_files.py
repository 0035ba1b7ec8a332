"""Files of real banks, beside the repository and never in it, against an independent reader.

The reader's transactions equal the reference's on every line. Disputed is not what the lines say
but whether they are money: see ``DISPUTED``.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any, Final

import pytest

from gateways.bank.reading import read_bank_file
from tests.gateways.bank.support import REAL, decimal_of, expected, needs_real_files
from tillkeeper.contracts.bank import BankFile, BankTransaction, Side, StatusLevel
from tillkeeper.contracts.errors import Code, Rejected

pytestmark = needs_real_files

CAMT: Final = expected("camt")
SWIFT: Final = [one for one in expected("MT94") if "-broken/" not in one["file"]]
_SIDES: Final = {"CRDT": Side.CREDIT, "DBIT": Side.DEBIT}

DISPUTED: Final = {
    # a documentation sample: 4.1 (or 0) USD credited stands inside an entry of 200,000 SEK debited
    "camt.052/genkgo__camt__camt052.v4.xml": 1,
    "camt.052/genkgo__camt__camt052.v6.xml": 1,
    "camt.052/genkgo__camt__camt052.v6.Amt-zero.xml": 1,
    "camt.054/genkgo__camt__camt054.v8.xml": 1,
    # 105.750 EUR stands inside an entry of 8.85 EUR
    "camt.053/genkgo__camt__data_camt053.v3.xml": 1,
    # three parts without amounts in one entry: the reference gives none, neither do we
    "camt.054/genkgo__camt__camt054.v2.xml": 1,
    # 77.70 CHF debited from the account; its part says credited
    "camt.053/moov-io__iso20022__testdata_camt.053_P_CH2909000000250094239_1110092698_0_"
    "2020112503071366.xml": 1,
    # three entries of 100.00 GBP whose parts state 262.55, 64.00 and 15.00 GBP
    "camt.053/svapnil__iso20022.js__goldman_sachs_camt_053_uk_v2_1.xml": 3,
    # 4,500.00 CHF were credited (and instructed); the part's TxAmt says 0.04 CHF
    "camt.053/viafintech__camt_parser__053_valid_example_with_instdamt.xml": 1,
}
"""Entries whose parts contradict them. The entry is what moved on the account, so the reference's
amounts there are repeated as stated but ``counts`` is not set and a warning names the entry."""

LOSSES: Final = {
    # both files end in :65F:Dnullnull7414,3 and have no :62:
    "MT940/sandermarechal__jejik-mt940__document_K4262927_20200905-080000-952.txt": [
        (Code.BANK_FILE_BALANCE, 10),
        (Code.BANK_FILE_TRUNCATED, 1),
    ],
    "MT940/sandermarechal__jejik-mt940__document_oldenburgischelandesbank2.txt": [
        (Code.BANK_FILE_BALANCE, 10),
        (Code.BANK_FILE_TRUNCATED, 1),
    ],
    # the details of the only line are tagged :25:, as if another account followed
    "MT940/wolph__mt940__betterplace_sepa_snippet_broken.sta": [(Code.BANK_FILE_LINE, 6)],
    # cp852 without a way to say so: letters are lost, amounts are not
    "MT940/wolph__mt940__self-provided_raiffeisen-cmi.sta": [(Code.BANK_FILE_ENCODING, 7)],
    # closing balances without a currency
    "MT940/wolph__mt940__self-provided_raphaelm.sta": [
        (Code.CURRENCY_UNKNOWN, 27),
        (Code.BANK_FILE_TRUNCATED, 1),
        (Code.CURRENCY_UNKNOWN, 35),
        (Code.BANK_FILE_TRUNCATED, 28),
        (Code.CURRENCY_UNKNOWN, 47),
        (Code.BANK_FILE_TRUNCATED, 36),
    ],
}
"""What is lost of files that are read, exactly; of all others nothing."""

_HEADLESS: Final = [(Code.BANK_FILE_HEADER, 1)]
_FRAGMENT: Final = [(Code.BANK_FILE_HEADER, 1), (Code.BANK_FILE_TRUNCATED, 1)]
BROKEN: Final[dict[str, list[tuple[Code, int]]]] = {
    "betterplace_currency_in_25.sta": _FRAGMENT,
    "betterplace_missing_crlf_at_end.sta": _HEADLESS,
    "cmxl_account_identification_iban.sta": _FRAGMENT,
    "cmxl_account_identification_legacy.sta": _FRAGMENT,
    "cmxl_available_balance.sta": _FRAGMENT,
    "cmxl_closing_balance.sta": _HEADLESS,
    # a line whose currency no balance states has no exact amount
    "cmxl_statement_details.sta": [(Code.CURRENCY_UNKNOWN, 1), *_FRAGMENT],
    "cmxl_statement_line.sta": [(Code.CURRENCY_UNKNOWN, 1), *_FRAGMENT],
    "self-provided_empty_non_swift.sta": _FRAGMENT,
    # ten digits are number and page without a slash; balances of 19 digits are no balances
    "self-provided_long_statement_number.sta": [
        (Code.BANK_FILE_BALANCE, 4),
        (Code.BANK_FILE_BALANCE, 5),
        (Code.BANK_FILE_TRUNCATED, 1),
    ],
}
"""What is lost of the broken files; the one that is left out is refused as a whole."""


def _read(name: str) -> BankFile:
    return read_bank_file(REAL / name)


def _lines(entries: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """The reference's transactions: the part's value, else the entry's."""
    return [
        (
            Decimal(part["amt"])
            if part.get("amt")
            else (Decimal(entry["amt"]) if len(entry["tx"]) <= 1 else None),
            part.get("ccy") or entry["ccy"],
            _SIDES[part.get("ind") or entry["ind"]],
            part.get("dbtr"),
            part.get("dbtr_acct"),
            part.get("cdtr"),
            part.get("cdtr_acct"),
            part.get("ultdbtr"),
            part.get("e2e"),
            "\n".join(part.get("rmt") or []),
            entry["acct"],
            entry["rvs"] == "true",
        )
        for entry in entries
        for part in entry["tx"] or [{}]
    ]


def _line(one: BankTransaction) -> tuple[object, ...]:
    return (
        decimal_of(one),
        one.currency,
        one.side,
        one.debtor_name,
        one.debtor_account,
        one.creditor_name,
        one.creditor_account,
        one.ultimate_debtor_name,
        one.end_to_end_id,
        one.remittance,
        one.account,
        one.reversal,
    )


class TestCamt:
    @pytest.mark.parametrize("reference", CAMT, ids=[one["file"] for one in CAMT])
    def test_transactions_equal_the_reference(self, reference: dict[str, Any]) -> None:
        """P-21, P-23: payer, amount and reference arrive as the bank wrote them."""
        found = _read(reference["file"])
        assert found.problems == ()
        assert found.kind == reference["type"][:8]
        assert [_line(one) for one in found.transactions] == _lines(reference["entries"])
        assert sum(one.entries for one in found.statements) == reference["n_entries"]

    @pytest.mark.parametrize("reference", CAMT, ids=[one["file"] for one in CAMT])
    def test_disputed_entries_never_count(self, reference: dict[str, Any]) -> None:
        """P-23: what moved is the entry; a part that contradicts it is not credited."""
        found = _read(reference["file"])
        disputed = {(one.statement, one.entry) for one in found.transactions if not one.adds_up}
        assert len(disputed) == len(found.warnings) == DISPUTED.get(reference["file"], 0)
        assert not any(
            one.counts for one in found.transactions if (one.statement, one.entry) in disputed
        )

    def test_daily_statements_add_up_and_follow_each_other(self) -> None:
        """C-14: open + entries = close, and close = next open, on 25 consecutive days."""
        closings: dict[str, list[int]] = defaultdict(list)
        days = [one["file"] for one in CAMT if "__CAMT_053_2024-" in one["file"]]
        for name in sorted(days):
            found = _read(name)
            for statement in found.statements:
                opening, closing = statement.opening, statement.closing
                assert opening is not None
                assert closing is not None
                moved = sum(
                    (one.amount_minor or 0) * (1 if one.side is Side.CREDIT else -1)
                    for one in found.transactions
                    if one.statement == statement.index and one.counts
                )
                assert opening.signed_minor + moved == closing.signed_minor
                before = closings[statement.account or ""]
                assert before[-1:] in ([], [opening.signed_minor])
                before.append(closing.signed_minor)
        assert len(days) == 25


class TestSwift:
    @pytest.mark.parametrize("reference", SWIFT, ids=[one["file"] for one in SWIFT])
    def test_lines_equal_the_reference(self, reference: dict[str, Any]) -> None:
        found = _read(reference["file"])
        marks = {(False, "credit"): "C", (False, "debit"): "D"}
        marks |= {(True, "debit"): "RC", (True, "credit"): "RD"}
        assert [
            (
                one.value_date and one.value_date.strftime("%y%m%d"),
                marks[one.reversal, one.side],
                decimal_of(one),
            )
            for one in found.transactions
        ] == [
            (day, mark, Decimal(text.replace(",", "."))) for day, mark, text in reference["lines"]
        ]
        losses = [(one.code, one.line) for one in found.problems]
        assert losses == LOSSES.get(reference["file"], [])

    def test_reversals_keep_the_balances_continuous(self) -> None:
        """An RC takes the money away again: the bank's own balances prove the side."""
        found = _read("MT940/wolph__mt940__betterplace_sepa_mt9401.sta")
        checked = 0
        for statement in found.statements:
            lines = [one for one in found.transactions if one.statement == statement.index]
            if not any(one.reversal for one in lines):
                continue
            assert statement.opening is not None
            assert statement.closing is not None
            moved = sum(
                (one.amount_minor or 0) * (1 if one.side is Side.CREDIT else -1) for one in lines
            )
            assert statement.opening.signed_minor + moved == statement.closing.signed_minor
            checked += 1
        assert checked > 0

    @pytest.mark.parametrize("name", sorted(BROKEN))
    def test_broken_file_is_partly_read_with_the_exact_loss(self, name: str) -> None:
        found = _read(f"MT940-broken/wolph__mt940__{name}")
        assert [(one.code, one.line) for one in found.problems] == BROKEN[name]
        assert found.transactions == ()

    def test_other_broken_file_is_refused(self) -> None:
        with pytest.raises(Rejected) as error:
            _read("MT940-broken/wolph__mt940__self-provided_invalid_statement.sta")
        assert error.value.codes == (Code.BANK_FILE_KIND_UNKNOWN,)


class TestPain:
    @pytest.mark.parametrize("reference", expected("pain.002"), ids=lambda one: one["file"])
    def test_statuses_equal_the_reference(self, reference: dict[str, Any]) -> None:
        """C-12: what the bank says of each payment."""
        found = _read(reference["file"])
        levels: dict[StatusLevel, list[Any]] = defaultdict(list)
        for one in found.statuses:
            transaction = one.level is StatusLevel.TRANSACTION
            said = (one.end_to_end_id, one.instruction_id, one.status, list(one.reasons))
            levels[one.level].append(said if transaction else one.status)
        assert levels[StatusLevel.GROUP] == reference["grp"]
        assert levels[StatusLevel.PAYMENT] == reference["pmt"]
        assert levels[StatusLevel.TRANSACTION] == [
            (one["e2e"], one["instr"], one["sts"], one["rsn"]) for one in reference["tx"]
        ]
        assert found.problems == ()

    @pytest.mark.parametrize("reference", expected("pain.001"), ids=lambda one: one["file"])
    def test_payment_files_are_no_answer_of_a_bank(self, reference: dict[str, Any]) -> None:
        with pytest.raises(Rejected) as error:
            _read(reference["file"])
        assert error.value.codes == (Code.BANK_FILE_KIND_UNKNOWN,)
