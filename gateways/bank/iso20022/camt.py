"""camt.052, camt.053 and camt.054 of every version: per ``TxDtls`` with the entry as fallback.

Entries are read and forgotten while the file goes on, parts of long batches too. Only ``BOOK`` is
money. An entry whose parts do not make it up is told by a warning and by ``adds_up``; an amount
that cannot be read exactly is a problem and its transaction is left out.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import BinaryIO, Final

from gateways.bank.findings import Findings
from gateways.bank.iso20022 import tables
from gateways.bank.iso20022.dates import day_or_none, moment_or_none
from gateways.bank.iso20022.document import Document, line_of, local
from gateways.bank.iso20022.entries import SET, EntryReader, Place
from gateways.bank.iso20022.entry import entry_money
from gateways.bank.iso20022.runs import OddRunError, check_depth
from gateways.bank.iso20022.shapes import Element, Fields, Shapes
from tillkeeper.contracts.bank import BankFile, BankStatement, Side, StatementBalance
from tillkeeper.contracts.errors import Code, Rejected

STATEMENTS_MAX: Final = 20_000
IDLE_BYTES_MAX: Final = 8 * 1024 * 1024
CONTAINERS: Final = frozenset({"Rpt", "Stmt", "Ntfctn"})
_KEPT: Final = frozenset(path.partition("/")[0] for path in tables.STATEMENT)


def read_camt(source: BinaryIO, head: bytes) -> BankFile:
    """All that the file says that began with ``head``; a quick answer is one without doubt.

    What is refused or odd is read once more, by the parser alone, which has the last word.
    Raises Rejected(BANK_FILE_…) and then nothing of it holds.
    """
    if source.seekable():
        behind = source.tell()
        try:
            return CamtReader(Document(source, head=head), quick=True).read()
        except (Rejected, OddRunError):
            source.seek(behind)
    return CamtReader(Document(source, head=head)).read()


class CamtReader:
    """Reads one document; ``read`` may be called once."""

    def __init__(self, document: Document, *, quick: bool = False) -> None:
        """``quick``: entries of a form that is known are read without the parser."""
        self._document = document
        self._findings = Findings()
        self._place = Place(kind=document.kind)
        self._entry = EntryReader(self._place, self._findings)
        self._sieve = self._entry.runs if quick else None
        self._statements: list[BankStatement] = []
        self._header = Fields()
        self._container: Element | None = None
        self._account = Fields()
        self._balances: list[StatementBalance] = []
        self._balances_met = 0

    def read(self) -> BankFile:
        """All that the file says. Raises Rejected(BANK_FILE_…) and then nothing of it holds.

        A quick one may raise OddRunError too; whatever it raises is no answer.
        """
        header: Element | None = None
        useful = 0
        for begun in self._document.growth("GrpHdr", *sorted(CONTAINERS), sieve=self._sieve):
            for element in begun:
                if local(element) == "GrpHdr":
                    header = element
                elif not any(local(one) in CONTAINERS for one in element.iterancestors()):
                    if self._sieve is not None:
                        check_depth(element)
                    self._end_statement()
                    self._container = element
            if self._advance():
                useful = self._document.size
            elif self._document.size - useful > IDLE_BYTES_MAX:
                raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="8 MiB without an entry")
        self._end_statement()
        self._entry.runs.check_used()
        self._tell_outside()
        if header is not None:
            self._header = Shapes(tables.HEADER).read(header)
        return BankFile(
            kind=self._document.kind,
            version=self._document.version,
            digest=self._document.digest,
            message_id=self._header.get("message_id"),
            created_at=moment_or_none(self._header.get("created_at")),
            statements=tuple(self._statements),
            transactions=tuple(self._entry.transactions),
            problems=tuple(self._findings.problems),
            warnings=tuple(self._findings.warnings),
        )

    def _advance(self) -> int:
        """Take what has ended in the statement that goes on; returns what was forgotten."""
        if self._container is None:
            return 0
        children = list(self._container)
        forgotten = self._take(self._container, children[:-1])
        if children and local(children[-1]) == "Ntry":
            forgotten += self._entry.advance(children[-1])
        return forgotten

    def _tell_outside(self) -> None:
        """What was read is forgotten: an entry that is still there stands in no statement."""
        root = self._document.root
        for entry in () if root is None else root.iter("{*}Ntry"):
            detail = "an entry outside of all statements: whose it is, is lost"
            line = line_of(entry)
            self._findings.lose(Code.BANK_FILE_HEADER, "file", detail=detail, line=line)

    def _end_statement(self) -> None:
        """Another one has begun outside it, or the file has ended: all of it is there."""
        container, self._container = self._container, None
        if container is None:
            return
        self._take(container, list(container))
        self._read_statement(Shapes(tables.STATEMENT).read(container), line_of(container))
        container.clear()

    def _take(self, container: Element, ended: list[Element]) -> int:
        """Read these children and forget them, so that memory stays flat; returns how many."""
        forgotten = 0
        for _, alike in groupby(ended, key=attrgetter("tag")):
            children = list(alike)
            name = local(children[0])
            if name == "Ntry":
                for child in children:
                    self._entry.take(child)
            elif self._entry.runs.is_mark(children[0]):
                for child in children:
                    self._entry.take_run(child)
            elif name == "Acct":
                self._account = Shapes(tables.ACCOUNT).read(children[-1])
                self._place.account = self._account.get("account")
            elif name == "Bal":
                for child in children:
                    self._read_balance(Shapes(tables.BALANCE).read(child), line_of(child))
            if name not in _KEPT:
                for child in children:
                    child.clear()  # first: what is removed whole is walked through once more
                    container.remove(child)
                forgotten += len(children)
        return forgotten

    def _read_statement(self, said: Fields, line: int | None) -> None:
        last = said.get("last_page")
        if "account" not in self._account:
            where = f"statement {self._place.statement}"
            detail = "no number of the account: whose statement this is, is lost"
            self._findings.lose(Code.BANK_FILE_HEADER, where, detail=detail, line=line)
        if len(self._statements) >= STATEMENTS_MAX:
            raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 20,000 statements")
        self._statements.append(
            BankStatement(
                index=self._place.statement,
                identifier=said.get("identifier"),
                account=self._account.get("account"),
                currency=self._account.get("currency"),
                number=said.get("number"),
                page=said.get("page"),
                last_page=None if last is None else last in SET,
                entries=self._place.entry,
                balances=tuple(self._balances),
            )
        )
        self._place.next_statement()
        self._account = Fields()
        self._balances, self._balances_met = [], 0

    def _read_balance(self, said: Fields, line: int | None) -> None:
        """A balance without a side is a credit, as banks that leave it out mean it."""
        self._balances_met += 1
        try:
            money = entry_money(said, default=Side.CREDIT)
        except Rejected as error:
            where = f"statement {self._place.statement}, balance {self._balances_met}"
            self._findings.lose_for(error, where, lost="a balance", line=line)
            return
        self._balances.append(
            StatementBalance(
                kind=said.get("kind", "?"),
                amount_minor=money.amount_minor or 0,
                currency=money.currency,
                side=money.side,
                on=day_or_none(said.get("day")),
            )
        )
