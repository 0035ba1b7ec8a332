"""`python -m worker up` as a person runs it: real processes, and broken on purpose."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.home import WITHIN_S, Home
from tests.stack import engine_on
from worker.embedded.discovery import find_stack


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose processes are gone afterwards, whatever the test did."""
    made = Home(tmp_path / "home")
    yield made
    made.clear()


def get(url: str) -> tuple[int, str]:
    """Status and body of one loopback address."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        return answer.status, answer.read().decode()


async def remember(url: str) -> int:
    """Count the rows of a table that is made when it is not there, and add one."""
    async with engine_on(url, pool_size=1) as engine, engine.begin() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS kept (n int)"))
        await connection.execute(text("INSERT INTO kept VALUES (1)"))
        count: Any = await connection.scalar(text("SELECT count(*) FROM kept"))
        return int(count)


class TestUp:
    async def test_life_of_a_stack(self, home: Home) -> None:
        first = home.start()
        addresses = await asyncio.to_thread(home.healthy, first)
        status, body = get(addresses.health)
        assert (status, set(json.loads(body).values())) == (200, {"ok"})
        assert "temporal_num_pollers" in get(addresses.metrics)[1]
        assert addresses.ui is not None
        assert get(addresses.ui)[0] == 200
        settings = json.loads(get(f"{addresses.ui}/api/v1/settings")[1])
        assert settings["Codec"]["Endpoint"] == addresses.codec
        for name in ("stack.json", "keyring.json", "stack.log", "temporal.db"):
            assert (home.path / name).stat().st_mode & 0o077 == 0, name

        second = home.run("up")
        assert (second.returncode, second.stderr) == (0, "")
        assert f"already up (process {first.pid})" in second.stdout
        assert await remember(addresses.migration_url) == 1

        first.send_signal(signal.SIGINT)
        assert first.wait(WITHIN_S) == 0
        assert first.communicate()[1] == ""
        assert home.processes() == []
        assert find_stack(home.path) is None

        third = home.start()
        again = await asyncio.to_thread(home.healthy, third)
        assert await remember(again.migration_url) == 2
        third.kill()
        third.communicate()

        # Killed with -9, nothing was put in order; the next start does that, and keeps the data.
        detached = home.run("up", "--detach")
        assert detached.returncode == 0, detached.stderr
        found = find_stack(home.path)
        assert found is not None
        assert await remember(found.migration_url) == 3
        assert home.run("down").stdout == "Stopped.\n"
        assert home.processes() == []
        assert "Nothing runs" in home.run("down").stdout

    def test_taken_port_is_one_sentence_and_leaves_nothing(self, home: Home) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            refused = home.run("up", TILLKEEPER_UI_PORT=str(port))
            behind = home.run("up", "--detach", TILLKEEPER_UI_PORT=str(port))
        assert (refused.returncode, behind.returncode) == (1, 1)
        assert refused.stderr == behind.stderr
        assert refused.stderr.count("\n") == 1
        assert f"Port {port} on 127.0.0.1" in refused.stderr
        assert home.processes() == []

    @pytest.mark.parametrize("seconds", [0.4, 1.9])
    def test_interrupt_during_the_start_leaves_nothing(self, home: Home, seconds: float) -> None:
        process = home.start()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, said) == (0, "")
        assert home.processes() == []

    def test_dead_child_ends_the_stack_with_a_sentence(self, home: Home) -> None:
        process = home.start()
        home.healthy(process)
        pid = int((home.path / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 1
        assert said.startswith("PostgreSQL has ended by itself")
        assert home.processes() == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("command", "variables", "said"),
        [
            ("up", {"TILLKEEPER_HOME": "/dev/null/home"}, "is a file, not a directory"),
            ("up", {"TILLKEEPER_UI_PROT": "1"}, "did you mean TILLKEEPER_UI_PORT?"),
            ("run", {}, "needs TILLKEEPER_DATABASE_URL and TILLKEEPER_TEMPORAL_ADDRESS"),
            ("migrate", {"TILLKEEPER_DATABASE_URL": "postgresql://127.0.0.1:1/d"}, "refused"),
        ],
    )
    def test_each_is_one_sentence(
        self, home: Home, command: str, variables: dict[str, str], said: str
    ) -> None:
        refused = home.run(command, **variables)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert said in refused.stderr
