"""MT940 and MT942, field by field: a line that cannot be read is told and costs itself alone.

The ``mt-940`` library reads the fields; this module cuts the file so that no field of one
statement can spoil another. Dates and amounts are taken as written, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateways.bank.findings import Findings
from gateways.bank.mt940_details import Details, read_details
from gateways.bank.mt940_fields import (
    BALANCE_TAGS,
    Line,
    account_of,
    read_balance,
    read_field,
    read_line,
)
from tillkeeper.contracts.bank import (
    BankFile,
    BankStatement,
    BankTransaction,
    BookingStatus,
    FileKind,
    Side,
    StatementBalance,
)
from tillkeeper.contracts.errors import Code, Rejected

STATEMENTS_MAX: Final = 20_000
FIELD_CHARS_MAX: Final = 16 * 1024

_TAG: Final = re.compile(r"^:(13|20|21|25|28|34|60|61|62|64|65|86|90|NS)([A-Z])?:", re.ASCII)
_END: Final = re.compile(r"^(?:-(?:\}.*|X{3})?\x03?|\x03)\s*$")
_HEADER: Final = re.compile(r"\{1:|\{2:")
_CONTROL: Final = re.compile(r"[\x00\x02\x04-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""All but tabs, line ends, and the marks that SWIFT begins and ends a message with."""
_INTERIM_TAGS: Final = ("13", "34", "90")
_SNIFF: Final = re.compile(r"^[ \t\x01]*(?:.*\{4:)?:(?:\d\d|NS)[A-Z]?:", re.ASCII | re.MULTILINE)


_BANK_FIELDS: Final = ("debtor_bic", "debtor_clearing_id")
_ReadLine = tuple[Line, list[Details], int]


@dataclass(slots=True)
class _Field:
    """One tag with its text; ``line`` is 1-based."""

    tag: str
    text: str
    line: int


@dataclass(slots=True)
class _Statement:
    """What one statement has said so far."""

    line: int
    account: str | None = None
    number: str | None = None
    reference: str | None = None
    currency: str | None = None
    balances: list[StatementBalance] = field(default_factory=list)
    lines: list[_ReadLine] = field(default_factory=list)
    open_line: bool = False
    detailed: bool = False
    lost: bool = False
    contradicted: bool = False
    interim_tags: bool = False
    body: bool = False

    @property
    def interim(self) -> bool:
        """Whether this is an MT942: limits and sums, but neither opening nor closing balance."""
        return self.interim_tags and not any(
            balance.kind.startswith(("60", "62")) for balance in self.balances
        )


def looks_like_mt940(text: str) -> bool:
    """Whether any line begins with a SWIFT tag."""
    return _SNIFF.search(text) is not None


