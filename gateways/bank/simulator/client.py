"""The console's call to the simulator: deposits, which stand in for merchants' wires.

Only a simulated bank can be told that money came; a real one is never asked by this.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from gateways.bank.simulator.models import DEPOSITS_MAX, Deposit, Deposits
from tillkeeper.contracts.errors import Unavailable

TIMEOUT_S: Final = 30


class SimulatorClient:
    """A bank simulator at a loopback address."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port

    async def deposit(self, deposits: Sequence[Deposit]) -> int:
        """Let wires arrive; how many are new. The same key again is the same wire.

        Raises Unavailable where the simulator does not answer, or refuses.
        """
        new = 0
        for start in range(0, len(deposits), DEPOSITS_MAX):
            some = Deposits(deposits=list(deposits[start : start + DEPOSITS_MAX]))
            answer = await asyncio.to_thread(self._post, "/deposits", some.model_dump_json())
            new += int(answer["new"])
        return new

    def _post(self, path: str, body: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, body.encode(), headers)
            answer = connection.getresponse()
            said: dict[str, Any] = json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException):
            raise Unavailable("the bank simulator does not answer") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Unavailable(f"the bank simulator refuses the wires: {said.get('code')}")
        return said
