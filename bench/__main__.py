"""``python -m bench MEASURE``: prints figures beside their goals, exits 0.

With ``--check`` it exits 1 when a goal is missed: for a quiet machine, never for a test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.bank import TRANSACTIONS, measure_bank
from bench.growth import measure_growth
from bench.ledger import Sizes, measure_ledger
from bench.lifecycles import Lengths, measure_lifecycles
from bench.report import missed, print_json, print_table
from bench.stage import running_server
from bench.statement import measure_statement
from worker.signals import run_until_stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one measure; returns the exit code. Ctrl-C stops the server and removes its data."""
    return run_until_stopped(_perform(_parser().parse_args(arguments)))


async def _perform(asked: argparse.Namespace) -> int:
    figures = await _measure(asked)
    (print_json if asked.json else print_table)(figures)
    short = missed(figures)
    if short:
        _say(f"missed: {', '.join(short)}")
    return 1 if short and asked.check else 0


async def _measure(asked: argparse.Namespace) -> dict[str, float]:
    if asked.measure == "bank":
        return measure_bank(asked.transactions)
    if asked.measure == "lifecycles":
        return await measure_lifecycles(Lengths(asked.rounds, asked.each), _say)
    if asked.measure == "growth":
        return await measure_growth(asked.transfers, _say)
    if asked.measure == "statement":
        async with running_server() as server:
            return await measure_statement(server, asked.rows, rounds=3, say=_say)
    return await measure_ledger(Sizes(rounds=asked.rounds), _say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    measures = parser.add_subparsers(dest="measure", required=True)
    ledger = measures.add_parser("ledger", help="posting and statements, in under a minute")
    ledger.add_argument("--rounds", type=int, default=Sizes.rounds)
    statement = measures.add_parser("statement", help="one long statement: rate and memory")
    statement.add_argument("--rows", type=int, default=1_000_000)
    growth = measures.add_parser("growth", help="posting on a large book, some minutes")
    growth.add_argument("--transfers", type=int, default=5_000_000)
    bank = measures.add_parser("bank", help="reading one long bank statement")
    bank.add_argument("--transactions", type=int, default=TRANSACTIONS)
    lives = measures.add_parser("lifecycles", help="whole withdrawals, beside a skeleton")
    lives.add_argument("--rounds", type=int, default=Lengths.rounds)
    lives.add_argument("--each", type=int, default=Lengths.each)
    for each in (ledger, statement, growth, bank, lives):
        each.add_argument("--json", action="store_true", help="one object instead of a table")
        each.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    return parser


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


if __name__ == "__main__":
    raise SystemExit(main())
