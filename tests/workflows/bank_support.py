"""Banks' files for lifecycles: the bytes of a camt.053, and ways to have them imported."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from xml.sax.saxutils import escape

from ledger.bank.files import Arrival, receive_file
from ledger.engine import in_transaction
from tests.workflows.support import LEGAL_NAME, OUR_NUMBER, Platform
from tillkeeper.contracts.bank_file import BankFileView
from tillkeeper.contracts.money import format_amount

DAY: Final = date(2024, 5, 6)


@dataclass(frozen=True)
class Moved:
    """One entry: signed minor units, positive where the account gained."""

    signed: int
    reference: str
    payer: str = LEGAL_NAME
    status: str = "BOOK"
    end_to_end_id: str = "NOTPROVIDED"


def camt053(
    moved: Sequence[Moved],
    *,
    opening: int = 0,
    day: date = DAY,
    account: str = OUR_NUMBER,
    currency: str = "CNY",
) -> bytes:
    """A statement of one day whose balances add up; no two calls make the same bytes."""
    message = uuid.uuid4().hex
    closing = opening + sum(one.signed for one in moved if one.status == "BOOK")
    entries = "".join(_entry(one, day, currency) for one in moved)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>{message}</MsgId><CreDtTm>{day}T20:00:00+08:00</CreDtTm></GrpHdr>"
        f"<Stmt><Id>S{day}</Id><CreDtTm>{day}T20:00:00+08:00</CreDtTm>"
        f"<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>{currency}</Ccy></Acct>"
        f"{_balance('OPBD', opening, day, currency)}{_balance('CLBD', closing, day, currency)}"
        f"{entries}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def _balance(kind: str, signed: int, day: date, currency: str) -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>{_amount(signed, currency)}"
        f"<Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def _amount(signed: int, currency: str) -> str:
    side = "CRDT" if signed >= 0 else "DBIT"
    text = format_amount(abs(signed), currency)
    return f'<Amt Ccy="{currency}">{text}</Amt><CdtDbtInd>{side}</CdtDbtInd>'


def _entry(one: Moved, day: date, currency: str) -> str:
    party = "Dbtr" if one.signed >= 0 else "Cdtr"
    return (
        f"<Ntry>{_amount(one.signed, currency)}<Sts><Cd>{one.status}</Cd></Sts>"
        f"<BookgDt><Dt>{day}</Dt></BookgDt><ValDt><Dt>{day}</Dt></ValDt>"
        f"<AcctSvcrRef>{escape(one.reference)}</AcctSvcrRef><NtryDtls><TxDtls>"
        f"<Refs><EndToEndId>{escape(one.end_to_end_id)}</EndToEndId></Refs>"
        f"<RltdPties><{party}><Pty><Nm>{escape(one.payer)}</Nm></Pty></{party}></RltdPties>"
        "</TxDtls></NtryDtls></Ntry>"
    )


def digest(body: bytes) -> str:
    """The name of a file for ever."""
    return hashlib.sha256(body).hexdigest()


async def keep(platform: Platform, body: bytes, *, encoding: str | None = None) -> str:
    """Store a file's bytes as an import does."""
    arrival = Arrival("file.xml", "import", encoding, datetime.now(UTC))
    return await in_transaction(
        platform.engine, lambda c: receive_file(c, platform.house.ring, body, arrival)
    )


async def imported(platform: Platform, body: bytes) -> BankFileView:
    """Store a file and have it worked off."""
    return await platform.till.import_bank_file(await keep(platform, body))


async def standing(platform: Platform) -> dict[str, list[tuple[object, ...]]]:
    """What the bank edge came to: entries, statements, balances; without ids and clock times."""
    told = {
        "entries": """
SELECT a.number, e.side, e.amount, e.day, e.reference_digest, e.reversal, e.parts,
       e.booked_as IS NULL
  FROM bank_entries e JOIN bank_accounts a ON a.id = e.account ORDER BY 1, 2, 3, 4, 5""",
        "statements": """
SELECT a.number, s.opening, s.closing, s.closing_on, s.entries, s.total
  FROM bank_statements s JOIN bank_accounts a ON a.id = s.account ORDER BY 1, 4, 2""",
        "balances": """
SELECT bucket, currency, sum(balance), sum(seq) FROM accounts
 GROUP BY 1, 2 HAVING sum(seq) > 0 ORDER BY 1, 2""",
        "receipts": """
SELECT amount, currency, state, count(*) FROM receipts GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    }
    return {name: [tuple(row) for row in await platform.rows(sql)] for name, sql in told.items()}