class Mt940Reader:
    """Reads one decoded file; ``read`` may be called once."""

    def __init__(self, text: str, *, digest: str, findings: Findings) -> None:
        self._text = _legible(text, findings)
        self._digest = digest
        self._findings = findings
        self._interims = 0
        self._statements: list[BankStatement] = []
        self._transactions: list[BankTransaction] = []

    def read(self) -> BankFile:
        """All that the file says; what is lost is in the problems.

        Raises Rejected(BANK_FILE_TOO_LARGE | BANK_FILE_MALFORMED) beyond all measure only.
        """
        for fields in _statements(_fields(self._text)):
            if len(self._statements) >= STATEMENTS_MAX:
                raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 20,000 statements")
            self._read_statement(fields)
        return BankFile(
            kind=FileKind.MT942 if 0 < self._interims == len(self._statements) else FileKind.MT940,
            digest=self._digest,
            message_id=self._statements[0].identifier if self._statements else None,
            statements=tuple(self._statements),
            transactions=tuple(self._transactions),
            problems=tuple(self._findings.problems),
            warnings=tuple(self._findings.warnings),
        )

    def _lose(self, code: Code, one: _Field, detail: str) -> None:
        where = f"statement {len(self._statements) + 1}, field {one.tag}"
        self._findings.lose(code, where, detail=detail, line=one.line)

    def _read_statement(self, fields: Sequence[_Field]) -> None:
        statement = _Statement(line=fields[0].line)
        for one in fields:
            if len(one.text) > FIELD_CHARS_MAX:
                self._lose(Code.BANK_FILE_LINE, one, "too long a field")
                continue
            try:
                self._take(statement, one)
            except Rejected as error:
                where = f"statement {len(self._statements) + 1}, field {one.tag}"
                self._findings.lose_for(error, where, lost="a field", line=one.line)
                statement.lost = True
        self._close(statement, fields[0])

    def _take(self, statement: _Statement, one: _Field) -> None:
        """Take one field. Raises Rejected when it cannot be read."""
        if one.tag == "61":
            statement.open_line, statement.body = False, True
            statement.lines.append((read_line(one.text), [], one.line))
            statement.open_line, statement.detailed = True, False
        elif one.tag in ("86", "NS"):
            if statement.open_line:
                self._take_details(statement, one)
        elif one.tag.startswith(BALANCE_TAGS):
            statement.open_line, statement.body = False, True
            balance = read_balance(one.text, tag=one.tag)
            statement.currency = statement.currency or balance.currency
            statement.balances.append(balance)
        elif one.tag in ("20", "21", "25", "28", "28C"):
            self._take_header(statement, one)
        elif one.tag.startswith(_INTERIM_TAGS):
            statement.open_line, statement.interim_tags = False, True
            if one.tag.startswith("34"):
                statement.currency = statement.currency or one.text[:3]

    def _take_details(self, statement: _Statement, one: _Field) -> None:
        """Details of the last line; only its first ``:86:`` names, for a text may hold another."""
        line, details, _ = statement.lines[-1]
        again = one.tag == "86" and statement.detailed
        statement.detailed |= one.tag == "86"
        paid_in = line.side is Side.CREDIT
        found = read_details(one.text, tag=one.tag, paid_in=paid_in)
        details.append(Details(remittance=one.text) if again else found)

    def _take_header(self, statement: _Statement, one: _Field) -> None:
        """A header field inside the body would change whose statement this is: it is refused."""
        if statement.body:
            statement.open_line = False
            raise Rejected(Code.BANK_FILE_LINE, detail="not expected here")
        said = read_field(one.text, tag=one.tag)
        if one.tag == "20":
            statement.reference = said.get("transaction_reference")
        elif one.tag == "25":
            # whole: the library cuts it at 35 characters, and a part of a number is another's
            statement.account = one.text.partition("\n")[0].strip() or None
        elif one.tag.startswith("28"):
            number, page = said.get("statement_number"), said.get("sequence_number")
            statement.number = f"{number}/{page}" if page else number

    def _close(self, statement: _Statement, first: _Field) -> None:
        statement.account = _without_currency(statement.account, statement.currency)
        statement.contradicted = _contradicted(statement)
        index = len(self._statements) + 1
        for number, one in enumerate(statement.lines, start=1):
            try:
                self._transactions.append(
                    self._transaction(statement, one, index=index, entry=number)
                )
            except Rejected as error:
                where = f"statement {index}, entry {number}"
                self._findings.lose_for(error, where, lost="a transaction", line=one[2])
        if statement.reference is None or statement.account is None:
            detail = "no :20: or no :25: that can be read: whose statement this is, is lost"
            self._findings.lose(
                Code.BANK_FILE_HEADER, f"statement {index}", detail=detail, line=first.line
            )
        closing = any(balance.kind.startswith("62") for balance in statement.balances)
        self._interims += statement.interim
        if not statement.interim and not closing:
            detail = "no closing balance that can be read: the statement may be cut off"
            self._findings.lose(
                Code.BANK_FILE_TRUNCATED, f"statement {index}", detail=detail, line=first.line
            )
        self._statements.append(
            BankStatement(
                index=index,
                identifier=statement.reference,
                account=statement.account,
                currency=statement.currency,
                number=statement.number,
                entries=len(statement.lines),
                balances=tuple(statement.balances),
            )
        )

    def _transaction(
        self, statement: _Statement, read: _ReadLine, *, index: int, entry: int
    ) -> BankTransaction:
        """One ``:61:`` with its details. Raises Rejected when the amount is not exact."""
        line, details, at = read
        amount = line.minor(statement.currency)
        booked = not statement.interim and not line.expected
        fields: dict[str, Any] = {"debtor_account": account_of(line.supplement)}
        for one in details:
            fields.update({name: text for name, text in one.fields.items() if text})
        if line.side is Side.DEBIT:
            fields = _as_debit(fields)
        texts = [one.remittance for one in details if one.remittance]
        if statement.contradicted and (name := fields.pop("debtor_name", None)):
            texts.append(name)
        remittance = "\n".join(texts)
        return BankTransaction(
            statement=index,
            entry=entry,
            account=statement.account,
            amount_minor=amount,
            currency=statement.currency or "",
            side=line.side,
            status=BookingStatus.BOOKED if booked else BookingStatus.PENDING,
            reversal=line.reversal,
            entry_amount_minor=amount,
            entry_currency=statement.currency or "",
            entry_side=line.side,
            adds_up=True,
            booking_date=line.booking_date,
            value_date=line.value_date,
            bank_reference=line.bank_reference,
            entry_reference=line.customer_reference,
            remittance=remittance or line.supplement,
            information=line.supplement,
            line=at,
            **fields,
        )


