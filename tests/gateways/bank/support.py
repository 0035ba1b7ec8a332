"""Small files of our own, the real ones beside the repository, and a camt.053 of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from gateways.bank.amounts import decimals
from gateways.bank.reading import read_bank_bytes
from tillkeeper.contracts.bank import BankFile, BankTransaction
from tillkeeper.contracts.errors import Code, Rejected

FILES: Final = Path(__file__).parent / "files"
REAL: Final = Path(__file__).resolve().parents[4] / "shared" / "data" / "bank"

needs_real_files = pytest.mark.skipif(
    not (REAL / "expected.jsonl").is_file(),
    reason="real bank files are not beside this checkout (../shared/data/bank): see its README",
)


def own(name: str) -> bytes:
    """One of our own small files."""
    return (FILES / name).read_bytes()


def read(body: bytes | str) -> BankFile:
    """What the readers make of a body."""
    return read_bank_bytes(body.encode() if isinstance(body, str) else body)


def refused(body: bytes | str) -> Code:
    """The code with which a body is refused as a whole."""
    with pytest.raises(Rejected) as error:
        read(body)
    [code] = error.value.codes
    return code


def expected(*kinds: str) -> list[dict[str, Any]]:
    """Lines of ``expected.jsonl`` whose type begins with one of ``kinds``; none without them."""
    if not (REAL / "expected.jsonl").is_file():
        return []
    lines = (REAL / "expected.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["type"].startswith(kinds)]


def decimal_of(transaction: BankTransaction) -> Decimal | None:
    """The amount as a decimal, to compare with a file's text."""
    if transaction.amount_minor is None:
        return None
    return Decimal(transaction.amount_minor).scaleb(-decimals(transaction.currency))


_TX: Final = (
    "<TxDtls><Refs><MsgId>M{i}</MsgId><AcctSvcrRef>SVC{i}</AcctSvcrRef><InstrId>I{i}</InstrId>"
    "<EndToEndId>E2E{i}</EndToEndId><TxId>TX{i}</TxId></Refs><Amt Ccy='CNY'>{a}.{c:02d}</Amt>"
    "<CdtDbtInd>CRDT</CdtDbtInd><BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd>"
    "<SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd><RltdPties><Dbtr><Pty>"
    "<Nm>甲乙贸易有限公司{i}</Nm><PstlAdr><Ctry>CN</Ctry><AdrLine>Road {i}</AdrLine></PstlAdr>"
    "</Pty></Dbtr><DbtrAcct><Id><Othr><Id>62250000{i:08d}</Id></Othr></Id></DbtrAcct><Cdtr><Pty>"
    "<Nm>平台公司</Nm></Pty></Cdtr><CdtrAcct><Id><Othr><Id>1100001</Id></Othr></Id></CdtrAcct>"
    "</RltdPties><RltdAgts><DbtrAgt><FinInstnId><BICFI>ICBKCNBJ</BICFI></FinInstnId></DbtrAgt>"
    "</RltdAgts><RmtInf><Ustrd>充值 {i}</Ustrd></RmtInf></TxDtls>"
)


def _pieces(transactions: int, *, batch: int) -> Iterator[str]:
    yield '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt>'
    yield "<Id>S</Id><Acct><Id><Othr><Id>1100001</Id></Othr></Id><Ccy>CNY</Ccy></Acct>"
    for start in range(0, transactions, batch):
        rows = [(i, i % 9000 + 1, i % 100) for i in range(start, min(start + batch, transactions))]
        total = sum(a * 100 + c for _, a, c in rows)
        yield f"<Ntry><Amt Ccy='CNY'>{total // 100}.{total % 100:02d}</Amt>"
        yield "<CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2024-05-06</Dt>"
        yield f"</BookgDt><ValDt><Dt>2024-05-06</Dt></ValDt><AcctSvcrRef>E{start}</AcctSvcrRef>"
        yield "<NtryDtls>"
        yield from (_TX.format(i=i, a=a, c=c) for i, a, c in rows)
        yield "</NtryDtls></Ntry>\n"
    yield "</Stmt></BkToCstmrStmt></Document>"


def large_statement(path: Path, *, transactions: int, batch: int) -> Path:
    """Write a camt.053 of so many transactions, ``batch`` of them in each entry."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_pieces(transactions, batch=batch))
    return path
