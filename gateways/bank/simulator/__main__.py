"""`python -m gateways.bank.simulator`: one bank on loopback until it is stopped, or killed."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvicorn
from starlette.requests import Request

from gateways.bank.simulator.bank import Bank
from gateways.bank.simulator.book import ANY_CURRENCY, Book
from gateways.bank.simulator.door import door
from gateways.bank.simulator.files import FileDoor
from gateways.bank.simulator.models import Account
from gateways.bank.simulator.store import BookInUse, Store
from tillkeeper.contracts.base import at_the_door
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import parse_amount

LOOPBACK: Final = "127.0.0.1"
LOOK_EVERY_S: Final = 0.2
_GRACE_S: Final = 2
_ACCOUNT: Final = re.compile(
    r"(?P<number>.+?)/(?P<currency>[A-Z]{3}|\*)/(?P<opening>[0-9.]*)/(?P<owner>.+)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bank; 0 when it was stopped, 1 with a sentence when it cannot work."""
    chosen = _parser().parse_args(arguments)
    try:
        accounts = [_account(text) for text in chosen.account]
        accounts += [_account(text) for text in _receiving(chosen.receiving)]
        store = Store(chosen.book)
    except (Rejected, BookInUse, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"The bank simulator does not start: {_sentence(error)}.\n")
        return 1
    try:
        book = Book(store, accounts, start=chosen.clock or datetime.now(UTC))
        if chosen.movements:
            _print_movements(book)
            return 0
        bank = Bank(book, sends=chosen.outbox is not None)
        if chosen.seed is not None:
            with store.transaction():
                store.keep("seed", str(chosen.seed))
        files = FileDoor(bank, inbox=chosen.inbox, outbox=chosen.outbox, kept=chosen.book)
        asyncio.run(_serve(bank, files, chosen.port))
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"The bank simulator ends: {_sentence(error)}.\n")
        return 1
    finally:
        store.close()
    return 0


def _print_movements(book: Book) -> None:
    for _, movement in book.movements():
        sys.stdout.write(movement.model_dump_json() + "\n")


class _Server(uvicorn.Server):
    """Ends by one way for every signal, and can cut a connection without a word."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop in order at SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True

    def cut(self, request: Request) -> None:
        """Abort the connection on which a request came."""
        client = request.scope["client"]
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) == tuple(client):
                transport: asyncio.Transport = connection.transport
                transport.abort()


async def _serve(bank: Bank, files: FileDoor, port: int) -> None:
    with socket.create_server((LOOPBACK, port)) as listener:
        listener.setblocking(False)
        bank.close_past_days()
        files.look()
        server: _Server
        app = door(bank, files, lambda request: server.cut(request))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )  # fmt: skip
        server = _Server(config)
        looking = asyncio.create_task(_look(bank, files, server))
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        sys.stdout.write(json.dumps({"bank": address}) + "\n")
        sys.stdout.flush()
        await server.serve(sockets=[listener])
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        if not looking.cancelled():
            looking.result()


async def _look(bank: Bank, files: FileDoor, server: _Server) -> None:
    try:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            bank.close_past_days()
            files.look()
    finally:
        server.should_exit = True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateways.bank.simulator", description=__doc__)
    parser.add_argument("--book", type=Path, required=True, help="folder of the bank's own book")
    parser.add_argument("--inbox", type=Path, help="folder of payment files to it (pain.001)")
    parser.add_argument("--outbox", type=Path, help="folder of its camt and pain.002 files")
    parser.add_argument("--port", type=int, default=8236, help="of its HTTP door; 0: a free one")
    parser.add_argument("--seed", type=int, help="of the faults that happen by chance")
    parser.add_argument("--clock", type=_moment, help="when the first day of a new book begins")
    parser.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="NUMBER/CURRENCY/OPENING/OWNER",
        help="an account with its opening balance, like 6225/CNY/1000.00/Some Company; "
        "currency *: opened in any currency when it is first used",
    )
    parser.add_argument(
        "--movements", action="store_true", help="print the book's movements as JSON lines and end"
    )
    parser.add_argument(
        "--receiving",
        default="{}",
        help="the platform's accounts, JSON as in TILLKEEPER_RECEIVING_ACCOUNTS; they begin at 0",
    )
    return parser


def _receiving(text: str) -> list[str]:
    try:
        named = json.loads(text).items()
        return [f"{account['number']}/{currency}//{account['name']}" for currency, account in named]
    except (ValueError, AttributeError, KeyError, TypeError):
        raise Rejected(Code.FIELD_INVALID, detail="--receiving is no JSON by currency") from None


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError("a time needs its zone")
    return found


def _account(text: str) -> Account:
    found = _ACCOUNT.fullmatch(text)
    if found is None:
        raise Rejected(Code.FIELD_INVALID, detail="an account is NUMBER/CURRENCY/OPENING/OWNER")
    currency, opening = found["currency"], found["opening"]
    nothing = currency == ANY_CURRENCY or opening.strip("0.") == ""
    fields = {
        "number": found["number"],
        "currency": currency,
        "owner": found["owner"],
        "opening_minor": 0 if nothing else parse_amount(opening, currency),
    }
    return at_the_door(Account, fields)


def _sentence(error: Exception) -> str:
    if isinstance(error, BookInUse):
        return f"another one runs on the book in {error}"
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
