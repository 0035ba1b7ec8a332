"""The simulator as a process of its own, and what its files say by our own readers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from lxml import etree

from gateways.bank.reading import read_bank_file
from tillkeeper.contracts.bank import BankFile, BankTransaction

ROOT: Final = Path(__file__).resolve().parents[4]
SCHEMAS: Final = ROOT.parent / "shared" / "data" / "schemas"
OURS: Final = "110060149012"
OWNER: Final = "白条结算平台"
OTHER: Final = "6225880212341234"
NAME: Final = "甲乙贸易有限公司"
START: Final = "2026-03-02T09:00:00+08:00"
WITHIN_S: Final = 30


class Simulator:
    """One bank on one folder; it may be killed and started again."""

    def __init__(self, folder: Path, exchange: Path | None = None) -> None:
        self.folder = folder
        self.inbox, self.outbox = folder / "to-bank", folder / "from-bank"
        if exchange is not None:
            self.inbox, self.outbox = exchange / "outbox", exchange / "inbox"
        self.process: subprocess.Popen[str] | None = None
        self.http = httpx.Client()

    def start(self, *more: str) -> None:
        """Start it and wait until its door is open."""
        self.process = subprocess.Popen(
            [*self.line(), *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, self.process.communicate()
        self.http = httpx.Client(base_url=json.loads(said)["bank"], timeout=WITHIN_S)

    def line(self, *, opening: str = "10000.00") -> list[str]:
        """The command that starts it, with 10,000.00 CNY and any other currency at nothing."""
        places = [*("--book", str(self.folder / "book"), "--inbox", str(self.inbox))]
        places += ["--outbox", str(self.outbox), "--port", "0", "--clock", START]
        accounts = [f"{OURS}/CNY/{opening}/{OWNER}", f"{OURS}/*//{OWNER}"]
        flags = [part for account in accounts for part in ("--account", account)]
        return [sys.executable, "-m", "gateways.bank.simulator", *places, *flags]

    def kill(self) -> None:
        """Kill it with -9."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.http.close()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        self.process.terminate()
        _, said = self.process.communicate(timeout=WITHIN_S)
        self.http.close()
        assert said == ""
        return self.process.returncode

    def pay(self, end_to_end_id: str, minor: int = 100, **more: Any) -> httpx.Response:
        """Submit a payment; the idempotency key is ``key``, or none."""
        headers = {"Idempotency-Key": more.pop("key")} if "key" in more else {}
        return self.http.post("/payments", json=order(end_to_end_id, minor) | more, headers=headers)

    def post(self, path: str, **body: Any) -> Any:
        """Pull a lever that must work; what it answers."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def plan(self, *rules: dict[str, Any], **more: Any) -> None:
        """Replace all faults."""
        answer = self.http.put("/faults", json={"rules": list(rules)} | more)
        assert answer.status_code == 200, answer.text

    def movements(self) -> list[dict[str, Any]]:
        """Every movement of its book."""
        lines = self.http.get("/movements").text.splitlines()
        return [json.loads(line) for line in lines]

    def printed(self) -> list[dict[str, Any]]:
        """Every movement, printed while no bank runs."""
        done = subprocess.run(
            [*self.line(), "--movements"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def balance(self, currency: str = "CNY") -> int:
        """Balance of our account in minor units."""
        accounts = self.http.get("/accounts").json()
        return int(next(a["balance_minor"] for a in accounts if a["currency"] == currency))

    def files(self, kind: str = "") -> list[Path]:
        """Files it gave out, oldest first."""
        return sorted(
            (path for path in self.outbox.glob(f"{kind}*.xml")),
            key=lambda path: path.stem.rpartition("-")[2],
        )

    def send(self, name: str, body: bytes) -> None:
        """Put a payment file into its inbox, whole."""
        (self.inbox / f".{name}").write_bytes(body)
        (self.inbox / f".{name}").rename(self.inbox / name)

    def wait_for(self, kind: str, count: int) -> list[BankFile]:
        """Read the files of a kind as soon as there are ``count``."""
        deadline = time.monotonic() + WITHIN_S
        while len(self.files(kind)) < count:
            assert time.monotonic() < deadline, (kind, count, self.files())
            time.sleep(0.02)
        return [read_bank_file(path) for path in self.files(kind)]


@contextmanager
def running(folder: Path, exchange: Path | None = None) -> Iterator[Simulator]:
    """A bank that is gone afterwards, whatever happened; ``exchange`` is the folder it shares."""
    made = Simulator(folder, exchange)
    made.start()
    try:
        yield made
    finally:
        made.http.close()
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.communicate()


def order(end_to_end_id: str, minor: int = 100) -> dict[str, Any]:
    """A payment from our account to a company elsewhere."""
    return {
        "account": OURS, "end_to_end_id": end_to_end_id, "amount_minor": minor,
        "currency": "CNY", "creditor_name": NAME, "creditor_account": OTHER,
        "remittance": "退款 R1",
    }  # fmt: skip


def wire(key: str, minor: int = 300_000, **changes: Any) -> dict[str, Any]:
    """An incoming wire of a company."""
    return {
        "key": key, "account": OURS, "currency": "CNY", "amount_minor": minor,
        "payer_name": NAME, "payer_account": OTHER, "remittance": "TK-1",
    } | changes  # fmt: skip


def payment_file(
    message: str, payments: Sequence[tuple[str, str]], *, control: str | None = None
) -> bytes:
    """A pain.001.001.09 of (end-to-end id, amount); ``control`` lies about the sum."""
    total = control or f"{sum(int(text.replace('.', '')) for _, text in payments):03d}"
    total = control or f"{total[:-2]}.{total[-2:]}"
    count = f"<NbOfTxs>{len(payments)}</NbOfTxs><CtrlSum>{total}</CtrlSum>"
    lines = "".join(
        f"<CdtTrfTxInf><PmtId><InstrId>I-{name}</InstrId><EndToEndId>{name}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="CNY">{amount}</InstdAmt></Amt><Cdtr><Nm>{NAME}</Nm></Cdtr>'
        f"<CdtrAcct><Id><Othr><Id>{OTHER}</Id></Othr></Id></CdtrAcct>"
        f"<RmtInf><Ustrd>退款</Ustrd></RmtInf></CdtTrfTxInf>"
        for name, amount in payments
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"><CstmrCdtTrfInitn>'
        f"<GrpHdr><MsgId>{message}</MsgId><CreDtTm>2026-03-02T09:00:00</CreDtTm>{count}"
        f"<InitgPty><Nm>{OWNER}</Nm></InitgPty></GrpHdr>"
        f"<PmtInf><PmtInfId>{message}-1</PmtInfId><PmtMtd>TRF</PmtMtd>"
        f"<ReqdExctnDt><Dt>2026-03-02</Dt></ReqdExctnDt><Dbtr><Nm>{OWNER}</Nm></Dbtr>"
        f"<DbtrAcct><Id><Othr><Id>{OURS}</Id></Othr></Id></DbtrAcct>"
        f"<DbtrAgt><FinInstnId><BICFI>CMBCCNBSXXX</BICFI></FinInstnId></DbtrAgt>{lines}</PmtInf>"
        "</CstmrCdtTrfInitn></Document>"
    ).encode()


def valid(path: Path) -> bool:
    """Whether a file is valid by the official schema of its message."""
    tree = etree.parse(str(path))
    name = str(etree.QName(tree.getroot()).namespace).rpartition(":")[2]
    schema = etree.XMLSchema(etree.parse(str(SCHEMAS / f"{name}.xsd")))
    return bool(schema.validate(tree))


def listed(movement: dict[str, Any]) -> tuple[Any, ...]:
    """What a movement and a transaction of a file have in common, from the bank's list."""
    return (
        movement["bank_reference"], movement["amount_minor"], movement["currency"],
        movement["side"], movement["end_to_end_id"] or "NOTPROVIDED", movement["day"],
        movement["counterparty_name"] or None, movement["counterparty_account"] or None,
        movement["remittance"], movement["reversal"], movement["reason"],
    )  # fmt: skip


def told(one: BankTransaction) -> tuple[Any, ...]:
    """The same, from a file."""
    gained = (one.side == "credit") != one.reversal
    name = one.debtor_name if gained else one.creditor_name
    account = one.debtor_account if gained else one.creditor_account
    return (
        one.bank_reference, one.amount_minor, one.currency, str(one.side), one.end_to_end_id,
        str(one.booking_date), name, account, one.remittance, one.reversal, one.return_reason,
    )  # fmt: skip
