"""The command line as a person runs it: a process of its own, on the test's database."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
        done = subprocess.run(
            self._line(arguments), input=given.encode(), capture_output=True, cwd=self.folder,
            env=self._environment, timeout=timeout_s, check=False,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

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
