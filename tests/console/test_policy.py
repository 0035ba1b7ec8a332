"""``tillkeeper policy`` on what the database has: in force, to come, and tried on the past."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.console.support import TREE, CommandLine
from tests.ledger.test_policies import admin, decide, propose
from tests.ledger.withdrawal_support import Counter
from tillkeeper.contracts.approval import ApprovalPolicy, Band, Level
from tillkeeper.contracts.base import json_at_the_door
from tillkeeper.rules.approvals import levels_for
from tillkeeper.sealing import KeyRing

PAST = datetime(2020, 1, 6, 9, 0, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def counter(engine: AsyncEngine, ring: KeyRing) -> Counter:
    return Counter(engine, ring)


def policy(*roles: str) -> ApprovalPolicy:
    """Two of these roles for any amount."""
    level = Level(name="two", roles=roles, quorum=2)
    return ApprovalPolicy(bands=(Band(levels=(level,)),))


async def adopt(counter: Counter, change: str, begins: datetime, *roles: str) -> None:
    """A change that two people made."""
    view = await propose(
        counter, admin("A1", at=PAST), change, at=PAST, policy=policy(*roles),
        effective_from=begins,
    )  # fmt: skip
    await decide(counter, view, admin("A2", at=PAST), at=PAST)


class TestFile:
    def test_the_documented_file_is_a_policy(self) -> None:
        """C-08: what docs/approvals.md shows can be proposed."""
        text = (TREE / "docs" / "approvals.md").read_text(encoding="utf-8")
        block = text.split("```json\n", 1)[1].split("```", 1)[0]
        read = json_at_the_door(ApprovalPolicy, block)
        assert [band.upto_minor for band in read.bands] == [100_000, 50_000_000, None]
        assert levels_for(read, 1, "JPY").levels[0].name == "finance"


class TestShow:
    async def test_what_comes_is_listed_by_its_dates(
        self, command: CommandLine, counter: Counter
    ) -> None:
        """C-08: adopted ones are seen before they begin; of equal dates the one that will hold."""
        assert command("policy", "show", "--json").json["coming"] == []
        await adopt(counter, "P3", FAR + timedelta(days=1), "c")
        await adopt(counter, "P2", FAR, "x")
        await adopt(counter, "P4", FAR, "b")
        await adopt(counter, "P1", PAST, "a")
        shown = command("policy", "show", "--json").json
        assert (shown["name"], shown["effective_from"]) == ("policy/P1", "2020-01-06T09:00:00Z")
        coming = [(one["name"], one["effective_from"]) for one in shown["coming"]]
        assert coming == [
            ("policy/P4", "2100-01-01T00:00:00Z"), ("policy/P3", "2100-01-02T00:00:00Z"),
        ]  # fmt: skip
        people = command("policy", "show").out
        assert people.index("Policy policy/P1") < people.index("To come: policy/P4")
        assert "2100-01-01 08:00:00+08:00" in people
        assert "any more: 2× c" in people

    @pytest.mark.parametrize("change", ["\udcff", "P\udcff", "", "a/b", "x" * 65])
    def test_a_change_that_is_no_id_is_refused_at_the_door(
        self, command: CommandLine, change: str
    ) -> None:
        """C-08: exit code 2, by each command; nothing is asked of anybody."""
        decide_on = ("--shown", "0" * 64, "--json")
        for line in (
            ("policy", "show", change, "--json"),
            ("policy", "approve", change, *decide_on),
            ("policy", "reject", change, "--reason", "x", *decide_on),
            ("policy", "propose", change, "--policy", "p.json", "--from", "2100-01-01",
             "--reason", "x", "--json"),
        ):  # fmt: skip
            found = command(*line)
            assert (found.code, found.codes) == (2, ["ID_MALFORMED"]), line


class TestSimulate:
    async def test_what_was_refused_at_once_is_no_past_withdrawal(
        self, command: CommandLine, counter: Counter
    ) -> None:
        """C-08: it needed nobody, and would have needed nobody."""
        await counter.account(fund=3_000_00)
        await counter.submit(2_000_00, "W1")
        await counter.submit(99_000_00, "W2")
        found = command("policy", "simulate", "--since", "2020-01-01", "--json").json
        assert [line["request"] for line in found["withdrawals"]] == ["W1"]
        assert found["count"] == 1

    async def test_the_order_of_roles_makes_no_difference(
        self, command: CommandLine, counter: Counter
    ) -> None:
        """C-08: whoever may decide is a set."""
        await adopt(counter, "P1", PAST, "finance", "treasury")
        await counter.account(fund=3_000_00)
        await counter.submit(2_000_00, "W1")
        for roles, differing in ((["treasury", "finance"], 0), (["treasury"], 1)):
            bands = [{"levels": [{"name": "any", "roles": roles, "quorum": 2}]}]
            (command.folder / "p.json").write_text(json.dumps({"bands": bands}))
            line = ("policy", "simulate", "--since", "2020-01-01", "--policy", "p.json", "--json")
            assert command(*line).json["differing"] == differing, roles

    async def test_days_begin_at_midnight_in_shanghai(
        self, command: CommandLine, counter: Counter
    ) -> None:
        """C-08: as in every list of ours."""
        await counter.account(fund=9_000_00)
        midnight = datetime(2026, 11, 5, 16, 0, tzinfo=UTC)
        await counter.submit(1_000_00, "BEFORE", at=midnight - timedelta(microseconds=1))
        await counter.submit(1_000_00, "AFTER", at=midnight)
        for day, wanted in (("2026-11-05", ["BEFORE", "AFTER"]), ("2026-11-06", ["AFTER"])):
            found = command("policy", "simulate", "--since", day, "--json").json
            assert [line["request"] for line in found["withdrawals"]] == wanted

    @pytest.mark.parametrize(
        ("day", "code"), [("x", "FIELD_INVALID"), ("9999-12-31", "TIME_OUT_OF_RANGE")]
    )
    def test_a_day_that_is_none_is_refused(self, command: CommandLine, day: str, code: str) -> None:
        """C-08: exit code 2."""
        found = command("policy", "simulate", "--since", day, "--json")
        assert (found.code, found.codes) == (2, [code])
