"""The console's surroundings fail closed: one sentence that quotes no secret, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from console.connection import House, Surroundings
from tests.console.support import CommandLine
from tillkeeper.contracts.errors import Code, Rejected


class TestEngine:
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://till:ab@cd:s3cret@h/d",
            "postgresql://till:ab@s3cret@h/d",
            "postgresql://till:ab@cd/s3cret@h/d",
            "postgresql://till@h:s3cret/d",
            "postgresql://till@h/d?port=s3cret",
            "postgresql://till:s3cret@h:70000/d",
            "s3cret",
        ],
    )
    def test_misread_password_is_never_quoted(self, url: str) -> None:
        house = House(Surroundings(database_url=SecretStr(url)), None)
        with pytest.raises(Rejected, match="not a database URL") as refused:
            _ = house.engine
        assert [r.code for r in refused.value.reasons] == [Code.SETTINGS_INVALID]
        assert "s3cret" not in str(refused.value)
        assert refused.value.__cause__ is None

    async def test_socket_and_encoded_password_are_kept(self) -> None:
        url = "postgresql://u:p%40ss@/d?host=/tmp/socket&port=5433"
        house = House(Surroundings(database_url=SecretStr(url)), None)
        assert (house.engine.url.password, house.engine.url.query["port"]) == ("p@ss", "5433")
        await house.close()


class TestKeyRing:
    def test_binary_ring_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        path.write_bytes(b"\xff\xfe\x00secret-word")
        with pytest.raises(
            Rejected, match=r"keyring\.json is refused: it is not a text"
        ) as refused:
            _ = House(Surroundings(home=tmp_path), None).ring
        assert "secret-word" not in str(refused.value)


class TestCommand:
    @pytest.mark.parametrize(
        ("variables", "said"),
        [
            (
                {"TILLKEEPER_DATABASE_URL": "postgresql://till:ab@cd:s3cret@h/d"},
                "TILLKEEPER_DATABASE_URL is not a database URL",
            ),
            ({"TILLKEEPER_HOME": ""}, "TILLKEEPER_HOME is not valid"),
        ],
    )
    def test_verify_refuses_in_one_sentence(
        self, tmp_path: Path, variables: dict[str, str], said: str
    ) -> None:
        answer = CommandLine(tmp_path, variables)("verify")
        assert answer.code != 0
        assert said in answer.out + answer.err
        assert "Traceback" not in answer.err
        assert "s3cret" not in answer.out + answer.err
