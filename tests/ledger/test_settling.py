"""C-12: what a debit says of several payments, of another one, or of less, and who settles it."""

from __future__ import annotations

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ledger import attempts
from tests.ledger.bank.telling import Balances, Line, statement_file
from tests.ledger.payout_support import AMOUNT, DAY, VISIBLE, Cashier
from tests.ledger.withdrawal_support import AT
from tests.workflows.support import OUR_NUMBER, refused
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentState
from tillkeeper.contracts.workitem import ItemAction

DEBIT = "UNKNOWN_DEBIT"
FAILED = "WITHDRAWAL_FAILED"
FIRST, SECOND = 2_000_00, 1_500_00


@pytest_asyncio.fixture(loop_scope="session")
async def two(cashier: Cashier) -> tuple[str, str]:
    """Withdrawals of 2,000.00 and 1,500.00 that the bank has accepted."""
    names = (await cashier.remitting(FIRST, "W1"), await cashier.remitting(SECOND, "W2"))
    for name in names:
        await cashier.sending(name)
        await cashier.says(name, "ACSP")
    return names


def batch(*parts: tuple[str, int], total: int | None = None) -> BankFile:
    """A statement of one debit that names a payment in each part."""
    amount = sum(part for _, part in parts) if total is None else total
    line = Line(-amount, "BATCH1", DAY, parts=tuple(("甲", part) for _, part in parts))
    found = statement_file([line], Balances(0, -amount, DAY, number="S1"), account=OUR_NUMBER)
    told = [
        one.model_copy(update={"end_to_end_id": parts[one.part - 1][0], "bank_reference": None})
        for one in found.transactions
    ]
    return found.model_copy(update={"transactions": tuple(told)})


async def states(cashier: Cashier) -> list[str]:
    """Of the withdrawals, in their order."""
    rows = await cashier.counter.rows("SELECT state FROM withdrawals ORDER BY id")
    return [row.state for row in rows]


async def explained(cashier: Cashier) -> list[tuple[str, int]]:
    """What was posted for debits."""
    sql = "SELECT kind, amount FROM transfers WHERE subject LIKE 'entry/%' ORDER BY id"
    return [(row.kind, row.amount) for row in await cashier.counter.rows(sql)]


