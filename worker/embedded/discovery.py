"""Where a running stack is found: `stack.json` in the home, written when all is healthy, readable
by its owner only.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

STACK_FILE = "stack.json"


class StackAddresses(BaseModel):
    """Everything a client of the embedded stack needs; it names files and sockets, it holds no
    secret.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    database_url: str
    migration_url: str
    temporal_address: str
    namespace: str
    ui: str | None
    codec: str
    health: str
    metrics: str
    key_ring_path: str
    bank: str | None = None

    def lines(self) -> list[str]:
        """What `up` prints."""
        return [
            f"Temporal UI   {self.ui or 'of the cluster at ' + self.temporal_address}",
            f"Temporal      {self.temporal_address}  (namespace {self.namespace})",
            f"PostgreSQL    {self.database_url}",
            f"Codec         {self.codec}",
            f"Health        {self.health}",
            f"Metrics       {self.metrics}",
            *([f"Bank          {self.bank}  (a simulator)"] if self.bank else []),
        ]


def find_stack(home: Path) -> StackAddresses | None:
    """The addresses of the stack that runs on this home, or None; a file left by a kill -9 is not
    believed.
    """
    try:
        found = StackAddresses.model_validate_json((home / STACK_FILE).read_bytes())
        os.kill(found.pid, 0)
    except (OSError, ValidationError):
        return None
    return found


def save_stack(home: Path, addresses: StackAddresses) -> None:
    """Write the file whole or not at all, mode 0600."""
    fresh = home / f"{STACK_FILE}.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(addresses.model_dump_json(indent=2) + "\n")
    fresh.rename(home / STACK_FILE)
