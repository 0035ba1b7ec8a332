"""Whatever the bytes, only our typed errors leave the readers, and no amount is made up."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateways.bank import reading
from gateways.bank.iso20022 import document, runs
from gateways.bank.reading import read_bank_bytes
from tests.gateways.bank.generated import Made, camt_files, mt940_files
from tests.gateways.bank.support import FILES, REAL, alone, needs_real_files, own
from tillkeeper.contracts.bank import BankFile
from tillkeeper.contracts.errors import Code, Rejected

SEEDS = [own(name) for name in ("statement.camt053.xml", "status.pain002.xml", "statements.mt940")]
OTHERS = [path.read_bytes() for path in sorted((FILES / "others").iterdir())]
REAL_FILES = [
    path.read_bytes()
    for path in sorted(REAL.glob("*/*"))
    if path.is_file() and path.stat().st_size < 50_000
]
HEAD_ONLY = {Code.BANK_FILE_KIND_UNKNOWN, Code.BANK_FILE_DOCTYPE, Code.BANK_FILE_ENCODING}
"""What the first bytes decide: fewer of them may decide otherwise."""
_ELEMENT = re.compile(rb"<(\w+)[^<>]*>[^<>]*</\1>")
_LINE = re.compile(rb"[^\n]*\n")
_PIECES = [
    b"<", b">", b"&amp;", b"&x;", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<!DOCTYPE a>", b"\0",
    b"\xff\xfe", b"-1", b"1e9", b"0.001", b"99999999999999999999", b":61:", b":86:", b":20:", b"\n",
    b"{4:", b"-}", "٣".encode(), b"2024-13-45", b"9999-12-31T24:00:00+99:99", b'Ccy=""', b"<Ntry/>",
    b"<TxDtls/>", b"<TxDtls><TxDtls/>", b"</Ntry>", b"<Amt>", b"?20", b"EREF+",
]  # fmt: skip

_NAMES = [
    "Stmt", "Ntry", "TxDtls", "NtryDtls", "Amt", "CdtDbtInd", "Sts", "Cd", "Bal", "Acct", "Id",
    "Dbtr", "Pty", "Nm", "RltdPties", "RmtInf", "Ustrd", "GrpHdr", "BookgDt", "Dt", "DtTm", "Othr",
]  # fmt: skip

Change = Callable[[bytes, random.Random], bytes]


def _tolerated(body: bytes) -> BankFile | None:
    found, refused = _read(body)
    assert (found, refused) == _read(body, alone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "HEAD_BYTES", 1024)
        patch.setattr(document, "CHUNK_BYTES", 64)
        patch.setattr(runs, "TEMPLATE_AFTER", 1)
        again, refused_again = _read(body)
    if not HEAD_ONLY & {refused, refused_again}:
        assert again == found
    return found


def _read(
    body: bytes, by: Callable[[bytes], BankFile] = read_bank_bytes
) -> tuple[BankFile | None, Code | None]:
    try:
        return by(body), None
    except Rejected as error:
        return None, error.codes[0]


def _cut(body: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(body) + 1)
    return body[:start] + body[start + dice.randrange(200) :]


def _insert(body: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(body) + 1)
    return body[:at] + dice.choice(_PIECES) + body[at:]


def _flip(body: bytes, dice: random.Random) -> bytes:
    if not body:
        return body
    at = dice.randrange(len(body))
    return body[:at] + bytes([dice.randrange(256)]) + body[at + 1 :]


def _pieces(body: bytes) -> list[tuple[int, int]]:
    pattern = _ELEMENT if body.startswith(b"<") else _LINE
    return [found.span() for found in pattern.finditer(body)]


def _move(body: bytes, dice: random.Random) -> bytes:
    """Take an element or a line and put it in the place of another, doubled, or nowhere."""
    spans = _pieces(body)
    if not spans:
        return body
    (a, b), (c, d) = dice.choice(spans), dice.choice(spans)
    return body[:c] + body[a:b] * dice.randrange(3) + body[d:]


def _value(body: bytes, dice: random.Random) -> bytes:
    spans = [found.span(1) for found in re.finditer(rb">([^<>]+)<", body)]
    if not spans:
        return body
    start, end = dice.choice(spans)
    return body[:start] + dice.choice(_PIECES) + body[end:]


def _check_changed(body: bytes, dice: random.Random, times: int) -> None:
    for _ in range(times):
        body = dice.choice(_CHANGES)(body, dice)
    found = _tolerated(body)
    for one in found.transactions if found else ():
        assert one.amount_minor is None or one.amount_minor >= 0
        assert one.booked or not one.counts
    if found is not None:
        assert BankFile.model_validate_json(found.model_dump_json()) == found


_CHANGES: list[Change] = [_cut, _insert, _flip, _move, _move, _value, _value]


class TestReaders:
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        seed=st.sampled_from(SEEDS + OTHERS),
        dice=st.randoms(use_true_random=False),
        times=st.integers(1, 6),
    )
    def test_changed_files_raise_only_our_errors(
        self, seed: bytes, dice: random.Random, times: int
    ) -> None:
        _check_changed(seed, dice, times)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        made=st.one_of(camt_files(), mt940_files()),
        dice=st.randoms(use_true_random=False),
        times=st.integers(1, 6),
    )
    def test_changed_files_of_every_form_raise_only_our_errors(
        self, made: Made, dice: random.Random, times: int
    ) -> None:
        _check_changed(made.body, dice, times)

    @needs_real_files
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0), dice=st.randoms(use_true_random=False), times=st.integers(1, 6))
    def test_changed_real_files_raise_only_our_errors(
        self, seed: int, dice: random.Random, times: int
    ) -> None:
        _check_changed(REAL_FILES[seed % len(REAL_FILES)], dice, times)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=2_000))
    def test_any_bytes_raise_only_our_errors(self, body: bytes) -> None:
        _tolerated(body)
        _tolerated(b"<Document><BkToCstmrStmt>" + body)
        _tolerated(b":20:X\n:60F:C240101EUR1,\n:61:" + body)

    @settings(max_examples=200, deadline=None)
    @given(
        st.recursive(
            st.sampled_from(["x", "1.00", "CRDT", "BOOK", "2024-05-06", ""]),
            lambda inner: st.lists(
                st.tuples(
                    st.sampled_from(_NAMES),
                    inner,
                ),
                max_size=6,
            ).map(lambda items: "".join(f"<{n} Ccy='EUR'>{v}</{n}>" for n, v in items)),
            max_leaves=30,
        )
    )
    def test_any_tree_of_known_names_raises_only_our_errors(self, tree: str) -> None:
        _tolerated(f"<Document><BkToCstmrStmt>{tree}</BkToCstmrStmt></Document>".encode())

    @pytest.mark.parametrize("seed", SEEDS, ids=["camt", "pain", "mt940"])
    def test_every_length_of_a_file_raises_only_our_errors(self, seed: bytes) -> None:
        for length in range(0, len(seed), 7):
            _tolerated(seed[:length])
