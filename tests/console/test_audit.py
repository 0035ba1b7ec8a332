"""``tillkeeper audit``: the head is kept outside, the first broken row is named, reasons opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute, in_transaction
from tests.console.support import CommandLine
from tests.ledger.audit_support import chain_all, rewrite_chain, write_many, write_one
from tests.stack import engine_on
from tillkeeper.sealing import KeyRing


@pytest_asyncio.fixture(loop_scope="session")
async def chained(engine: AsyncEngine) -> AsyncEngine:
    """Ten chained rows, and one that is not chained yet."""
    await write_many(engine, 10)
    assert await chain_all(engine) == 10
    await write_many(engine, 1)
    return engine


async def tamper(owner_url: str, *statements: str, rewrite: bool = False) -> None:
    async with engine_on(owner_url) as owner, owner.begin() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica", ())
        for statement in statements:
            await execute(connection, statement, ())
        if rewrite:
            await rewrite_chain(connection)


class TestHead:
    async def test_head_is_written_once_and_verified_against(
        self, command: CommandLine, chained: AsyncEngine
    ) -> None:
        """C-07: the file says place, hash, rows and time; it is never overwritten."""
        said = command("audit", "head", "--out", "head.json", "--json")
        assert said.code == 0, said
        kept = json.loads((command.folder / "head.json").read_text())
        assert kept.keys() == {"place", "hash", "rows", "taken_at"}
        assert (kept["place"], kept["rows"], kept["hash"]) == (10, 10, said.json["hash"])
        assert command("audit", "head", "--out", "head.json", "--json").codes == ["FILE_EXISTS"]
        found = command("audit", "verify", "--anchor", "head.json", "--json")
        assert (found.code, found.json["ok"], found.json["anchors"]) == (0, True, 1)
        assert (found.json["unchained"], found.json["broken"]) == (1, None)
        people = command("audit", "verify", "--anchor", "head.json")
        assert "The audit verifies: 10 rows" in people.out
        assert "Not chained yet: 1 rows" in people.out


class TestVerify:
    async def test_an_edit_is_named_with_exit_code_1(
        self, command: CommandLine, chained: AsyncEngine, owner_url: str
    ) -> None:
        """C-07: as `tillkeeper verify`, which names it too."""
        await tamper(owner_url, "UPDATE audit SET actor = 'O9' WHERE id = 4")
        found = command("audit", "verify", "--json")
        assert (found.code, found.json["ok"]) == (1, False)
        assert (found.json["broken"]["place"], found.json["broken"]["audit"]) == (4, 4)
        people = command("audit", "verify")
        assert (people.code, "BROKEN: place 4, audit row 4" in people.out) == (1, True)
        books = command("verify", "--json")
        assert (books.code, books.json["broken"]["check"]) == (1, "audit")

    async def test_a_rewritten_chain_is_named_with_the_anchor_only(
        self, command: CommandLine, chained: AsyncEngine, owner_url: str
    ) -> None:
        """C-07: that is what the head outside is for."""
        assert command("audit", "head", "--out", "head.json").code == 0
        await tamper(owner_url, "UPDATE audit SET actor = 'O9' WHERE id = 4", rewrite=True)
        assert command("audit", "verify").code == 0
        found = command("audit", "verify", "--anchor", "head.json", "--json")
        assert (found.code, found.json["broken"]["place"]) == (1, 10)

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("not json", "INPUT_NOT_UNDERSTOOD"),
            ('{"place": 1}', "FIELD_MISSING"),
            ('{"place": 1, "hash": "zz", "rows": 1, "taken_at": "2026-11-28T00:00:00Z"}', ""),
        ],
    )
    def test_a_file_that_is_no_head_is_refused(
        self, command: CommandLine, tmp_path: Path, text: str, code: str
    ) -> None:
        """C-07: exit code 2, never a verdict."""
        (tmp_path / "head.json").write_text(text)
        found = command("audit", "verify", "--anchor", "head.json", "--json")
        assert found.code == 2
        assert not code or code in found.codes


class TestShow:
    async def test_rows_of_a_subject_with_the_reason_opened(
        self, command: CommandLine, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: who, what, when and why, for whoever holds the key ring."""
        await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        home = command.folder / "home"
        home.mkdir()
        (home / "keyring.json").write_text(ring.to_json())
        [row] = command("audit", "show", "withdrawal/M1/W1", "--json").json["rows"]
        assert (row["actor"], row["action"], row["reason"]) == ("O2", "approve", "as agreed")
        assert (row["before"]["state"], row["after"]["state"]) == ("A", "B")
        people = command("audit", "show", "withdrawal/M1/W1").out
        assert "state: A → B" in people
        assert "as agreed" in people