def _contradicted(statement: _Statement) -> bool:
    """Whether its balances say that not all of its lines are the bank's: a text may hold some.

    Then no line of it names a payer. A line that was lost explains the difference.
    """
    opening = [one for one in statement.balances if one.kind.startswith("60")]
    closing = [one for one in statement.balances if one.kind.startswith("62")]
    if len(opening) != 1 or len(closing) != 1:
        return len(opening) > 1 or len(closing) > 1
    try:
        moved = sum(line.signed_minor(statement.currency) for line, *_ in statement.lines)
    except Rejected:
        return False
    return opening[0].signed_minor + moved != closing[0].signed_minor and not statement.lost


def _without_currency(account: str | None, currency: str | None) -> str | None:
    """Some banks write the account's currency behind its number."""
    if account is None or currency is None or not account.endswith(currency):
        return account
    number = account[: -len(currency)]
    return number.rstrip(" /") if number[-1:].isdigit() or number.endswith((" ", "/")) else account


def _as_debit(fields: dict[str, Any]) -> dict[str, Any]:
    """The other party of a debit is who was paid; its bank is nobody's who could be paid back."""
    swapped = {"debtor_name": "creditor_name", "debtor_account": "creditor_account"}
    return {
        swapped.get(name, name): value for name, value in fields.items() if name not in _BANK_FIELDS
    }


def _legible(text: str, findings: Findings) -> str:
    """The text without control characters, which no book can keep: their loss is told."""
    text = text.rstrip("\x1a\0")
    found = _CONTROL.search(text)
    if found is None:
        return text
    line = text.count("\n", 0, found.start()) + 1
    detail = "control characters: replaced, and what they stood in may not be readable"
    findings.lose(Code.BANK_FILE_ENCODING, "file", detail=detail, line=line)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _fields(text: str) -> Iterator[_Field]:
    """The file's fields; what stands between messages (headers, ends) belongs to none."""
    current: _Field | None = None
    pieces: list[str] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip("\r\x01")
        if _HEADER.match(line) and "{4:" in line:
            line = line.split("{4:", 1)[1]
        found = _TAG.match(line)
        ended = _END.match(line) is not None
        if (found or ended) and current is not None:
            current.text = "\n".join(pieces).strip()
            yield current
            current = None
        if found:
            current = _Field(tag=found[1] + (found[2] or ""), text="", line=number)
            pieces = [line[found.end() :]]
        elif current is not None:
            pieces.append(line)
    if current is not None:
        current.text = "\n".join(pieces).strip()
        yield current


def _statements(fields: Iterator[_Field]) -> Iterator[list[_Field]]:
    """Fields by statement: each ``:20:`` begins one."""
    group: list[_Field] = []
    for one in fields:
        if one.tag == "20" and group:
            yield group
            group = []
        group.append(one)
    if group:
        yield group
