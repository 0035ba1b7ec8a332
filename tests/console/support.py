"""The command line as a person runs it: a process of its own, on the test's database.

Importing takes a command a second. So most processes are forked from one that has imported it all,
and run `python -m console` from its first line; `start` and `shell` begin with an interpreter.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import runpy
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import fetch, in_transaction

TREE: Final = Path(__file__).resolve().parents[2]
DATA: Final = TREE.parent / "shared" / "data" / "events"
HEADER: Final = (
    "event_time,merchant_id,order_id,event,gross_minor,currency,installments,time_inferred,"
    "ref_order_id"
)


_STREAMS: Final = ("stdin", "stdout", "stderr")


def _made_context() -> ForkServerContext:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["console.app"])
    return made


_CONTEXT: Final = _made_context()


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on standard output."""
        return json.loads(self.out)

    @property
    def codes(self) -> list[str]:
        """Codes of a refusal."""
        return [reason["code"] for reason in self.json["refused"]]


class CommandLine:
    """Runs ``tillkeeper`` in ``folder`` with these ``TILLKEEPER_*`` variables and no others."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TILLKEEPER_")}
        home = {"TILLKEEPER_HOME": str(folder / "home"), "PYTHONPATH": str(TREE)}
        self._environment = clean | home | dict(variables)

    def __call__(self, *arguments: str, given: str = "", timeout_s: int = 100) -> Answer:
        """Run to the end."""
        with tempfile.TemporaryDirectory(prefix="tk-command-") as streams:
            given_in, out, err = (Path(streams) / name for name in _STREAMS)
            given_in.write_text(given)
            process = _CONTEXT.Process(
                target=_command, args=(arguments, str(self.folder), self._environment, streams)
            )
            process.start()
            process.join(timeout_s)
            if process.exitcode is None:
                process.kill()
                raise TimeoutError(arguments, out.read_text(), err.read_text())
            return Answer(process.exitcode, out.read_text(), err.read_text())

    def start(self, *arguments: str, output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start and leave running."""
        return subprocess.Popen(
            self._line(arguments), cwd=self.folder, env=self._environment,
            stdout=output, stderr=output,
        )  # fmt: skip

    def shell(self, script: str, timeout_s: int = 100) -> Answer:
        """Run a shell's script in which ``$T`` is the command."""
        line = shlex.join(self._line(()))
        done = subprocess.run(
            ["bash", "-c", f"T={shlex.quote(line)}; {script}"], capture_output=True,
            cwd=self.folder, env=self._environment, timeout=timeout_s, check=False,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _line(self, arguments: Iterable[str]) -> list[str]:
        return [sys.executable, "-m", "console", *arguments]


def _command(
    arguments: tuple[str, ...], folder: str, environment: dict[str, str], streams: str
) -> None:
    """Become `python -m console` in a process that has just been forked."""
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for handle, (name, mode) in enumerate(zip(_STREAMS, modes, strict=True)):
        os.dup2(os.open(os.path.join(streams, name), mode), handle)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the process
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["console", *arguments]
    runpy.run_module("console", run_name="__main__", alter_sys=True)


class Till(CommandLine):
    """The command line beside a worker of this test; it may be awaited."""

    async def run(self, *arguments: str, given: Any = "") -> Answer:
        """Run while the worker of this test goes on working."""
        text = given if isinstance(given, str) else json.dumps(given)
        return await asyncio.to_thread(self, *arguments, given=text)

    async def said(self, *arguments: str, given: Any = "") -> Any:
        """The JSON of a command that succeeds."""
        answer = await self.run(*arguments, "--json", given=given)
        assert answer.code == 0, answer
        return answer.json


def event_file(path: Path, rows: Iterable[str]) -> Path:
    """A plain event file of these rows."""
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


async def standing(engine: AsyncEngine) -> dict[str, list[tuple[Any, ...]]]:
    """Every balance and every order's figures, without ids and clock times."""
    accounts = (
        "SELECT holder, bucket, currency, shard, balance, seq FROM accounts ORDER BY 1, 2, 3, 4"
    )
    holds = """
SELECT p.merchant, h.order_id, h.fee, h.held, h.dues, h.released, h.cancelled, h.settled,
       h.refunded, h.refused, h.state, h.placed_at, h.completed_at
  FROM holds h JOIN prepaid_accounts p ON p.id = h.account ORDER BY 1, 2"""
    found = {}
    for name, statement in (("accounts", accounts), ("holds", holds)):
        rows = await in_transaction(engine, lambda c, s=statement: fetch(c, s, ()))  # type: ignore[misc]
        found[name] = [tuple(row) for row in rows]
    return found
