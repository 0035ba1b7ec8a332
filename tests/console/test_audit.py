"""``tillkeeper audit``: the head is kept outside, the first broken row is named, reasons opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.audit_boundary import begin_stamps
from ledger.engine import execute, in_transaction
from tests.console.support import CommandLine
from tests.ledger.audit_support import chain_all, rewrite_chain, write_many, write_one
from tests.stack import engine_on
from tillkeeper.sealing import KeyRing


@pytest.fixture(autouse=True)
def keys(command: CommandLine, ring: KeyRing) -> None:
    """The ring in the command line's home."""
    home = command.folder / "home"
    home.mkdir()
    (home / "keyring.json").write_text(ring.to_json())


@pytest_asyncio.fixture(loop_scope="session")
async def chained(engine: AsyncEngine, ring: KeyRing) -> AsyncEngine:
    """Ten chained rows, and one that is not chained yet."""
    for number in range(11):
        subject = f"withdrawal/M1/W{number}"
        await in_transaction(engine, lambda c, s=subject: write_one(c, ring, s))  # type: ignore[misc]
        if number == 9:
            assert await chain_all(engine) == 10
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
        chain = ("audit", "verify", "--chain-only")
        assert command(*chain).code == 0
        found = command(*chain, "--anchor", "head.json", "--json")
        assert (found.code, found.json["broken"]["place"]) == (1, 10)
        found = command("audit", "verify", "--json")
        assert (found.code, found.json["broken"]["place"]) == (1, 4)

    async def test_a_forged_row_is_named_with_the_key_ring_only(
        self, command: CommandLine, chained: AsyncEngine, owner_url: str
    ) -> None:
        """C-07: appended with plain SQL, before it is chained; without the ring it says so."""
        forged = """
INSERT INTO audit (subject, action, actor, before, after, profile, at)
VALUES ('withdrawal/M1/W1', 'approve', 'O2', '{}', '{"state": "APPROVED"}', 'x', now())"""
        assert command("audit", "verify", "--json").json["unstamped"] == 0
        await tamper(owner_url, forged)
        found = command("audit", "verify", "--json")
        assert (found.code, found.json["broken"]["audit"]) == (1, 12)
        people = command("audit", "verify")
        assert "BROKEN: audit row 12: expected a stamp of ours" in people.out
        chain = command("audit", "verify", "--chain-only")
        assert (chain.code, "Stamps were not looked at" in chain.out) == (0, True)
        (command.folder / "home" / "keyring.json").unlink()
        assert command("audit", "verify", "--json").codes == ["SETTINGS_INVALID"]

    async def test_rows_from_before_there_were_stamps_are_counted(
        self, command: CommandLine, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: what the chain alone holds."""
        await write_many(engine, 10)
        assert await begin_stamps(engine, ring)
        found = command("audit", "verify", "--json")
        assert (found.code, found.json["unstamped"]) == (0, 10)
        assert "10 rows are older than stamps" in command("audit", "verify").out

    async def test_rows_that_nothing_chains_for_a_minute_are_exit_code_1(
        self, command: CommandLine, chained: AsyncEngine, owner_url: str
    ) -> None:
        """C-07: no worker chains; what stands is told all the same."""
        await tamper(
            owner_url,
            "UPDATE audit SET recorded_at = recorded_at - interval '61 s' WHERE id = 11",
            "UPDATE audit_chain SET at = at - interval '61 s'",
            rewrite=True,
        )
        found = command("audit", "verify", "--json")
        assert (found.code, found.json["ok"], found.json["stalled"]) == (1, True, True)
        people = command("audit", "verify")
        assert people.code == 1
        assert people.out.startswith("NOT CHAINED: nothing was chained for a minute")
        assert "1 rows, the oldest 6" in people.out

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
    @pytest.mark.parametrize(
        "line",
        [
            ("audit", "show", "\udcff\udcfe"),
            ("audit", "show", "a\nb"),
            ("inbox", "resume", "\udcff"),
            ("bank", "unmatched", "show", "\udcff"),
            ("bank", "reconcile", "--day", "2026-11-05", "--account", "\udcff"),
        ],
    )
    def test_a_subject_that_is_no_text_is_refused(
        self, command: CommandLine, line: tuple[str, ...]
    ) -> None:
        """C-04: exit code 2; 1 is kept for books that do not verify."""
        found = command(*line, "--json")
        assert (found.code, found.codes) == (2, ["INPUT_NOT_UNDERSTOOD"])

    async def test_rows_of_a_subject_with_the_reason_opened(
        self, command: CommandLine, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-07: who, what, when and why, for whoever holds the key ring."""
        await in_transaction(engine, lambda c: write_one(c, ring, "withdrawal/M1/W1"))
        [row] = command("audit", "show", "withdrawal/M1/W1", "--json").json["rows"]
        assert (row["actor"], row["action"], row["reason"]) == ("O2", "approve", "as agreed")
        assert (row["before"]["state"], row["after"]["state"]) == ("A", "B")
        people = command("audit", "show", "withdrawal/M1/W1").out
        assert "state: A → B" in people
        assert "as agreed" in people
