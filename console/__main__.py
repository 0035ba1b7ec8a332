"""``python -m console`` is the ``tillkeeper`` command."""

import contextlib
import os
import sys

from console.app import main


def _leave(code: int) -> None:
    """End at once: the Temporal SDK's threads must not meet an interpreter that is going down."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
