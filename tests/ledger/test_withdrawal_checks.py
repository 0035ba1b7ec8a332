"""The verifier on withdrawals: a sound book verifies, every falsification names its row."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.engine import execute, fetch, in_transaction, make_engine
from ledger.sheet import Sheet
from ledger.verify import Finding, verify, verify_on
from tests.ledger.test_withdrawals import GRACE
from tests.ledger.withdrawal_support import AT, DAY, Counter
from tillkeeper.rules.profiles import JD_PREPAID_2023_11
from tillkeeper.sealing import KeyRing

_ID = "SELECT id FROM withdrawals WHERE request = $1"


@pytest_asyncio.fixture(loop_scope="session")
async def owner(owner_url: str, ring: KeyRing) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(owner_url, pool_size=2, ring=ring)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def book(owner: AsyncEngine, ring: KeyRing) -> AsyncEngine:
    """The owner's engine on withdrawals in every state that needs no bank."""
    counter = Counter(owner, ring)
    await counter.account(fund=900_000_00)
    await counter.account("M2", fund=9_000_00)
    await counter.submit(99_000_000_00, "REFUSED")
    await counter.submit(1_000_00, "WAITING")
    view = await counter.submit(100_000_00, "HALF")
    await counter.approve(view)
    view = await counter.submit(100_000_00, "REMITTING")
    await counter.approve(await counter.approve(view), "F1", "finance")
    await counter.reject(await counter.submit(2_000_00, "REJECTED"))
    await counter.submit(3_000_00, "CANCELLED")
    await counter.cancel("CANCELLED")
    counter.under(GRACE)
    await counter.approve(await counter.submit(4_000_00, "APPROVED"))
    counter.under(JD_PREPAID_2023_11)
    await counter.approve(await counter.submit(5_000_00, "OTHER"), "O3")
    await counter.remind("WAITING", at=AT + 3 * DAY)
    return owner


async def sneak(engine: AsyncEngine, *edits: str) -> Finding | None:
    """What the verifier says after edits of the owner, the triggers off; then all is undone."""
    async with engine.connect() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica", ())
        for edit in edits:
            changed = await connection.exec_driver_sql(edit)
            assert changed.rowcount == 1, edit
        found = (await verify_on(connection)).broken
        await connection.rollback()
    return found


async def id_of(engine: AsyncEngine, request: str) -> str:
    return str((await in_transaction(engine, lambda c: fetch(c, _ID, (request,))))[0].id)


