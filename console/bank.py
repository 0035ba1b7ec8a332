"""``tillkeeper bank``: what banks' files say; reading one needs no stack and keeps nothing.

Whatever the file, the answer has the same form; a file that is refused lost all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from console import bank_files, bank_payments, unmatched
from console.output import EXIT_OK, EXIT_REFUSED, AsJson, answer, errors, json_wanted, people
from console.reconciliation import reconcile, reconciliations
from gateways.bank.amounts import decimals
from gateways.bank.reading import read_bank_file
from tillkeeper.contracts.bank import BankFile, BankTransaction, Finding
from tillkeeper.contracts.errors import Rejected
from tillkeeper.rules.names import masked_number

app = typer.Typer(help="Banks' files.", no_args_is_help=True)
app.add_typer(unmatched.app, name="unmatched")
app.command("import")(bank_files.import_)
app.command("files")(bank_files.files)
app.command("statements")(bank_files.statements)
app.command("payments")(bank_payments.payments)
app.command("reconcile")(reconcile)
app.command("reconciliations")(reconciliations)

UNKNOWN_KIND: Final = "unknown"

TheFile = Annotated[Path, typer.Argument(help="camt.052/053/054, pain.002, MT940 or MT942.")]
Encoding = Annotated[
    str | None,
    typer.Option(help="Letters of an MT940 that are not UTF-8, such as cp1252, cp852 or gb18030."),
]
Schemas = Annotated[
    Path | None,
    typer.Option(help="Folder of official schemas (camt.053.001.08.xsd …): flaws become notes."),
]


@app.callback()
def bank() -> None:
    """Banks' files."""


@app.command("read")
def read(
    file: TheFile,
    encoding: Encoding = None,
    schemas: Schemas = None,
    as_json: AsJson = False,
) -> int:
    """Say all that a bank's file says; 0 when nothing of it was lost, 2 with the losses."""
    try:
        found = read_bank_file(file, encoding=encoding, schemas=schemas)
    except Rejected as refused:
        _tell_refused(refused)
        return EXIT_REFUSED
    if json_wanted():
        answer(body_of(found))
    else:
        _show(found)
    return EXIT_REFUSED if found.problems else EXIT_OK


def body_of(found: BankFile) -> dict[str, Any]:
    """The answer: the file's fields, and of each transaction whether it is booked and counts."""
    body = found.model_dump(mode="json")
    for fields, transaction in zip(body["transactions"], found.transactions, strict=True):
        fields["booked"] = transaction.booked
        fields["counts"] = transaction.counts
    return body


def _tell_refused(refused: Rejected) -> None:
    problems = tuple(
        Finding(code=reason.code, where="file", detail=reason.detail) for reason in refused.reasons
    )
    if json_wanted():
        nothing: dict[str, Any] = {"transactions": [], "statuses": [], "warnings": []}
        said = [one.model_dump(mode="json") for one in problems]
        answer({"kind": UNKNOWN_KIND, **nothing, "problems": said})
    else:
        _list("lost", problems)


def _show(found: BankFile) -> None:
    """The file for people; account numbers are masked, for a terminal is read over shoulders."""
    table = Table(title=escape(f"{found.kind} {found.version or ''}"), title_justify="left")
    for heading in ("#", "booked on", "amount", "", "side", "status", "other party", "account"):
        table.add_column(heading, justify="right" if heading == "amount" else "left")
    for transaction in found.transactions:
        table.add_row(*map(escape, _row(transaction)))
    people().print(table)
    for status in found.statuses:
        subject = status.end_to_end_id or status.payment_id or status.message_id or ""
        people().print(escape(f"{status.level} {subject}: {status.status} {status.reasons or ''}"))
    _list("note", found.warnings)
    _list("lost", found.problems)


def _row(one: BankTransaction) -> tuple[str, ...]:
    credit = one.side == "credit"
    name = one.debtor_name if credit else one.creditor_name
    number = one.debtor_account if credit else one.creditor_account
    return (
        f"{one.statement}.{one.entry}.{one.part}",
        str(one.booking_date or one.value_date or ""),
        _amount(one),
        one.currency,
        f"{one.side}{' (reversal)' if one.reversal else ''}",
        one.status,
        name or "",
        masked_number(number) if number else "",
    )


def _amount(one: BankTransaction) -> str:
    if one.amount_minor is None:
        return "not stated"
    digits = decimals(one.currency)
    whole, part = divmod(one.amount_minor, 10**digits)
    return f"{whole:,}.{part:0{digits}d}" if digits else f"{whole:,}"


def _list(word: str, findings: Sequence[Finding]) -> None:
    for one in findings:
        line = f", line {one.line}" if one.line else ""
        errors().print(escape(f"{word}: {one.code} {one.where}{line}: {one.detail}"))
