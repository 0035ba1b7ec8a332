"""Starting the stack in the background and stopping it again, by its lock and never by a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from worker.embedded.discovery import find_stack
from worker.embedded.home import HomeLock, prepare_home
from worker.embedded.process import tail
from worker.embedded.stack import LOG_FILE
from worker.refusal import CannotStart, sentence_for
from worker.settings import Settings

_HEALTHY_WITHIN_S = 180
_STOPPED_WITHIN_S = 120


def up_detached(settings: Settings) -> int:
    """Start `up` in its own session with its output in the log, and return when it is healthy.

    The caller's standard output is not inherited: whoever reads our pipe to its end must not wait
    for the stack.
    """
    home = prepare_home(settings.home, spare_mb=settings.spare_mb)
    log = home / LOG_FILE
    try:
        with log.open("ab") as stream:
            log.chmod(0o600)
            start = stream.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", "up"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
    except OSError as error:
        raise CannotStart(sentence_for(error, "start the stack")) from error
    try:
        return _wait_until_healthy(process, home, start)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def down(settings: Settings) -> int:
    """Stop the stack of this home and wait until it is gone; nothing running is no error."""
    home = settings.home.expanduser().absolute()
    lock = HomeLock(home)
    pid = lock.holder()
    if pid is None:
        sys.stdout.write(f"Nothing runs on {home}.\n")
        return 0
    if not _is_ours(pid):
        raise CannotStart(f"Process {pid} holds {home} but is no Tillkeeper; it is left alone.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOPPED_WITHIN_S
    while lock.holder() == pid:
        if time.monotonic() > deadline:
            raise CannotStart(f"Process {pid} is still stopping after {_STOPPED_WITHIN_S} s.")
        time.sleep(0.1)
    sys.stdout.write("Stopped.\n")
    return 0


def _wait_until_healthy(process: subprocess.Popen[bytes], home: Path, start: int) -> int:
    deadline = time.monotonic() + _HEALTHY_WITHIN_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        found = find_stack(home)
        if found is not None and (found.pid == process.pid or ended):
            sys.stdout.write("\n".join(["Tillkeeper is up.", *found.lines()]) + "\n")
            return 0
        if ended:
            said = [line for line in tail(home / LOG_FILE, start) if line[:1] not in ("", "{")]
            raise CannotStart(said[-1] if said else f"The stack does not start; see {LOG_FILE}.")
        time.sleep(0.1)
    process.terminate()
    process.wait()
    raise CannotStart(
        f"The stack is not healthy after {_HEALTHY_WITHIN_S} s; see {home / LOG_FILE}."
    )


def _is_ours(pid: int) -> bool:
    try:
        return "worker" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
