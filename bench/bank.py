"""Reading a large bank statement, beside what lxml alone takes for the same file.

Two references: ``parse`` builds the whole tree, ``stream`` walks every element and keeps none,
which is the least that flat memory costs. Neither makes anything of what it reads.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

from lxml import etree

from gateways.bank.reading import read_bank_file

ROOT: Final = Path(__file__).resolve().parents[1]
TRANSACTIONS: Final = 10_000

_PEAK: Final = """
import sys
from pathlib import Path
from bench.memory import peak_mib
from gateways.bank.reading import read_bank_file
counted = sum(one.counts for one in read_bank_file(Path(sys.argv[1])).transactions)
print(counted, round(peak_mib()))
"""

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


def measure_bank(transactions: int, *, rounds: int = 5) -> dict[str, float]:
    """Ratios of processor seconds, medians of interleaved rounds.

    One transaction in each entry, which is the slower case, and batches of 100.
    """
    with tempfile.TemporaryDirectory() as folder:
        single = large_statement(Path(folder) / "big.xml", transactions=transactions, batch=1)
        batched = large_statement(Path(folder) / "lot.xml", transactions=transactions, batch=100)
        runs = [(_cost(lambda: read_bank_file(single)), _cost(lambda: etree.parse(str(single))),
                 _cost(lambda: _stream(single)), _cost(lambda: read_bank_file(batched)),
                 _cost(lambda: etree.parse(str(batched)))) for _ in range(rounds)]  # fmt: skip
        _, peak = peak_of(single)
    return {
        "bank_read_over_parse": round(median(run[0] / run[1] for run in runs), 2),
        "bank_batches_over_parse": round(median(run[3] / run[4] for run in runs), 2),
        "bank_read_over_stream": round(median(run[0] / run[2] for run in runs), 2),
        "bank_read_per_s": round(transactions / median(run[0] for run in runs), 1),
        "bank_read_peak_mib": peak,
    }


def peak_of(path: Path) -> tuple[int, int]:
    """Transactions that count in the file, and the MiB of a fresh process that reads it."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _PEAK, str(path)], cwd=ROOT, capture_output=True, check=True
    )
    counted, mib = map(int, done.stdout.split())
    return counted, mib


def _stream(path: Path) -> None:
    for _, element in etree.iterparse(str(path)):
        element.clear()


def _cost(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
