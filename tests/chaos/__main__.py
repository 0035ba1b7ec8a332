"""``python -m tests.chaos --count 500 --seed 7``: prints the report; exits 1 where it is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.chaos.run import Plan, Report, perform


def main() -> int:
    """Run once; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="withdrawals")
    parser.add_argument("--seed", type=int, default=7, help="of requests and faults")
    parser.add_argument("--in-flight", type=int, default=Plan.in_flight)
    parser.add_argument(
        "--every", type=float, default=Plan.every_s, help="seconds from kill to kill"
    )
    asked = parser.parse_args()
    plan = Plan(asked.count, asked.seed, asked.in_flight, asked.every)
    report = asyncio.run(perform(plan, _say))
    _print(report)
    return 1 if report.wrong else 0


def _print(report: Report) -> None:
    plan = report.plan
    _say(f"{plan.withdrawals} withdrawals, seed {plan.seed}, {report.seconds:.0f} s")
    _say("kills: " + ", ".join(f"{n} × {name}" for name, n in sorted(report.kills.items())))
    _say("ended: " + ", ".join(f"{n} {state}" for state, n in sorted(report.outcomes.items())))
    for sentence in report.wrong:
        _say(f"WRONG: {sentence}")
    if not report.wrong:
        _say("The bank's book equals ours one to one; nothing is lost, nothing was paid twice.")


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
