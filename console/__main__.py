"""``python -m console`` is the ``tillkeeper`` command; it always ends with its own exit code."""

import contextlib
import os
import signal
import sys

from console.streams import guard


def _run() -> int:
    guard()
    # Importing the rest takes a second in which an interrupt has nothing to undo: it just ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from console.app import main
    except Exception as error:
        why = f"{type(error).__name__} while starting: the installation is damaged"
        sys.stderr.write(f"UNEXPECTED: {why}\n")
        return 70
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:  # once more, while the first one was answered
        return 130


def _leave(code: int) -> None:
    """End at once: the Temporal SDK's threads must not meet an interpreter that is going down."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(_run())
