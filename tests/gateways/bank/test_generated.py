"""Well-formed files of every form are read back exactly; templates read what plans read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from gateways.bank import reading
from gateways.bank.iso20022 import document, runs
from gateways.bank.reading import read_bank_bytes
from tests.gateways.bank.generated import Made, camt_files, mt940_files
from tests.gateways.bank.support import alone
from tillkeeper.contracts.bank import BankFile, BankTransaction

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
NEVER = 10**9
HEAD_BYTES = 1024  # in which the kind of message must be seen


def _said(found: BankFile, made: Made) -> list[dict[str, Any]]:
    return [
        {name: getattr(one, name) for name in said}
        for one, said in zip(found.transactions, made.said, strict=True)
    ]


class TestCamt:
    @settings(max_examples=150, deadline=None, suppress_health_check=QUIET)
    @given(made=camt_files())
    def test_what_is_written_is_read(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        """P-21, P-23: by plans, by templates, and in pieces of any size, all alike."""
        read = {}
        for after, piece in [(NEVER, 1 << 18), (1, 1 << 18), (2, 64)]:
            monkeypatch.setattr(runs, "TEMPLATE_AFTER", after)
            monkeypatch.setattr(document, "CHUNK_BYTES", piece)
            monkeypatch.setattr(reading, "HEAD_BYTES", max(piece, HEAD_BYTES))
            read[after] = found = read_bank_bytes(made.body)
            assert found.problems == ()
            assert _said(found, made) == made.said
        assert read[1] == read[NEVER] == read[2] == alone(made.body)

    @settings(max_examples=50, deadline=None, suppress_health_check=QUIET)
    @given(made=camt_files())
    def test_what_is_not_validated_is_valid(self, made: Made) -> None:
        for one in read_bank_bytes(made.body).transactions:
            assert BankTransaction.model_validate(one.model_dump()) == one
            copied = one.model_copy(update={"part": 7})
            assert copied.part == 7
            assert copied.model_fields_set == one.model_fields_set


class TestMt940:
    @settings(max_examples=150, deadline=None, suppress_health_check=QUIET)
    @given(made=mt940_files())
    def test_what_is_written_is_read(self, made: Made) -> None:
        found = read_bank_bytes(made.body)
        assert found.problems == ()
        assert _said(found, made) == made.said
