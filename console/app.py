"""The ``tillkeeper`` command line: which commands there are, and how each of them ends.

0 done · 1 the books are broken · 2 refused · 3 the stack does not answer · 70 a defect of the
command · 130 interrupted. Never a traceback, nor what a variable held: it may be personal data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final

import typer
from typer.exceptions import TyperException

from console import (
    account,
    approvals,
    audit,
    bank,
    inbox,
    orders,
    output,
    policy,
    receipt,
    streams,
    token,
    topup,
    withdrawal,
)
from console.demo import demo
from console.statement import statement
from console.verify import verify
from tillkeeper.contracts.errors import Code, Reason, Rejected, TillkeeperError, Unavailable

_TOKEN: Final = re.compile(r"[\w-]{8,}(?:\.[\w-]{8,}){2}", re.ASCII)

app = typer.Typer(
    name="tillkeeper",
    help=(
        "Keeps a marketplace's money: prepaid accounts, top-ups, orders, statements.\n\n"
        "Exit codes: 0 done; 1 the books do not verify; 2 refused, each reason with its code; "
        "3 the stack does not answer; 70 a defect of this command; 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(account.app, name="account")
app.add_typer(topup.app, name="topup")
app.add_typer(receipt.app, name="receipt")
app.add_typer(withdrawal.app, name="withdrawal")
app.add_typer(approvals.app, name="approvals")
app.add_typer(policy.app, name="policy")
app.add_typer(orders.app, name="orders")
app.add_typer(token.app, name="token")
app.add_typer(bank.app, name="bank")
app.add_typer(inbox.app, name="inbox")
app.add_typer(audit.app, name="audit")
app.command("statement")(statement)
app.command("verify")(verify)
app.command("demo")(demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output.ask_for_json(wanted="--json" in given)
    code = _run(given)
    sys.stdout.flush()
    why = streams.lost()
    if why is not None and code == output.EXIT_OK:
        sys.stderr.write(f"{Code.UNAVAILABLE}: the answer could not be written: {why}\n")
        return output.EXIT_UNAVAILABLE
    return code


def _run(given: list[str]) -> int:
    try:
        code = app(given, prog_name="tillkeeper", standalone_mode=False)
    except TillkeeperError as error:
        output.refuse(error)
        return output.exit_code(error)
    except (typer.Abort, KeyboardInterrupt):
        code = output.EXIT_INTERRUPTED
    except TyperException as error:
        return _usage(error)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        output.refuse(Unavailable(f"the system refused for now: {reason}"))
        return output.EXIT_UNAVAILABLE
    except Exception as error:
        # The last resort: exit code 1 is kept for books that do not verify.
        output.unexpected(error)
        return output.EXIT_UNEXPECTED
    if code == output.EXIT_INTERRUPTED:
        output.interrupted()
    return code if isinstance(code, int) else output.EXIT_OK


def _usage(error: TyperException) -> int:
    """A command line that is not understood; some of its errors print themselves as help.

    They repeat what was typed: a token that was, where none belongs, is not shown.
    """
    said = getattr(error, "format_message", lambda: str(error))()
    sentence = _TOKEN.sub("a token", said)
    if output.json_wanted():
        output.refuse(Rejected(Reason(code=Code.FIELD_INVALID, detail=sentence)))
    elif sentence != said:
        sys.stderr.write(f"{sentence}\n")
    else:
        getattr(error, "show", lambda: sys.stderr.write(f"{sentence}\n"))()
    return output.EXIT_REFUSED