class TestVerify:
    async def test_a_sound_book_verifies(self, book: AsyncEngine) -> None:
        """C-03, C-04: every check runs and none finds anything."""
        found = await verify(book)
        assert found.ok, found.broken
        names = {check.name for check in found.checks}
        assert {"withdrawals", "withdrawal_payments", "approvals", "tokens", "reserved"} <= names

    async def test_the_reading_role_is_enough(self, book: AsyncEngine) -> None:
        """C-03."""
        async with book.connect() as connection:
            await execute(connection, "SET ROLE tillkeeper_reader", ())
            assert (await verify_on(connection)).ok

    @pytest.mark.parametrize(
        ("request_id", "edit", "check"),
        [
            ("WAITING", "amount = amount + 1", "withdrawals"),
            ("WAITING", "currency = 'USD'", "withdrawals"),
            ("WAITING", "merchant = 'M2'", "withdrawals"),
            ("WAITING", "account = account + 1", "withdrawals"),
            ("WAITING", "state = 'REJECTED'", "withdrawals"),
            ("WAITING", "state = 'REFUSED'", "withdrawals"),
            ("REFUSED", "state = 'WAITING_APPROVAL'", "withdrawals"),
            ("REJECTED", "state = 'WAITING_APPROVAL'", "withdrawals"),
            ("CANCELLED", "state = 'WAITING_APPROVAL'", "withdrawals"),
            ("CANCELLED", "state = 'REJECTED'", "withdrawal_audit"),
            ("REJECTED", "state = 'CANCELLED_BY_MERCHANT'", "withdrawal_audit"),
            ("REMITTING", "state = 'PAID'", "withdrawal_audit"),
            ("REMITTING", "state = 'APPROVED'", "withdrawal_audit"),
            ("REMITTING", "requested_by = 'u9'", "withdrawal_audit"),
            ("REMITTING", "attempts = 2", "withdrawal_payments"),
            ("REMITTING", "payment = (SELECT payment FROM withdrawals WHERE request = 'OTHER')",
             "withdrawal_payments"),
            ("HALF", "approved_at = now()", "approvals"),
            ("WAITING", "approved_at = now(), auto_reason = 'so'", "approvals"),
            ("WAITING", "approved_at = now(), levels = '[]'", "approvals"),
            ("REMITTING", "approved_at = approved_at - interval '1 day'", "approvals"),
            ("REMITTING", "levels = jsonb_set(levels, '{0,quorum}', '2')", "approvals"),
            ("REMITTING", "levels = '[]'", "approvals"),
        ],
    )  # fmt: skip
    async def test_an_edited_row_is_named(
        self, book: AsyncEngine, request_id: str, edit: str, check: str
    ) -> None:
        """L6, C-03, C-07."""
        found = await sneak(
            book,
            f"UPDATE withdrawals SET {edit} WHERE request = '{request_id}'",  # noqa: S608
        )
        assert found is not None
        assert (found.check, found.table) == (check, "withdrawals")
        assert found.id == await id_of(book, request_id)

    @pytest.mark.parametrize(
        ("edit", "check", "table"),
        [
            ("DELETE FROM withdrawals WHERE request = 'WAITING'", "withdrawals", "transfers"),
            ("DELETE FROM decisions WHERE actor = 'F1'", "approvals", "withdrawals"),
            ("UPDATE decisions SET actor = 'u1' WHERE actor = 'F1'", "approvals", "withdrawals"),
            ("UPDATE decisions SET on_behalf_of = 'u1' WHERE actor = 'F1'", "approvals",
             "withdrawals"),
            ("UPDATE decisions SET decision = '0' WHERE actor = 'F1'", "approvals", "withdrawals"),
            ("UPDATE decisions SET verdict = 'APPROVE' WHERE verdict = 'REJECT'", "approvals",
             "withdrawals"),
            ("UPDATE spent_tokens SET actor = 'X9' WHERE actor = 'F1'", "tokens", "decisions"),
            ("DELETE FROM spent_tokens WHERE actor = 'F1'", "tokens", "decisions"),
            ("UPDATE payments SET amount = amount + 1 WHERE subject LIKE '%/OTHER/%'",
             "withdrawal_payments", "withdrawals"),
            ("UPDATE payments SET merchant = 'M2' WHERE subject LIKE '%/OTHER/%'",
             "withdrawal_payments", "withdrawals"),
            ("UPDATE payments SET state = 'REJECTED' WHERE subject LIKE '%/OTHER/%'",
             "withdrawal_payments", "withdrawals"),
            ("UPDATE payments SET subject = 'withdrawal/M1/REMITTING/pay/2'"
             " WHERE subject LIKE '%/OTHER/%'", "withdrawal_payments", "withdrawals"),
            ("UPDATE audit SET actor = 'u9' WHERE action = 'request_withdrawal'"
             " AND subject LIKE '%/WAITING'", "withdrawal_audit", "withdrawals"),
        ],
    )  # fmt: skip
    async def test_an_edit_around_it_is_named(
        self, book: AsyncEngine, edit: str, check: str, table: str
    ) -> None:
        """L6, C-07: decisions, tokens, payments, transfers and the audit belong together."""
        found = await sneak(book, edit)
        assert found is not None
        assert (found.check, found.table) == (check, table)

    async def test_money_that_is_reserved_for_nothing_is_named(self, book: AsyncEngine) -> None:
        """C-04: a row and its transfers gone together leave the balance behind."""
        async with book.connect() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica", ())
            sheet = await Sheet.open(connection, merchants=[("M2", "CNY")])
            owner = sheet.merchant("M2", "CNY")
            assert owner is not None
            await execute(
                connection, "UPDATE accounts SET balance = 7 WHERE id = $1", (owner.withdrawing,)
            )
            found = await verify_on(connection)
            await connection.rollback()
        assert "reserved" in found.offending