class TestBatch:
    @pytest.mark.parametrize("bare_first", [False, True])
    async def test_each_part_pays_its_payment(
        self, cashier: Cashier, two: tuple[str, str], *, bare_first: bool
    ) -> None:
        """One debit of the bank's, two payments; details may come later (C-09)."""
        if bare_first:
            lump = statement_file(
                [Line(-FIRST - SECOND, "BATCH1", DAY)], None, kind=FileKind.CAMT_054,
                account=OUR_NUMBER,
            )  # fmt: skip
            await cashier.bring(lump)
        await cashier.bring(batch((two[0], FIRST), (two[1], SECOND)))
        assert await states(cashier) == ["PAID", "PAID"]
        assert await explained(cashier) == [
            ("bank_debit", FIRST + SECOND),
            ("withdrawal_settled", FIRST), ("withdrawal_settled", SECOND),
        ]  # fmt: skip
        assert "OPEN" not in {end for _, end in await cashier.items()}
        await cashier.verified()
        await cashier.sent_back(two[1], SECOND)
        assert await states(cashier) == ["PAID", "RETURNED"]
        await cashier.verified()

    async def test_a_part_of_another_amount_stays_work(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """1,400.00 of 1,500.00: the item is about what nobody can explain."""
        await cashier.bring(batch((two[0], FIRST), (two[1], SECOND - 100_00)))
        assert await states(cashier) == ["PAID", "REMITTING"]
        [item] = await cashier.counter.rows("SELECT kind, amount FROM work_items")
        assert (item.kind, item.amount) == (DEBIT, SECOND - 100_00)
        await cashier.verified()

    async def test_a_part_of_another_amount_is_settled_with_what_is_less(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """1,400.00 of 1,500.00: two people name the difference, for nothing else ends it."""
        await cashier.bring(batch((two[0], FIRST), (two[1], SECOND - 100_00)))
        item = await cashier.item(DEBIT)
        with refused(Code.PAYMENT_NAMED):
            await cashier.choose(item, ItemAction.CHARGE)
        target = f"{two[1]}/less/10000"
        await cashier.confirm(await cashier.choose(item, ItemAction.PAYMENT, target=target))
        assert await states(cashier) == ["PAID", "PAID"]
        await cashier.verified()

    async def test_a_part_whose_withdrawal_was_given_back_may_be_a_charge(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """The bank pays what it refused, after the money was given back: nobody waits for it."""
        await cashier.says(two[1], "RJCT", "AC04")
        await cashier.choose(await cashier.item(FAILED), ItemAction.RETURN_TO_AVAILABLE)
        await cashier.bring(batch((two[0], FIRST), (two[1], SECOND)))
        assert await states(cashier) == ["PAID", "RETURNED"]
        await cashier.confirm(await cashier.choose(await cashier.item(DEBIT), ItemAction.CHARGE))
        await cashier.verified()

    async def test_a_payment_that_cannot_be_opened_holds_no_file_back(
        self, cashier: Cashier, two: tuple[str, str], owner_url: str
    ) -> None:
        """C-12: the bank's debit pays it; whom it paid is people's to look at."""
        owner = create_async_engine(owner_url, poolclass=NullPool)
        async with owner.begin() as connection:
            unreadable = text("UPDATE payments SET creditor_sealed = 'x' WHERE end_to_end_id = :n")
            await connection.execute(unreadable, {"n": two[0]})
        await owner.dispose()
        await cashier.bring(batch((two[0], FIRST), (two[1], SECOND)))
        assert await states(cashier) == ["PAID", "PAID"]
        assert ("PAYEE_DIFFERS", "OPEN") in await cashier.items()

    async def test_people_settle_part_by_part(self, cashier: Cashier, two: tuple[str, str]) -> None:
        """Both were refused; a fee stands beside the parts. It is charged with the last of them."""
        for name in two:
            await cashier.says(name, "RJCT", "AC04")
        await cashier.bring(batch((two[0], FIRST), (two[1], SECOND), total=FIRST + SECOND + 10_00))
        item = await cashier.item(DEBIT)
        await cashier.confirm(await cashier.choose(item, ItemAction.PAYMENT, target=two[0]))
        assert await states(cashier) == ["PAID", "FAILED_MANUAL"]
        await cashier.verified()
        rest = await cashier.item(DEBIT)
        assert rest != item
        await self._second_is_paid(cashier, rest)
        await cashier.confirm(await cashier.choose(rest, ItemAction.PAYMENT, target=two[1]))
        assert await states(cashier) == ["PAID", "PAID"]
        assert sorted(await explained(cashier)) == [
            ("bank_charge", 10_00), ("bank_debit", FIRST + SECOND + 10_00),
            ("withdrawal_settled", SECOND), ("withdrawal_settled", FIRST),
        ]  # fmt: skip
        await cashier.verified()

    async def _second_is_paid(self, cashier: Cashier, rest: int) -> None:
        """Nobody takes the second one's part for a charge, or its money back."""
        with refused(Code.PAYMENT_NAMED):
            await cashier.choose(rest, ItemAction.CHARGE)
        sql = "SELECT id FROM work_items WHERE kind = 'WITHDRAWAL_FAILED' AND state <> 'CLOSED'"
        [failed] = await cashier.counter.rows(sql)
        with refused(Code.REQUEST_DECIDED):
            await cashier.choose(failed.id, ItemAction.RETURN_TO_AVAILABLE)

    async def test_a_fee_clears_nobody_elses_name(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """A charge of a part says nothing of the payment that another part names."""
        for name in two:
            await cashier.says(name, "RJCT", "AC04")
        await cashier.bring(batch((two[0], FIRST + 1_00), (two[1], SECOND)))
        item = await cashier.item(DEBIT)
        await cashier.confirm(await cashier.choose(item, ItemAction.PAYMENT, target=two[0]))
        assert ("bank_charge", 1_00) in await explained(cashier)
        await cashier.verified()
        await self._second_is_paid(cashier, await cashier.item(DEBIT))


class TestAnother:
    async def test_what_names_a_payment_settles_no_other(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """C-07: two people cannot do by mistake what the bank's own words contradict."""
        await cashier.debited(two[0], FIRST + 1_00)
        item = await cashier.item(DEBIT)
        with refused(Code.DEBIT_OF_ANOTHER):
            await cashier.choose(item, ItemAction.PAYMENT, target=two[1])
        await cashier.confirm(await cashier.choose(item, ItemAction.PAYMENT, target=two[0]))
        assert await states(cashier) == ["PAID", "REMITTING"]
        await cashier.verified()

    async def test_what_names_nobody_settles_whom_people_say(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """P-29."""
        line = Line(-SECOND, "B1", DAY)
        balances = Balances(0, -SECOND, DAY, number="S1")
        await cashier.bring(statement_file([line], balances, account=OUR_NUMBER))
        item = await cashier.item(DEBIT)
        await cashier.confirm(await cashier.choose(item, ItemAction.PAYMENT, target=two[1]))
        assert await states(cashier) == ["REMITTING", "PAID"]
        await cashier.verified()


class TestShortfall:
    @pytest_asyncio.fixture(loop_scope="session")
    async def short(self, cashier: Cashier) -> tuple[str, int]:
        """A payment, and the item of its debit, which is a fen less."""
        name = await cashier.remitting()
        await cashier.sending(name)
        await cashier.says(name, "ACSP")
        await cashier.debited(name, AMOUNT - 1)
        return name, await cashier.item(DEBIT)

    async def test_two_people_name_what_is_less(
        self, cashier: Cashier, short: tuple[str, int]
    ) -> None:
        """The withdrawal is paid; the fen is the platform's, by the account of bank charges."""
        name, item = short
        for target in (name, f"{name}/less/2"):
            with refused(Code.AMOUNT_MISMATCH):
                await cashier.choose(item, ItemAction.PAYMENT, target=target)
        shown = await cashier.choose(item, ItemAction.PAYMENT, target=f"{name}/less/1")
        assert shown.proposal is not None
        assert shown.proposal.target == f"{name}/less/1"
        assert (await cashier.stands())[0] == "REMITTING"
        done = await cashier.confirm(shown)
        assert (done.outcome, done.payment) == ("PAID", name)
        assert await cashier.stands() == ("PAID", None, 1)
        assert await cashier.counter.figures() == (3_000_00, 0, 0, 0)
        assert sorted(await explained(cashier)) == [
            ("bank_debit", AMOUNT - 1), ("payment_shortfall", 1), ("withdrawal_settled", AMOUNT),
        ]  # fmt: skip
        await cashier.verified()

    async def test_more_than_a_hundredth_is_another_amount(self, cashier: Cashier) -> None:
        """20.01 of 2,000.00: nobody's money is written off by it."""
        name = await cashier.remitting()
        await cashier.debited(name, AMOUNT - 20_01)
        item = await cashier.item(DEBIT)
        with refused(Code.AMOUNT_MISMATCH):
            await cashier.choose(item, ItemAction.PAYMENT, target=f"{name}/less/2001")

    @pytest.mark.parametrize("text", ["/less/1", "P/less/", "P/less/0", "P/less/x", "P/M", "/"])
    async def test_a_target_that_says_nothing_is_refused(
        self, cashier: Cashier, short: tuple[str, int], text: str
    ) -> None:
        """P-29."""
        with refused(Code.TARGET_MISSING):
            await cashier.choose(short[1], ItemAction.PAYMENT, target=text)

    async def test_nothing_less_is_named_where_nothing_is(
        self, cashier: Cashier, two: tuple[str, str]
    ) -> None:
        """A debit that is whole, or more."""
        await cashier.debited(two[0], FIRST + 1)
        with refused(Code.AMOUNT_MISMATCH):
            await cashier.choose(
                await cashier.item(DEBIT), ItemAction.PAYMENT, target=f"{two[0]}/less/1"
            )


class TestWholeCharge:
    async def test_a_charge_of_the_whole_debit_is_no_payment(self, cashier: Cashier) -> None:
        """As before: the next attempt may follow, once two people have said so."""
        first = await cashier.remitting()
        await cashier.sending(first)
        await cashier.absent(first, AT + VISIBLE)
        second = await cashier.following(first, AT + VISIBLE)
        await cashier.debited(first)
        shown = await cashier.choose(await cashier.item(DEBIT), ItemAction.CHARGE)
        await cashier.confirm(shown)
        row = await cashier.payment(second)
        assert not await cashier.counter.run(lambda c: attempts.stop_if_paid(c, row, AT))
        assert row.state is PaymentState.RECORDED


class TestPayee:
    @pytest.mark.parametrize(
        ("account", "items"),
        [("9999 8888 7777 6666", [("PAYEE_DIFFERS", "OPEN")]), ("6225 8802 1234 1234", [])],
    )
    async def test_another_account_than_was_ordered_is_work(
        self, cashier: Cashier, account: str, items: list[tuple[str, str]]
    ) -> None:
        """P-29: the debit names the payment, so it is paid; whom, people ask the bank."""
        name = await cashier.remitting()
        found = batch((name, AMOUNT))
        told = [one.model_copy(update={"creditor_account": account}) for one in found.transactions]
        await cashier.bring(found.model_copy(update={"transactions": tuple(told)}))
        assert await cashier.stands() == ("PAID", None, 1)
        assert await cashier.items() == items
        await cashier.verified()
