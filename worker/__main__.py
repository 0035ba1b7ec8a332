"""`python -m worker up|down|run|migrate`. Whatever goes wrong at the start is one sentence and
exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    command = _parser().parse_args(arguments)
    # Imported late: a Ctrl-C while Python still loads SQLAlchemy and Temporal is no traceback
    # either.
    try:
        from worker.commands import perform

        return perform(command.command, detach=getattr(command, "detach", False))
    except KeyboardInterrupt:
        return 0
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f"The package {missing.name} is missing: install requirements.lock into this Python.\n"
        )
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start PostgreSQL, Temporal, UI and worker")
    start.add_argument("--detach", action="store_true", help="in the background; log in the home")
    commands.add_parser("down", help="stop what `up` started on this home")
    commands.add_parser("run", help="the worker alone, against configured clusters")
    commands.add_parser("migrate", help="the migrations alone")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
