"""The verifier on who may decide: a delegation or a policy that nobody said is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute
from ledger.policies import adopted_policies
from ledger.verify import Finding, verify, verify_on
from tests.ledger.test_policies import admin, decide, propose
from tests.ledger.withdrawal_support import AT, DAY, Counter
from tests.stack import engine_on
from tests.tokens import token_for
from tillkeeper.contracts.approval import Verdict
from tillkeeper.sealing import KeyRing

NEW_DELEGATION = """
INSERT INTO delegations (delegation, fingerprint, delegator, delegate, roles, merchants, since,
                         until, reason_sealed)
SELECT 'DX', fingerprint, 'O3', 'mallory', roles, '{"*"}', since, until, reason_sealed
  FROM delegations WHERE delegation = 'D1'"""
NEW_POLICY = """
INSERT INTO approval_policies (change, fingerprint, state, policy, digest, effective_from,
                               reason_sealed, proposed_by, proposed_at, decided_by, decided_at)
SELECT 'PX', fingerprint, state, policy, digest, effective_from, reason_sealed, proposed_by,
       proposed_at, decided_by, decided_at FROM approval_policies WHERE change = 'P1'"""
NOBODY = """'{"bands": [{"levels": [], "auto_reason": "x"}], "by_currency": {}}'"""


@pytest_asyncio.fixture(loop_scope="session")
async def book(owner_url: str, ring: KeyRing) -> AsyncIterator[AsyncEngine]:
    """The owner's engine on two delegations, an adopted, a refused and a proposed policy."""
    async with engine_on(owner_url, pool_size=2, ring=ring) as engine:
        counter = Counter(engine, ring)
        for name, roles in (("D1", ("operations",)), ("D2", ("finance", "operations"))):
            token = token_for("O2", *roles, at=AT, merchants=("M1", "M2"))
            await counter.delegate(token, "X1", *roles, until=AT + DAY, name=name)
        await decide(counter, await propose(counter, admin("A1")), admin("A2"))
        refused = await propose(counter, admin("A1"), "P2")
        await decide(counter, refused, admin("A2"), Verdict.REJECT)
        await propose(counter, admin("A1"), "P3")
        yield engine


async def sneak(engine: AsyncEngine, *edits: str) -> Finding | None:
    """What the verifier says after edits of the owner, the triggers off; then all is undone."""
    async with engine.connect() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica", ())
        for edit in edits:
            assert (await connection.exec_driver_sql(edit)).rowcount == 1, edit
        found = (await verify_on(connection)).broken
        await connection.rollback()
    return found


def where(found: Finding | None) -> tuple[str, str]:
    assert found is not None
    return found.check, found.table


class TestVerify:
    async def test_a_sound_book_verifies_with_the_reading_role(self, book: AsyncEngine) -> None:
        """C-03, C-08: whatever was decided about the policies."""
        found = await verify(book)
        assert found.ok, found.broken
        assert {"delegations", "policies", "policy_digests"} <= {c.name for c in found.checks}
        async with book.connect() as connection:
            await execute(connection, "SET ROLE tillkeeper_reader", ())
            assert (await verify_on(connection)).ok

    @pytest.mark.parametrize(
        ("edit", "table"),
        [
            (NEW_DELEGATION, "delegations"),
            ("DELETE FROM delegations WHERE delegation = 'D2'", "audit"),
            *(
                (f"UPDATE delegations SET {change} WHERE delegation = 'D1'", "delegations")  # noqa: S608
                for change in (
                    "delegator = 'O9'", "delegate = 'mallory'", "roles = '{finance}'",
                    "merchants = '{*}'", "since = since + interval '1 microsecond'",
                    "until = until + interval '1 year'", "delegation = 'D9'",
                )
            ),
        ],
    )  # fmt: skip
    async def test_a_delegation_that_nobody_said_is_named(
        self, book: AsyncEngine, edit: str, table: str
    ) -> None:
        """C-07: inserted, changed in any word that counts, or taken away."""
        assert where(await sneak(book, edit)) == ("delegations", table)

    @pytest.mark.parametrize(
        ("edit", "table"),
        [
            (NEW_POLICY, "approval_policies"),
            ("DELETE FROM approval_policies WHERE change = 'P1'", "audit"),
            *(
                (f"UPDATE approval_policies SET {change}", "approval_policies")  # noqa: S608
                for change in (
                    "state = 'ADOPTED', decided_by = 'A9', decided_at = now() WHERE change = 'P3'",
                    "state = 'ADOPTED' WHERE change = 'P2'",
                    "decided_by = 'A3' WHERE change = 'P1'",
                    "proposed_by = 'A3' WHERE change = 'P1'",
                    "decided_at = decided_at + interval '1 day' WHERE change = 'P1'",
                    "digest = md5('x') WHERE change = 'P1'",
                )
            ),
        ],
    )
    async def test_a_policy_that_nobody_said_is_named(
        self, book: AsyncEngine, edit: str, table: str
    ) -> None:
        """C-08: inserted, adopted by nobody, adopted by another one, or taken away."""
        assert where(await sneak(book, edit)) == ("policies", table)

    @pytest.mark.parametrize(
        "change",
        [
            f"policy = {NOBODY}", "policy = '{}'",
            "effective_from = effective_from - interval '1 day'",
        ],
    )  # fmt: skip
    async def test_a_policy_that_is_not_the_one_that_was_shown_is_named(
        self, book: AsyncEngine, change: str
    ) -> None:
        """C-08: its bands or its date are others than its digest says."""
        edit = f"UPDATE approval_policies SET {change} WHERE change = 'P1'"  # noqa: S608
        assert where(await sneak(book, edit)) == ("policy_digests", "approval_policies")

    async def test_a_forged_audit_row_with_no_date_is_named_like_any_other(
        self, book: AsyncEngine
    ) -> None:
        """C-04: what the owner writes there never stops the verifier."""
        forged = """
INSERT INTO audit (subject, action, actor, before, after, profile, at)
SELECT subject, action, actor, before, after || '{"until": "soon"}', profile, at
  FROM audit WHERE subject = 'delegation/D1'"""
        assert where(await sneak(book, forged)) == ("delegations", "delegations")

    async def test_what_is_named_would_have_taken_effect(self, book: AsyncEngine) -> None:
        """C-08: the adopted policies are read as they stand; hence the checks."""
        async with book.connect() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            await execute(connection, f"UPDATE approval_policies SET policy = {NOBODY}", ())  # noqa: S608
            found: Any = (await adopted_policies(connection))[0].policy.bands[0]
            assert (found.levels, found.auto_reason) == ((), "x")
            await connection.rollback()
